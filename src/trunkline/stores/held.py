"""The turns that the journal holds, the segments that are kept for their sake, and what else is in those."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from trunkline.core.record import TurnRecord
from trunkline.stores.base import TurnLog
from trunkline.stores.journal import Place, segment_of
from trunkline.stores.recent import weight
from trunkline.stores.recovery import Left, key_of

MAX_OWED_BYTES: Final = 64 << 20
"""How much of turns that have ended and wait for the archive is in memory; the others are read from the journal."""


@dataclass(slots=True)
class HeldTurn:
    """A turn that is open, or has ended and is not archived yet; its log may be in memory, else its summary is."""

    key: bytes
    places: array[int]
    log: TurnLog | None
    summary: TurnRecord | None = None
    segment: int = 0
    is_unkept: bool = False
    """True where its end is not in the journal, but only in memory."""
    owed_bytes: int = 0

    def shown(self) -> TurnRecord | None:
        """Return what may be shown of it without its texts, if anything."""
        if self.log is None:
            return self.summary
        return self.log.summary() if self.log.visible else None

    def leave_memory(self) -> None:
        """Drop its log, where all of it is in the journal."""
        if self.log is not None and not self.is_unkept:
            self.summary, self.log = self.log.summary(), None


class Held:
    """Turns by id, and how many of them each segment holds entries of; `drop` removes a segment that holds none."""

    def __init__(self, drop: Callable[[int], object]) -> None:
        self._drop = drop
        self._turns: dict[str, HeldTurn] = {}
        self._in_segment: Counter[int] = Counter()
        self._owed_bytes = 0
        self._left: dict[str, array[int]] = {}  # places of turns that are archived, while their segments are there
        self._left_in: dict[int, list[str]] = {}

    def __contains__(self, turn_id: object) -> bool:
        return turn_id in self._turns

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[HeldTurn]:
        return iter(self._turns.values())

    def get(self, turn_id: str) -> HeldTurn | None:
        """Return a turn, or None where the journal does not hold it."""
        return self._turns.get(turn_id)

    def add(self, turn: TurnLog) -> None:
        """Take in a new turn."""
        self._turns[turn.id] = HeldTurn(key_of(turn.id), array("Q"), turn)

    def take_back(self, left: Left) -> None:
        """Take in a turn that an earlier process left."""
        log = None if left.unkept is None else TurnLog.of(left.id, left.unkept)
        self._turns[left.id] = HeldTurn(left.key, left.places, log, left.summary, is_unkept=log is not None)
        self._in_segment.update({segment_of(place) for place in left.places})

    def note(self, turn: HeldTurn, place: Place) -> None:
        """A record of a turn was written."""
        turn.places.append(place)
        segment = segment_of(place)
        if segment != turn.segment:
            turn.segment = segment
            self._in_segment[segment] += 1

    def owe(self, turn: HeldTurn, *, in_memory: bool) -> None:
        """A turn has ended: until it is archived it stays in memory, if there is room, and in the journal anyway."""
        if turn.log is None or turn.owed_bytes:
            return
        size = weight(turn.log)
        if in_memory and self._owed_bytes + size <= MAX_OWED_BYTES:
            turn.owed_bytes = size
            self._owed_bytes += size
        else:
            turn.leave_memory()

    def leave(self, turn_id: str, current: int) -> HeldTurn | None:
        """Let a turn go, and with it segments but the `current` one; return it."""
        turn = self._turns.pop(turn_id, None)
        if turn is not None:
            self._owed_bytes -= turn.owed_bytes
            if turn.places:
                self._left[turn_id] = turn.places
            for segment in {segment_of(place) for place in turn.places}:
                self._left_in.setdefault(segment, []).append(turn_id)
                self._in_segment[segment] -= 1
                self.let_go(segment, current)
        return turn

    def places(self, turn_id: str) -> Sequence[Place]:
        """Return where the journal has something of a turn, also of one that is archived."""
        turn = self._turns.get(turn_id)
        return self._left.get(turn_id, ()) if turn is None else turn.places

    def let_go(self, segment: int, current: int) -> None:
        """Drop a segment where it holds no turn and is not written any more."""
        if self._in_segment[segment] <= 0 and segment != current:
            del self._in_segment[segment]
            for turn_id in self._left_in.pop(segment, ()):
                places = array("Q", (place for place in self._left[turn_id] if segment_of(place) != segment))
                if places:
                    self._left[turn_id] = places
                else:
                    del self._left[turn_id]
            self._drop(segment)
