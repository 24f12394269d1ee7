"""What every request passes through: a request id, a bound on its body, and one line about it when it is answered."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.core.errors import RequestRefused
from trunkline.core.ids import is_client_id
from trunkline.telemetry import RequestServed, Telemetry

access = logging.getLogger("trunkline.access")


class Gate:
    """ASGI middleware. `X-Request-Id` is taken over where it is well formed, made where not, and returned."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, telemetry: Callable[[], Telemetry]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; WebSockets and the lifespan pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not is_client_id(request_id):
            request_id = "req_" + secrets.token_hex(12)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, self._bounded(receive, headers.get("content-length", "0")), send_with_id)
        finally:
            self._told(scope, request_id, status)

    def _bounded(self, receive: Receive, declared: str) -> Receive:
        """Refuse a body that says it is too long before it is read, and one that turns out to be as soon as it is.

        Raised where the body is read, so that the endpoint answers in its own shape.
        """
        size = int(declared) if declared.isdigit() and int(declared) > self._max_body_bytes else 0

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

    def _told(self, scope: Scope, request_id: str, status: int) -> None:
        # The template, never the address: a query may hold a ticket or a customer's words.
        route = scope.get("route")
        template = getattr(route, "path", "none")
        self._telemetry().tell(RequestServed(template, scope["method"], status))
        access.info("request id=%s route=%s method=%s status=%d", request_id, template, scope["method"], status)
