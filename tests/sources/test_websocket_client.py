"""A WebSocket as a source: whole messages, refusals, and in words how a link went down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from websockets.asyncio.server import ServerConnection, serve

from trunkline.dialects.base import Loss
from trunkline.sources.base import StreamRequest
from trunkline.sources.websocket_client import MAX_MESSAGE_BYTES, WebSocketClient

WAIT_S = 5


@dataclass
class Heard:
    """A receiver that writes everything down."""

    events: list[object] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, headers: Mapping[str, str]) -> None:
        self.events.append("opened")

    def receive(self, data: bytes) -> None:
        self.events.append(data)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
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


@asynccontextmanager
async def platform(talk: Callable[[ServerConnection], Awaitable[None]], **options: object) -> AsyncIterator[str]:
    async with serve(talk, "127.0.0.1", 0, **options) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def hear(url: str, client: WebSocketClient | None = None, headers: Mapping[str, str] | None = None) -> Heard:
    heard = Heard()
    client = client or WebSocketClient()
    await client.open(StreamRequest("GET", url, headers or {}, b"", 2), heard)
    async with asyncio.timeout(WAIT_S):
        await heard.over.wait()
    client.close()
    return heard


async def test_messages_come_whole_and_a_close_frame_says_its_code():
    async def talk(socket: ServerConnection) -> None:
        await socket.send(["Hel", "lo"])
        await socket.close(4404, "no such model")

    async with platform(talk) as url:
        heard = await hear(url)
    assert heard.events[:2] == ["opened", b"Hello"]
    expected = Loss(clean=False, detail="the platform closed the WebSocket with 4404: no such model", code=4404)
    assert heard.loss == expected


async def test_a_connection_that_is_closed_without_an_answer_is_a_platform_that_cannot_be_reached():
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        heard = await hear(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (heard.loss.reason, len(heard.events)) == ("upstream_unavailable", 1)


async def test_a_ping_that_is_not_answered_means_that_the_link_is_dead():
    async def answer_no_ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_accepting(await reader.readuntil(b"\r\n\r\n")))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer_no_ping, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        heard = await hear(url, WebSocketClient(ping_every_s=0.05, pong_within_s=0.05))
    assert (heard.loss.reason, heard.loss.code) == ("upstream_interrupted", 1006)
    assert "ping" in heard.loss.detail


def _accepting(request: bytes) -> bytes:
    from websockets.utils import accept_key  # noqa: PLC0415 - of this test only

    lines = request.decode().splitlines()
    key = next(line.split(": ")[1] for line in lines if line.lower().startswith("sec-websocket-key"))
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()


async def test_a_frame_over_the_bound_is_a_fault_of_the_platform_and_not_a_lost_link():
    async def talk(socket: ServerConnection) -> None:
        await socket.send("x" * (MAX_MESSAGE_BYTES + 1))
        await socket.wait_closed()

    async with platform(talk, compression=None) as url:
        heard = await hear(url)
    assert (heard.loss.reason, heard.events[0]) == ("upstream_protocol", "opened")


async def test_a_message_over_the_bound_in_many_frames_is_too():
    async def talk(socket: ServerConnection) -> None:
        await socket.send(["x" * 100_000] * 11)
        await socket.wait_closed()

    async with platform(talk, compression=None) as url:
        heard = await hear(url)
    assert heard.loss.reason == "upstream_protocol"


@asynccontextmanager
async def writing(data: bytes) -> AsyncIterator[tuple[str, asyncio.Future[bytes]]]:
    """Accept one WebSocket, write bytes on it, and tell what came back after the handshake."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_accepting(await reader.readuntil(b"\r\n\r\n")) + data)
        answer.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", answer


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """The opcodes and payloads of short masked frames."""
    frames = []
    while data:
        opcode, size, mask, payload = data[0] & 0x0F, data[1] & 0x7F, data[2:6], data[6:]
        frames.append((opcode, bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload[:size]))))
        data = payload[size:]
    return frames


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\xc1\x02hi", 1002, id="reserved bit of a text"),
        pytest.param(b"\xd9\x00", 1002, id="reserved bits of a ping"),
        pytest.param(b"\xf8\x00", 1002, id="reserved bits of a close"),
        pytest.param(b"\x80\x02hi", 1002, id="the rest of nothing"),
        pytest.param(b"\x01\x01a\x81\x01b", 1002, id="a message within a message"),
        pytest.param(b"\x81\x01\xff", 1007, id="no UTF-8"),
        pytest.param(b"\x01\x01\xc3\x80\x01a", 1007, id="no UTF-8 in two fragments"),
    ],
)
async def test_what_breaks_the_protocol_ends_the_link_with_the_code_for_it(data: bytes, code: int):
    after = b"\x81\x04more"
    async with writing(data) as (url, answer), writing(data + after) as (url_with_more, answer_with_more):
        for heard in (await hear(url), await hear(url_with_more)):
            assert heard.events == ["opened", heard.loss]
            assert (heard.loss.clean, heard.loss.reason) == (False, "upstream_protocol")
        for raw in (await answer, await answer_with_more):
            ((opcode, payload),) = frames_of(raw)
            assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)


async def test_a_character_may_be_cut_by_fragments_and_pings_and_binary_messages_hold_any_byte():
    async with writing(b"\x01\x01\xc3\x89\x02hi\x80\x01\xa9\x82\x01\xff\x88\x02\x03\xe8") as (url, answer):
        heard = await hear(url)
        assert frames_of(await answer) == [(10, b"hi"), (8, b"\x03\xe8")]
    assert heard.events == ["opened", "é".encode(), b"\xff", heard.loss]
    assert heard.loss.clean


@pytest.mark.parametrize("code", [0, 1006])
async def test_a_close_code_that_must_not_be_sent_is_answered_with_1002_and_told_as_it_is(code: int):
    async with writing(b"\x88\x02" + code.to_bytes(2, "big")) as (url, answer):
        heard = await hear(url)
        assert frames_of(await answer) == [(8, b"\x03\xea")]
    assert (heard.loss.clean, heard.loss.reason, heard.loss.code) == (False, "upstream_interrupted", code)


async def test_a_token_can_be_a_subprotocol():
    async def talk(socket: ServerConnection) -> None:
        await socket.send(str(socket.request.headers["sec-websocket-protocol"]))
        await socket.close()

    async with platform(talk, subprotocols=["t0ken"]) as url:
        heard = await hear(url, headers={"sec-websocket-protocol": "t0ken"})
    assert heard.events[1] == b"t0ken"
