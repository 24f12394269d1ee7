"""Reads one turn's records in a journal that another process writes: each look takes only what came since the last."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from trunkline.stores.journal import PLACE_BITS, Journal
from trunkline.stores.segment import ERASED, HEADER_BYTES


@dataclass(slots=True)
class _Seen:
    """What was seen of a segment: up to where, the number of the last write, and the turn's places."""

    at: int = HEADER_BYTES
    write: int = 0
    places: array[int] = field(default_factory=lambda: array("Q"))


class Tail:
    """The places of one turn's records, in the order in which they were written."""

    def __init__(self, journal: Journal, key: bytes, *, is_held: Callable[[], bool] = lambda: True) -> None:
        """`is_held` tells whether some process may write to the journal."""
        self._journal = journal
        self._key = key
        self._is_held = is_held
        self._seen: dict[int, _Seen] = {}
        self._closed = 0  # the newest segment that is written no more, and was read as a whole

    def places(self) -> array[int]:
        """Look, and return all places so far that are shown; those in a segment that has gone are among them."""
        until = self._journal.shown_until()  # It comes first: all that is shown by then is found below.
        segments = [segment for segment in self._journal.segments() if segment > self._closed]
        is_written_no_more = not self._is_held()  # Whoever takes it from now on begins another segment.
        closed = self._closed
        # The newest first: when it is read, what was written before it is in the others. It may be a spare one.
        for segment in reversed(segments):
            seen = self._seen.setdefault(segment, _Seen())
            with suppress(FileNotFoundError):
                if is_written_no_more:  # It is read as a whole, also behind damage.
                    seen.places = self._matching(segment, self._journal.scan(segment).records)
                    closed = max(closed, segment)
                else:
                    self._read_on(segment, seen)
                    is_written_no_more = seen.at > HEADER_BYTES
        self._closed = closed
        found = (place for segment in sorted(self._seen) for place in self._seen[segment].places)
        return array("Q", (place for place in found if place < until))

    def _read_on(self, segment: int, seen: _Seen) -> None:
        records: list[tuple[int, int, bytes]] = []
        seen.at, seen.write = self._journal.read_on(segment, seen.at, seen.write, records)
        seen.places += self._matching(segment, records)

    def _matching(self, segment: int, records: list[tuple[int, int, bytes]]) -> array[int]:
        base = segment << PLACE_BITS
        return array("Q", (base + at for at, kind, key in records if key == self._key and kind != ERASED))
