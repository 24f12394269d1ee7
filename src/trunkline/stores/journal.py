"""The journal: append-only files of checked records, where entries rest until their turns are archived.

A segment is a file of fixed size, laid out ahead so that a full disk shows before a record is half written. It opens
with its number; then come records, each a head and a JSON array of events:

    length u32 | crc u32 | kind u8 | write u32 | turn 16 bytes | first offset u64 | Unix ms u64 | events

`length` counts, and the CRC-32 covers, what follows the two. Numbers are little-endian; zeros where a record could
begin are the end. All records of one write carry its number: what a broken write left behind a later one is told by it.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate, groupby
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from trunkline.core.events import AnyEvent, Entry
from trunkline.stores.files import Files

MAGIC: Final = b"TRUNKJ1\n"
SEGMENT_BYTES: Final = 32 << 20
RESERVE_SHARE: Final = 16
"""One part in so many of a segment is kept for the ends of turns, for when there is no room for another segment."""

PATIENCE_S: Final = 1.0  # with another thread that lays out a segment

ENTRIES: Final = 1
LAST: Final = 2
"""The kind of a record that ends its turn."""
ERASED: Final = 3

_HEADER: Final = struct.Struct("<8sQ")
_HEAD: Final = struct.Struct("<IIBI16sQQ")
_FRAME: Final = struct.Struct("<II")
_REST: Final = struct.Struct("<BI16sQQ")
_TURN_AT: Final = 13  # where a record holds the bytes of its turn
_BODY: Final = b'[{"type":"'  # how the events of a record begin
_decode = msgspec.json.Decoder(list[AnyEvent]).decode


Place = int
"""Where a record is: the number of its segment above the lowest 32 bits, and how many bytes into it in them."""
PLACE_BITS: Final = 32


class Damage(NamedTuple):
    """What a scan could not read: so many bytes from here. `torn`: the end of a segment, where a write broke off."""

    segment: int
    at: int
    size: int
    torn: bool
    turns: frozenset[bytes] = frozenset()
    """Turns that the heads in it name, as far as they can be believed."""


class Scan(NamedTuple):
    """What is in a segment: for each record its place in bytes, its kind, and its turn; and what cannot be read."""

    records: list[tuple[int, int, bytes]]
    damages: list[Damage]


class Batch(NamedTuple):
    """Entries of a turn with offsets in a row and one time, as they go into one record."""

    turn: bytes
    entries: Sequence[Entry]
    last: bool


class Journal:
    """The segments of one folder. `append` and `begin` are for one thread; all else may be called in others."""

    def __init__(self, folder: Path, files: Files, *, segment_bytes: int = SEGMENT_BYTES, syncs: bool = False) -> None:
        """Take a folder that exists; nothing is written before `begin`. `syncs`: somebody will `sync` all of it."""
        self._folder = folder
        self._files = files
        self._segment_bytes = segment_bytes
        self._syncs = syncs
        self._fd = -1
        self._at = self._limit = self._size = 0
        self._write = 0
        self._left_until = 0  # where what a failed write left may end
        self._retired: list[int] = []
        self._spare: tuple[int, int] | None = None  # the number and the descriptor of a segment laid out ahead
        self._laying_out = threading.Lock()
        self.number = 0
        """The segment that is written now; 0 before the first."""

    # Writing

    def begin(self) -> None:
        """Go on in a new segment. Raises `OSError`, having changed nothing."""
        with self._alone():
            spare, self._spare = self._spare, None
            number, fd = spare or self._lay_out(self._segment_bytes)
            self._take(number, fd, self._segment_bytes)

    def prepare(self) -> None:
        """Lay out the next segment once this one fills up. Raises `OSError` where there is no room."""
        with self._alone():
            if self._spare is None and self._fd >= 0 and self._at > self._limit // 2:
                self._spare = self._lay_out(self._segment_bytes)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads from laying out a segment. Raises `OSError` where one of them does not come back."""
        if not self._laying_out.acquire(timeout=PATIENCE_S):
            raise OSError(errno.EBUSY, "the disk does not answer")
        try:
            yield
        finally:
            self._laying_out.release()

    @property
    def is_used(self) -> bool:
        """True where the current segment holds a record."""
        return self._at > _HEADER.size

    def append(self, batches: Sequence[Batch], *, last_words: bool = False) -> list[Place]:
        """Write records, all in one write, and return their places. Raises `OSError`: none of them counts then.

        Only `last_words` may use the reserve of a segment that can have no successor.
        """
        bodies = [b"[%b]" % b",".join([entry.json for entry in batch.entries]) for batch in batches]
        sizes = [_HEAD.size + len(body) for body in bodies]
        size = sum(sizes)
        if self._at + size > self._limit:
            self._make_room(size, last_words=last_words)
        self._write += 1
        parts: list[bytes] = []
        for batch, body in zip(batches, bodies, strict=True):
            first = batch.entries[0]
            kind = LAST if batch.last else ENTRIES
            parts += (_head(kind, self._write, batch.turn, first.offset, first.at_ms, body), body)
        self._write_whole(b"".join(parts))
        place = (self.number << PLACE_BITS) + self._at
        self._at += size
        return list(accumulate(sizes[:-1], initial=place))

    def _write_whole(self, data: bytes) -> None:
        """Write where the records end; what a failed write left there is overwritten to its last byte."""
        end, left = self._at + len(data), self._left_until
        self._left_until = max(end, left)
        self._files.write(self._fd, data + bytes(max(0, left - end)), self._at)
        self._left_until = 0

    def _make_room(self, size: int, *, last_words: bool) -> None:
        try:
            if _HEADER.size + size <= _without_reserve(self._segment_bytes):
                self.begin()
            else:
                with self._alone():
                    self._discard_spare()  # Segments are read in the order of their numbers.
                    whole = 2 * (_HEADER.size + size)
                    self._take(*self._lay_out(whole), whole)
        except OSError:
            if not last_words or self._at + size > self._size:
                raise

    def _take(self, number: int, fd: int, size: int) -> None:
        if self._fd >= 0 and self._syncs:
            self._retired.append(self._fd)
        elif self._fd >= 0:
            self._files.close(self._fd)
        self.number, self._fd, self._size = number, fd, size
        self._at, self._limit = _HEADER.size, _without_reserve(size)
        self._write = self._left_until = 0

    def _lay_out(self, size: int) -> tuple[int, int]:
        number = max([self.number, *self.segments()]) + 1
        path = self._path(number)
        fd = self._files.create(path, size)
        try:
            self._files.write(fd, _HEADER.pack(MAGIC, number), 0)
            self._files.sync_folder(self._folder)
        except OSError:
            self._files.close(fd)
            with suppress(OSError):
                self._files.remove(path)
            raise
        return number, fd

    def give_up(self) -> None:
        """Let go of the files that are written no more, whatever became of what was written to them."""
        retired, self._retired = self._retired, []
        for fd in retired:
            self._files.close(fd)

    def unsynced(self) -> list[int]:
        """Return the files to `sync`; those that are written no more are left to it."""
        fds, self._retired = [*self._retired, self._fd], []
        return fds

    def sync(self, fds: Sequence[int]) -> None:
        """Wait until what was written to these files is on the disk. Raises `OSError`: nothing is known of it then."""
        try:
            for fd in fds:
                self._files.sync(fd)
        finally:
            for fd in fds[:-1]:
                self._files.close(fd)

    def end(self) -> None:
        """Write no more."""
        with self._alone():
            self._discard_spare()
            for fd in (*self._retired, self._fd):
                if fd >= 0:
                    self._files.close(fd)
            self._fd, self._retired = -1, []

    def _discard_spare(self) -> None:
        if self._spare is not None:
            number, fd = self._spare
            self._spare = None
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

    def scan(self, segment: int) -> Scan:
        """Read a segment from its beginning, check each record, and tell what is damaged. Raises `OSError`."""
        data = self._path(segment).read_bytes()
        scan = Scan([], [])
        if data[: _HEADER.size] != _HEADER.pack(MAGIC, segment) and any(data):
            scan.damages.append(Damage(segment, 0, min(len(data), _HEADER.size), torn=False))
        at, write = _whole_records(data, _HEADER.size, 0, scan.records)
        while data.count(0, at) < len(data) - at:
            beyond = _beyond(data, at, write)
            if beyond is None:
                scan.damages.append(Damage(segment, at, len(data[at:].rstrip(b"\0")), torn=True))
                break
            turns = frozenset(_named(data, at, beyond))
            scan.damages.append(Damage(segment, at, beyond - at, torn=False, turns=turns))
            at, write = _whole_records(data, beyond, write, scan.records)
        return scan

    def read(self, places: Iterable[Place]) -> list[Entry]:
        """Return the entries of a turn's records. Raises `OSError`, and `ValueError` where there is no such record.

        A record that begins at an offset once more says that what stood there was never shown to anybody.
        """
        entries: list[Entry] = []
        for segment, group in groupby(places, key=segment_of):
            fd = os.open(self._path(segment), os.O_RDONLY)
            try:
                for place in group:
                    first, at_ms, events = _read(fd, place & (1 << PLACE_BITS) - 1)
                    while entries and entries[-1].offset >= first:
                        entries.pop()
                    entries += [Entry(offset, at_ms, event) for offset, event in enumerate(events, first)]
            finally:
                os.close(fd)
        return entries

    # Letting go

    def cut(self, damage: Damage) -> None:
        """Cut off what a broken write left, so that it is not met again. Raises `OSError`."""
        self._files.truncate(self._path(damage.segment), damage.at)

    def erase(self, turns: frozenset[bytes]) -> None:
        """Write zeros over all that turns said, in every segment. Raises `OSError`."""
        for segment in self.segments():
            with suppress(FileNotFoundError):
                self._erase_in(self._path(segment), turns)

    def _erase_in(self, path: Path, turns: frozenset[bytes]) -> None:
        data = path.read_bytes()
        places = list(_said_by(data, turns))
        if not places:
            return
        fd = os.open(path, os.O_RDWR)
        try:
            # The words go first: whatever happens in between, a record that says that it is erased holds none.
            for at, size in places:
                self._files.write(fd, bytes(size - _HEAD.size), at + _HEAD.size)
            self._files.sync(fd)
            for at, size in places:
                _, _, _, write, turn, first, at_ms = _HEAD.unpack_from(data, at)
                head = _head(ERASED, write, turn, first, at_ms, bytes(size - _HEAD.size))
                self._files.write(fd, head, at)
            self._files.sync(fd)
        finally:
            os.close(fd)

    def drop(self, segment: int) -> None:
        """Remove a segment; it may be gone already. Raises `OSError`."""
        with suppress(FileNotFoundError):
            self._files.remove(self._path(segment))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016d}.journal"


def segment_of(place: Place) -> int:
    """Return the number of the segment that a place is in."""
    return place >> PLACE_BITS


def _without_reserve(size: int) -> int:
    return size - size // RESERVE_SHARE


def _head(kind: int, write: int, turn: bytes, first: int, at_ms: int, body: bytes) -> bytes:
    rest = _REST.pack(kind, write & 0xFFFF_FFFF, turn, first, at_ms)
    return _FRAME.pack(len(rest) + len(body), crc32(body, crc32(rest))) + rest


def _whole_records(data: bytes, at: int, before: int, records: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Add the records from a place on, as far as they are whole; return where they end, and the last one's write.

    None is of a write before `before`. A journal may hold millions, and a relay that starts waits for this loop.
    """
    unpack, frame, least = _HEAD.unpack_from, _FRAME.size, _REST.size
    view, size = memoryview(data), len(data)
    while at + _HEAD.size <= size:
        length, crc, kind, write, turn, _, _ = unpack(data, at)
        end = at + frame + length
        if length < least or end > size or write < before or crc32(view[at + frame : end]) != crc:
            break
        records.append((at, kind, turn))
        at, before = end, write
    return at, before


def _beyond(data: bytes, at: int, before: int) -> int | None:
    """Return where the records go on behind a damaged one, found by how they begin; None where none follows."""
    found = at
    while (found := data.find(_BODY, found + 1)) >= 0:
        start = found - _HEAD.size
        if start > at:
            following: list[tuple[int, int, bytes]] = []
            _whole_records(data, start, before, following)
            if following:
                return start
    return None


def _named(data: bytes, at: int, end: int) -> Iterator[bytes]:
    """Return the turns that the heads in a damaged place name."""
    while at + _HEAD.size <= end:
        length, _, _, _, turn, _, _ = _HEAD.unpack_from(data, at)
        yield turn
        at += _FRAME.size + max(length, _REST.size)


def _said_by(data: bytes, turns: frozenset[bytes]) -> Iterator[tuple[int, int]]:
    """Return where the records of turns are and how long they are, whole or not: found by the turn's own bytes."""
    records: list[tuple[int, int, bytes]] = []
    at, write = _whole_records(data, _HEADER.size, 0, records)
    while (beyond := _beyond(data, at, write)) is not None:
        at, write = _whole_records(data, beyond, write, records)
    starts = [record[0] for record in records]
    for turn in turns:
        found = -1
        while (found := data.find(turn, found + 1)) >= 0:
            start = found - _TURN_AT
            if start < _HEADER.size or data[start + _FRAME.size] == ERASED:
                continue
            following = bisect_right(starts, start)
            most = (starts[following] if following < len(starts) else len(data)) - start
            claimed = _FRAME.size + int.from_bytes(data[start : start + 4], "little")
            yield start, claimed if _HEAD.size <= claimed <= most else max(most, _HEAD.size)


def _read(fd: int, at: int) -> tuple[int, int, list[AnyEvent]]:
    head = os.pread(fd, _HEAD.size, at)
    if len(head) < _HEAD.size:
        raise ValueError("there is no record")
    length, crc, kind, _, _, first, at_ms = _HEAD.unpack(head)
    if length < _REST.size:
        raise ValueError("there is no record")
    body = os.pread(fd, length - _REST.size, at + _HEAD.size)
    if kind == ERASED or crc32(body, crc32(head[_FRAME.size :])) != crc:
        raise ValueError("there is no record")
    return first, at_ms, _decode(body)
