"""The bytes of a journal's segment, and nothing but bytes: how records are written, checked, found and erased.

A segment opens with its number; then come records, each a head and a JSON array of events:

    length u32 | crc u32 | kind u8 | write u32 | turn 16 bytes | first offset u64 | Unix ms u64 | events

`length` counts, and the CRC-32 covers, what follows the two. Numbers are little-endian; zeros where a record could
begin are the end. All records of one write carry its number: what a broken write left behind a later one is told by it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Final, NamedTuple
from zlib import crc32

from trunkline.core.events import AnyEvent, Entry, read_events

MAGIC: Final = b"TRUNKJ1\n"
ENTRIES: Final = 1
LAST: Final = 2
"""The kind of a record that ends its turn."""
ERASED: Final = 3

_HEADER: Final = struct.Struct("<8sQ")
_HEAD: Final = struct.Struct("<IIBI16sQQ")
_FRAME: Final = struct.Struct("<II")
_REST: Final = struct.Struct("<BI16sQQ")
HEADER_BYTES: Final = _HEADER.size
HEAD_BYTES: Final = _HEAD.size
TURN_BYTES: Final = 16
TURN_AT: Final = 13  # where a record holds the bytes of its turn
_BODY: Final = b'[{"type":"'  # how the events of a record begin
RECORD_END: Final = b"]"
"""How a record ends that is not erased."""


class Batch(NamedTuple):
    """Entries of a turn with offsets in a row and one time, as they go into one record."""

    turn: bytes
    entries: Sequence[Entry]
    last: bool


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


def header(segment: int) -> bytes:
    """Return what a segment begins with."""
    return _HEADER.pack(MAGIC, segment)


def record(batch: Batch, write: int) -> bytes:
    """Return the bytes of a record; each event was encoded once, for this and for all readers."""
    turn, entries, last = batch
    first = entries[0]
    events = first.json if len(entries) == 1 else b",".join([entry.json for entry in entries])
    rest = _REST.pack(LAST if last else ENTRIES, write, turn, first.offset, first.at_ms)
    covered = b"%b[%b]" % (rest, events)
    return _FRAME.pack(len(covered), crc32(covered)) + covered


def scan(data: bytes, segment: int) -> Scan:
    """Check each record of a segment, and tell what is damaged."""
    found = Scan([], [])
    if data[:HEADER_BYTES] != header(segment) and any(data):
        found.damages.append(Damage(segment, 0, min(len(data), HEADER_BYTES), torn=False))
    at, write = whole_records(data, HEADER_BYTES, 0, found.records)
    while data.count(0, at) < len(data) - at:
        beyond = _beyond(data, at, write)
        if beyond is None:
            found.damages.append(Damage(segment, at, len(data[at:].rstrip(b"\0")), torn=True))
            break
        turns = frozenset(_named(data, at, beyond))
        found.damages.append(Damage(segment, at, beyond - at, torn=False, turns=turns))
        at, write = whole_records(data, beyond, write, found.records)
    return found


def whole_records(data: bytes | mmap, at: int, before: int, records: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Add the records from a place on, as far as they are whole; return where they end, and the last one's write.

    None is of a write before `before`. A journal may hold millions, and a relay that starts waits for this loop.
    """
    unpack, frame, least = _HEAD.unpack_from, _FRAME.size, _REST.size
    view, size = memoryview(data), len(data)
    while at + HEAD_BYTES <= size:
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
        start = found - HEAD_BYTES
        if start > at:
            following: list[tuple[int, int, bytes]] = []
            whole_records(data, start, before, following)
            if following:
                return start
    return None


def _named(data: bytes, at: int, end: int) -> Iterator[bytes]:
    """Return the turns that the heads in a damaged place name."""
    while at + HEAD_BYTES <= end:
        length, _, _, _, turn, _, _ = _HEAD.unpack_from(data, at)
        yield turn
        at += _FRAME.size + max(length, _REST.size)


def beginnings(data: bytes, turns: frozenset[bytes]) -> list[int]:
    """Return where records of turns begin in a part of a segment, whole or not: found by the turn's own bytes."""
    found = []
    for turn in turns:
        at = -1
        while (at := data.find(turn, at + 1)) >= 0:
            found.append(at - TURN_AT)
    return found


def claimed_size(head: bytes) -> int:
    """Return how many bytes of events a head says that follow; it may be damaged."""
    return max(0, int.from_bytes(head[:4], "little") - _REST.size)


def is_whole(record: bytes) -> bool:
    """Tell whether these bytes are one record and undamaged."""
    return whole_records(record, 0, 0, [])[0] == len(record)


def extent(data: bytes, at: int) -> int:
    """Return how many bytes a damaged record at a place of a segment may have: up to the next one that is whole."""
    return min([start for start, _, _ in scan(data, 0).records if start > at] + [len(data)]) - at


def is_erased(head: bytes) -> bool:
    """Tell whether a head is that of a record without words."""
    return len(head) < HEAD_BYTES or head[_FRAME.size] == ERASED


def erased_head(head: bytes, size: int) -> bytes:
    """Return the head of a record of `size` bytes once its events are zeros."""
    _, _, _, write, turn, first, at_ms = _HEAD.unpack(head)
    rest = _REST.pack(ERASED, write, turn, first, at_ms)
    events = bytes(size - HEAD_BYTES)
    return _FRAME.pack(len(rest) + len(events), crc32(events, crc32(rest))) + rest


def read(data: bytes | mmap, at: int) -> tuple[int, int, list[tuple[AnyEvent, bytes]]]:
    """Return the first offset, the time and the events of the record at a place, as `read_events` has them.

    Raises `ValueError` where there is no record, and of that `msgspec.DecodeError` where its events are unknown.
    """
    head = data[at : at + HEAD_BYTES]
    if len(head) == HEAD_BYTES:
        length, crc, kind, _, _, first, at_ms = _HEAD.unpack(head)
        events = data[at + HEAD_BYTES : at + _FRAME.size + max(length, _REST.size)]
        if kind != ERASED and crc32(events, crc32(head[_FRAME.size :])) == crc:
            return first, at_ms, read_events(events)
    raise ValueError("there is no record")
