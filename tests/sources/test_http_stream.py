"""The HTTP stream client against raw servers: keep-alive, limits, TLS, and every way a connection can end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trustme

from trunkline.dialects.base import Loss
from trunkline.sources.base import StreamRequest
from trunkline.sources.http_connection import MAX_HEADER_BYTES
from trunkline.sources.http_stream import HttpPool, HttpStream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"


class Listener:
    """A receiver that writes down what it hears."""

    def __init__(self) -> None:
        self.data = b""
        self.heard: list[str] = []
        self.status = 0
        self.loss: Loss | None = None
        self.over = asyncio.Event()
        self.some = asyncio.Event()
        self.headers: dict[str, str] = {}

    def opened(self, headers: Mapping[str, str]) -> None:
        self.heard.append("opened")
        self.headers = dict(headers)

    def receive(self, data: bytes) -> None:
        self.data += data
        self.some.set()

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.heard.append("refused")
        self.status, self.data = status, body
        self.over.set()

    def closed(self, loss: Loss) -> None:
        self.heard.append("closed")
        self.loss = loss
        self.over.set()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(length)


def answering(*writes: bytes, close: bool = False) -> Handler:
    """A server that answers every request on a connection with these bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await read_request(reader)
                for data in writes:
                    writer.write(data)
                    await writer.drain()
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    return handle


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[int]]]:
    """Yields the address and a list that has one item per connection."""
    connections: list[int] = []

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(counted, "127.0.0.1", 0, ssl=tls)
    port = running.sockets[0].getsockname()[1]
    async with running:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", connections


async def ask(pool: HttpPool, url: str, headers: Mapping[str, str] | None = None) -> tuple[HttpStream, Listener]:
    listener, client = Listener(), HttpStream(pool)
    await client.open(StreamRequest("POST", f"{url}/x?y=1", headers or {}, b"{}", 2), listener)
    return client, listener


@pytest.fixture
async def pool() -> AsyncIterator[HttpPool]:
    pool = HttpPool()
    yield pool
    pool.close()


async def test_the_request_is_what_http_wants(pool):
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(OK + BODY)

    async with server(handle) as (url, _):
        _, listener = await ask(pool, url, {"authorization": "Bearer k"})
        await listener.over.wait()
    host = url.removeprefix("http://").encode()
    head, _, body = asked[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /x?y=1 HTTP/1.1"
    assert set(lines[1:]) >= {
        b"host: " + host,
        b"accept-encoding: identity",
        b"content-length: 2",
        b"authorization: Bearer k",
    }
    assert body == b"{}"
    assert (listener.heard, listener.data, listener.loss) == (["opened", "closed"], b"hello", Loss(clean=True))
    assert listener.headers["content-type"] == "text/event-stream"


async def test_a_header_with_a_line_end_is_never_sent(pool):
    async with server(answering(OK, BODY)) as (url, connections):
        _, listener = await ask(pool, url, {"x": "a\r\nhost: evil"})
    assert listener.loss is not None
    assert listener.loss.reason == "internal_error"
    assert connections == []


async def test_a_connection_is_used_again(pool):
    async with server(answering(OK, BODY)) as (url, connections):
        for _ in range(3):
            _, listener = await ask(pool, url)
            await listener.over.wait()
            assert listener.data == b"hello"
        assert len(connections) == 1


async def test_a_finished_answer_gives_its_connection_back_when_its_body_has_run_out(pool):
    rest, sent = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await read_request(reader)
            writer.write(OK + b"5\r\nhello\r\n")
            await rest.wait()
            writer.write(b"3\r\n...\r\n0\r\n\r\n")
            await writer.drain()
            sent.set()

    async with server(handle) as (url, connections):
        client, listener = await ask(pool, url)
        await listener.some.wait()
        client.finish()
        rest.set()
        await sent.wait()
        while not pool.idle_count:
            await asyncio.sleep(0)
        _, second = await ask(pool, url)
        await second.over.wait()
        assert second.data == b"hello..."
        assert (listener.heard, listener.data) == (["opened"], b"hello")
        assert len(connections) == 1


async def test_a_stale_connection_is_replaced_once_and_silently(pool):
    answered = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        await read_request(reader)
        writer.write(OK + BODY)
        answered += 1
        await reader.readuntil(b"\r\n\r\n")  # the second request on this connection is dropped unanswered
        writer.transport.abort()

    async with server(handle) as (url, connections):
        for _ in range(2):
            _, listener = await ask(pool, url)
            await listener.over.wait()
            assert (listener.data, listener.loss) == (b"hello", Loss(clean=True))
        assert (answered, len(connections)) == (2, 2)


@pytest.mark.parametrize(
    ("writes", "close", "reason", "words"),
    [
        ([b""], True, "upstream_interrupted", "closed the connection"),
        ([OK, b"5\r\nhel"], True, "upstream_interrupted", "closed the connection"),
        ([b"nonsense\r\n\r\n"], False, "upstream_protocol", "HTTP/1.1"),
        ([OK, b"zz\r\n"], False, "upstream_protocol", "HTTP/1.1"),
        (
            [b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx"],
            False,
            "upstream_protocol",
            "'br'",
        ),
        (
            [b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * (MAX_HEADER_BYTES + 99)],
            False,
            "upstream_protocol",
            "at most 65536",
        ),
        ([b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], True, "upstream_", ""),
    ],
)
async def test_a_broken_answer_has_its_reason(pool, writes, close, reason, words):
    async with server(answering(*writes, close=close)) as (url, _):
        _, listener = await ask(pool, url)
        async with asyncio.timeout(5):
            await listener.over.wait()
    assert listener.loss is not None
    assert not listener.loss.clean
    assert listener.loss.reason.startswith(reason)
    assert words in listener.loss.detail


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_came_before_something_wrong_is_handed_on_however_it_was_cut(pool, at_once):
    writes = [OK + b"5\r\nhello\r\n", b"zz\r\n"]
    async with server(answering(*([b"".join(writes)] if at_once else writes))) as (url, _):
        _, listener = await ask(pool, url)
        await listener.over.wait()
    assert (listener.data, listener.heard) == (b"hello", ["opened", "closed"])
    assert listener.loss is not None
    assert listener.loss.reason == "upstream_protocol"


async def test_bytes_after_a_whole_answer_spoil_the_connection_and_not_the_answer(pool):
    for surplus in (b"\xff\xff\xff", OK[:30]):
        async with server(answering(OK + BODY + surplus)) as (url, connections):
            for n in (1, 2):
                _, listener = await ask(pool, url)
                await listener.over.wait()
                assert (listener.data, listener.loss) == (b"hello", Loss(clean=True))
                assert len(connections) == n


async def test_a_refusal_whose_body_breaks_off_keeps_its_status(pool):
    async with server(answering(b"HTTP/1.1 429 Slow\r\ncontent-length: 99\r\n\r\n{", close=True)) as (url, _):
        _, listener = await ask(pool, url)
        await listener.over.wait()
    assert (listener.heard, listener.status) == (["refused"], 429)


async def test_many_small_pieces_in_the_first_read_are_no_headers(pool):
    async with server(answering(OK + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")) as (url, _):
        _, listener = await ask(pool, url)
        await listener.over.wait()
    assert (len(listener.data), listener.loss) == (40_000, Loss(clean=True))


async def test_a_body_without_length_ends_with_its_connection(pool):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    async with server(answering(head, b"hello", close=True)) as (url, _):
        _, listener = await ask(pool, url)
        await listener.over.wait()
    assert (listener.data, listener.loss) == (b"hello", Loss(clean=True))


async def test_what_comes_before_the_answer_proper_is_skipped(pool):
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with server(answering(early, OK, BODY)) as (url, _):
        _, listener = await ask(pool, url)
        await listener.over.wait()
    assert listener.data == b"hello"
    assert "link" not in listener.headers


@pytest.mark.parametrize("size", [5, 200_000])
async def test_another_status_brings_at_most_64_kib_of_its_body(pool, size):
    head = b"HTTP/1.1 503 Busy\r\ncontent-length: %d\r\n\r\n" % size
    async with server(answering(head, b"z" * size)) as (url, _):
        _, listener = await ask(pool, url)
        await listener.over.wait()
    assert (listener.heard, listener.status) == (["refused"], 503)
    assert len(listener.data) == min(size, 65_536)


async def test_closing_drops_the_connection_at_once(pool):
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"5\r\nhello\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with server(handle) as (url, _):
        client, listener = await ask(pool, url)
        await listener.some.wait()
        client.close()
        async with asyncio.timeout(2):
            await gone.wait()
    assert "closed" not in listener.heard


async def test_a_port_where_nobody_listens(pool):
    _, listener = await ask(pool, "http://127.0.0.1:9")
    assert listener.loss is not None
    assert listener.loss.reason == "upstream_unavailable"
    assert "127.0.0.1:9" in listener.loss.detail


async def test_a_server_that_never_finishes_the_tls_handshake_is_a_connect_timeout(pool):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as (url, _):
        listener, client = Listener(), HttpStream(pool)
        request = StreamRequest("POST", url.replace("http:", "https:"), {}, b"", 0.1)
        await client.open(request, listener)
    assert listener.loss is not None
    assert listener.loss.reason == "connect_timeout"


async def test_tls_is_verified_and_works_with_a_trusted_authority():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with server(answering(OK, BODY), context) as (url, _):
        strangers = HttpPool()
        _, listener = await ask(strangers, url)
        assert listener.loss is not None
        assert listener.loss.reason == "upstream_unavailable"
        assert "certificate" in listener.loss.detail
        friends = HttpPool(lambda: trusting)
        _, listener = await ask(friends, url)
        await listener.over.wait()
        assert listener.data == b"hello"
        friends.close()


async def test_a_flood_lets_the_loop_turn_in_between(pool):
    piece = b"%x\r\n" % 60_000 + b"a" * 60_000 + b"\r\n"
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with server(answering(OK, *[piece] * 100, b"0\r\n\r\n")) as (url, _):
        counting = asyncio.ensure_future(count())
        _, listener = await ask(pool, url)
        await listener.over.wait()
        counting.cancel()
    assert len(listener.data) == 6_000_000
    assert turns > 20


GivingUp = Callable[[HttpStream, "asyncio.Future[None]"], object]


@pytest.fixture(params=["closed", "cancelled"])
def give_up(request) -> GivingUp:
    return (lambda client, _: client.close()) if request.param == "closed" else (lambda _, opening: opening.cancel())


async def opening_ends(opening: asyncio.Future[None]) -> None:
    """See that `open` returns at once, or is cancelled."""
    async with asyncio.timeout(2):
        await asyncio.wait([opening])
    assert opening.cancelled() or opening.result() is None


async def test_tls_that_is_given_up_leaves_no_connection(pool, give_up):
    begun, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        begun.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with server(silent) as (url, _):
        listener, client = Listener(), HttpStream(pool)
        request = StreamRequest("POST", url.replace("http:", "https:"), {}, b"", 60)
        opening = asyncio.ensure_future(client.open(request, listener))
        await begun.wait()
        give_up(client, opening)
        async with asyncio.timeout(2):
            await gone.wait()
        await opening_ends(opening)
    assert listener.heard == []


async def test_a_request_on_a_kept_connection_that_is_given_up_leaves_no_connection(pool, give_up):
    asked, gone = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + BODY)
        await read_request(reader)
        asked.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with server(handle) as (url, _):
        _, first = await ask(pool, url)
        await first.over.wait()
        listener, client = Listener(), HttpStream(pool)
        opening = asyncio.ensure_future(client.open(StreamRequest("POST", url, {}, b"{}", 60), listener))
        await asked.wait()
        give_up(client, opening)
        async with asyncio.timeout(2):
            await gone.wait()
        await opening_ends(opening)
    assert listener.heard == []


@pytest.mark.parametrize("is_secure", [False, True])
async def test_no_connection_stays_whenever_it_is_given_up(give_up, is_secure):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    live = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal live
        live += 1
        try:
            await read_request(reader)
            writer.write(OK + b"5\r\nhello\r\n")
            await reader.read()
        finally:
            live -= 1

    async with server(handle, context if is_secure else None) as (url, connections):
        for turns in range(60):
            pool = HttpPool(lambda: trusting)
            listener, client = Listener(), HttpStream(pool)
            opening = asyncio.ensure_future(client.open(StreamRequest("POST", url, {}, b"", 60), listener))
            for _ in range(turns):
                await asyncio.sleep(0)
            give_up(client, opening)
            if opening.done():  # it is a stream by now, which nobody can cancel
                client.close()
            before = list(listener.heard)
            await opening_ends(opening)
            client.close()
            assert listener.heard == before
            assert before in ([], ["opened"])
        async with asyncio.timeout(2):
            while live:
                await asyncio.sleep(0.01)
    assert connections


async def test_a_stream_that_is_closed_before_it_is_opened_asks_nobody(pool):
    listener, client = Listener(), HttpStream(pool)
    client.close()
    await client.open(StreamRequest("POST", "http://127.0.0.1:9/", {}, b"", 60), listener)
    assert listener.heard == []


async def test_a_stream_that_is_cancelled_as_it_ends_leaves_its_connection_to_the_next_one(pool):
    class Ending(Listener):
        def receive(self, data: bytes) -> None:
            super().receive(data)
            opening.cancel()  # as a turn does that has ended
            stream.finish()
            self.over.set()

    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5\r\n\r\n"
    async with server(answering(head + b"hello")) as (url, connections):
        for _ in range(3):  # The first makes the connection, all others come upon it.
            stream, listener = HttpStream(pool), Ending()
            opening = asyncio.ensure_future(stream.open(StreamRequest("POST", url, {}, b"{}", 2), listener))
            async with asyncio.timeout(5):
                await listener.over.wait()
            await asyncio.wait([opening])
            assert (listener.data, pool.idle_count) == (b"hello", 1)
    assert connections == [1]
