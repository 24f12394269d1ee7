"""A receiver that writes down what it hears, and bare platforms for it to hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.utils import accept_key

from trunkline.dialects.base import Loss
from trunkline.sources.base import StreamRequest
from trunkline.sources.websocket_client import WebSocketClient

WAIT_S = 5


@dataclass
class Heard:
    """A receiver that writes everything down."""

    events: list[object] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    headers: Mapping[str, str] = field(default_factory=dict)
    message: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.events.append("opened")

    def receive(self, data: bytes) -> None:
        self.events.append(data)
        self.message.set()

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.headers = headers
        self.events.append((status, body))
        self.over.set()

    def closed(self, loss: Loss) -> None:
        self.events.append(loss)
        self.over.set()

    @property
    def loss(self) -> Loss:
        last = self.events[-1]
        assert isinstance(last, Loss)
        return last


async def hear(url: str, client: WebSocketClient | None = None, headers: Mapping[str, str] | None = None) -> Heard:
    heard = Heard()
    client = client or WebSocketClient()
    await client.open(StreamRequest("GET", url, headers or {}, b"", 2), heard)
    async with asyncio.timeout(WAIT_S):
        await heard.over.wait()
    client.close()
    return heard


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def bare(talk: Talk) -> AsyncIterator[str]:
    """A platform of bare bytes: it takes the upgrade, and then `talk` has the connection."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key"))
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass  # the client was first
        finally:
            writer.transport.abort()
            over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await over.wait()
        await asyncio.sleep(0)  # until the transport is gone


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A platform that takes one connection and answers nothing on it, until it is closed."""
    over = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.transport.abort()
        over.set()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await over.wait()
        await asyncio.sleep(0)  # until the transport is gone
