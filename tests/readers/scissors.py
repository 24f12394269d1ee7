"""A cutting proxy that also cuts where certain bytes have passed, and by a reset as well as by a close."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tcp_proxy import CuttingProxy

Cut = int | re.Pattern[bytes]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends a reset


class Scissors(CuttingProxy):
    """A cut is a number of bytes, or a pattern: right after what it matches first; by a reset, or by a plain close.

    A connection that a browser opens in advance takes its cut when something is asked over it.
    """

    def __init__(self, port: int, cuts: Iterable[Cut], *, reset: bool) -> None:
        super().__init__(port, ())
        self._cuts: list[Cut] = list(cuts)
        self._reset = reset

    async def handle(self, reader: Any, writer: Any) -> None:
        asked = await reader.read(65_536)
        if not asked:
            writer.close()
            return
        if self._cuts and self._reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self._cuts and isinstance(pattern := self._cuts[0], re.Pattern):
            self._cuts[0] = sys.maxsize
            writer = _Until(pattern, writer)
        await super().handle(_Ahead(asked, reader), writer)


class _Ahead:
    """A reader that gives first what was read already."""

    def __init__(self, data: bytes, reader: asyncio.StreamReader) -> None:
        self._data = data
        self._reader = reader

    async def read(self, n: int) -> bytes:
        data, self._data = self._data, b""
        return data or await self._reader.read(n)


class _Until:
    """A writer that ends its connection as soon as what has passed matches."""

    def __init__(self, pattern: re.Pattern[bytes], writer: asyncio.StreamWriter) -> None:
        self._pattern = pattern
        self._writer = writer
        self._passed = b""

    def write(self, data: bytes) -> None:
        before = len(self._passed)
        self._passed += data
        found = self._pattern.search(self._passed)
        if found is None:
            self._writer.write(data)
        else:
            self._writer.write(data[: found.end() - before])
            self._writer.transport.abort()  # at once: what the client says to these bytes must not pass
            raise ConnectionAbortedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


@asynccontextmanager
async def scissors(url: str, cuts: Iterable[Cut], *, reset: bool) -> AsyncIterator[Scissors]:
    """Stand in front of a server, at the proxy's `url`."""
    proxy = Scissors(int(url.rpartition(":")[2]), cuts, reset=reset)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
