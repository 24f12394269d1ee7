"""The contract of a dialect: the pure translator of one platform's wire, and the commands it may give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from trunkline.core.events import AnyEvent, Notice
from trunkline.core.request import TurnRequest
from trunkline.dialects.settings import WireSettings


class Command(msgspec.Struct, frozen=True):
    """Something a dialect asks its shell to do. Authentication, TLS and limits are the shell's own."""


class Open(Command, frozen=True):
    """Open the stream: an HTTP request, or the upgrade to a WebSocket. `path` is below the upstream's address."""

    method: str
    path: str
    headers: dict[str, str] = {}
    body: bytes = b""


class Send(Command, frozen=True):
    """Send one message on the open WebSocket. `asks` marks the one that asks for the answer, and so costs one."""

    data: bytes
    asks: bool = False


class Call(Command, frozen=True):
    """Make a plain HTTP call beside the stream; its answer comes back through `answered` under the same `id`.

    Turns may share answers: the newest 2xx of the same method, path and `topic` will do where it answered the same
    `json` at most `fresh_s` seconds ago, and of those who ask at once only the first calls.
    """

    id: str
    method: str
    path: str
    json: Any = None
    timeout_s: float = 10.0
    fresh_s: float = 0.0
    topic: str = ""


class Reopen(Command, frozen=True):
    """Open the stream once more as the last `Open` said, with fresh credentials, not before `earliest`."""

    earliest: float


class WakeAt(Command, frozen=True):
    """Call `wake` at this time; a later `WakeAt` replaces an earlier one."""

    at: float


class Close(Command, frozen=True):
    """Close the stream; the turn goes on."""


Item = AnyEvent | Command


@dataclass(frozen=True, slots=True)
class Setup:
    """What the dialect of one turn is made from: paths by name, settings, and a source of numbers from 0 to 1."""

    paths: Mapping[str, str]
    settings: WireSettings = field(default_factory=WireSettings)
    random: Callable[[], float] = float


@dataclass(frozen=True, slots=True)
class Ask:
    """What a turn wants of the platform: its id, the request, and the platform's name of the model."""

    turn_id: str
    request: TurnRequest
    model: str


@dataclass(frozen=True, slots=True)
class Loss:
    """How a stream came to its end: cleanly, or with a reason of the closed table and a sentence of what came."""

    clean: bool
    reason: str = "upstream_interrupted"
    detail: str = ""
    code: int | None = None


class Dialect(Protocol):
    """One turn's conversation with a platform, as a script without IO.

    Every method but `last_words` takes the time in monotonic seconds and returns events and commands in the order they
    are to take effect. A dialect ends the turn by returning one `Ended`; whatever it returns later is ignored.
    """

    def start(self, ask: Ask, now: float) -> list[Item]:
        """Begin; usually returns an `Open` or a first `Call`."""

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        """Hear that the stream is open: status 200 with these headers (names in lower case), or a WebSocket."""

    def receive(self, data: bytes, now: float) -> list[Item]:
        """Take what one read brought: any piece of a body, or one whole WebSocket message."""

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Hear that `Open` was answered by another status; `body` is at most 64 KiB of the answer."""

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Take the answer to a `Call`; status 0 means that none came, and `body` then says why."""

    def closed(self, loss: Loss, now: float) -> list[Item]:
        """Hear that the stream is gone. Returns an `Ended`, or commands that bring it back."""

    def wake(self, now: float) -> list[Item]:
        """The time that `WakeAt` asked for has come."""

    def last_words(self) -> list[Notice]:
        """Say what was counted and not told yet. Asked once, when the turn ends or asks anew, whoever decided that."""
