"""The least that a relay in Python can be: what comes from one socket goes into the other, read by read."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import uvloop

MAX_LIFE_S: Final = 900  # a bench that was killed leaves nothing running


class Side(asyncio.Protocol):
    """One of the two connections of a relayed client. A slow side pauses the reading of the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Hand a read on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Let the other side wait."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the other side go on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side too, once it has sent what it holds."""
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Client(Side):
    """The side of a client: it opens a connection to the platform, and keeps until then what the client says."""

    platform: type[Side] = Side

    def __init__(self, upstream_port: int) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reach the platform."""
        super().connection_made(transport)
        self._opening = asyncio.ensure_future(self._open())

    def data_received(self, data: bytes) -> None:
        """Hand a read on, as soon as there is somebody to hand it to."""
        if self.other is None:
            self._early.append(data)
        else:
            super().data_received(data)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, other = await loop.create_connection(self.platform, "127.0.0.1", self._upstream_port)
        except OSError:
            if self.transport is not None:
                self.transport.abort()
            return
        if self.transport is None:  # the client left meanwhile
            transport.close()
            return
        self.other, other.other = other, self
        transport.writelines(self._early)


async def main(port: int, upstream_port: int) -> None:
    """Relay on a loopback port until stopped."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(upstream_port), "127.0.0.1", port, backlog=4_096)
    async with server:
        await asyncio.sleep(MAX_LIFE_S)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
