"""The opening handshake of a WebSocket (RFC 6455 section 4): a connection until it is a link or is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import aiofastnet
import httptools
import picows
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its own, hence the bound in pyproject.toml
from picows.url import WSParsedURL

from trunkline.dialects.base import Loss

RECEIVE_BYTES: Final = 1 << 16  # bounds what one read brings, and so how long it holds the others up
READ_BYTES: Final = 16 << 10  # of one read of the answer, which is seldom longer than one of these
MAX_HEADER_BYTES: Final = 64 << 10  # a security limit on all that comes before the answer's body
MAX_ERROR_BODY_BYTES: Final = 64 << 10  # what is kept of the body of a refusal
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SWITCHING: Final = 101
_ACCEPTED: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

Accepted = Callable[[Mapping[str, str]], picows.WSListener]
"""Takes the headers of an acceptance, and returns who listens to the link from there on."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with another status than 101; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Handshake(asyncio.BufferedProtocol):
    """One connection until its request is answered; accepted, it is picows'. asyncio and httptools name methods.

    picows asks, but the answer is read here: of a refusal picows keeps no more than came with its headers, and it knows
    neither every status nor a `Connection` with two options (RFC 9110 section 7.6.1).
    """

    def __init__(self, address: WSParsedURL, headers: Mapping[str, str], accepted: Accepted, max_frame: int) -> None:
        self._headers: dict[str, str] = {}  # of the answer
        self._host = address.host
        self._link = WSProtocol(
            host_port=address.netloc,
            ws_path=address.resource_name,
            is_client_side=True,
            ws_listener_factory=lambda *_: accepted(self._headers),
            logger=logging.getLogger("picows.client"),
            disconnect_on_exception=True,
            websocket_handshake_timeout=None,  # whoever waits for `outcome` knows how long
            enable_auto_ping=False,
            auto_ping_idle_timeout=0,
            auto_ping_reply_timeout=0,
            auto_ping_strategy=picows.WSAutoPingStrategy.PING_PERIODICALLY,
            enable_auto_pong=False,
            max_frame_size=max_frame,
            extra_headers=dict(headers),
            read_buffer_init_size=READ_BYTES,
        )
        self._buffer = bytearray(READ_BYTES)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Refusal | Loss | None] = asyncio.get_running_loop().create_future()
        self._parser: Any = httptools.HttpResponseParser(self)
        self._header_bytes = 0
        self._status = 0  # of the answer proper, once its headers are complete
        self._body = bytearray()
        self._complete = False

    async def outcome(self, connection: socket.socket, tls: ssl.SSLContext | None) -> Refusal | Loss | None:
        """Make TLS and the handshake on a connection; return why there is no link, or None where there is one.

        Whatever else happens, a cancellation too, leaves no connection. Raises `OSError` where TLS fails.
        """
        try:
            await aiofastnet.create_connection(
                asyncio.get_running_loop(),
                lambda: self,
                sock=connection,
                ssl=tls,
                server_hostname=self._host if tls is not None else None,
            )
            failure = await self._answer
            if failure is None:
                await self._link.wait_until_handshake_complete()  # it has; this raises if picows thinks otherwise
            return failure
        finally:
            self._abort()

    @property
    def refusal(self) -> Refusal | None:
        """The refusal as far as it has come; None before its status and headers are known."""
        if self._status in (0, _SWITCHING):
            return None
        return Refusal(self._status, self._headers, bytes(self._body[:MAX_ERROR_BODY_BYTES]))

    def _abort(self) -> None:
        """Drop the connection, unless it is a link by now."""
        self._answer.cancel()
        self._parser = None  # it holds this object in turn
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol: only such a one may be replaced by picows' in the middle of a read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have picows send the request."""
        self._transport = cast("asyncio.Transport", transport)
        if self._answer.done():  # given up since it was connected
            self._transport.abort()
        else:
            self._link.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse one read, and see whether the answer is there."""
        if self._answer.done():
            return
        data = bytes(self._buffer[:nbytes])
        rest, wrong = b"", ""
        if not self._status:
            self._header_bytes += nbytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            wrong = f"expected an HTTP/1.1 answer to the handshake: {error}"
        if self._status == _SWITCHING:
            self._switch(rest, wrong)
        elif self._status:
            if self._complete or wrong or len(self._body) >= MAX_ERROR_BODY_BYTES:
                self._answer.set_result(self.refusal)
        elif wrong:
            self._answer.set_result(_loss("upstream_protocol", wrong))
        elif self._header_bytes > MAX_HEADER_BYTES:
            detail = f"expected an answer to the handshake with headers of at most {MAX_HEADER_BYTES} bytes, got more"
            self._answer.set_result(_loss("upstream_protocol", detail))

    def eof_received(self) -> bool:
        """The platform will send nothing more; let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take what has come for the answer."""
        self._transport = None
        if not self._answer.done():
            detail = "no connection: it was closed before any answer to the handshake"
            self._answer.set_result(self.refusal or _loss("upstream_unavailable", detail))

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; those of one name are one list (RFC 9110 section 5.2), and trailers are of no use."""
        if not self._status:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Note the status of the answer proper; another 1xx than 101 comes before it (RFC 9110 section 15.2)."""
        status = self._parser.get_status_code()
        if status == _SWITCHING or status >= 200:  # noqa: PLR2004
            self._status = self._status or status
        else:
            self._headers = {}

    def on_body(self, body: bytes) -> None:
        """Collect a piece of a refusal."""
        if not self._complete:
            self._body += body

    def on_message_complete(self) -> None:
        """Note the end of the answer proper."""
        self._complete = self._complete or bool(self._status)

    # The acceptance

    def _switch(self, rest: bytes, wrong: str) -> None:
        """Check a 101, and leave the connection to picows with what came after it; or say what is wrong with it."""
        request = self._link.transport.request.headers
        accept = _accept_of(request["Sec-WebSocket-Key"])
        wrong = self._fault(accept, _listed(", ".join(request.getall("Sec-WebSocket-Protocol", [])))) or wrong
        if wrong:
            self._answer.set_result(_loss("handshake_rejected", f"the answer to the handshake is no upgrade: {wrong}"))
            return
        transport, self._transport = cast("asyncio.Transport", self._transport), None
        transport.set_protocol(self._link)
        # The answer is told to picows in the one form that it knows.
        data = _ACCEPTED + b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept.encode() + rest
        while data:
            room = self._link.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self._link.buffer_updated(size)
            data = data[size:]
        if not self._answer.done():  # else what came with the answer ended the turn already
            self._answer.set_result(None)

    def _fault(self, accept: str, subprotocols: list[str]) -> str:
        """Return what RFC 6455 section 4.1 does not allow in a 101; empty where all is well."""
        headers = self._headers
        version = self._parser.get_http_version()
        upgrade, options = headers.get("upgrade", ""), headers.get("connection", "")
        protocol = headers.get("sec-websocket-protocol")
        checks = [
            (version == "1.1", f"expected HTTP/1.1, got HTTP/{version}"),
            (upgrade.lower() == "websocket", f"expected Upgrade: websocket, got {upgrade!r}"),
            ("upgrade" in _listed(options.lower()), f"expected Connection: Upgrade, got {options!r}"),
            (headers.get("content-length", "0") == "0", "expected no body, got a Content-Length"),
            ("transfer-encoding" not in headers, "expected no body, got a Transfer-Encoding"),
            (headers.get("sec-websocket-accept") == accept, "its Sec-WebSocket-Accept does not fit our key"),
            ("sec-websocket-extensions" not in headers, "it holds an extension that nobody asked for"),
            (protocol is None or protocol in subprotocols, "it holds a subprotocol that nobody asked for"),
        ]
        return next((words for is_right, words in checks if not is_right), "")


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first of a host's addresses that takes it. Raises `OSError` of the last."""
    loop = asyncio.get_running_loop()
    problem = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise problem


def _accept_of(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _listed(value: str) -> list[str]:
    """Return the members of a header whose value is a list (RFC 9110 section 5.6.1)."""
    return [member.strip() for member in value.split(",")]


def _loss(reason: str, detail: str) -> Loss:
    return Loss(clean=False, reason=reason, detail=detail)
