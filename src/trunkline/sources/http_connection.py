"""One HTTP/1.1 connection: a small client on httptools whose reads go straight to the turn."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol, cast

import httptools

from trunkline.dialects.base import Loss
from trunkline.sources.base import Receiver

MAX_HEADER_BYTES: Final = 64 << 10  # a security limit on the whole header block
MAX_ERROR_BODY_BYTES: Final = 64 << 10  # what is kept of the body of another status than 200
MAX_DRAIN_BYTES: Final = 64 << 10  # what a finished answer may still bring before its connection is dropped
DRAIN_TIMEOUT_S: Final = 1.0
FULL_READ_BYTES: Final = 65_536

Origin = tuple[str, str, int]
"""A scheme, a host and a port."""


class Keeper(Protocol):
    """Keeps connections between two exchanges."""

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer is whole, for a while."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is gone."""


class Connection(asyncio.Protocol):
    """One TCP or TLS connection and, while it is used, the exchange on it; httptools and asyncio name the methods."""

    def __init__(self, keeper: Keeper, origin: Origin) -> None:
        self.origin = origin
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._eof = False
        self._timer: asyncio.TimerHandle | None = None
        self._receiver: Receiver | None = None
        self._parser: Any = None
        self._begin(None)

    def _begin(self, receiver: Receiver | None) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._heard = False
        self._status = 0  # of the answer proper, once its headers are complete
        self._announced = False
        self._pieces: list[bytes] = []
        self._error_body: bytearray | None = None
        self._drained: int | None = None
        self._complete = False
        self._keep = False
        self._stale: asyncio.Future[bool] | None = None

    # The pool's side

    @property
    def usable(self) -> bool:
        """Whether the connection can take another request."""
        return self._transport is not None and not self._transport.is_closing() and not self._eof

    def rest(self, timeout_s: float) -> None:
        """Be idle, for no longer than this."""
        self._begin(None)
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self.abort)

    def wake_up(self) -> None:
        """Be idle no longer."""
        self._cancel_timer()

    # The stream's side

    async def exchange(self, request: bytes, receiver: Receiver, *, retry_when_stale: bool) -> bool:
        """Send a request; its answer goes to the receiver in callbacks.

        With `retry_when_stale` wait for the first byte and return True where the connection was lost before any,
        without a word to the receiver.
        """
        self._begin(receiver)
        transport = cast("asyncio.Transport", self._transport)
        if retry_when_stale:
            self._stale = asyncio.get_running_loop().create_future()
        if not self.usable:
            self.connection_lost(ConnectionResetError())
        else:
            transport.write(request)
        return await self._stale if self._stale is not None else False

    def serves(self, receiver: Receiver | None) -> bool:
        """Whether it still has something for a receiver; if not, it may serve another one by now."""
        return receiver is not None and self._receiver is receiver

    def drain(self) -> None:
        """The receiver has all it wants. Read the rest of the body, if it is short and comes soon."""
        self._receiver = None
        self._settle_stale(stale=False)
        if self._complete or not self.usable:
            return
        self._drained = 0
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(DRAIN_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        """Drop the connection at once; the receiver hears nothing more."""
        self._receiver = None
        self._cancel_timer()
        self._settle_stale(stale=False)
        if self._transport is not None:
            self._transport.abort()

    def _settle_stale(self, *, stale: bool) -> None:
        if self._stale is not None and not self._stale.done():
            self._stale.set_result(stale)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse one read and hand on what it holds."""
        if self._receiver is None and self._drained is None:
            self.abort()  # Bytes that nobody asked for: this connection cannot be trusted with another request.
            return
        self._settle_stale(stale=False)
        self._heard = True
        wrong = self._parse(data)
        refused = ""
        if self._status and not self._announced:
            refused = self._announce()
        elif not self._status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES:
                wrong = f"expected headers of at most {MAX_HEADER_BYTES} bytes, got more"
        # What came before something wrong is handed on: where TCP cut the bytes must make no difference.
        if self._pieces and not refused:
            self._hand_on_body()
        if refused or (wrong and not self._complete):
            self._fail(refused or wrong)
        elif self._complete:
            self._keep = self._keep and not wrong
            self._completed()
        elif len(data) >= FULL_READ_BYTES:
            self._pause_for_a_tick()

    def _parse(self, data: bytes) -> str:
        """Feed the parser, which calls back what it finds; return what is wrong with the bytes, if anything is."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            return f"expected an HTTP/1.1 answer: {error}"
        except httptools.HttpParserUpgrade:
            return "expected an HTTP answer, got a protocol upgrade"
        return ""

    def eof_received(self) -> bool:
        """The server will send nothing more; let the transport close."""
        self._eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver how the stream ended, if it has not ended already."""
        self._keeper.lost(self)
        self._cancel_timer()
        if self._stale is not None and not self._stale.done():  # settled by the first byte, so that none came
            self._settle_stale(stale=True)
            self._receiver = None
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._error_body is not None or (exc is None and self._announced and self._until_close()):
            self._end_of_body(receiver)  # of a refusal, its status says enough
        elif not self._heard:
            receiver.closed(Loss(clean=False, detail="the platform closed the connection without an answer"))
        elif exc is None:
            receiver.closed(Loss(clean=False, detail="the platform closed the connection in the middle of its answer"))
        else:
            receiver.closed(Loss(clean=False, detail=f"the connection broke: {str(exc) or type(exc).__name__}"))

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A second answer to the one request spoils the connection."""
        if self._complete:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; trailers, which come after the body began, are of no use here."""
        if not self._status:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note the status of the answer proper; a 1xx comes before it (RFC 9110 section 15.2)."""
        status = self._parser.get_status_code()
        if status >= 200:  # noqa: PLR2004
            self._status = self._status or status
        else:
            self._headers = {}

    def on_body(self, body: bytes) -> None:
        """Collect a piece; it is handed on at the end of the read."""
        if not self._complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._status and not self._complete:
            self._keep = self._parser.should_keep_alive()
            self._complete = True

    # What a read amounts to

    def _announce(self) -> str:
        """The headers are complete: tell the receiver, or return what is wrong with them."""
        self._announced = True
        encoding = self._headers.get("content-encoding", "identity").strip().lower()
        if self._status != 200:  # noqa: PLR2004
            self._error_body = bytearray()
        elif encoding != "identity":
            return f"expected no content-encoding, got {encoding[:40]!r}"
        elif self._receiver is not None:
            self._receiver.opened(self._headers)
        return ""

    def _hand_on_body(self) -> None:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        if self._drained is not None:
            self._drained += len(data)
            if self._drained > MAX_DRAIN_BYTES:
                self.abort()
        elif self._error_body is not None:
            room = MAX_ERROR_BODY_BYTES - len(self._error_body)
            self._error_body += data[:room]
            if len(data) > room:
                self._complete = True  # the rest is not worth reading, and the connection not worth keeping
        elif self._receiver is not None:
            self._receiver.receive(data)

    def _completed(self) -> None:
        """The answer is whole: tell the receiver, and keep the connection where the server allows it."""
        receiver, self._receiver = self._receiver, None
        self._cancel_timer()
        if receiver is not None:
            self._end_of_body(receiver)
        if self._keep and self.usable:
            self._keeper.give_back(self)
        else:
            self.abort()

    def _end_of_body(self, receiver: Receiver) -> None:
        if self._error_body is not None:
            receiver.refused(self._status, self._headers, bytes(self._error_body))
        else:
            receiver.closed(Loss(clean=True))

    def _fail(self, detail: str) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.closed(Loss(clean=False, reason="upstream_protocol", detail=detail))

    def _until_close(self) -> bool:
        """Whether the body has no length of its own and ends with the connection (RFC 9112 section 6.3)."""
        return (
            "content-length" not in self._headers
            and "chunked" not in self._headers.get("transfer-encoding", "").lower()
        )

    def _pause_for_a_tick(self) -> None:
        """Let the rest of the loop run between two full reads: one flooding platform must not starve other turns."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return

        def resume() -> None:
            if not transport.is_closing():
                transport.resume_reading()

        transport.pause_reading()
        asyncio.get_running_loop().call_soon(resume)
