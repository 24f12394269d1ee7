"""How the entries of a turn are written into one cell: a format byte, then compressed JSON."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from trunkline.core.events import AnyEvent, Entry, read_event

_ZLIB_JSON: Final = b"\x01"
# Of 31 kB, a turn of 500 deltas: level 1 makes 5.2 kB in 0.06 ms, 5 makes 4.5 kB in 0.14 ms, 9 makes 4.4 kB in 0.8 ms.
_LEVEL: Final = 5

_decode = msgspec.json.Decoder(list[tuple[int, int, AnyEvent]]).decode
_decode_raw = msgspec.json.Decoder(list[tuple[int, int, msgspec.Raw]]).decode


def pack(entries: Sequence[Entry]) -> bytes:
    """Write entries as `[[offset, at_ms, event], ...]`, the events in their native JSON, and compress that."""
    rows = b",".join([b"[%d,%d,%b]" % (entry.offset, entry.at_ms, entry.json) for entry in entries])
    return _ZLIB_JSON + zlib.compress(b"[%b]" % rows, _LEVEL)


def unpack(data: bytes) -> list[Entry]:
    """Read what `pack` wrote. Raises `ValueError` where it is anything else; unknown fields are passed over.

    Events of another version are read as `read_event` does.
    """
    if data[:1] != _ZLIB_JSON:
        raise ValueError(f"it begins with {data[:1]!r}, expected the format {_ZLIB_JSON!r}")
    try:
        return _entries(zlib.decompress(memoryview(data)[1:]))
    except zlib.error:
        raise ValueError("it cannot be decompressed") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it holds something else than entries") from None


def _entries(rows: bytes) -> list[Entry]:
    try:
        return [Entry(offset, at_ms, event) for offset, at_ms, event in _decode(rows)]
    except msgspec.ValidationError:  # There may be events of another version among them.
        return [Entry(offset, at_ms, *read_event(bytes(event))) for offset, at_ms, event in _decode_raw(rows)]
