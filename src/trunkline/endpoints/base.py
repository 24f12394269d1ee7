"""What endpoints share: who asks, the streamed response over a turn's log, and errors in an endpoint's own shape."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
from fastapi import Request
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
from trunkline.core.events import Delta, Ended, ToolCall
from trunkline.core.sse import KEEP_ALIVE
from trunkline.endpoints.settings import KeySettings, ServerSettings
from trunkline.log import Follower, ReaderGone
from trunkline.stores.base import Form
from trunkline.telemetry import Telemetry, internal_error
from trunkline.turns import Turn, Turns

STREAM_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Keys:
    """Tells who a credential stands for. With None in place of keys (`--insecure`) everybody is `local`."""

    def __init__(self, keys: Iterable[KeySettings] | None) -> None:
        # A key is found by its digest: comparing digests tells an attacker nothing about the key.
        self._names = None if keys is None else {key.sha256: key.name for key in keys}

    def principal(self, connection: HTTPConnection) -> str:
        """Return the principal of a request. Raises `AccessDenied`."""
        if self._names is None:
            return "local"
        headers = connection.headers
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not key:
            raise AccessDenied("No credential came; send `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        name = self._names.get(hashlib.sha256(key.encode()).hexdigest())
        if name is None:
            raise AccessDenied("The relay does not know this key.")
        return name


@dataclass(frozen=True, slots=True)
class Desk:
    """What an endpoint works with."""

    turns: Turns
    keys: Keys
    settings: ServerSettings
    telemetry: Telemetry


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
    """How an endpoint writes an error; a member of the family overrides `body`."""

    media_type: ClassVar[str] = "application/problem+json"

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

    def response(self, problem: Problem) -> Response:
        """Return the whole HTTP answer."""
        content = msgspec.json.encode(self.body(problem))
        return Response(content, problem.status, dict(problem.headers or {}), self.media_type)


PROBLEM_DETAILS: Final = Shape()


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


def shaped(connection: HTTPConnection, error: Exception, shape: Shape) -> Response:
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
        desk_of(connection).telemetry.tell(internal_error("endpoint", error))
        problem = Problem(500, "internal_error", "A fault in the relay; its log says more.")
    return shape.response(problem)


Decide = Callable[[Turn, Ended | None], Response | None]
"""Given a turn and, where it has ended already, its end: an answer instead of the stream, or None to stream."""


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
                await self.serve(follower, scope, send)
            except ReaderGone:
                pass
            finally:
                watch.cancel()

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Send the answer. Raises `ReaderGone` when there is nobody left to send it to."""
        raise NotImplementedError


class EventStream(FollowResponse):
    """A turn's entries as server-sent events, in an endpoint's form.

    The headers wait for the first event that says something, up to `commit_after_s`, so that a platform's refusal can
    still be a status: `decide` then turns the end into another answer. Without `decide` nothing waits.
    """

    def __init__(
        self,
        turn: Turn,
        after: int,
        form: Form,
        *,
        headers: Mapping[str, str],
        commit_after_s: float = 0,
        decide: Decide | None = None,
    ) -> None:
        super().__init__(turn, after)
        self._form = form
        self._commit_after_s = commit_after_s
        self._decide = decide
        self._extra_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Decide, then stream until the turn has ended."""
        if self._decide is not None:
            other = self._decide(self.turn, await first_word(follower, self._commit_after_s))
            if other is not None:
                await other(scope, nothing_more, send)
                return
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self._extra_headers]})
        log, form = self.turn.log, self._form
        while True:
            a, b = follower.take()
            if a < b:
                body = log.render(form, a, b)
            elif follower.done:
                break
            else:
                if await follower.wait():
                    continue
                body = KEEP_ALIVE
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


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
