"""The contract of a store, and the log of one turn that it keeps: where entries rest, and when they may be shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field

from trunkline.core.events import AnyEvent, Entry, Started
from trunkline.core.turn import State, advance

Form = Callable[["TurnLog", int, int], bytes]
"""How an endpoint writes the entries at positions [a, b) of a turn; positions count entries, offsets name them."""


class Waked(Protocol):
    """Whoever wants to hear that a turn shows more than before."""

    def wake(self) -> None:
        """There is something new to look at."""


class TurnLog:
    """Entries in order. Those before position `visible` may be shown; those before `written` are in the store."""

    __slots__ = ("_rendered", "dirty", "entries", "followers", "id", "state", "visible", "written")

    def __init__(self, turn_id: str) -> None:
        self.id = turn_id
        self.entries: list[Entry] = []
        self.state = State.NEW
        self.written = 0
        self.visible = 0
        self.dirty = False
        self.followers: list[Waked] = []
        self._rendered: tuple[Form, int, int, bytes] | None = None

    @property
    def started(self) -> Started:
        """The first event: who asked whom."""
        return cast("Started", self.entries[0].event)

    @property
    def tail(self) -> int:
        """The newest offset that is shown; 0 before the first."""
        return self.entries[self.visible - 1].offset if self.visible else 0

    @property
    def ended(self) -> bool:
        """True once every entry is shown and the last is `Ended`: nothing will follow."""
        return self.state is State.ENDED and self.visible == len(self.entries)

    def add(self, events: Sequence[AnyEvent], at_ms: int) -> None:
        """Buffer events as entries. Raises `IllegalEvent`, having added nothing, where the turn's state forbids one."""
        state = self.state
        for event in events:
            state = advance(state, event)
        self.state = state
        offset = self.entries[-1].offset if self.entries else 0
        self.entries.extend(Entry(offset + n, at_ms, event) for n, event in enumerate(events, 1))

    def position(self, after: int) -> int:
        """Return the position of the first entry whose offset is greater than `after`."""
        return bisect_right(self.entries, after, key=lambda entry: entry.offset)

    def render(self, form: Form, a: int, b: int) -> bytes:
        """Return entries [a, b) in a form; readers at the live end of one turn share what the first one rendered."""
        shared = self._rendered
        if shared is not None and shared[0] is form and shared[1] == a and shared[2] == b:
            return shared[3]
        data = form(self, a, b)
        self._rendered = (form, a, b, data)
        return data


Publish = Callable[[list[TurnLog]], None]


class StoreSettings(BaseModel):
    """`[store]`: where turns rest, how durably, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    durability: Literal["memory"] = Field(
        default="memory", description="How safe an entry is before it is shown: memory = as safe as this process."
    )
    retention_s: float = Field(default=86_400, gt=0, description="For so long an ended turn can be read.")
    max_turns: int = Field(default=10_000, ge=1, description="How many ended turns are kept; the oldest go first.")


class Store(Protocol):
    """Two phases: entries are buffered while a tick of the event loop lasts, and written together at its end."""

    def add(self, turn: TurnLog) -> None:
        """Take in a new, empty turn."""

    def write(self, turns: list[TurnLog], publish: Publish) -> None:
        """Write what each turn has beyond `turn.written`, then call `publish` with those turns, now or later."""

    def find(self, turn_id: str) -> TurnLog | None:
        """Return a turn's log. Raises `TurnForgotten` where it was here and is gone."""

    def logs(self) -> Iterable[TurnLog]:
        """Return the logs of all turns, the newest first."""

    def forget(self, turn_id: str) -> None:
        """Erase a turn's entries for good; what is left is only that it existed."""

    def sweep(self, now_ms: int) -> None:
        """Let go of what is past its retention or over the bound; called about once a second."""
