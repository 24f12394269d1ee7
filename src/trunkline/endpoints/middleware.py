"""What every request passes through: the origin check, a request id, bounds, and one line when it is answered."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from trunkline.core.errors import OriginRefused, Overloaded, RequestRefused
from trunkline.core.ids import is_client_id
from trunkline.endpoints.access import is_loopback
from trunkline.endpoints.problems import Shape, problem_of, shaped
from trunkline.endpoints.settings import ServerSettings
from trunkline.endpoints.streams import nothing_more
from trunkline.telemetry import RequestServed, Telemetry, internal_error

access = logging.getLogger("trunkline.access")

# Pages that a browser may open from anywhere; they tell nothing of any turn and start none.
_OPEN_TO_ALL: Final = frozenset({"/", "/docs", "/openapi.json", "/health", "/ready", "/metrics"})
_BEGINNINGS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_SWITCHING: Final = 101
_SERVER_ERRORS: Final = 500
_CLOSED_BY_A_FAULT: Final = 1011  # RFC 6455 section 7.4.1
_PORTS: Final = {"http": 80, "https": 443}


class Gate:
    """ASGI middleware. `X-Request-Id` is taken over where it is well formed, made where not, and returned.

    A web page of another origin is kept out unless `server.allowed_origins` names it. With `loopback_only`
    (`--insecure`) the Host must be a loopback name as well: a page may give its own name the address 127.0.0.1.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServerSettings,
        loopback_only: bool,
        telemetry: Callable[[], Telemetry],
        shape_of: Callable[[str], Shape],
    ) -> None:
        self._app = app
        self._max_body_bytes = settings.max_body_bytes
        self._max_websockets = settings.max_websockets
        self._every_origin = "*" in settings.allowed_origins
        self._allowed_origins = frozenset(_origin(origin) for origin in settings.allowed_origins)
        self._loopback_only = loopback_only
        self._telemetry = telemetry
        self._shape_of = shape_of
        self._websockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket; the lifespan passes."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, Headers(scope=scope))
        try:
            await self._serve(scope, self._bounded(receive), answer)
        finally:
            self._told(scope, answer, scope["method"])

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, Headers(scope=scope))
        self._websockets += 1
        try:
            await self._serve(scope, receive, answer)
        finally:
            self._websockets -= 1
            self._told(scope, answer, "WEBSOCKET")

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Answer. An exception goes no further: the server would log its words, and they may be a customer's."""
        try:
            self._check(scope)
            await self._app(scope, receive, answer.send)
        except (WebSocketDisconnect, WebSocketDisconnected):
            pass
        except Exception as error:
            if error is answer.left:
                raise
            if answer.status:
                await self._broken_off(answer, error)
            else:
                shape = self._shape_of(scope["path"])
                response = shaped(HTTPConnection(scope), error, shape, where="response")
                await response(scope, nothing_more, answer.send)

    async def _broken_off(self, answer: _Answer, error: Exception) -> None:
        """End what has begun. A body that is not sent to its end needs nothing: the server closes its connection."""
        problem = problem_of(error)
        if problem is None or problem.status >= _SERVER_ERRORS:
            self._telemetry().tell(internal_error("response", error))
        if answer.status == _SWITCHING:
            with suppress(OSError):
                await answer.send({"type": "websocket.close", "code": _CLOSED_BY_A_FAULT})

    def _check(self, scope: Scope) -> None:
        """Raise the `TrunklineError` for which a request goes no further."""
        headers = Headers(scope=scope)
        self._check_page(headers, scope["path"])
        if scope["type"] == "http":
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > self._max_body_bytes:
                raise self._too_large()
        elif self._websockets > self._max_websockets:
            raise Overloaded("too_many_websockets", f"The relay has {self._max_websockets} WebSockets open.")

    def _check_page(self, headers: Headers, path: str) -> None:
        """Refuse a browser's page that may not ask; programs send no Origin and are not meant."""
        host = headers.get("host", "")
        if self._loopback_only and not _asks_for_loopback(host):
            detail = f"With --insecure the relay answers to loopback names only; this request was for {host[:100]!r}."
            raise OriginRefused("host_not_allowed", detail)
        given = headers.get("origin")
        if path in _OPEN_TO_ALL or self._every_origin:
            return
        if given is None:
            if headers.get("sec-fetch-site") not in {"cross-site", "same-site"}:
                return
        else:
            origin = _origin(given)
            if origin is not None and (origin in self._allowed_origins or _is_at(origin, host)):
                return
        page = (given or "another site")[:100]
        detail = f"Pages of {page!r} may not ask; server.allowed_origins can let them in."
        raise OriginRefused("origin_not_allowed", detail)

    def _bounded(self, receive: Receive) -> Receive:
        """Refuse a body that turns out to be too long; raised where it is read, so that the endpoint answers."""
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self._max_body_bytes:
                    raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> RequestRefused:
        detail = f"The body is longer than {self._max_body_bytes} bytes."
        return RequestRefused("body_too_large", detail, status=413)

    def _told(self, scope: Scope, answer: _Answer, method: str) -> None:
        # The template, never the address: a query may hold a ticket or a customer's words.
        route = scope.get("route")
        template = getattr(route, "path", "none")
        self._telemetry().tell(RequestServed(template, method, answer.status))
        access.info("request id=%s route=%s method=%s status=%d", answer.request_id, template, method, answer.status)


class _Answer:
    """What goes out on one connection: gives it the request's id, and notes its status and a client that left."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self.request_id = _request_id(headers)
        self.status = 0
        self.left: OSError | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on. Raises what the server does: an `OSError` says that the client has left."""
        kind = message["type"]
        if kind in _BEGINNINGS:
            self.status = message.get("status", _SWITCHING)
            MutableHeaders(scope=message)["x-request-id"] = self.request_id
        elif kind == "websocket.close" and not self.status:
            self.status = 403
        try:
            await self._send(message)
        except OSError as error:
            self.left = error
            raise


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if is_client_id(given) else "req_" + secrets.token_hex(12)


_Origin = tuple[str, str, int | None]


def _origin(text: str) -> _Origin | None:
    """Return scheme, name and port of an origin (RFC 6454 section 4); None for `null` and what is none."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or _PORTS.get(parts.scheme)


def _is_at(origin: _Origin, host: str) -> bool:
    """Tell whether a page comes from the name that a request asks for; a proxy may add or leave out a usual port."""
    asked = _origin(f"{origin[0]}://{host}")
    return asked == origin


def _asks_for_loopback(host: str) -> bool:
    """Tell whether a Host header names this machine; RFC 6761 section 6.3 gives it all names below `localhost`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")
