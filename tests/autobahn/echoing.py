"""Both ends of our own that the test suite talks to: each gives back every message it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from unittest.mock import patch

import picows
from starlette.websockets import WebSocket, WebSocketDisconnect

from trunkline.config import parse
from trunkline.dialects.base import Loss
from trunkline.endpoints.sockets import framed
from trunkline.endpoints.streams import live_lane
from trunkline.server import Server, address_of, bind
from trunkline.sources import websocket_client
from trunkline.sources.base import StreamRequest
from trunkline.stores.base import TurnLog

PLAIN: Final = "/echo"
LIVE: Final = "/echo-live"
CONNECT_S: Final = 10.0
CASE_S: Final = 120.0  # longer than any case; the suite ends each by itself


# The server


@asynccontextmanager
async def relay(max_message_bytes: int | None = None) -> AsyncIterator[str]:
    """Run a relay as `trunkline serve --insecure` does, with two more addresses that echo; give its own address."""
    server_settings: dict[str, object] = {"port": 0, "drain_s": 0}
    if max_message_bytes is not None:
        server_settings["max_body_bytes"] = max_message_bytes
    nobody = {"preset": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "nobody-asks"}
    settings = parse({"server": server_settings, "store": {"durability": "memory"}, "upstreams": {"none": nobody}})
    server = Server(settings, bind(settings), insecure=True)
    app = server._uvicorn.config.app
    app.add_api_websocket_route(PLAIN, _echo)
    app.add_api_websocket_route(LIVE, _echo_live)
    ready = asyncio.Event()
    running = asyncio.ensure_future(server.run(lambda _: ready.set()))
    waiting = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        yield address_of(server._listener).replace("http", "ws", 1)
    finally:
        waiting.cancel()
        server.stop()
        await running


async def _echo(socket: WebSocket) -> None:
    """Answer through the ASGI server, as endpoints answer what a client says."""
    await socket.accept()
    with suppress(WebSocketDisconnect):
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            if (text := message.get("text")) is not None:
                await socket.send_text(text)
            else:
                await socket.send_bytes(message["bytes"])


async def _echo_live(socket: WebSocket) -> None:
    """Answer texts by the live lane in frames of our own, as endpoints send a turn."""
    await socket.accept()
    log = TurnLog("echo")
    said = b""
    frames = framed(lambda turn, a, b: [said])
    lane = live_lane(socket.scope, frames)
    assert lane is not None
    with suppress(WebSocketDisconnect):
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            if (text := message.get("text")) is None:
                await socket.send_bytes(message["bytes"])
                continue
            said = text.encode()
            if not lane.write(frames(log, 0, 1)):
                await socket.send_text(text)


# The client


class _Noting(websocket_client._Listener):
    """The client's own listener; it remembers of what kind a message is, which the relay has no use for."""

    kind = picows.WSMsgType.TEXT

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY):
            self.kind = frame.msg_type
        super().on_ws_frame(transport, frame)


class _Echo:
    """A receiver that sends back what it gets."""

    def __init__(self, client: websocket_client.WebSocketClient) -> None:
        self._client = client
        self.heard: list[bytes] = []
        self.over: asyncio.Future[Loss | int] = asyncio.get_running_loop().create_future()

    def opened(self, headers: Mapping[str, str]) -> None:
        pass

    def receive(self, data: bytes) -> None:
        self.heard.append(data)
        listener = self._client._listener
        assert isinstance(listener, _Noting)
        if listener.kind is picows.WSMsgType.TEXT:
            self._client.send(data)
        elif listener._transport is not None:
            listener._transport.send(picows.WSMsgType.BINARY, data)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.over.set_result(status)

    def closed(self, loss: Loss) -> None:
        self.over.set_result(loss)


async def echo_from(url: str, max_message_bytes: int = websocket_client.MAX_MESSAGE_BYTES) -> tuple[Loss | int, bytes]:
    """Open a stream with the relay's client and echo until it is over; return its end and the first message."""
    client = websocket_client.WebSocketClient()
    with (
        patch.object(websocket_client, "_Listener", _Noting),
        patch.object(websocket_client, "MAX_MESSAGE_BYTES", max_message_bytes),
    ):
        echo = _Echo(client)
        await client.open(StreamRequest("GET", url, {}, b"", CONNECT_S), echo)
        async with asyncio.timeout(CASE_S):
            end = await echo.over
    client.close()
    return end, echo.heard[0] if echo.heard else b""
