"""The body of one answer on its way to the socket: how it is carried, and how it is cut into writes."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Callable

from trunkline.simulators.connection import Connection
from trunkline.simulators.faults import Faults

_FLOOD = 16 << 10
_MAX_HELD = 8 << 20  # bounds what `cut=whole` keeps


class Body:
    """Takes a body in parts and writes it; the faults `gzip`, `cut`, `drip` and `flood` are done here.

    `chunked` frames every part as one HTTP chunk (RFC 9112 section 7.1), otherwise the bytes go out as they are.
    """

    def __init__(self, connection: Connection, faults: Faults, rng: random.Random, *, chunked: bool) -> None:
        self._connection = connection
        self._chunked = chunked
        self._gzip = zlib.compressobj(wbits=31) if faults.has("gzip") else None
        self._pause_s = (faults.number("drip") or 0) / 1000
        self._rng = rng
        self._cut = faults.text("cut")
        self._flood = faults.has("flood")
        self._held = bytearray()
        self._want = self._next_write()
        self._accepted = 0
        self._written = 0
        self._marks: deque[tuple[int, Callable[[], None]]] = deque()
        self._began = False

    async def send(self, data: bytes, sent: Callable[[], None] | None = None) -> None:
        """Add `data`; `sent` is called once, as soon as its last byte has gone to the socket."""
        if self._gzip:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        self._add(data)
        if sent:
            self._marks.append((self._accepted, sent))
        while len(self._held) >= self._want:
            await self._write(self._want if self._exact else len(self._held))

    async def flush(self) -> None:
        """Write what is held, whatever its size."""
        while self._held:
            await self._write(min(self._want, len(self._held)) if self._exact else len(self._held))

    async def finish(self) -> None:
        """Bring the body to its proper end."""
        if self._gzip:
            self._add(self._gzip.flush(zlib.Z_FINISH))
        if self._chunked:
            self._held += b"0\r\n\r\n"
        await self.flush()

    def _add(self, data: bytes) -> None:
        # An empty chunk would be the last one.
        if data and self._chunked:
            self._held += b"%x\r\n%b\r\n" % (len(data), data)
        else:
            self._held += data
        self._accepted = self._written + len(self._held)

    async def _write(self, size: int) -> None:
        if self._began:
            await self._connection.sleep(self._pause_s)
        self._began = True
        data = bytes(self._held[:size])
        await self._connection.write(data)
        del self._held[:size]
        self._written += size
        self._want = self._next_write()
        # No await between the write and the marks: the ledger says what the socket has.
        while self._marks and self._marks[0][0] <= self._written:
            self._marks.popleft()[1]()

    @property
    def _exact(self) -> bool:
        return self._cut not in {None, "whole"}

    def _next_write(self) -> int:
        """Give the size of the next write; without a cut it is the least that is worth a write."""
        match self._cut:
            case None:
                return _FLOOD if self._flood else 1
            case "whole":
                return _MAX_HELD
            case "bytes":
                return 1
            case "random":
                # Mostly tiny, so that cuts fall inside characters; now and then more than one event.
                return self._rng.randint(1, 8) if self._rng.random() < 0.5 else self._rng.randint(1, 600)  # noqa: PLR2004
            case size:
                return int(size)
