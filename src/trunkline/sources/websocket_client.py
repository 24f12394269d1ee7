"""WebSocket streams (RFC 6455) on picows: one whole message is one read."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final

import picows
from picows.url import parse_url

from trunkline.connect.tls import client_context
from trunkline.dialects.base import Loss
from trunkline.sources.base import Receiver, StreamRequest
from trunkline.sources.websocket_handshake import Handshake, Refusal, dial

MAX_MESSAGE_BYTES: Final = 1 << 20  # a security limit, over all frames of a message
LONG_READ_S: Final = 0.005  # of CPU; a read that takes more is a flood: many messages at once, or very many frames
REST: Final = 4  # after one the link is left alone for so many times as long, and the platform is held back
PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 10.0
_TEXT: Final = picows.WSMsgType.TEXT  # looked up once: it is asked for with every message
_CONTINUATION: Final = picows.WSMsgType.CONTINUATION
_DATA: Final = (_TEXT, picows.WSMsgType.BINARY, _CONTINUATION)
_UNREADABLE: Final = frozenset({1002, 1007, 1009})  # what we close with where RFC 6455 or our bounds are broken


class WebSocketClient:
    """One WebSocket: text and binary messages come in whole, fragments put together."""

    def __init__(
        self,
        ping_every_s: float = PING_EVERY_S,
        pong_within_s: float = PONG_WITHIN_S,
        tls: Callable[[], ssl.SSLContext] = client_context,
    ) -> None:
        self._ping_every_s = ping_every_s
        self._pong_within_s = min(pong_within_s, ping_every_s)  # until the next ping at most
        self._tls = tls
        self._listener: _Listener | None = None
        self._given_up = False
        self._limit: asyncio.Timeout | None = None  # of the connection or the handshake that is under way

    async def open(self, request: StreamRequest, receiver: Receiver) -> None:
        """Make the handshake; a refusal of it is told as `refused` with its status."""
        if self._given_up:
            return
        self._listener = listener = _Listener(receiver, self._ping_every_s, self._pong_within_s)
        try:
            failure = await self._connect(request, listener)
        except asyncio.CancelledError:
            self.close()
            raise
        if failure is None or listener.left:
            return
        listener.leave(None)
        if isinstance(failure, Refusal):
            receiver.refused(failure.status, failure.headers, failure.body)
        else:
            receiver.closed(failure)

    async def _connect(self, request: StreamRequest, listener: _Listener) -> Refusal | Loss | None:
        """Return why there is no link; None where there is one, or has been."""
        url = request.url.replace("http", "ws", 1) if request.url.startswith("http") else request.url
        tls = self._tls() if url.startswith("wss:") else None
        handshake: Handshake | None = None
        late = _late("connect_timeout", "connection", request.connect_timeout_s)
        self._limit = limit = asyncio.timeout(request.connect_timeout_s)
        try:
            async with limit:
                address = parse_url(url)
                handshake = Handshake(address, request.headers, listener.accepted, MAX_MESSAGE_BYTES)
                connection = await dial(address.host, address.port)
                if not listener.left:  # else the time that `close` set is not to be put off
                    late = _late("handshake_timeout", "handshake", request.handshake_timeout_s)
                    limit.reschedule(asyncio.get_running_loop().time() + request.handshake_timeout_s)
                return await handshake.outcome(connection, tls)
        except TimeoutError:
            # A loop that was held up may read the answer in the very turn in which it notices the time.
            if listener.connected:
                return None
            return (handshake and handshake.refusal) or late
        except (OSError, ValueError, picows.WSError) as error:
            detail = f"no connection: {str(error) or type(error).__name__}"
            return Loss(clean=False, reason="upstream_unavailable", detail=detail)
        finally:
            self._limit = None

    def send(self, data: bytes) -> None:
        """Send one text message; on a link that is gone it is dropped, and `closed` tells of the loss."""
        if self._listener is not None:
            self._listener.send(data)

    def finish(self) -> None:
        """Say good-bye properly."""
        if self._listener is not None:
            self._listener.leave(picows.WSCloseCode.OK)

    def close(self) -> None:
        """Drop the link now, or what is to become one."""
        self._given_up = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())
        if self._listener is not None:
            self._listener.leave(None)


class _Listener(picows.WSListener):
    """Puts fragments together and passes messages on; the method names are picows'."""

    def __init__(self, receiver: Receiver, ping_every_s: float, pong_within_s: float) -> None:
        self._receiver: Receiver | None = receiver
        self._ping_every_s = ping_every_s
        self._pong_within_s = pong_within_s
        self._next_ping: asyncio.TimerHandle | None = None
        self._pong_is_due: asyncio.TimerHandle | None = None
        self._transport: picows.WSTransport | None = None
        self._fragments: bytearray | None = None
        self._is_text = False
        self._loop = asyncio.get_running_loop()
        self._read_began_at: float | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._is_full = False
        self._owed_pong: bytes | None = None
        self._loss: Loss | None = None
        self._farewell: asyncio.Task[None] | None = None
        self._headers: Mapping[str, str] = {}
        self.connected = False
        """Whether the handshake has ever been answered."""

    @property
    def left(self) -> bool:
        """Whether nobody wants to hear of the link any more, or it is gone."""
        return self._receiver is None

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, data)

    def leave(self, code: picows.WSCloseCode | None) -> None:
        self._receiver = None
        self._stop(self._next_ping, self._pong_is_due, self._resting)
        if self._transport is not None:
            if code is None:
                self._transport.disconnect(graceful=False)
            else:
                self._transport.send_close(code)
                _hang_up(self._transport)

    def accepted(self, headers: Mapping[str, str]) -> _Listener:
        """Take the headers of the acceptance; that it is connected follows at once."""
        self._headers = headers
        return self

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self.connected = True
        if self._receiver is None:  # given up during the handshake
            transport.disconnect(graceful=False)
        else:
            self._next_ping = self._loop.call_later(self._ping_every_s, self._ping, transport)
            self._receiver.opened(self._headers)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        # The time of this thread, not of the clock: who has to wait for a core was not flooded.
        if self._read_began_at is None:
            self._read_began_at = time.thread_time()
        self._take(transport, frame)
        if frame.last_in_buffer:
            took_s, self._read_began_at = time.thread_time() - self._read_began_at, None
            stream = transport.underlying_transport
            if took_s > LONG_READ_S and not stream.is_closing():
                stream.pause_reading()
                self._stop(self._resting)
                self._resting = self._loop.call_later(REST * took_s, stream.resume_reading)

    def _take(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if transport.is_close_frame_sent:  # what comes now was sent before the platform knew of it
            if kind is picows.WSMsgType.CLOSE:
                transport.disconnect()
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise _broken("expected no reserved bit to be set, for no extension was agreed on")
        if kind in _DATA:
            self._message(frame)
        elif kind is picows.WSMsgType.CLOSE:
            self._closing(transport, frame)
        elif kind is picows.WSMsgType.PING:
            self._answer(transport, frame.get_payload_as_bytes())
        elif kind is picows.WSMsgType.PONG:
            self._stop(self._pong_is_due)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        owed, self._owed_pong = self._owed_pong, None
        if owed is not None and self._transport is not None:
            self._transport.send_pong(owed)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        receiver, self._receiver = self._receiver, None
        self._stop(self._next_ping, self._pong_is_due, self._resting)
        # The transport also keeps why it failed for somebody to fetch; it is told below, and fetched to be forgotten.
        self._farewell = asyncio.get_running_loop().create_task(transport.wait_disconnected())
        self._farewell.add_done_callback(lambda done: done.cancelled() or done.exception())
        if receiver is not None:
            receiver.closed(self._loss or _loss_of(transport))

    def _ping(self, transport: picows.WSTransport) -> None:
        self._next_ping = self._loop.call_later(self._ping_every_s, self._ping, transport)
        self._pong_is_due = self._loop.call_later(self._pong_within_s, self._miss_pong, transport)
        transport.send_ping()

    def _miss_pong(self, transport: picows.WSTransport) -> None:
        detail = f"the link is dead: no answer to a ping within {self._pong_within_s:g} s"
        self._loss = Loss(clean=False, detail=detail, code=1006)
        transport.send_close(picows.WSCloseCode.GOING_AWAY)
        transport.disconnect(graceful=False)

    @staticmethod
    def _stop(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()

    def _closing(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        code = frame.get_close_code()
        text = (frame.get_close_message() or b"").decode("utf-8", "replace")
        number = int(code.value)
        detail = f"the platform closed the WebSocket with {number}" + (f": {text}" if text else "")
        self._loss = Loss(clean=number in (1000, 1001), detail=detail, code=number)
        unsayable = frame.payload_size and code in (picows.WSCloseCode.NO_INFO, picows.WSCloseCode.ABNORMAL_CLOSURE)
        transport.send_close(picows.WSCloseCode.PROTOCOL_ERROR if unsayable else picows.WSCloseCode.OK)
        _hang_up(transport)

    def _answer(self, transport: picows.WSTransport, payload: bytes) -> None:
        """Answer a ping; of many that a platform sends and does not read on, the newest (RFC 6455 section 5.5.3)."""
        if self._is_full:
            self._owed_pong = payload
        else:
            transport.send_pong(payload)

    def _message(self, frame: picows.WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        goes_on = frame.msg_type is _CONTINUATION
        if self._fragments is None:
            if goes_on:
                raise _broken("expected the start of a message, got a continuation")
            self._is_text = frame.msg_type is _TEXT
            if not frame.fin:
                self._fragments = bytearray(payload)
                return
        else:
            if not goes_on:
                raise _broken("expected the rest of a message, got the start of another")
            self._fragments += payload
            if len(self._fragments) > MAX_MESSAGE_BYTES:
                detail = f"expected messages of at most {MAX_MESSAGE_BYTES} bytes, got more"
                raise picows.WSProtocolError(picows.WSCloseCode.MESSAGE_TOO_BIG, detail)
            if not frame.fin:
                return
            payload, self._fragments = bytes(self._fragments), None
        if self._is_text:
            try:
                payload.decode()
            except UnicodeDecodeError:
                detail = "expected UTF-8 in a text message"
                raise picows.WSProtocolError(picows.WSCloseCode.INVALID_TEXT, detail) from None
        if self._receiver is not None:
            self._receiver.receive(payload)


def _broken(detail: str) -> picows.WSProtocolError:
    """Make what, raised in a callback, has picows close the link with 1002."""
    return picows.WSProtocolError(picows.WSCloseCode.PROTOCOL_ERROR, detail)


def _late(reason: str, what: str, limit_s: float) -> Loss:
    return Loss(clean=False, reason=reason, detail=f"no {what} within {limit_s:g} s")


def _hang_up(transport: picows.WSTransport) -> None:
    """Close a connection after a close frame; a platform that does not even read it is not waited for."""
    transport.disconnect(graceful=transport.underlying_transport.get_write_buffer_size() == 0)


def _loss_of(transport: picows.WSTransport) -> Loss:
    """Return why a link went down that the platform did not close: what it sent cannot be read, or it is gone."""
    closing = transport.close_handshake
    if closing is None or closing.sent is None:
        return Loss(clean=False, detail="the link was lost without a close frame", code=1006)
    words = str(closing.sent.reason or "no words")
    if int(closing.sent.code.value) in _UNREADABLE:
        return Loss(clean=False, reason="upstream_protocol", detail=f"the WebSocket cannot be read: {words}", code=1006)
    return Loss(clean=False, detail=f"the link is dead: {words}", code=1006)
