"""A TCP proxy that cuts connections where it is told to: after so many bytes toward the client, with a reset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class CuttingProxy:
    """Each connection takes the next number of `cuts`; when they are used up, connections are left whole."""

    def __init__(self, port: int, cuts: Iterable[int]) -> None:
        self._port = port
        self._cuts = list(cuts)
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        budget = self._cuts.pop(0) if self._cuts else None
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def up() -> None:
            while data := await reader.read(65_536):
                upstream_writer.write(data)
                await upstream_writer.drain()
            upstream_writer.close()

        async def down() -> None:
            left = budget
            while data := await upstream_reader.read(1_000):
                writer.write(data if left is None else data[:left])
                await writer.drain()
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        return

        tasks = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if budget is not None:
                writer.transport.abort()
            writer.close()
            upstream_writer.close()


@asynccontextmanager
async def cutting(url: str, cuts: Iterable[int]) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(int(url.rpartition(":")[2]), cuts)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
