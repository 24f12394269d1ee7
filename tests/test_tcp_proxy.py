"""The proxy that strikes: what passes before, what either side then hears, and what goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tcp_proxy import TRICKLE_S, How, Proxy, Side, Strike, standing_before

ASKED, ANSWERED = b"a question", b"an answer, and a good one"


class Server:
    """Answers what it hears, once it has heard all of it, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = asyncio.Event()
        self.reset = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                self.heard += data
                if self.heard == ASKED:
                    writer.write(ANSWERED)
        except ConnectionResetError:
            self.reset = True
        finally:
            self.ended.set()
            writer.close()


@dataclass
class Scene:
    server: Server
    proxy: Proxy
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def ask(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.proxy.url.rpartition(":")[2]))
        self.writers.append(writer)
        writer.write(ASKED)
        return reader, writer


@asynccontextmanager
async def struck(*strikes: Strike | None) -> AsyncIterator[Scene]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        async with standing_before(url, strikes) as proxy, asyncio.timeout(5):
            scene = Scene(server, proxy)
            yield scene
            for writer in scene.writers:
                writer.close()
            await server.ended.wait()
    finally:
        listener.close()


async def test_a_connection_without_a_strike_is_left_whole():
    async with struck(None, Strike("reset", 0)) as scene:
        reader, writer = await scene.ask()
        assert await reader.readexactly(len(ANSWERED)) == ANSWERED
        writer.close()
        await scene.server.ended.wait()
        assert (scene.proxy.connections, scene.proxy.struck) == (1, 0)
        assert scene.proxy.passed == [{"client": len(ANSWERED), "server": len(ASKED)}]


@pytest.mark.parametrize("after", [1, 9, re.compile(b"answer")], ids=str)
async def test_a_reset_comes_after_exactly_so_many_bytes(after: int | re.Pattern[bytes]):
    count = after if isinstance(after, int) else len(b"an answer")
    async with struck(Strike("reset", after)) as scene:
        reader, _ = await scene.ask()
        assert await reader.readexactly(count) == ANSWERED[:count]
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await scene.server.ended.wait()
        assert scene.server.reset


async def test_a_close_ends_both_sides_without_a_reset():
    async with struck(Strike("close", 4, "server")) as scene:
        reader, _ = await scene.ask()
        assert await reader.read() == b""
        await scene.server.ended.wait()
        assert (scene.server.heard, scene.server.reset) == (ASKED[:4], False)


async def test_a_half_close_ends_one_direction_and_leaves_the_other():
    async with struck(Strike("half-close", 4)) as scene:
        reader, writer = await scene.ask()
        assert await reader.read() == ANSWERED[:4]
        writer.write(b"still here")
        writer.close()
        await scene.server.ended.wait()
        assert scene.server.heard == ASKED + b"still here"


@pytest.mark.parametrize(("toward", "heard"), [("client", ASKED), ("server", ASKED[:4])])
async def test_what_is_swallowed_goes_nowhere_and_the_connection_stays(toward: Side, heard: bytes):
    async with struck(Strike("swallow", 4, toward)) as scene:
        reader, writer = await scene.ask()
        came = await reader.readexactly(4) if toward == "client" else b""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        assert not scene.server.ended.is_set()
        writer.close()
        await scene.server.ended.wait()
        assert (came, scene.server.heard) == (ANSWERED[:4] if toward == "client" else b"", heard)


async def test_a_trickle_is_late_and_whole():
    async with struck(Strike("trickle", 4)) as scene:
        reader, _ = await scene.ask()
        clock = asyncio.get_running_loop().time
        assert await reader.readexactly(4) == ANSWERED[:4]
        began = clock()
        assert await reader.readexactly(len(ANSWERED) - 4) == ANSWERED[4:]
        assert clock() - began > TRICKLE_S / 2


@pytest.mark.parametrize("how", ["reset", "close", "half-close", "swallow"])
async def test_a_strike_behind_the_last_byte_does_not_strike(how: How):
    async with struck(Strike(how, len(ANSWERED) + 1)) as scene:
        reader, _ = await scene.ask()
        assert await reader.readexactly(len(ANSWERED)) == ANSWERED
        assert scene.proxy.struck == 0
