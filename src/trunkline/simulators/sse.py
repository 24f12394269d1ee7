"""Writes server-sent events (WHATWG HTML section 9.2), in every spelling that a reader has to understand."""

from __future__ import annotations

import json
from collections.abc import Iterator

from trunkline.simulators.faults import Faults

_BLOCK = 64 << 10  # bounds one write of a line of any length


class Sse:
    """Turns data into the bytes of events; the faults that change the spelling are done here."""

    def __init__(self, faults: Faults) -> None:
        self._eol = "\r" if faults.has("cr") else "\r\n" if faults.has("crlf") else "\n"
        self._data = "data:" if faults.has("no-space") else "data: "
        self._indent = 0 if faults.has("multi-line") else None
        self._ascii = faults.has("ascii")
        self.opening = b"\xef\xbb\xbf" if faults.has("bom") else b""

    def event(self, data: object, fields: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Give the bytes of one event: `fields`, then the data; text stands as it is, all else becomes JSON."""
        lines = [f"{name}: {value}" for name, value in fields]
        if data is not None:
            # JSON allows a line break wherever it allows white space, and a reader joins the lines by one.
            text = data if isinstance(data, str) else self._json(data)
            lines += [self._data + line for line in text.split("\n")]
        return (self._eol.join(lines) + self._eol * 2).encode()

    def padded(self, chunk: dict[str, object], size_bytes: int) -> Iterator[bytes]:
        """Give the bytes of one event whose data line is about `size_bytes` long, in blocks."""
        head, tail = json.dumps({**chunk, "obfuscation": "@"}).split("@")
        yield (self._data + head).encode()
        for begin in range(0, size_bytes, _BLOCK):
            yield b"x" * min(_BLOCK, size_bytes - begin)
        yield (tail + self._eol * 2).encode()

    def _json(self, data: object) -> str:
        separators = None if self._indent is not None else (",", ":")
        return json.dumps(data, ensure_ascii=self._ascii, indent=self._indent, separators=separators)
