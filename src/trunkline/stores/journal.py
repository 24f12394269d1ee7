"""The journal: append-only files of checked records, where entries rest until their turns are archived.

A segment is a file of fixed size, laid out ahead so that a full disk shows before a record is half written.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, groupby
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from trunkline.core.events import Entry
from trunkline.stores import segment as layout
from trunkline.stores.files import Files
from trunkline.stores.segment import HEAD_BYTES, HEADER_BYTES, Batch, Damage, Scan
from trunkline.stores.shown import Mark

SEGMENT_BYTES: Final = 32 << 20
RESERVE_SHARE: Final = 16
"""One part in so many of a segment is kept for the ends of turns, for when there is no room for another segment."""
SHRINK: Final = 8  # by so much a segment is smaller where there is no room for a whole one
LEAST_SEGMENT_BYTES: Final = 64 << 10
PATIENCE_S: Final = 1.0  # with another thread that lays out a segment
SEARCHED_AT_ONCE: Final = 1 << 20
BLOCK_BYTES: Final = 4_096  # what a file system sets aside at a time

Place = int
"""Where a record is: the number of its segment above the lowest 32 bits, and how many bytes into it in them."""
PLACE_BITS: Final = 32
PLACE_MASK: Final = (1 << PLACE_BITS) - 1


class Journal:
    """The segments of one folder. `append` and `begin` are for one thread; all else may be called in others."""

    def __init__(self, folder: Path, files: Files, *, segment_bytes: int = SEGMENT_BYTES, syncs: bool = False) -> None:
        """Take a folder that exists; nothing is written before `begin`. `syncs`: somebody will `sync` all of it."""
        self._folder = folder
        self._files = files
        self._segment_bytes = segment_bytes
        self._syncs = syncs
        self._mark = Mark(folder)
        self._fd = -1
        self._at = self._limit = self._size = 0
        self._write = 0
        self._left_until = 0  # where what a failed write left may end
        self._retired: list[int] = []
        self._spare: tuple[int, int, int] | None = None  # number, descriptor and size of a segment laid out ahead
        self._laying_out = threading.Lock()
        self._is_stuck = False
        self._first = 0  # the first segment of this process
        self._unclean: set[int] = set()  # where there may be words at places that nobody noted
        self.number = 0
        """The segment that is written now; 0 before the first."""

    # Writing

    def begin(self) -> None:
        """Go on in a new segment. Raises `OSError`, having changed nothing."""
        with self._alone():
            spare, self._spare = self._spare, None
            self._take(*(spare or self._lay_out_smaller(self._segment_bytes)))

    def go_on(self) -> None:
        """Go on in the segment that is laid out, which takes no time. Raises `OSError` where there is none."""
        with self._alone(waits=False):
            spare, self._spare = self._spare, None
            if spare is None:
                raise OSError(errno.EBUSY, "no segment is laid out")
            self._take(*spare)

    def prepare(self, *, at_once: bool = False) -> None:
        """Lay out the next segment once this one fills up. Raises `OSError` where there is no room.

        `at_once`: also before it fills up, and then as large a one as there is room for.
        """
        with self._alone():
            if self._spare is not None:
                return
            if at_once:
                self._spare = self._lay_out_smaller(self._segment_bytes)
            elif self._fd >= 0 and self._at > self._limit // 2:
                self._spare = self._lay_out(self._segment_bytes)

    @contextmanager
    def _alone(self, *, waits: bool = True) -> Iterator[None]:
        """Keep other threads from laying out a segment. Raises `OSError` where one of them does not come back.

        Who waits may be the event loop, so that it is waited for once and not again before that thread is back.
        """
        if not self._laying_out.acquire(timeout=PATIENCE_S if waits and not self._is_stuck else 0):
            self._is_stuck = self._is_stuck or waits
            raise OSError(errno.EBUSY, "the disk does not answer")
        self._is_stuck = False
        try:
            yield
        finally:
            self._laying_out.release()

    @property
    def is_used(self) -> bool:
        """True where the current segment holds a record."""
        return self._at > HEADER_BYTES

    def append(self, batches: Sequence[Batch], *, last_words: bool = False) -> list[Place]:
        """Write records, all in one write, and return their places. Raises `OSError`: none of them counts then.

        Only `last_words` may use the reserve of a segment that can have no successor.
        """
        records = [layout.record(batch, self._write + 1) for batch in batches]
        size = sum(map(len, records))
        if self._at + size > self._limit:
            self._make_room(size, last_words=last_words)
            if self._at + size > (self._size if last_words else self._limit):
                raise OSError(errno.ENOSPC, "no room for a segment that is large enough")
            records = [layout.record(batch, self._write + 1) for batch in batches]  # Each segment counts its writes.
        self._write += 1
        self._write_whole(records[0] if len(records) == 1 else b"".join(records))
        places: list[Place] = []
        for record in records:
            places.append((self.number << PLACE_BITS) + self._at)
            self._at += len(record)
        return places

    def _write_whole(self, data: bytes) -> None:
        """Write where the records end; what a failed write left there is overwritten to its last byte."""
        data = data.ljust(self._left_until - self._at, b"\0")
        self._left_until = self._at + len(data)
        self._files.write(self._fd, data, self._at)
        self._left_until = 0

    def clear_broken_write(self) -> None:
        """Overwrite what a write that failed left in the current segment; as `append`. Raises `OSError`."""
        if self._left_until:
            self._unclean.add(self.number)  # for `erase` to see to it that this is on the disk
            self._files.write(self._fd, bytes(self._left_until - self._at), self._at)
            self._left_until = 0

    def _make_room(self, size: int, *, last_words: bool) -> None:
        try:
            if HEADER_BYTES + size <= _without_reserve(self._segment_bytes):
                self.begin()
            else:
                with self._alone():
                    self._discard_spare()  # Segments are read in the order of their numbers.
                    whole = 2 * (HEADER_BYTES + size)
                    self._take(*self._lay_out(whole))
        except OSError:
            if not last_words or self._at + size > self._size:
                raise

    def _take(self, number: int, fd: int, size: int) -> None:
        if self._fd >= 0 and self._syncs:
            self._retired.append(self._fd)
        elif self._fd >= 0:
            self._files.close(self._fd)
        if self._left_until:
            self._unclean.add(self.number)
        self._first = self._first or number
        self.number, self._fd, self._size = number, fd, size
        self._at, self._limit = HEADER_BYTES, _without_reserve(size)
        self._write = self._left_until = 0

    def _lay_out_smaller(self, size: int) -> tuple[int, int, int]:
        """Lay out a segment as large as the disk has room for, from `size` down: turns must be able to end."""
        try:
            return self._lay_out(size)
        except OSError as error:
            if error.errno != errno.ENOSPC or size // SHRINK < LEAST_SEGMENT_BYTES:
                raise
            return self._lay_out_smaller(size // SHRINK)

    def _lay_out(self, size: int) -> tuple[int, int, int]:
        number = max([self.number, *self.segments()]) + 1
        path = self._path(number)
        fd = self._files.create(path, size)
        try:
            self._files.write(fd, layout.header(number), 0)
            self._files.sync_folder(self._folder)
        except OSError:
            self._files.close(fd)
            with suppress(OSError):
                self._files.remove(path)
            raise
        return number, fd, size

    def give_up(self) -> None:
        """Let go of the files that are written no more, whatever became of what was written to them."""
        retired, self._retired = self._retired, []
        for fd in retired:
            self._files.close(fd)

    def unsynced(self) -> list[int]:
        """Return the files to `sync`; those that are written no more are left to it."""
        fds, self._retired = [*self._retired, self._fd], []
        return fds

    def current(self) -> list[int]:
        """Return the file that is written now, to `sync` it alone and see whether the disk does."""
        return [self._fd]

    def sync(self, fds: Sequence[int]) -> None:
        """Wait until what was written to these files is on the disk. Raises `OSError`: nothing is known of it then."""
        try:
            for fd in fds:
                self._files.sync(fd)
        finally:
            for fd in fds[:-1]:
                self._files.close(fd)

    def sync_segments(self) -> None:
        """Wait until every segment is on the disk, with what an earlier process left unsynced. Raises `OSError`."""
        for segment in self.segments():
            fd = os.open(self._path(segment), os.O_RDONLY)
            try:
                self._files.sync(fd)
            finally:
                self._files.close(fd)

    @property
    def here(self) -> Place:
        """Where the next record begins, if it goes into the current segment."""
        return (self.number << PLACE_BITS) + self._at

    def begin_showing(self) -> None:
        """Let readers in other processes see what is here by now; where nobody syncs, all that follows too.

        Raises `OSError`.
        """
        if self._syncs:
            self._mark.make(self.here)
        else:
            self._mark.remove()

    def show(self, until: Place) -> None:
        """Let readers in other processes see what stands before a place; `begin_showing` was called once."""
        self._mark.move(until)

    def end(self) -> None:
        """Write no more. Raises `OSError`; what can be closed is closed all the same."""
        self._mark.close()
        with self._alone(), ExitStack() as whatever_fails:
            for fd in (*self._retired, self._fd):
                if fd >= 0:
                    whatever_fails.callback(self._files.close, fd)
            self._fd, self._retired = -1, []
            self._discard_spare()

    def _discard_spare(self) -> None:
        if self._spare is not None:
            (number, fd, _), self._spare = self._spare, None
            self._files.close(fd)
            self.drop(number)

    # Reading

    def segments(self) -> list[int]:
        """Return the numbers of the segments that are there, the oldest first."""
        return sorted(int(path.stem) for path in self._folder.glob("*.journal") if path.stem.isdecimal())

    def bytes_used(self) -> int:
        """Return how much room the segments take on the disk."""
        total = 0
        for number in self.segments():
            with suppress(FileNotFoundError):
                total += self._path(number).stat().st_size
        return total

    def shown_until(self) -> Place:
        """Return before which place everything may be shown, and nothing else. Raises `OSError`."""
        return self._mark.read()

    def scan(self, segment: int) -> Scan:
        """Read a segment from its beginning, check each record, and tell what is damaged. Raises `OSError`."""
        return layout.scan(self._path(segment).read_bytes(), segment)

    def read_on(self, segment: int, at: int, before: int, records: list[tuple[int, int, bytes]]) -> tuple[int, int]:
        """Add the records from a place of a segment on that are whole by now; see `whole_records`. Raises `OSError`."""
        with self._path(segment).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:  # Nothing is laid out yet; it never is where a relay died there.
                return at, before
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                return layout.whole_records(data, at, before, records)

    def read(self, places: Iterable[Place]) -> list[Entry]:
        """Return the entries of a turn's records. Raises `OSError`, and `ValueError` where there is no such record.

        A record that begins at an offset once more says that what stood there was never shown to anybody.
        """
        entries: list[Entry] = []
        for segment, group in groupby(places, key=segment_of):
            with self._path(segment).open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                for place in group:
                    first, at_ms, events = layout.read(data, place & PLACE_MASK)
                    while entries and entries[-1].offset >= first:
                        entries.pop()
                    entries += [Entry(offset, at_ms, *event) for offset, event in enumerate(events, first)]
        return entries

    # Letting go

    def trim(self) -> None:
        """Give back the room in which an earlier process wrote no record. For before `begin`. Raises `OSError`."""
        for segment in self.segments():
            path = self._path(segment)
            size = path.stat().st_size
            end = _end_of_text(path, size)
            if end is not None and end <= HEADER_BYTES:
                self.drop(segment)
            elif end is not None:
                # Whoever reads along looks for the next head; a piece of the file that is gone would end its process.
                kept = -(-(end + HEAD_BYTES) // BLOCK_BYTES) * BLOCK_BYTES
                if kept < size:
                    self._files.truncate(path, kept)

    def cut(self, damage: Damage) -> None:
        """Cut off what a broken write left, so that it is not met again. Raises `OSError`."""
        self._files.truncate(self._path(damage.segment), damage.at)

    def erase(self, turns: Mapping[bytes, Sequence[Place]]) -> None:
        """Write zeros over all that turns said, at these places and wherever else they may have said it.

        That is in segments of an earlier process, in those that a failed write was left in, and in those that could not
        be removed; in the current one once `clear_broken_write` was there. Raises `OSError`.
        """
        known: dict[int, list[int]] = {}
        for place in chain.from_iterable(turns.values()):
            known.setdefault(segment_of(place), []).append(place & PLACE_MASK)
        for segment in self.segments():
            ats = known.get(segment, [])
            is_searched = not self._first or segment < self._first or segment in self._unclean
            if ats or is_searched:
                with suppress(FileNotFoundError):
                    self._erase_in(self._path(segment), ats, frozenset(turns) if is_searched else frozenset())

    def _erase_in(self, path: Path, ats: Sequence[int], turns: frozenset[bytes]) -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            records = _records_at(fd, path, {*ats, *_searched(fd, turns)})
            # The words go first: whatever happens in between, a record that says that it is erased holds none.
            for at, _, size in records:
                self._files.write(fd, bytes(size - HEAD_BYTES), at + HEAD_BYTES)
            if records:
                self._files.sync(fd)
            for at, head, size in records:
                self._files.write(fd, layout.erased_head(head, size), at)
            if records or turns:
                self._files.sync(fd)
        finally:
            os.close(fd)

    def drop(self, segment: int) -> None:
        """Remove a segment; it may be gone already. Raises `OSError`."""
        self._unclean.add(segment)  # Where it stays, its places are noted no more.
        with suppress(FileNotFoundError):
            self._files.remove(self._path(segment))
        self._unclean.discard(segment)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016d}.journal"


def _end_of_text(path: Path, size: int) -> int | None:
    """Return where the zeros begin that a segment ends with; None where they may be those of an erased record."""
    with path.open("rb") as file:
        end = size
        while end > HEADER_BYTES:
            begin = max(HEADER_BYTES, end - SEARCHED_AT_ONCE)
            file.seek(begin)
            piece = file.read(end - begin).rstrip(b"\0")
            if piece:
                return begin + len(piece) if piece.endswith(layout.RECORD_END) else None
            end = begin
    return end


def _searched(fd: int, turns: frozenset[bytes]) -> set[int]:
    """Return where records of turns may begin in a segment.

    It looks at a piece of the file at a time: whoever searches all of it at once stops every other thread meanwhile.
    """
    starts: set[int] = set()
    at = 0
    while turns and (piece := os.pread(fd, SEARCHED_AT_ONCE + layout.TURN_BYTES, at)):
        starts.update(at + start for start in layout.beginnings(piece, turns))
        at += SEARCHED_AT_ONCE
    return starts


def _records_at(fd: int, path: Path, ats: set[int]) -> list[tuple[int, bytes, int]]:
    """Return the place, the head and the size of records that have words."""
    found = []
    for at in sorted(ats):
        head = os.pread(fd, HEAD_BYTES, at) if at >= HEADER_BYTES else b""
        if not layout.is_erased(head):
            claimed = os.pread(fd, HEAD_BYTES + layout.claimed_size(head), at)
            size = len(claimed) if layout.is_whole(claimed) else layout.extent(path.read_bytes(), at)
            found.append((at, head, size))
    return found


def segment_of(place: Place) -> int:
    """Return the number of the segment that a place is in."""
    return place >> PLACE_BITS


def _without_reserve(size: int) -> int:
    return size - size // RESERVE_SHARE
