"""Runs the ASGI application on uvicorn, and takes it down gently when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trunkline.app import Relay, make_app
from trunkline.config import Settings
from trunkline.core.errors import Fault, SettingsError

MAX_HEAD_BYTES: Final = 64 << 10  # a security limit
logger = logging.getLogger("trunkline")


def check_access(settings: Settings, *, insecure: bool) -> None:
    """Refuse to listen without a credential, except on loopback with `--insecure`. Raises `SettingsError`."""
    if insecure:
        if not _is_loopback(settings.server.host):
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
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="websockets-sansio",
            ws_max_size=1 << 16,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=4_096,
            # Turns have ended by then; what is left are readers that take their last bytes slowly.
            timeout_graceful_shutdown=5,
        )
        # Its lines hold whole addresses, and a query may hold a customer's words; `access_log=False` alone is not
        # enough where another handler is attached.
        logging.getLogger("uvicorn.access").disabled = True
        self._uvicorn = _Uvicorn(config)
        self._stopping: asyncio.Task[None] | None = None

    async def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serve until stopped: SIGTERM or SIGINT drains, a second one ends at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(self._uvicorn.serve(sockets=[self._listener]))
                while not self._uvicorn.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
                if self._uvicorn.started and on_ready is not None:
                    on_ready(address_of(self._listener))
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Take no new turns, let open ones end within `server.drain_s`, then close. Called again: end at once."""
        if self._stopping is None:
            logger.info("draining open_turns=%d limit_s=%g", *self._burden())
            self._stopping = asyncio.ensure_future(self._drain())
        else:
            self._stopping.cancel()
            self._uvicorn.should_exit = self._uvicorn.force_exit = True

    def _burden(self) -> tuple[int, float]:
        return self._relay.turns.open_count, self._relay.settings.server.drain_s

    async def _drain(self) -> None:
        await self._relay.drain()
        self._uvicorn.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers, which would close readers' connections before their turns have ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a bound on the header block, which it lacks on its own."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response(f"The headers are longer than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
