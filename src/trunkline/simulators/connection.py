"""One client connection: requests in through h11, bytes out as they are, and a client that leaves is noticed."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import cast

import h11

from trunkline.simulators.base import Request

MAX_BODY = 8 << 20  # a model's whole context, generously
_MAX_HEAD = 64 << 10
_MAX_UNREAD = 1 << 20  # bounds what a client may send ahead while its answer is under way
_LINGER_S = 2.0
_DELIVERY_S = 1.0


class ClientGoneError(Exception):
    """The client has closed or reset the connection."""


class BadRequestError(Exception):
    """What came in is no HTTP; carries the status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection(asyncio.Protocol):
    """One connection; its methods are for one task at a time.

    Whatever waits raises `ClientGoneError` at once when the client closes or resets the connection. A client that
    closes only its own direction is taken as gone too.
    """

    def __init__(self, number: int, opened: Callable[[Connection], None], lost: Callable[[Connection], None]) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.stale = False  # the next request is to be met with a reset
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._opened = opened
        self._lost = lost
        self._gone: asyncio.Future[None] = loop.create_future()
        self._arrived: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._unread = bytearray()
        self._discards = False
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)

    # called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; every write is to leave this process before the next is made."""
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Keep what came until the task asks for it."""
        if self._discards:
            return
        self._unread += data
        if len(self._unread) > _MAX_UNREAD:
            self.abort()
        _done(self._arrived)

    def eof_received(self) -> None:
        """Take the client's end for its leave."""
        _done(self._gone)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone that waits."""
        _done(self._gone)
        _done(self.closed)
        self._lost(self)

    def pause_writing(self) -> None:
        """Hold the writer."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let the writer go on."""
        _done(self._writable)
        self._writable = None

    # in

    async def request(self) -> Request | None:
        """Give the next request, or None when the client left without another; raises `BadRequestError`."""
        try:
            head = await self._event()
            if not isinstance(head, h11.Request):
                return None
            body = await self._body(head)
        except ClientGoneError:
            return None
        except h11.RemoteProtocolError as problem:
            raise BadRequestError(problem.error_status_hint, str(problem)) from problem
        if body is not None:
            self._next_parser()
        return _request(head, body)

    async def _body(self, head: h11.Request) -> bytes | None:
        """Give the body, or None as soon as it is known to be over the bound."""
        length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        if length > MAX_BODY:
            return None
        body = bytearray()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ClientGoneError
            body += event.data
            if len(body) > MAX_BODY:
                return None
        return bytes(body)

    async def _event(self) -> object:
        asked_to_go_on = False
        while (event := self._parser.next_event()) is h11.NEED_DATA:
            if self._parser.they_are_waiting_for_100_continue and not asked_to_go_on:
                asked_to_go_on = True
                await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not self._unread:
                self._arrived = self._loop.create_future()
                await self.first_of(self._arrived)
            self._parser.receive_data(bytes(self._unread))
            self._unread.clear()
        return event

    def _next_parser(self) -> None:
        # The answer does not pass through h11, so its state machine would not let it begin the next request.
        ahead, _ = self._parser.trailing_data
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        if ahead:
            self._parser.receive_data(ahead)

    def switch(self) -> None:
        """Take all that comes from now on as bytes for `read`: the connection has left HTTP."""
        ahead, _ = self._parser.trailing_data
        self._unread[:0] = ahead

    @property
    def has_unread(self) -> bool:
        """Whether `read` would give something at once."""
        return bool(self._unread)

    async def read(self, timeout_s: float) -> bytes:
        """Give what has come after `switch`, or nothing where nothing comes in time."""
        if not self._unread:
            self._arrived = self._loop.create_future()
            await self.first_of(self._arrived, timeout_s)
        data = bytes(self._unread)
        self._unread.clear()
        return data

    # out

    async def write(self, data: bytes) -> None:
        """Send `data`; returns when the kernel has taken all of it."""
        if self._gone.done() or self._transport.is_closing():
            raise ClientGoneError
        self._transport.write(data)
        if self._writable is not None:
            await self.first_of(self._writable)
        if self._transport.is_closing():
            raise ClientGoneError

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass, at least one turn of the event loop."""
        if seconds > 0:
            await asyncio.wait({self._gone}, timeout=seconds)
        else:
            await asyncio.sleep(0)
        if self._gone.done():
            raise ClientGoneError

    async def first_of(self, future: asyncio.Future[None], timeout_s: float | None = None) -> bool:
        """Wait for `future` and give whether it is done within the time."""
        await asyncio.wait({self._gone, future}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._gone.done() and not future.done():
            raise ClientGoneError
        return future.done()

    async def until_gone(self) -> None:
        """Wait for the client to leave."""
        await asyncio.wait({self._gone})
        raise ClientGoneError

    # the end

    async def reset(self) -> None:
        """Reset the connection (RST), after what was written has reached the client's kernel (bounded wait)."""
        linger = struct.pack("ii", 1, 0)
        try:
            await self._delivered()
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (ClientGoneError, OSError):
            pass  # the client was first
        self.abort()

    async def close(self, *, unread: bool = False) -> None:
        """Close the connection (FIN); with `unread` input, only after the client has had time to read the answer."""
        if unread and not self._transport.is_closing():
            # Closing a socket with unread input sends a reset, which may overtake the answer (RFC 9112 section 9.6).
            self._discards = True
            self._transport.write_eof()
            await asyncio.wait({self._gone}, timeout=_LINGER_S)
        self._transport.close()

    def abort(self) -> None:
        """Close the connection without another word."""
        self._transport.abort()

    async def _delivered(self) -> None:
        # The kernel has no event for "all acknowledged"; a reset would throw away what is not.
        if sys.platform != "linux":
            return
        give_up = self._loop.time() + _DELIVERY_S
        while self._loop.time() < give_up:
            answer = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            if struct.unpack("i", answer) == (0,):
                return
            await self.sleep(0.001)


def _request(head: h11.Request, body: bytes | None) -> Request:
    path, _, query = head.target.decode("ascii", "replace").partition("?")
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method, http11 = head.method.decode("ascii"), head.http_version >= b"1.1"
    return Request(method, path, query, headers, body or b"", http11=http11, too_large=body is None)


def _done(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
