"""The platform's end of one WebSocket (RFC 6455): messages in and out, pings, the idle cut, and how it closes."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from trunkline.simulators.access import Token
from trunkline.simulators.base import RefusalError, Request, Rule
from trunkline.simulators.body import Body
from trunkline.simulators.connection import ClientGoneError
from trunkline.simulators.exchange import Exchange

_MAX_MESSAGE = 512 << 10
_MAX_REASON = 120  # a close frame has room for 123 bytes
_CLOSE_S = 1.0  # how long the client may take to answer a close frame
_BLOCK = 64 << 10  # bounds one frame of a message of any length
_PONG = 0x80 | Opcode.PONG


class LeftError(Exception):
    """The client has closed the WebSocket, which was answered."""


class HangUpError(Exception):
    """The platform closes the WebSocket with `code`; `ended` is what the ledger says, `rule` what the client broke."""

    def __init__(self, code: int, words: str = "", *, ended: str = "refused", rule: Rule | None = None) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.ended = ended
        self.rule = rule


def check_handshake(request: Request) -> dict[str, str]:
    """Give the headers that accept the WebSocket; raises `RefusalError` where `request` does not ask for one."""
    version = "HTTP/1.1" if request.http11 else "HTTP/1.0"
    handshake = Handshake(request.path, Headers(request.headers.items()), request.method, version)
    response = ServerProtocol().accept(handshake)
    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        return {name.lower(): value for name, value in response.headers.raw_items()}
    headers = {name.lower(): value for name, value in response.headers.raw_items() if name in {"Allow", "Upgrade"}}
    raise RefusalError(response.status_code, response.body.decode().strip(), headers=headers)


async def converse(
    exchange: Exchange, accept: dict[str, str], token: Token, talk: Callable[[WebSocket], Awaitable[None]]
) -> None:
    """Accept the WebSocket, let `talk` use it, and see to a proper end of it, whoever brings that about.

    `token` is what it was opened with; it is good for nothing more where that is asked for.
    """
    if exchange.faults.has("revoked"):
        token.revoked = True
    await exchange.switch(accept)
    web_socket = WebSocket(exchange)
    entry = exchange.entry
    try:
        await talk(web_socket)
    except LeftError:
        entry.end("completed" if web_socket.told_all else "client_gone")
    except HangUpError as reason:
        if reason.rule:
            entry.breaks(reason.rule, reason.words)
        await web_socket.close(reason.code, reason.words)
        entry.end("completed" if web_socket.told_all and reason.ended == "idle" else reason.ended)
    except ClientGoneError:
        if web_socket.told_all:
            entry.end("completed")
        raise


class WebSocket:
    """One WebSocket, for one task: whatever comes in is heeded while that task waits or writes.

    Every method raises `LeftError` once the client has closed the WebSocket, `ClientGoneError` once it has closed the
    connection, and `HangUpError` when the platform closes it: nothing has moved for the idle time, or what came in
    breaks RFC 6455. `told_all` is for the one who speaks, to say that the end mark was sent.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.told_all = False
        self._exchange = exchange
        self._connection = exchange.connection
        self._entry = exchange.entry
        self._idle_s = exchange.settings.idle_s
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._protocol = ServerProtocol(state=State.OPEN, max_size=_MAX_MESSAGE)
        self._messages: deque[str] = deque()
        self._fragments: list[bytes] = []
        self._body = self._new_body()

    # in

    async def message(self) -> str:
        """Give the next message."""
        while not self._messages:
            await self._wait(None)
        return self._messages.popleft()

    async def message_within(self, wait_s: float) -> str | None:
        """Give the next message; None where none comes within `wait_s`."""
        until = self._loop.time() + wait_s
        while not self._messages and self._loop.time() < until:
            await self._wait(until)
        return self._messages.popleft() if self._messages else None

    async def pause(self, seconds: float) -> None:
        """Let `seconds` pass; a message that comes meanwhile is out of order."""
        until = self._loop.time() + seconds
        while await self._wait(until):
            self._expect_none()

    async def until_left(self) -> None:
        """Wait for the client to leave; a message that comes instead is out of order."""
        while await self._wait(None):
            self._expect_none()

    # out

    async def begin(self) -> None:
        """Begin the answer: from here on the faults that are known by now change how bytes are written."""
        await self._body.flush()
        self._body = self._new_body()

    async def say(self, text: str, sent: Callable[[], None] | None = None) -> None:
        """Send one message of the answer; `sent` is called as soon as its last byte has gone to the socket."""
        data = text.encode()
        size = self._exchange.faults.number("fragments") or len(data) or 1
        parts = [data[begin : begin + size] for begin in range(0, len(data), size)] or [b""]
        self._protocol.send_text(parts[0], fin=len(parts) == 1)
        if self._exchange.faults.has("pings"):
            # Between the fragments of a message too, where RFC 6455 section 5.4 allows it.
            self._protocol.send_ping(b"still there?")
            self._entry.frame("platform", "ping")
        for place, part in enumerate(parts[1:], 2):
            self._protocol.send_continuation(part, fin=place == len(parts))
        await self._pass_on(sent)
        await self._look()

    async def say_padded(self, head: str, tail: str, size_bytes: int) -> None:
        """Send one message of about `size_bytes` in bounded frames: `head`, many an x, and `tail`."""
        self._protocol.send_text(head.encode(), fin=False)
        for begin in range(0, size_bytes, _BLOCK):
            self._protocol.send_continuation(b"x" * min(_BLOCK, size_bytes - begin), fin=False)
            await self._pass_on()
            await self._look()
        self._protocol.send_continuation(tail.encode(), fin=True)
        await self._pass_on()

    async def say_half(self, text: str) -> None:
        """Send the first half of a frame."""
        frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        await self._body.send(frame[: len(frame) // 2])
        await self._body.flush()

    async def tell(self, text: str) -> None:
        """Send one message that is no part of the answer."""
        self._protocol.send_text(text.encode())
        self._entry.frame("platform", "text", _as_json(text))
        await self._pass_on()
        await self._body.flush()

    async def flush(self) -> None:
        """Write what is held back."""
        await self._body.flush()

    async def close(self, code: int, words: str) -> None:
        """Send a close frame and give the client a little time to answer it; raises nothing."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, words.encode()[:_MAX_REASON].decode(errors="ignore"))
        self._entry.frame("platform", "close", code)
        try:
            await self._pass_on()
            await self._body.flush()
            if self._protocol.parser_exc is not None:
                # Who has failed a connection reads no more frames (RFC 6455 section 7.1.7).
                await self._connection.close(unread=True)
                return
            until = self._loop.time() + _CLOSE_S
            while self._protocol.close_rcvd is None and (left := until - self._loop.time()) > 0:
                self._protocol.receive_data(await self._connection.read(left))
        except ClientGoneError:
            return
        if self._protocol.close_rcvd is not None:
            self._entry.frame("client", "close", self._protocol.close_rcvd.code)

    # what comes in

    async def _wait(self, until: float | None) -> bool:
        """Heed what comes, if anything does before `until`; gives whether there is still time."""
        self._check_left()
        idle_at = self._moved_at + self._idle_s
        wake_at = idle_at if until is None else min(until, idle_at)
        data = await self._connection.read(max(0.0, wake_at - self._loop.time()))
        await self._heed(data)
        now = self._loop.time()
        if now >= self._moved_at + self._idle_s:
            raise HangUpError(CloseCode.GOING_AWAY, f"idle for {self._idle_s:g} s", ended="idle")
        return bool(self._messages) or until is None or now < until

    async def _look(self) -> None:
        """Heed what has come by now; in the middle of an answer no message is expected."""
        if self._connection.has_unread:
            await self._heed(await self._connection.read(0))
        self._expect_none()
        self._check_left()

    async def _heed(self, data: bytes) -> None:
        if not data:
            return
        self._moved_at = self._loop.time()
        self._receive(data)
        problem = self._protocol.parser_exc
        if problem is not None:
            code = self._protocol.close_sent.code if self._protocol.close_sent else CloseCode.PROTOCOL_ERROR
            raise HangUpError(code, f"expected a WebSocket, received {problem}", rule="framing")
        await self._pass_on()
        await self._body.flush()

    def _receive(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            if not isinstance(frame, Frame):
                raise TypeError(f"expected a frame, received {frame!r}")
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.PING:
                self._entry.frame("client", "ping")
                if not self._exchange.faults.has("no-pong"):
                    self._entry.frame("platform", "pong")
            case Opcode.PONG:
                self._entry.frame("client", "pong")
            case Opcode.CLOSE:
                close = self._protocol.close_rcvd
                self._entry.frame("client", "close", close.code if close else None)
            case Opcode.BINARY:
                raise HangUpError(CloseCode.UNSUPPORTED_DATA, "expected text, received a binary message", rule="json")
            case _:
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    self._complete()

    def _complete(self) -> None:
        data = b"".join(self._fragments)
        self._fragments.clear()
        try:
            text = data.decode()
        except UnicodeDecodeError as problem:
            raise HangUpError(CloseCode.INVALID_DATA, f"expected UTF-8: {problem.reason}", rule="framing") from None
        self._entry.frame("client", "text", _as_json(text))
        self._messages.append(text)

    def _check_left(self) -> None:
        if self._protocol.close_rcvd is not None and not self._messages:
            raise LeftError

    def _expect_none(self) -> None:
        if self._messages:
            raise HangUpError(4400, "expected no message now, received one", rule="order")

    # what goes out

    async def _pass_on(self, sent: Callable[[], None] | None = None) -> None:
        """Write what the protocol has to send; `sent` belongs to all of it."""
        data = b"".join(part for part in self._protocol.data_to_send() if not self._is_dropped(part))
        if data:
            self._moved_at = self._loop.time()
            await self._body.send(data, sent)

    def _is_dropped(self, part: bytes) -> bool:
        return part[:1] == bytes([_PONG]) and self._exchange.faults.has("no-pong")

    def _new_body(self) -> Body:
        return Body(self._connection, self._exchange.faults.without("gzip"), self._exchange.rng, chunked=False)


def _as_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
