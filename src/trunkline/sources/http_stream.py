"""HTTP/1.1 streams, each on a connection of its own or on one that an earlier stream left in the pool."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from trunkline.connect.tls import client_context
from trunkline.dialects.base import Loss
from trunkline.sources.base import Receiver, StreamRequest
from trunkline.sources.http_connection import Connection, Origin

MAX_IDLE_PER_ORIGIN: Final = 64
IDLE_TIMEOUT_S: Final = 30.0


class HttpPool:
    """Idle connections by origin. A connection serves one stream at a time and comes back when its answer is whole."""

    def __init__(self, tls: Callable[[], ssl.SSLContext] = client_context) -> None:
        self._tls = tls
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()

    @property
    def idle_count(self) -> int:
        """How many connections wait to be used again."""
        return sum(map(len, self._idle.values()))

    async def connect(self, origin: Origin) -> Connection:
        """Open a fresh connection. Raises `OSError` or `ssl.SSLError`; cancelled, it leaves none."""
        scheme, host, port = origin
        tls = self._tls() if scheme == "https" else None
        connection = Connection(self, origin)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, host, port, ssl=tls)
        except asyncio.CancelledError:
            connection.abort()  # asyncio would wait for the good-bye of TLS
            raise
        self._open.add(connection)
        return connection

    def take(self, origin: Origin) -> Connection | None:
        """Take the idle connection that was used last, if there is one that is alive."""
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.usable:
                connection.wake_up()
                return connection
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer is whole, for a while."""
        idle = self._idle.setdefault(connection.origin, [])
        if len(idle) >= MAX_IDLE_PER_ORIGIN:
            connection.abort()
            return
        idle.append(connection)
        connection.rest(IDLE_TIMEOUT_S)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Drop every connection, idle or not."""
        for connection in list(self._open):
            connection.abort()


class HttpStream:
    """One stream: a request, and the body of its answer as it comes."""

    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool
        self._connection: Connection | None = None
        self._receiver: Receiver | None = None
        self._limit: asyncio.Timeout | None = None  # of the connection that is under way
        self._given_up = False

    async def open(self, request: StreamRequest, receiver: Receiver) -> None:
        """Send the request on an idle connection or a fresh one, and hand the answer to the receiver."""
        if self._given_up:
            return
        self._receiver = receiver
        parts = urlsplit(request.url)
        scheme, host = parts.scheme, parts.hostname or ""
        origin = (scheme, host, parts.port or (443 if scheme == "https" else 80))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            head = _head(request, parts.netloc.rpartition("@")[2], target)
        except ValueError as error:
            receiver.closed(Loss(clean=False, reason="internal_error", detail=str(error)))
            return
        try:
            await self._ask(origin, head + request.body, request.connect_timeout_s, receiver)
        except asyncio.CancelledError:
            self.close()
            raise

    async def _ask(self, origin: Origin, data: bytes, connect_timeout_s: float, receiver: Receiver) -> None:
        connection = self._pool.take(origin)
        if connection is not None:
            self._connection = connection
            # A server may close an idle connection in the very moment it is used again. As long as no byte of an
            # answer came, nothing was heard, and a fresh connection is tried once.
            stale = await connection.exchange(data, receiver, retry_when_stale=True)
            if not stale or self._given_up:
                return
        self._limit = asyncio.timeout(connect_timeout_s)
        try:
            async with self._limit:
                connection = await self._pool.connect(origin)
        except (OSError, TimeoutError) as error:
            if not self._given_up:
                receiver.closed(_connect_loss(error, f"{origin[1]}:{origin[2]}", connect_timeout_s))
            return
        finally:
            self._limit = None
        if self._given_up:
            connection.abort()
            return
        self._connection = connection
        await connection.exchange(data, receiver, retry_when_stale=False)

    def send(self, data: bytes) -> None:
        """Never asked for: an HTTP answer takes nothing more from us."""
        raise AssertionError("an HTTP stream sends nothing after its request")

    def finish(self) -> None:
        """Let the body run out, and keep the connection where that happens soon."""
        if self._connection is not None and self._connection.serves(self._receiver):
            self._connection.drain()

    def close(self) -> None:
        """Drop the connection, or what is to become one."""
        self._given_up = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())
        if self._connection is not None and self._connection.serves(self._receiver):
            self._connection.abort()


def _head(request: StreamRequest, host: str, target: str) -> bytes:
    lines = [
        f"{request.method} {target} HTTP/1.1",
        f"host: {host}",
        "accept-encoding: identity",
        "user-agent: trunkline",
        f"content-length: {len(request.body)}",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header or the address holds a line end")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "strict")


def _connect_loss(error: Exception, where: str, timeout_s: float) -> Loss:
    if isinstance(error, TimeoutError):
        return Loss(clean=False, reason="connect_timeout", detail=f"no connection to {where} within {timeout_s:g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"the TLS certificate of {where} is not trusted: {error.verify_message}"
        return Loss(clean=False, reason="upstream_unavailable", detail=detail)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return Loss(clean=False, reason="upstream_unavailable", detail=f"no connection to {where}: {text}")
