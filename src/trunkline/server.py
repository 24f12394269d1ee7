"""Runs the ASGI application on uvicorn, and takes it down gently when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn

from trunkline.app import Relay, make_app
from trunkline.config import Settings
from trunkline.core.errors import Fault, SettingsError
from trunkline.endpoints.access import is_loopback
from trunkline.protocols import MAX_HEAD_BYTES, HttpProtocol, WebSocketProtocol
from trunkline.telemetry import internal_error

WS_PING_S: Final = 20.0
BACKLOG: Final = 4_096
logger = logging.getLogger("trunkline")


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
            http=type("Http", (HttpProtocol,), {"stall_s": stall_s, "max_message_bytes": max_message_bytes}),
            ws=type("WebSocket", (WebSocketProtocol,), {"stall_s": stall_s}),
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
            self._uvicorn.should_exit = self._uvicorn.force_exit = True

    def _burden(self) -> tuple[int, float]:
        return self._relay.turns.open_count, self._relay.settings.server.drain_s

    async def _drain(self, limit_s: float | None = None) -> None:
        try:
            await self._relay.drain(limit_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process is to end
            self._relay.telemetry.tell(internal_error("drain", error))
        self._uvicorn.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers, which would close readers' connections before their turns have ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
