"""Errors on their way to a client: what they are called, and how each endpoint writes them in its own shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from trunkline.core.errors import (
    REASONS,
    AccessDenied,
    Fault,
    OffsetPastTail,
    Overloaded,
    RequestRefused,
    TrunklineError,
)
from trunkline.core.events import Ended
from trunkline.endpoints.base import desk_of
from trunkline.telemetry import internal_error
from trunkline.turns import Turn


@dataclass(frozen=True, slots=True)
class Problem:
    """An error on its way to a client, before it has an endpoint's shape."""

    status: int
    code: str
    detail: str
    faults: tuple[Fault, ...] = ()
    headers: Mapping[str, str] | None = None
    extra: Mapping[str, Any] | None = None


class Shape:
    """How an endpoint writes an error; a member of the family overrides `body` and `schema`."""

    media_type: ClassVar[str] = "application/problem+json"
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "tail": {"type": "integer", "description": "with offset_past_tail: the newest offset"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
                },
            },
        },
    }

    def body(self, problem: Problem) -> dict[str, Any]:
        """Return the JSON of an error: by default problem details (RFC 9457)."""
        body: dict[str, Any] = {
            "type": f"urn:trunkline:problem:{problem.code}",
            "title": problem.code.replace("_", " ").capitalize(),
            "status": problem.status,
            "detail": problem.detail,
            "code": problem.code,
            **(problem.extra or {}),
        }
        if problem.faults:
            body["errors"] = [{"pointer": fault.pointer, "detail": fault.detail} for fault in problem.faults]
        return body

    def answers(self, *statuses: int) -> dict[int | str, dict[str, Any]]:
        """Describe the errors of a route for OpenAPI: those that every route has, and `statuses`."""
        content = {self.media_type: {"schema": self.schema}}
        return {
            str(status): {"description": _MEANINGS[status], "content": content}
            for status in sorted({400, 401, 403, 500, *statuses})
        }

    def response(self, problem: Problem) -> Response:
        """Return the whole HTTP answer."""
        content = msgspec.json.encode(self.body(problem))
        return Response(content, problem.status, dict(problem.headers or {}), self.media_type)


_MEANINGS: Final = {
    400: "the request cannot be understood, or does not fit",
    401: "no credential, or not one that the relay knows",
    403: "pages of this origin may not ask",
    404: "there is no such thing, or it is somebody else's",
    409: "it contradicts what the relay has",
    410: "it was here and is gone",
    413: "the body is too large",
    415: "the body is not JSON",
    429: "too many requests or turns",
    500: "a fault in the relay",
    502: "the platform failed",
    503: "not now: the relay takes no new turn or cannot read its log, or the platform takes none",
    504: "the platform did not answer in time",
}

PROBLEM_DETAILS: Final = Shape()
STARTS: Final = (404, 409, 410, 413, 415, 429, 502, 503, 504)
"""What a route that starts turns may also answer."""


def problem_of(error: Exception) -> Problem | None:
    """Put an exception into a problem, or return None for a fault of ours."""
    if isinstance(error, HTTPException) and isinstance(error.__cause__, TrunklineError):
        error = error.__cause__  # the framework wraps what reading the body raised
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, TrunklineError):
        faults = error.faults if isinstance(error, RequestRefused) else ()
        headers = {}
        if isinstance(error, AccessDenied):
            headers = {"www-authenticate": "Bearer"}
        elif isinstance(error, Overloaded):
            headers = {"retry-after": str(error.retry_after_s)}
        extra = {"tail": error.tail} if isinstance(error, OffsetPastTail) else None
        return Problem(error.status, error.code, error.detail, faults, headers, extra)
    if isinstance(error, HTTPException):
        codes = {404: "not_found", 405: "method_not_allowed"}
        return Problem(
            error.status_code, codes.get(error.status_code, "bad_request"), str(error.detail), (), error.headers
        )
    return None


def _invalid(error: RequestValidationError) -> Problem:
    faults = []
    for found in error.errors():
        where, *path = found["loc"]
        pointer = "".join(f"/{part}" for part in path) if where == "body" else f"{where} {'.'.join(map(str, path))}"
        message = str(found["msg"]).removeprefix("Value error, ")
        if found["type"] == "json_invalid":
            return Problem(400, "invalid_json", f"The body is not JSON: {found['ctx']['error']}.")
        if found["type"] == "extra_forbidden":
            message = "unknown field"
        faults.append(Fault(pointer, message))
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    detail = f"{first.pointer or 'The body'}: {first.detail}{more}"
    return Problem(400, "invalid_request", detail, tuple(faults))


def problem_of_end(ended: Ended) -> Problem:
    """Put the end of a failed turn into a problem, for an answer whose headers have not gone out."""
    reason = REASONS[ended.reason]
    detail = f"{reason.meaning} {ended.detail}".strip()
    headers = {"retry-after": "1"} if reason.status in (429, 503) else None
    return Problem(reason.status, ended.reason, detail, (), headers)


def route_class(shape: Shape) -> type[APIRoute]:
    """Make the class of an endpoint's routes: whatever they raise becomes an answer in the endpoint's shape."""

    class ShapedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()

            async def handler(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:  # noqa: BLE001 - nothing else stands between a fault and the client
                    return shaped(request, error, shape)

            return handler

    return ShapedRoute


def shaped(connection: HTTPConnection, error: Exception, shape: Shape, *, where: str = "endpoint") -> Response:
    """Answer an exception in an endpoint's shape; a fault of ours is told to telemetry and not to the client."""
    problem = problem_of(error)
    kind = connection.headers.get("content-type", "")
    if (
        isinstance(error, RequestValidationError)
        and "json" not in kind
        and any(e["loc"] == ("body",) for e in error.errors())
    ):
        words = f"Send the body with `content-type: application/json`; got {kind[:60]!r}."
        problem = Problem(415, "unsupported_media_type", words)
    if problem is None:
        desk_of(connection).telemetry.tell(internal_error(where, error))
        problem = Problem(500, "internal_error", "A fault in the relay; its log says more.")
    return shape.response(problem)


def stream_error(turn: Turn, ended: Ended | None, shape: Shape) -> Response | None:
    """Answer a turn that failed before it said anything with its status, in an endpoint's shape."""
    if ended is None or ended.outcome not in ("failed", "cancelled"):
        return None
    response = shape.response(problem_of_end(ended))
    response.headers["x-turn-id"] = turn.id
    return response
