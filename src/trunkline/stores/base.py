"""The contract of a store, and the log of one turn that it keeps: where entries rest, and when they may be shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol, cast

from trunkline.core.errors import OffsetPastTail
from trunkline.core.events import AnyEvent, Delta, Ended, Entry, Started, ToolCall
from trunkline.core.record import TurnRecord, outline
from trunkline.core.turn import State, advance

Form = Callable[["TurnLog", int, int], bytes]
"""How an endpoint writes the entries at positions [a, b) of a turn; positions count entries, offsets name them."""


class Waked(Protocol):
    """Whoever wants to hear that a turn shows more than before."""

    def wake(self) -> None:
        """There is something new to look at."""


class TurnLog:
    """Entries in order: those before position `visible` are shown.

    Those before `safe` are as durable as they have to be, and those before `written` are in the store.
    """

    __slots__ = ("_rendered", "dirty", "entries", "followers", "id", "on_lost", "safe", "state", "visible", "written")

    def __init__(self, turn_id: str) -> None:
        self.id = turn_id
        self.entries: list[Entry] = []
        self.state = State.NEW
        self.written = 0
        self.safe = 0
        self.visible = 0
        self.dirty = False
        self.followers: list[Waked] = []
        self.on_lost: Callable[[], None] | None = None
        """Called when the store could not keep what was appended last, after `cut_back`."""
        self._rendered: tuple[Form, int, int, bytes] | None = None

    @classmethod
    def of(cls, turn_id: str, entries: list[Entry]) -> TurnLog:
        """Make the log of a turn that rests in a store; all of it may be shown."""
        turn = cls(turn_id)
        turn.entries = entries
        for entry in entries:
            turn.state = advance(turn.state, entry.event)
        turn.written = turn.safe = turn.visible = len(entries)
        return turn

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

    def summary(self) -> TurnRecord:
        """Return what may be shown of a turn without its texts; something of it must be visible."""
        return outline(self.entries[0], self.entries[self.visible - 1])

    def add(self, events: Sequence[AnyEvent], at_ms: int) -> None:
        """Buffer events as entries, all or none of them.

        Raises `IllegalEvent` where the turn's state forbids one, and `UnicodeEncodeError` where one holds a lone half
        of a character.
        """
        state = self.state
        offset = self.entries[-1].offset if self.entries else 0
        entries: list[Entry] = []
        for event in events:
            state = advance(state, event)
            offset += 1
            entry = Entry(offset, at_ms, event)
            _ = entry.json  # Met in the store, what cannot be encoded would cost every turn of the tick its entries.
            entries.append(entry)
        self.state = state
        self.entries += entries

    @property
    def says_no_more(self) -> bool:
        """True where what is not written yet is an end without any text before it: shown, it gives nothing away.

        Where nothing can be written any more, that is shown all the same: nobody may wait for ever.
        """
        new = [type(entry.event) for entry in self.entries[self.written :]]
        return bool(new) and new[-1] is Ended and Delta not in new and ToolCall not in new

    def check_offset(self, after: int) -> None:
        """Raise `OffsetPastTail` where a reader cannot go on from here: nothing that is shown has this offset.

        Offsets go on behind a gap after a crash; whoever holds one out of the gap has read what is lost.
        """
        place = self.position(after)
        if after and (place == 0 or place > self.visible or self.entries[place - 1].offset != after):
            raise OffsetPastTail(after, self.tail)

    def before(self, offset: int) -> int:
        """Return the offset to follow after so as to begin with the entry at `offset`."""
        place = self.position(offset - 1)
        return self.entries[place - 1].offset if place else 0

    def cut_back(self) -> None:
        """Drop what the store could not keep, which nobody has seen; of a turn that was just made, `Started` stays."""
        del self.entries[max(1, self.written) :]
        self.state = State.OPEN

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
"""Shows the readers of these turns what is safe."""

Lose = Callable[[list[TurnLog]], None]
"""Tells these turns that what they have beyond `written` could not be kept."""


class Audience(NamedTuple):
    """Whom a store tells what became of a write."""

    publish: Publish
    lose: Lose


class Query(NamedTuple):
    """Which turns to list, the newest first: at most `limit`, with ids below `before`; None asks for all.

    `of_any_age` asks also for those that are past their retention and not erased yet.
    """

    principal: str | None = None
    conversation_id: str | None = None
    state: Literal["open", "ended"] | None = None
    before: str | None = None
    limit: int = 20
    of_any_age: bool = False

    def asks_for(self, turn: TurnRecord) -> bool:
        """Tell whether a turn is one of those."""
        started = turn.started
        return (
            self.principal in (None, started.principal)
            and self.conversation_id in (None, started.conversation_id)
            and self.state in (None, "ended" if turn.ended else "open")
            and (self.before is None or started.turn < self.before)
        )


STORE_FAULTS: Final = {
    "store_full": "The disk of the log is full.",
    "store_error": "The log cannot be written.",
    "archive_behind": "Too many turns wait for an archive that does not take them.",
}
"""Why a store takes no new turn."""


class Store(Protocol):
    """Two phases: entries are buffered while a tick of the event loop lasts, and written together at its end."""

    def fault(self) -> str:
        """Say why no new turn can be taken, as a code of `STORE_FAULTS`; empty where one can."""

    def add(self, turn: TurnLog) -> None:
        """Take in a new, empty turn."""

    def write(self, turns: list[TurnLog], audience: Audience) -> None:
        """Write what each turn has beyond `written`, then publish those turns, now or later.

        Those whose entries could not be kept are lost instead. Never raises.
        """

    async def find(self, turn_id: str) -> TurnLog | None:
        """Return a turn's log. Raises `TurnForgotten` where it was here and is gone, and `Overloaded`."""

    async def list(self, query: Query) -> list[TurnRecord]:
        """Return turns without their texts, the newest first. Raises `Overloaded`."""

    async def forget(self, turns: Sequence[tuple[str, str]]) -> None:
        """Erase the entries of turns, given as (id, principal), for good: what is left is that they existed.

        Raises `Overloaded` where that is not done yet; asking again, also for none, goes on with it.
        """

    def sweep(self, now_ms: int) -> None:
        """Let go of what is past its retention or over the bound; called about once a second."""
