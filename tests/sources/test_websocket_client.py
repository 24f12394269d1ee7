"""A WebSocket as a source: whole messages, refusals, and in words how a link went down."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from sources.hearing import WAIT_S, Heard, bare, hear
from trunkline.dialects.base import Loss
from trunkline.sources.base import StreamRequest
from trunkline.sources.websocket_client import MAX_MESSAGE_BYTES, WebSocketClient


@asynccontextmanager
async def platform(talk: Callable[[ServerConnection], Awaitable[None]], **options: object) -> AsyncIterator[str]:
    async with serve(talk, "127.0.0.1", 0, **options) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def control_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next short frame of a client: its kind, and what is in it."""
    first, size = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    masked = await reader.readexactly(size & 0x7F)
    return first & 0x0F, bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked))


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
    async def answer_no_ping(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with bare(answer_no_ping) as url:
        heard = await hear(url, WebSocketClient(ping_every_s=0.05, pong_within_s=0.05))
    assert (heard.loss.reason, heard.loss.code) == ("upstream_interrupted", 1006)
    assert "ping" in heard.loss.detail


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
        writer.write(data)
        answer.set_result(await reader.read())

    async with bare(talk) as url:
        yield url, answer


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


async def test_the_headers_of_the_acceptance_are_heard():
    def accept(_: ServerConnection, request: Request, response: Response) -> None:
        response.headers["X-RateLimit-Remaining"] = "7"

    async with platform(lambda socket: socket.close(), process_response=accept) as url:
        heard = await hear(url)
    assert heard.headers["x-ratelimit-remaining"] == "7"


async def test_what_follows_a_close_frame_is_not_heard():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x81\x02Hi" + b"\x88\x02\x03\xe8" + b"\x81\x02no")
        await reader.read()

    async with bare(talk) as url:
        heard = await hear(url)
    assert heard.events == ["opened", b"Hi", heard.loss]
    assert (heard.loss.clean, heard.loss.code) == (True, 1000)


async def test_a_message_in_very_many_frames_costs_no_more_than_its_frames():
    def message(frames: int) -> bytes:
        return b"\x01\x01a" + b"\x00\x01a" * (frames - 2) + b"\x80\x01a"

    async def cost_s(frames: int) -> float:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(message(frames))
            await reader.read()

        heard, client = Heard(), WebSocketClient()
        async with bare(talk) as url:
            began = time.process_time()
            await client.open(StreamRequest("GET", url, {}, b"", 2), heard)
            await heard.message.wait()
            spent_s = time.process_time() - began
            client.close()
        assert heard.events == ["opened", b"a" * frames]
        return spent_s

    few, many = min([await cost_s(50_000) for _ in range(3)]), await cost_s(400_000)
    assert many < 3 * 8 * few  # copying all that came with each frame would make it 64 times


async def test_pings_go_out_as_often_as_is_set_whatever_the_time_for_their_answers():
    at: list[float] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            kind, payload = await control_frame(reader)
            assert kind == 0x9
            at.append(asyncio.get_running_loop().time())
            writer.write(bytes([0x8A, len(payload)]) + payload)
        writer.write(b"\x88\x00")

    async with bare(talk) as url:
        await hear(url, WebSocketClient(ping_every_s=0.2, pong_within_s=0.15))
    # A late wake makes a wait longer, never shorter: the shortest of them is the rhythm.
    assert 0.1 < min(late - early for early, late in itertools.pairwise(at)) < 0.3


async def test_pings_without_end_are_answered_by_the_newest_where_the_platform_does_not_read():
    pings = 300_000
    payloads: list[bytes] = []
    read = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined] # by itself it would read ahead
        for n in range(pings):
            writer.write(b"\x89\x7d" + b"%0125d" % n)
            if n % 1_000 == 0:
                await writer.drain()
        writer.write(b"\x81\x02Hi")
        await read.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        while not payloads or int(payloads[-1]) < pings - 1:
            payloads.append((await control_frame(reader))[1])

    heard, client = Heard(), WebSocketClient()
    async with bare(talk) as url:
        await client.open(StreamRequest("GET", url, {}, b"", 2), heard)
        async with asyncio.timeout(30):
            await heard.message.wait()
            assert unsent(client) < 256 * 1024
            read.set()
            while not payloads or int(payloads[-1]) < pings - 1:
                await asyncio.sleep(0.01)
        client.close()
    assert payloads == sorted(payloads)
    assert len(payloads) < pings / 2


def unsent(client: WebSocketClient) -> int:
    """How many bytes wait in this process for a platform that does not read."""
    assert client._listener is not None
    assert client._listener._transport is not None
    return client._listener._transport.underlying_transport.get_write_buffer_size()


@pytest.mark.parametrize("leave", [WebSocketClient.close, WebSocketClient.finish])
async def test_a_platform_that_does_not_read_keeps_no_link_that_is_left(leave: Callable[[WebSocketClient], None]):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined] # by itself it would read ahead
        writer.write(b"\x81\x02Hi")
        await left.wait()

    left = asyncio.Event()
    heard, client = Heard(), WebSocketClient()
    async with bare(talk) as url:
        await client.open(StreamRequest("GET", url, {}, b"", 2), heard)
        await heard.message.wait()
        while not unsent(client):
            client.send(b"x" * 1_000_000)
        assert client._listener is not None
        transport = client._listener._transport
        assert transport is not None
        leave(client)
        async with asyncio.timeout(WAIT_S):
            await transport.wait_disconnected()
        left.set()
    assert heard.events == ["opened", b"Hi"]


async def test_tls_is_verified_and_works_with_a_trusted_authority():
    async def talk(socket: ServerConnection) -> None:
        await socket.send("Hi")
        await socket.close()

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    elsewhere = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(elsewhere)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with platform(talk, ssl=context) as url:
        heard = await hear(url.replace("http:", "https:"))
        assert (heard.loss.reason, heard.events) == ("upstream_unavailable", [heard.loss])
        assert "certificate" in heard.loss.detail.lower()
        heard = await hear(url.replace("http:", "https:"), WebSocketClient(tls=lambda: trusting))
        assert heard.events[:2] == ["opened", b"Hi"]
    async with platform(talk, ssl=elsewhere) as url:
        heard = await hear(url.replace("http:", "https:"), WebSocketClient(tls=lambda: trusting))
        assert "certificate" in heard.loss.detail.lower()
