"""uvicorn's protocols with the bounds that they lack and the live lane. They know its inside, of one minor release."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from trunkline.endpoints.problems import PROBLEM_DETAILS, Problem
from trunkline.endpoints.streams import LIVE_EXTENSION

MAX_HEAD_BYTES: Final = 64 << 10  # a security limit
REQUEST_TIMEOUT_S: Final = 30.0  # for a whole request to arrive
_quiet = logging.getLogger("trunkline.websocket")
_quiet.setLevel(logging.WARNING)


class _Unstuck(asyncio.Protocol):
    """Drops a connection whose peer takes nothing for `stall_s`: closing would wait for it for ever."""

    stall_s = 60.0
    transport: asyncio.Transport
    _stuck: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The peer is slow; give it time."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = asyncio.get_running_loop().call_later(self.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The peer took something."""
        super().resume_writing()
        self._move_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._move_on()
        super().connection_lost(exc)

    def _move_on(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class HttpProtocol(_Unstuck, HttpToolsProtocol):
    """uvicorn's HTTP protocol with the bounds that it lacks: on heads, trailers, slow requests, stuck readers."""

    max_message_bytes = MAX_HEAD_BYTES
    _in_head = True
    _message_bytes = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing has come yet; a request must, in time."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._cycles: list[RequestResponseCycle] = []
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every response that is not over that its client is gone."""
        self._patience_ends()
        super().connection_lost(exc)
        for cycle in self._cycles:  # uvicorn tells only the newest of those that came one upon the other
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Take what came, as much as one request may have."""
        super().data_received(data)
        if self._patience is None or self.transport.is_closing():
            return
        self._message_bytes += len(data)
        if self._in_head and self._message_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"The headers are longer than {MAX_HEAD_BYTES} bytes.")
        elif self._message_bytes > self.max_message_bytes:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as every other address does (RFC 9457)."""
        body = PROBLEM_DETAILS.response(Problem(400, "bad_request", msg)).body
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (PROBLEM_DETAILS.media_type.encode(), len(body)) + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._message_bytes = True, 0
        self._be_patient()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._in_head:  # trailers are of no use here
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the response, and give it the live lane."""
        self._in_head = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete] + [self.cycle]
            extensions: dict[str, Any] = {LIVE_EXTENSION: partial(self._write, self.cycle)}
            self.scope["extensions"] = extensions

    def _write(self, cycle: RequestResponseCycle, data: bytes) -> bool:
        """Write a piece of a body now; False where nothing was written, because the peer is slow or gone.

        Only for a response that has started: nothing else is ever written to the connection while it lasts.
        """
        if self.flow.write_paused or cycle.disconnected or cycle.response_complete or self.transport.is_closing():
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if cycle.chunked_encoding else data)
        return True

    def on_message_complete(self) -> None:
        """The request is there."""
        self._patience_ends()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on the other protocol has its own times."""
        self._patience_ends()
        super().handle_websocket_upgrade()

    def _be_patient(self) -> None:
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    def _patience_ends(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class WebSocketProtocol(_Unstuck, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with a bound on stuck readers, and a live lane."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log nothing that names an address or a message."""
        super().connection_made(transport)
        # Their own lines hold whole addresses and messages, and a query may hold a ticket.
        self.logger = self.conn.logger = _quiet
        self.conn.debug = False

    async def run_asgi(self) -> None:
        """Serve it, with the live lane."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[LIVE_EXTENSION] = self._write
        await super().run_asgi()

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; for one that is no text uvicorn would write a stack trace, whenever a client likes."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping, unless the peer takes nothing: a flood of them would fill our memory with answers."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    async def send(self, message: ASGISendEvent) -> None:
        """Take a message of the application. Raises `ClientDisconnected`, also where it was closed from below."""
        await self.writable.wait()
        if self.close_sent and self.initial_response is None:
            raise ClientDisconnected  # It was closed from below: a message that is too long, a dead peer.
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # It was refused, and properly: no fault to log.

    def _write(self, data: bytes) -> bool:
        """Write whole frames now; False where nothing was written, because the peer is slow or leaving."""
        if not self.writable.is_set() or self.close_sent or self.disconnected or self.transport.is_closing():
            return False
        self.transport.write(data)
        return True
