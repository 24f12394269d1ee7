"""Reads one turn's records in a journal that another process writes: each look takes only what came since the last."""

from __future__ import annotations

from array import array
from contextlib import suppress

from trunkline.stores.journal import PLACE_BITS, Journal
from trunkline.stores.segment import ERASED, HEADER_BYTES


class Tail:
    """The places of one turn's records, in the order in which they were written."""

    def __init__(self, journal: Journal, key: bytes) -> None:
        self._journal = journal
        self._key = key
        self._before = array("Q")  # in segments that are written no more
        self._segment = 0  # the one that was the newest at the last look
        self._at, self._write = HEADER_BYTES, 0
        self._in_segment = array("Q")

    def places(self) -> array[int]:
        """Look, and return all places so far; those in a segment that has gone meanwhile are among them."""
        *closed, newest = self._journal.segments() or [0]
        for segment in closed:
            if segment >= self._segment:  # Once it is closed it is read as a whole, also behind damage.
                with suppress(FileNotFoundError):
                    records = self._journal.scan(segment).records
                    self._before += self._matching(segment, records)
        if newest != self._segment:
            self._segment, self._at, self._write, self._in_segment = newest, HEADER_BYTES, 0, array("Q")
        with suppress(FileNotFoundError):
            records = []
            self._at, self._write = self._journal.read_on(newest, self._at, self._write, records)
            self._in_segment += self._matching(newest, records)
        return self._before + self._in_segment

    def _matching(self, segment: int, records: list[tuple[int, int, bytes]]) -> array[int]:
        base = segment << PLACE_BITS
        return array("Q", (base + at for at, kind, key in records if key == self._key and kind != ERASED))
