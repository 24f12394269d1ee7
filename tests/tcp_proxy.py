"""A TCP proxy that does to connections what networks do: it resets, closes, half-closes, swallows and slows them."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

How = Literal["reset", "close", "half-close", "swallow", "trickle"]
Side = Literal["client", "server"]
SIDES: Final[tuple[Side, Side]] = ("client", "server")
TRICKLE_S: Final = 0.2  # the pause before a trickle
TRICKLE_BYTES: Final = 1_000  # so many come one by one, in a write each
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends a reset


@dataclass(frozen=True, slots=True)
class Strike:
    """What befalls one connection, as soon as `after` bytes have passed toward one side: no byte more passes.

    In place of a number stands a pattern: right after what it matches first.

    - `reset` and `close` end the connection on both sides, with an RST or a FIN;
    - `half-close` sends a FIN toward that side, and the other direction goes on;
    - `swallow` takes in that direction whatever comes, the FIN too, and forwards nothing;
    - `trickle` forwards nothing for a moment, then many bytes one by one, then the rest.
    """

    how: How
    after: int | re.Pattern[bytes]
    toward: Side = "client"

    def place(self, passed: bytes, data: bytes) -> int | None:
        """Return how many bytes of `data` may still pass; None where it does not strike in them."""
        if isinstance(self.after, int):
            return max(0, self.after - len(passed)) if self.after <= len(passed) + len(data) else None
        found = self.after.search(passed + data)
        return None if found is None else found.end() - len(passed)


class Proxy:
    """Stands in front of a server. Each connection takes the next of `strikes`; None, or none left: it stays whole.

    It takes it when something is asked over it: a browser opens connections in advance.
    """

    def __init__(self, port: int, strikes: Iterable[Strike | None]) -> None:
        self._port = port
        self._strikes = list(strikes)
        self._tasks: set[asyncio.Task[None]] = set()
        self.passed: list[dict[Side, int]] = []
        """How many bytes passed toward each side, by connection."""
        self.struck = 0
        """How many of the strikes have struck."""
        self.url = ""

    @property
    def connections(self) -> int:
        """Over how many connections something was asked."""
        return len(self.passed)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until both sides have left it, or the strike has ended it."""
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            asked = await reader.read(65_536)
            if asked:
                strike = self._strikes.pop(0) if self._strikes else None
                self.passed.append(dict.fromkeys(SIDES, 0))
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
                writers.append(far_writer)
                up = _Way(self, len(self.passed) - 1, "server", far_writer, strike)
                down = _Way(self, len(self.passed) - 1, "client", writer, strike)
                up.other, down.other = down, up
                swallows = strike is not None and strike.how == "swallow"
                await _until_over(up.run(reader, asked), down.run(far_reader, b""), swallows=swallows)
        except _ResetError:
            for one in writers:
                one.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.transport.abort()
        except (_CloseError, OSError):
            pass  # whoever is left is told by the close
        finally:
            for one in writers:
                one.close()

    async def close(self) -> None:
        """Drop what is still open."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _ResetError(Exception):
    """The strike resets the connection."""


class _CloseError(Exception):
    """The strike closes the connection."""


class _Way:
    """One direction of one connection."""

    def __init__(
        self, proxy: Proxy, number: int, toward: Side, writer: asyncio.StreamWriter, strike: Strike | None
    ) -> None:
        self._proxy = proxy
        self._number = number
        self._toward: Side = toward
        self._writer = writer
        self._strike = strike if strike is not None and strike.toward == toward else None
        self._passed = bytearray()
        self._deaf = False
        self._one_by_one = 0
        self.other: _Way | None = None
        """The other direction of the connection."""
        # What was written is to be in the kernel before the next is looked at, or a reset would take it back.
        writer.transport.set_write_buffer_limits(high=0)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self, reader: asyncio.StreamReader, first: bytes) -> None:
        """Forward all that comes, up to the strike."""
        data = first or await reader.read(65_536)
        while data:
            place = None if self._strike is None else self._strike.place(bytes(self._passed), data)
            if place is None:
                await self._forward(data)
            else:
                self._hush()
                await self._forward(data[:place])
                await self._befall()
                await self._forward(data[place:])
            data = await reader.read(65_536)
        if not self._deaf and self._writer.can_write_eof():
            self._writer.write_eof()

    async def _forward(self, data: bytes) -> None:
        if self._deaf:
            return
        slow, rest = data[: self._one_by_one], data[self._one_by_one :]
        self._one_by_one -= len(slow)
        for piece in (*(slow[at : at + 1] for at in range(len(slow))), rest):
            if piece:
                self._writer.write(piece)
                await self._writer.drain()
                await asyncio.sleep(0)
        if self._strike is not None:
            self._passed += data
        self._proxy.passed[self._number][self._toward] += len(data)

    def _hush(self) -> None:
        """Where the connection is about to end, let nothing more pass the other way: no answer to the last bytes."""
        if self.other is not None and self._strike is not None and self._strike.how in {"reset", "close"}:
            self.other._deaf = True

    async def _befall(self) -> None:
        strike, self._strike = self._strike, None
        if strike is None:
            raise RuntimeError("nothing befalls a connection twice")
        self._proxy.struck += 1
        match strike.how:
            case "reset":
                raise _ResetError
            case "close":
                raise _CloseError
            case "half-close":
                self._writer.write_eof()
                self._deaf = True
            case "swallow":
                self._deaf = True
            case "trickle":
                await asyncio.sleep(TRICKLE_S)
                self._one_by_one = TRICKLE_BYTES


async def _until_over(up: Awaitable[None], down: Awaitable[None], *, swallows: bool) -> None:
    """Run both directions to their ends; where one swallows, the client is the only one who can end the connection."""
    tasks = [asyncio.ensure_future(up), asyncio.ensure_future(down)]
    try:
        await asyncio.wait(tasks[:1] if swallows else tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks[:1] if swallows else tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def standing_before(url: str, strikes: Iterable[Strike | None] = ()) -> AsyncIterator[Proxy]:
    """Stand in front of a server, at the proxy's `url`."""
    proxy = Proxy(int(url.rpartition(":")[2]), strikes)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


def cutting(url: str, cuts: Iterable[int]) -> AbstractAsyncContextManager[Proxy]:
    """Close each of the next connections after so many bytes toward the client."""
    return standing_before(url, [Strike("close", after) for after in cuts])
