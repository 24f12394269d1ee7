"""What endpoints share: who asks, the streamed response over a turn's log, and errors in an endpoint's own shape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import msgspec
from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from trunkline.core.errors import (
    REASONS,
    AccessDenied,
    Fault,
    OffsetPastTail,
    Overloaded,
    RequestRefused,
    TrunklineError,
)
from trunkline.core.events import Delta, Ended, ToolCall, Usage
from trunkline.core.sse import KEEP_ALIVE
from trunkline.endpoints.access import Access
from trunkline.endpoints.settings import FallbackTexts, ServerSettings
from trunkline.log import Follower, Lane, ReaderGone
from trunkline.repeats import Repeats
from trunkline.stores.base import Form
from trunkline.telemetry import Telemetry, internal_error
from trunkline.turns import Turn, Turns

MAX_OFFSET_DIGITS: Final = 18
RECORD_LIMIT_S: Final = 2.0
LIVE_EXTENSION: Final = "trunkline.live"
"""In the scope's extensions: a `Write` of this connection, good once the response has started."""

STREAM_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class Desk:
    """What an endpoint works with."""

    turns: Turns
    access: Access
    settings: ServerSettings
    telemetry: Telemetry
    repeats: Repeats
    fallback_texts: Mapping[str, FallbackTexts] = field(default_factory=dict)


def desk_of(connection: HTTPConnection) -> Desk:
    """Return the desk of the application that serves this request."""
    desk: Desk = connection.app.state.desk
    return desk


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
    503: "the relay takes no new turn now, or the platform none",
    504: "the platform did not answer in time",
}

PROBLEM_DETAILS: Final = Shape()
IDEMPOTENT: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 255},
            "description": "the same key and request within 24 hours is the same turn",
        }
    ]
}
"""Describes the header that `start_once` reads, for OpenAPI."""

TicketInAddress = Annotated[
    str | None, Query(max_length=512, description="in place of a key, for browsers; POST /v1/tickets makes one")
]
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


async def start_once(request: Request, principal: str, start: Callable[[], Turn]) -> tuple[Turn, bool]:
    """Start a turn, or find the one that the same `Idempotency-Key` and request made before; True where it was found.

    A turn that failed before it said anything is not found again: whoever asks once more wants an answer.
    """
    key = request.headers.get("idempotency-key")
    if not key:
        return start(), False
    told = await _fingerprint(request)
    desk = desk_of(request)
    made = desk.repeats.find(principal, key, told)
    while made is not None:
        turn = await desk.turns.find(made, principal)
        if not turn.failed_unheard:
            return turn, True
        # The same request may have come twice at once, and the other one have started another turn meanwhile.
        newest = desk.repeats.find(principal, key, told)
        made = None if newest == made else newest
    # No await stands between the last look and this line.
    turn = start()
    made_now = desk.repeats.keep(principal, key, told, turn.id)
    await turn.shown()
    desk.repeats.record(made_now)
    with suppress(TimeoutError):  # Until the records take it, it is good in this process.
        async with asyncio.timeout(RECORD_LIMIT_S):
            await desk.turns.recorded()
    return turn, False


async def _fingerprint(request: Request) -> bytes:
    """Return all that a request says about the turn it asks for."""
    ids = [request.headers.get(name, "") for name in ("x-conversation-id", "x-session-id")]
    return msgspec.json.encode([request.scope["path"], str(request.query_params), *ids]) + await request.body()


def turn_headers(turn: Turn, *, found: bool = False) -> dict[str, str]:
    """Return the headers of an answer about a turn; `found`: a request that came before had made it."""
    headers = {"x-turn-id": turn.id}
    if found:
        headers["idempotent-replayed"] = "true"
    return headers


class Decision(NamedTuple):
    """Whether to answer otherwise than by a stream: asked when the turn says something, or `within_s` is over.

    `other` is given the turn and, where it has ended without a text, its end; it returns None to stream.
    """

    other: Callable[[Turn, Ended | None], Response | None]
    within_s: float


class FollowResponse(Response):
    """A response that follows a turn: it notices a client that leaves, in whatever it does."""

    def __init__(self, turn: Turn, after: int) -> None:
        self.turn = turn
        self.after = after
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; a client that leaves ends it."""
        with self.turn.follow(self.after) as follower:
            watch = asyncio.ensure_future(_until_gone(receive))
            watch.add_done_callback(follower.leave)
            try:
                await follower.shown()
                await self.serve(follower, scope, send)
            except ReaderGone:
                pass
            finally:
                watch.cancel()
                if watch.done():
                    watch.result()  # what it stumbled over, if not the client's leaving

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Send the answer. Raises `ReaderGone` when there is nobody left to send it to."""
        raise NotImplementedError


class EventStream(FollowResponse):
    """A turn's entries as server-sent events, in an endpoint's form.

    With a decision the headers wait for the first event that says something, so that a platform's refusal can still be
    a status; without one nothing waits. `first` are bytes that come before all events.
    """

    def __init__(
        self,
        turn: Turn,
        after: int,
        form: Form,
        *,
        headers: Mapping[str, str],
        first: bytes = b"",
        decision: Decision | None = None,
    ) -> None:
        super().__init__(turn, after)
        self._form = form
        self._first = first
        self._decision = decision
        self._extra_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Decide, then stream until the turn has ended."""
        if self._decision is not None:
            other = self._decision.other(self.turn, await first_word(follower, self._decision.within_s))
            if other is not None:
                await other(scope, nothing_more, send)
                return
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self._extra_headers]})
        if self._first:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
        log, form = self.turn.log, self._form
        lane = live_lane(scope, form)
        while True:
            a, b = follower.take()
            if a < b:
                body = log.render(form, a, b)
            elif follower.done:
                break
            else:
                if await follower.wait(lane=lane):
                    continue
                body = KEEP_ALIVE
            if body:
                follower.spoke()
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def live_lane(scope: Scope, form: Form) -> Lane | None:
    """Return how to write to this connection without a task's turn; None where the server has no such way."""
    write = scope.get("extensions", {}).get(LIVE_EXTENSION)
    return None if write is None else Lane(form, write)


def read_offset(text: str, where: str) -> int:
    """Read an offset that a client gives in a header or an address. Raises `RequestRefused`."""
    if not text.isascii() or not text.isdigit() or len(text) > MAX_OFFSET_DIGITS:
        raise RequestRefused("invalid_offset", f"{where}: expected an offset, got {text[:40]!r}.")
    return int(text)


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return a usage as the native routes show it."""
    fields: dict[str, Any] = msgspec.to_builtins(usage)
    fields.pop("type")
    return fields


async def first_word(follower: Follower, timeout_s: float) -> Ended | None:
    """Wait for a turn's first text; return its end where it ended without any, None where text came or time is over.

    A Notice is no text: a turn that is tried again, or elsewhere, may still fail with a status of its own.
    """
    log, seen = follower.turn, 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                since, seen = seen, log.visible
                if any(isinstance(entry.event, Delta | ToolCall) for entry in log.entries[since:seen]):
                    return None
                if log.ended:
                    last = log.entries[-1].event
                    return last if isinstance(last, Ended) else None
                await follower.wait(seen)
    except TimeoutError:
        return None


async def whole(follower: Follower) -> None:
    """Wait until the turn has ended. Raises `ReaderGone`."""
    while not follower.done:
        a, b = follower.take()
        if a == b and not follower.done:
            await follower.wait()


def stream_error(turn: Turn, ended: Ended | None, shape: Shape) -> Response | None:
    """Answer a turn that failed before it said anything with its status, in an endpoint's shape."""
    if ended is None or ended.outcome not in ("failed", "cancelled"):
        return None
    response = shape.response(problem_of_end(ended))
    response.headers["x-turn-id"] = turn.id
    return response


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def nothing_more() -> Message:
    """Receive for a response that reads nothing: its client's leaving is watched elsewhere."""
    return {"type": "http.disconnect"}
