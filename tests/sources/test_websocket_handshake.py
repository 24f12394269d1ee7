"""The handshake of a WebSocket: how its answer is read, what is no acceptance, and that none outlives its time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from websockets.utils import accept_key

from sources.hearing import WAIT_S, Heard, hear, silent
from trunkline.dialects.base import Loss
from trunkline.sources.base import StreamRequest
from trunkline.sources.websocket_client import WebSocketClient
from trunkline.sources.websocket_handshake import MAX_ERROR_BODY_BYTES

WORDS = b'{"message": "Missing scope"}'
LONG_S = 60.0  # nothing that is tested may take so long
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def platform(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A platform that answers upgrade requests; it sees to it that the client lets go of every connection.

    `answer` gets what a `Sec-WebSocket-Accept` has to be.
    """
    connections: list[asyncio.Future[None]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connections.append(over)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(
                line.split(": ")[1] for line in head.splitlines() if line.lower().startswith("sec-websocket-key")
            )
            await answer(accept_key(key).encode(), writer)
            await reader.read()
        writer.transport.abort()
        over.set_result(None)

    async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls) as server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*connections)
        await asyncio.sleep(0)  # until the transports are gone


def answering(*writes: bytes, close: bool = False) -> Answer:
    """Answer with these bytes, each after what was before it is read; ACCEPT in them stands for what it has to be."""

    async def answer(accept: bytes, writer: asyncio.StreamWriter) -> None:
        for data in writes:
            writer.write(data.replace(b"ACCEPT", accept))
            for _ in range(3):
                await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


def switching(*lines: bytes, status: bytes = b"HTTP/1.1 101 Switching Protocols") -> bytes:
    return b"\r\n".join([status, *lines]) + b"\r\n\r\n"


UPGRADE, CONNECTION, ACCEPT = b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: ACCEPT"
ACCEPTANCE = switching(UPGRADE, CONNECTION, ACCEPT)
HI = b"\x81\x02Hi"
BYE = b"\x88\x02\x03\xe8"


# Refusals


SIZED = b"Content-Length: %d\r\n\r\n" % len(WORDS)


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        pytest.param(b"HTTP/1.1 403 Forbidden\r\n" + SIZED, WORDS, 403, id="of a length"),
        pytest.param(
            b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (WORDS[:5], len(WORDS) - 5, WORDS[5:]),
            403,
            id="chunked",
        ),
        pytest.param(b"HTTP/1.0 403 Forbidden\r\n" + SIZED, WORDS, 403, id="HTTP/1.0"),
        pytest.param(b"HTTP/1.0 429 Too Many\r\nRetry-After: 3\r\n" + SIZED, WORDS, 429, id="HTTP/1.0 with a wait"),
        pytest.param(b"HTTP/1.1 520 Web server error\r\n" + SIZED, WORDS, 520, id="a status of nobody's list"),
        pytest.param(b"HTTP/1.1 420\r\n" + SIZED, WORDS, 420, id="no phrase"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 401 No\r\n" + SIZED, WORDS, 401, id="after a 103"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + SIZED, WORDS, 200, id="a page"),
        pytest.param(b"HTTP/1.1 403 Forbidden\r\n" + SIZED, WORDS + b"and more", 403, id="with more after its end"),
    ],
)
async def test_a_refusal_is_heard_whole_however_its_bytes_are_cut(head: bytes, body: bytes, status: int):
    whole = head + body
    for writes in ([whole], [head, body], [whole[n : n + 1] for n in range(len(whole))]):
        async with platform(answering(*writes)) as url:
            heard = await hear(url)
        assert heard.events == [(status, WORDS)]


async def test_a_refusal_without_a_length_ends_with_its_connection():
    head = b"HTTP/1.1 403 Forbidden\r\nX-Why: scope\r\n\r\n"
    async with platform(answering(head, WORDS[:5], WORDS[5:], close=True)) as url:
        heard = await hear(url)
    assert heard.events == [(403, WORDS)]
    assert heard.headers == {"x-why": "scope"}


async def test_a_refusal_that_breaks_off_or_does_not_end_in_time_says_what_came():
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 999\r\n\r\n"
    async with platform(answering(head, WORDS, close=True)) as url:
        assert (await hear(url)).events == [(403, WORDS)]
    async with platform(answering(head, WORDS)) as url:
        heard = Heard()
        await WebSocketClient().open(StreamRequest("GET", url, {}, b"", LONG_S, handshake_timeout_s=0.2), heard)
    assert heard.events == [(403, WORDS)]


async def test_a_refusal_without_end_is_cut():
    async def flood(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")
            await writer.drain()

    async with platform(flood) as url:
        heard = await hear(url)
    assert heard.events == [(403, b"x" * MAX_ERROR_BODY_BYTES)]


async def test_what_is_no_answer_of_http_is_a_fault_of_the_platform():
    async def flood(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\n")
        while True:
            writer.write(b"X-A: " + b"y" * 1_000 + b"\r\n")
            await writer.drain()

    for answer, words in ((answering(b"SSH-2.0-OpenSSH\r\n"), "expected an HTTP/1.1 answer"), (flood, "65536 bytes")):
        async with platform(answer) as url:
            heard = await hear(url)
        assert heard.events == [heard.loss]
        assert (heard.loss.clean, heard.loss.reason) == (False, "upstream_protocol")
        assert words in heard.loss.detail


@pytest.mark.parametrize("writes", [(), (b"HTTP/1.1 10",), (b"HTTP/1.1 101 Switching Protocols\r\nUpgr",)])
async def test_a_connection_that_is_closed_before_an_answer_is_a_platform_that_cannot_be_reached(writes: list[bytes]):
    async with platform(answering(*writes, close=True)) as url:
        heard = await hear(url)
    assert heard.events == [heard.loss]
    assert heard.loss.reason == "upstream_unavailable"


# Acceptances


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(ACCEPTANCE, id="as in the RFC"),
        pytest.param(switching(UPGRADE, b"Connection: keep-alive, Upgrade", ACCEPT), id="two options"),
        pytest.param(switching(UPGRADE, b"Connection: keep-alive", b"connection: UPGRADE", ACCEPT), id="two lines"),
        pytest.param(switching(b"Upgrade: WebSocket", CONNECTION, ACCEPT, b"Content-Length: 0"), id="another case"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ACCEPTANCE, id="after a 103"),
    ],
)
async def test_an_acceptance_is_taken_however_its_bytes_are_cut(head: bytes):
    at = head.index(b"ACCEPT")
    bytewise = [*(head[n : n + 1] for n in range(at)), head[at:], HI[:1], HI[1:], BYE]
    for writes in ([head + HI + BYE], [head, HI + BYE], bytewise):
        async with platform(answering(*writes)) as url:
            heard = await hear(url)
        assert heard.events == ["opened", b"Hi", heard.loss]
        assert heard.loss.clean
        assert "link" not in heard.headers


async def test_what_comes_with_an_acceptance_may_end_the_stream_at_once():
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    client = WebSocketClient()

    class Ending(Heard):
        def receive(self, data: bytes) -> None:
            super().receive(data)
            opening.cancel()  # as a turn does that has ended
            client.close()

    async with platform(answering(ACCEPTANCE + HI)) as url:
        heard = Ending()
        opening = asyncio.ensure_future(client.open(StreamRequest("GET", url, {}, b"", 2), heard))
        await asyncio.wait([opening])
    assert heard.events == ["opened", b"Hi"]
    assert told == []


async def test_what_comes_with_an_acceptance_may_be_long():
    many = b"\x81\x7e\x03\xe8" + b"x" * 1_000
    async with platform(answering(ACCEPTANCE + many * 100 + BYE)) as url:
        heard = await hear(url)
    assert heard.events == ["opened", *[b"x" * 1_000] * 100, heard.loss]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (switching(UPGRADE, CONNECTION, ACCEPT, status=b"HTTP/1.0 101 Switching Protocols"), "expected HTTP/1.1"),
        (switching(CONNECTION, ACCEPT), "expected Upgrade: websocket, got ''"),
        (switching(b"Upgrade: h2c", CONNECTION, ACCEPT), "expected Upgrade: websocket, got 'h2c'"),
        (switching(UPGRADE, ACCEPT), "expected Connection: Upgrade, got ''"),
        (switching(UPGRADE, b"Connection: keep-alive", ACCEPT), "expected Connection: Upgrade, got 'keep-alive'"),
        (switching(UPGRADE, CONNECTION), "Sec-WebSocket-Accept"),
        (switching(UPGRADE, CONNECTION, b"Sec-WebSocket-Accept: nonsense"), "Sec-WebSocket-Accept"),
        (switching(UPGRADE, CONNECTION, ACCEPT, b"Sec-WebSocket-Extensions: permessage-deflate"), "extension"),
        (switching(UPGRADE, CONNECTION, ACCEPT, b"Sec-WebSocket-Protocol: chat"), "subprotocol"),
        (switching(UPGRADE, CONNECTION, ACCEPT, b"Content-Length: 3"), "Content-Length"),
        (switching(UPGRADE, CONNECTION, ACCEPT, b"Transfer-Encoding: chunked"), "Transfer-Encoding"),
    ],
)
async def test_what_is_no_acceptance_is_not_taken_and_the_words_say_why(head: bytes, words: str):
    async with platform(answering(head + HI)) as url:
        heard = await hear(url, headers={"Sec-WebSocket-Protocol": "t0ken, other"})
    assert heard.events == [heard.loss]
    assert (heard.loss.clean, heard.loss.reason) == (False, "handshake_rejected")
    assert words in heard.loss.detail


async def test_a_subprotocol_that_was_asked_for_is_taken():
    async with platform(answering(switching(UPGRADE, CONNECTION, ACCEPT, b"Sec-WebSocket-Protocol: b") + BYE)) as url:
        heard = await hear(url, headers={"sec-websocket-protocol": "a, b"})
    assert heard.events == ["opened", heard.loss]


@pytest.fixture
def trusted() -> tuple[ssl.SSLContext, Callable[[], ssl.SSLContext]]:
    """TLS of a platform, and of a client that trusts it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, lambda: trusting


async def test_over_tls_an_acceptance_and_what_follows_it_are_read_as_well(trusted):
    theirs, ours = trusted
    async with platform(answering(ACCEPTANCE + HI, HI, BYE), theirs) as url:
        heard = await hear(url, WebSocketClient(tls=ours))
    assert heard.events == ["opened", b"Hi", b"Hi", heard.loss]

    async def at_once(accept: bytes, writer: asyncio.StreamWriter) -> None:
        for record in (ACCEPTANCE.replace(b"ACCEPT", accept), HI, HI, BYE):
            writer.write(record)  # a record each, and all in one read of the client

    async with platform(at_once, theirs) as url:
        heard = await hear(url, WebSocketClient(tls=ours))
    assert heard.events == ["opened", b"Hi", b"Hi", heard.loss]


# The time


@asynccontextmanager
async def full() -> AsyncIterator[str]:
    """An address where a caller is not even answered: nobody takes the callers before it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.settimeout(0)
            caller.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/"
        for caller in callers:
            caller.close()


async def test_the_connection_and_the_handshake_have_a_time_each():
    async with full() as url:
        heard = Heard()
        await WebSocketClient().open(StreamRequest("GET", url, {}, b"", 0.1, handshake_timeout_s=LONG_S), heard)
    assert (heard.loss.reason, heard.loss.detail) == ("connect_timeout", "no connection within 0.1 s")

    for scheme in ("http:", "https:"):
        async with silent() as url:
            heard = Heard()
            request = StreamRequest("GET", url.replace("http:", scheme), {}, b"", LONG_S, handshake_timeout_s=0.1)
            await WebSocketClient().open(request, heard)
        assert (heard.loss.reason, heard.loss.detail) == ("handshake_timeout", "no handshake within 0.1 s")


async def test_an_acceptance_that_comes_too_late_is_not_heard_and_finds_no_connection():
    late = asyncio.Event()

    async def answer(accept: bytes, writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(ACCEPTANCE.replace(b"ACCEPT", accept) + HI)

    heard = Heard()
    async with platform(answer) as url:
        await WebSocketClient().open(StreamRequest("GET", url, {}, b"", LONG_S, handshake_timeout_s=0.1), heard)
        late.set()
    assert heard.events == [Loss(clean=False, reason="handshake_timeout", detail="no handshake within 0.1 s")]


async def test_nor_is_one_that_comes_too_late_because_tls_took_long(trusted):
    theirs, ours = trusted
    loop = asyncio.get_running_loop()
    late = asyncio.Event()
    read = b""

    async def answer(listening: socket.socket) -> None:
        nonlocal read
        connection, _ = await loop.sock_accept(listening)
        await asyncio.sleep(0.3)  # a platform that is slow with its TLS
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # if all took even longer than that
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=theirs)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(line.split(": ")[1] for line in head.splitlines() if line.startswith("Sec-WebSocket-Key"))
            await late.wait()
            transport.write(ACCEPTANCE.replace(b"ACCEPT", accept_key(key).encode()) + HI)
            read = await reader.read()
        transport.abort()
        await asyncio.sleep(0)

    heard = Heard()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        platform = asyncio.ensure_future(answer(listening))
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        request = StreamRequest("GET", url, {}, b"", LONG_S, handshake_timeout_s=0.6)
        await WebSocketClient(tls=ours).open(request, heard)
        late.set()
        async with asyncio.timeout(WAIT_S):
            await platform
    assert read == b""
    assert heard.events == [Loss(clean=False, reason="handshake_timeout", detail="no handshake within 0.6 s")]


async def test_an_acceptance_in_time_is_heard_where_the_loop_was_held_beyond_it():
    async def answer(accept: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTANCE.replace(b"ACCEPT", accept) + HI)
        time.sleep(1.2)  # noqa: ASYNC251 - the point of it

    async with platform(answer) as url:
        heard, client = Heard(), WebSocketClient()
        await client.open(StreamRequest("GET", url, {}, b"", LONG_S, handshake_timeout_s=1), heard)
        client.close()
    assert heard.events == ["opened", b"Hi"]


# Giving up


GivingUp = Callable[[WebSocketClient, "asyncio.Future[None]"], object]


@pytest.fixture(params=["closed", "cancelled"])
def give_up(request) -> GivingUp:
    return (lambda client, _: client.close()) if request.param == "closed" else (lambda _, opening: opening.cancel())


async def opening_ends(opening: asyncio.Future[None]) -> None:
    """See that `open` returns at once, or is cancelled."""
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait([opening])
    assert opening.cancelled() or opening.result() is None


async def test_a_connection_that_is_given_up_is_never_heard_of(give_up):
    async with full() as url:
        heard, client = Heard(), WebSocketClient()
        opening = asyncio.ensure_future(client.open(StreamRequest("GET", url, {}, b"", LONG_S, LONG_S), heard))
        for _ in range(3):
            await asyncio.sleep(0)
        give_up(client, opening)
        await opening_ends(opening)
    assert heard.events == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_handshake_that_is_given_up_leaves_no_connection(give_up, scheme: str):
    asked = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(10)
            asked.set()
            await reader.read()
        writer.transport.abort()
        over.set()

    over = asyncio.Event()
    heard, client = Heard(), WebSocketClient()
    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        opening = asyncio.ensure_future(client.open(StreamRequest("GET", url, {}, b"", LONG_S, LONG_S), heard))
        await asked.wait()
        give_up(client, opening)
        async with asyncio.timeout(WAIT_S):
            await over.wait()
        await opening_ends(opening)
        await asyncio.sleep(0)
    assert heard.events == []


async def test_a_refusal_that_is_given_up_before_its_end_is_not_heard(give_up):
    asked = asyncio.Event()

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99\r\n\r\n" + WORDS)
        for _ in range(3):
            await asyncio.sleep(0)
        asked.set()

    heard, client = Heard(), WebSocketClient()
    async with platform(answer) as url:
        opening = asyncio.ensure_future(client.open(StreamRequest("GET", url, {}, b"", LONG_S, LONG_S), heard))
        await asked.wait()
        give_up(client, opening)
        await opening_ends(opening)
    assert heard.events == []


@pytest.mark.parametrize("is_secure", [False, True])
async def test_no_connection_stays_whenever_it_is_given_up(give_up, trusted, is_secure):
    theirs, ours = trusted
    for turns in range(60):
        heard, client = Heard(), WebSocketClient(tls=ours)
        async with platform(answering(ACCEPTANCE + HI), theirs if is_secure else None) as url:
            opening = asyncio.ensure_future(client.open(StreamRequest("GET", url, {}, b"", LONG_S, LONG_S), heard))
            for _ in range(turns):
                await asyncio.sleep(0)
            give_up(client, opening)
            if opening.done():  # it is a link by now, which nobody can cancel
                client.close()
            before = list(heard.events)
            await opening_ends(opening)
        assert heard.events == before
        assert before in ([], ["opened", b"Hi"])


async def test_a_stream_that_is_closed_before_it_is_opened_connects_to_nobody():
    heard, client = Heard(), WebSocketClient()
    client.close()
    await client.open(StreamRequest("GET", "http://127.0.0.1:9/", {}, b"", LONG_S, LONG_S), heard)
    assert heard.events == []
