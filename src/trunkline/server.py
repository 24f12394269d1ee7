"""Runs the ASGI application on uvicorn, and takes it down gently when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from trunkline.app import Relay, make_app
from trunkline.config import Settings
from trunkline.core.errors import Fault, SettingsError
from trunkline.endpoints.access import is_loopback
from trunkline.endpoints.problems import PROBLEM_DETAILS, Problem
from trunkline.endpoints.streams import LIVE_EXTENSION

MAX_HEAD_BYTES: Final = 64 << 10  # a security limit
WS_PING_S: Final = 20.0
REQUEST_TIMEOUT_S: Final = 30.0  # for a whole request to arrive
BACKLOG: Final = 4_096
logger = logging.getLogger("trunkline")
_quiet = logging.getLogger("trunkline.websocket")
_quiet.setLevel(logging.WARNING)


def check_access(settings: Settings, *, insecure: bool) -> None:
    """Refuse to listen without a credential, except on loopback with `--insecure`. Raises `SettingsError`."""
    if insecure:
        if not is_loopback(settings.server.host):
            detail = f"--insecure listens on loopback only, and server.host is {settings.server.host!r}"
            raise SettingsError([Fault("server.host", detail)])
    elif not settings.keys:
        detail = (
            "there is no key, so nobody could ask. `trunkline key NAME` makes one and prints the lines to add; "
            "--insecure lets everybody on this machine in"
        )
        raise SettingsError([Fault("keys", detail)])


def bind(settings: Settings) -> socket.socket:
    """Take the port before anything else starts. Raises `SettingsError` where somebody else has it."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # Two that start together may both bind; only one can listen.
    except OSError as error:
        listener.close()
        detail = f"cannot listen on {host}:{port}: {error.strerror}. Choose another with server.port or WS_PORT"
        raise SettingsError([Fault("server.port", detail)]) from None
    listener.set_inheritable(True)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the address that clients use."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server:
    """One relay on one port. `stop` drains it: readers see their turns' ends before the process is gone."""

    def __init__(self, settings: Settings, listener: socket.socket, *, insecure: bool) -> None:
        self._relay = Relay(settings)
        self._listener = listener
        app = make_app(settings, insecure=insecure, relay=self._relay)
        stall_s = settings.server.stall_s
        max_message_bytes = MAX_HEAD_BYTES + 16 * settings.server.max_body_bytes  # chunks may be small, within reason
        config = uvicorn.Config(
            app,
            http=type("Http", (_Http,), {"stall_s": stall_s, "max_message_bytes": max_message_bytes}),
            ws=type("WebSocket", (_WebSocket,), {"stall_s": stall_s}),
            ws_max_size=settings.server.max_body_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=WS_PING_S,
            ws_ping_timeout=stall_s,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            # Turns have ended by then; what is left are readers that take their last bytes slowly.
            timeout_graceful_shutdown=5,
        )
        # Its lines hold whole addresses, and a query may hold a customer's words; `access_log=False` alone is not
        # enough where another handler is attached.
        logging.getLogger("uvicorn.access").disabled = True
        self._uvicorn = _Uvicorn(config)
        self._stopping: asyncio.Task[None] | None = None
        self._hurried = False
        self._starting: asyncio.Task[Any] | None = None
        self.on_stop: Callable[[], object] | None = None
        """Called when the server is told to stop, before it drains."""

    async def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serve until stopped: SIGTERM or SIGINT drains, a second one ends open turns now, a third waits for nobody."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self._starting = asyncio.current_task()
        try:
            async with self._relay, asyncio.TaskGroup() as group:
                self._starting = None
                serving = group.create_task(self._uvicorn.serve(sockets=[self._listener]))
                while not self._uvicorn.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
                if self._uvicorn.started and on_ready is not None:
                    on_ready(address_of(self._listener))
        except asyncio.CancelledError:
            if self._starting is None:
                raise
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Take no new turns, let open ones end within `server.drain_s`, then close. Called again: end them now."""
        if self.on_stop is not None:
            self.on_stop()
        if self._starting is not None:
            self._starting.cancel()  # It may be waiting for another relay to leave the folder.
        elif not self._uvicorn.started:
            self._uvicorn.should_exit = True
        elif self._stopping is None:
            logger.info("draining open_turns=%d limit_s=%g", *self._burden())
            self._stopping = asyncio.ensure_future(self._drain())
        elif not self._hurried:
            self._hurried = True
            self._stopping.cancel()
            self._uvicorn.config.timeout_graceful_shutdown = 1
            self._stopping = asyncio.ensure_future(self._drain(0))
        else:
            self._uvicorn.force_exit = True

    def _burden(self) -> tuple[int, float]:
        return self._relay.turns.open_count, self._relay.settings.server.drain_s

    async def _drain(self, limit_s: float | None = None) -> None:
        await self._relay.drain(limit_s)
        self._uvicorn.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers, which would close readers' connections before their turns have ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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


class _Http(_Unstuck, HttpToolsProtocol):
    """uvicorn's HTTP protocol with the bounds that it lacks: on heads, trailers, slow requests, stuck readers."""

    max_message_bytes = MAX_HEAD_BYTES
    _in_head = True
    _message_bytes = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._cycles: list[RequestResponseCycle] = []
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience_ends()
        super().connection_lost(exc)
        for cycle in self._cycles:  # uvicorn tells only the newest of those that came one upon the other
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
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
        super().on_message_begin()
        self._in_head, self._message_bytes = True, 0
        self._be_patient()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are of no use here
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
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
        self._patience_ends()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._patience_ends()
        super().handle_websocket_upgrade()

    def _be_patient(self) -> None:
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    def _patience_ends(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _WebSocket(_Unstuck, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with a bound on stuck readers, and a live lane."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Their own lines hold whole addresses and messages, and a query may hold a ticket.
        self.logger = self.conn.logger = _quiet
        self.conn.debug = False

    async def run_asgi(self) -> None:
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
