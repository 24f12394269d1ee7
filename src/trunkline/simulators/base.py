"""What every simulated platform shares: the request it gets, the settings of the simulator, and how it says no."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from trunkline.simulators.access import Clock, Limiter, Tokens

_MAX_ONCE = 10_000

# What a client broke: the request is none that the platform takes, a message is no text frame with a JSON object, its
# fields are not those of the wire, it came out of order, the frames are no WebSocket, no quota was asked for, or no
# dialog configured.
Rule = Literal["request", "json", "fields", "order", "framing", "quota", "config"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in.

    `headers` has lower-case names; a header given several times is joined with ", ". `too_large` says that the body
    went over the bound: then `body` is empty and the rest of it is still on its way.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    http11: bool = True
    too_large: bool = False

    @property
    def keep_alive(self) -> bool:
        """Whether the client expects the connection to stay open (RFC 9112 section 9.3)."""
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        return self.http11 and not self.too_large and "close" not in options

    @property
    def bearer(self) -> str:
        """The bearer token that the request shows; empty where it shows none."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""

    @property
    def media_type(self) -> str:
        """The media type of the body, without parameters; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Once:
    """Remembers what has happened already, the newest 10,000."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}

    def first(self, key: bytes) -> bool:
        """Whether `key` comes for the first time."""
        if key in self._known:
            return False
        self._known[key] = None
        if len(self._known) > _MAX_ONCE:
            del self._known[next(iter(self._known))]
        return True


@dataclass(slots=True)
class Settings:
    """What holds for all requests of one simulator, and what they share.

    `texts` are all the texts that may be asked for, by name; `limiter` is None where nothing is limited; `once` knows
    the requests that were answered 401 once. A WebSocket on which nothing moves for `idle_s` is cut, Cognigy waits
    `opening_wait_s` for an opening message, and a Genesys model gives `max_concurrent` answers at a time. An answer
    about a quota does for one turn, or with `quota_fresh_s` for all that begin within that time; `wants_config` says
    that a dialog is configured before it is answered.
    """

    texts: dict[str, str]
    default_text: str
    interval_ms: float = 0.0
    seed: int = 0
    require_key: bool = False
    token_lifetime_s: float = 86_399
    tokens: Tokens = field(default_factory=Tokens)
    limiter: Limiter | None = None
    once: Once = field(default_factory=Once)
    idle_s: float = 30.0
    opening_wait_s: float = 5.0
    max_concurrent: int = 10
    quota_fresh_s: float = 0.0
    wants_config: bool = True
    clock: Clock = time.monotonic


class UnknownWordError(ValueError):
    """A word that a closed table does not have, or a value that its word does not take."""


@dataclass(eq=False)
class RefusalError(Exception):
    """The platform says no with `status`; `param` and `code` go where its error shape has a place for them."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def nearest(word: str, known: Iterable[str]) -> str:
    """Give the known word that looks most like `word`."""
    return difflib.get_close_matches(word.strip().lower(), list(known), n=1, cutoff=0.0)[0]
