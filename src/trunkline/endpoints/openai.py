"""The OpenAI chat-completions API, for clients that speak it: streamed and whole answers, models, errors in its shape.

Source: platform.openai.com/docs/api-reference/chat. Every streamed chunk also has the `id:` line of its log entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Scope, Send

from trunkline.core.errors import REASONS, Fault, RequestRefused
from trunkline.core.events import Delta, Ended, Started, ToolCall
from trunkline.core.ids import CLIENT_ID_PATTERN, is_client_id
from trunkline.core.record import ChoiceRecord, TurnRecord
from trunkline.core.request import LastReaderPolicy, Message, Stop, Terms, TurnRequest
from trunkline.endpoints.base import desk_of, read_offset
from trunkline.endpoints.chunk import (
    chunk_of,
    completion_id,
    finish_chunks,
    finishes,
    role_chunk,
    usage_chunk,
    usage_object,
)
from trunkline.endpoints.once import IDEMPOTENT, asked_before, start_once, turn_headers
from trunkline.endpoints.problems import STARTS, Problem, Shape, problem_of_end, route_class, stream_error
from trunkline.endpoints.streams import Decision, EventStream, FollowResponse, nothing_more, until_ended
from trunkline.log import Follower
from trunkline.stores.base import Form, TurnLog
from trunkline.turns import Turn

_json: Final = msgspec.json.Encoder().encode


class OpenAIShape(Shape):
    """`{"error": {"message", "type", "param", "code"}}`."""

    media_type: ClassVar[str] = "application/json"
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": "string"},
                },
            }
        },
    }

    def body(self, problem: Problem) -> dict[str, Any]:
        """Return OpenAI's error object; `param` names the first faulty field."""
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error")  # noqa: PLR2004
        param = problem.faults[0].pointer.strip("/").replace("/", ".") if problem.faults else None
        return {"error": {"message": problem.detail, "type": kind, "param": param, "code": problem.code}}


SHAPE: Final = OpenAIShape()
router = APIRouter(route_class=route_class(SHAPE), tags=["OpenAI"])


class StreamOptions(BaseModel):
    """`stream_options`."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = False


class ChatCompletionRequest(BaseModel):
    """The body of a chat completion. Fields that are not named here are passed on to platforms that know them."""

    model_config = ConfigDict(extra="allow")

    model: str | None = Field(default=None, max_length=256, description="An upstream, or `upstream/its-model`.")
    messages: tuple[Message, ...] = Field(min_length=1, max_length=2_000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: Stop | None = None
    n: int | None = Field(default=1, ge=1, le=16)
    user: str | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    terms: Terms = ()


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "the answer, whole or streamed"},
    204: {"description": "the client has all of the answer already (`Last-Event-ID`)"},
    **SHAPE.answers(*STARTS),
}


_ID_SCHEMA: Final = {"type": "string", "pattern": CLIENT_ID_PATTERN}
_ID_HEADERS: Final = {
    "X-Conversation-Id": "the conversation, else `metadata.conversation_id`",
    "X-Session-Id": "the session, else `metadata.session_id`, else `user`",
}
_HEADERS: Final = {
    "parameters": [
        *IDEMPOTENT["parameters"],
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "with `stream` and an Idempotency-Key: the last `id` that the client has",
            "schema": {"type": "string", "maxLength": 64},
        },
        *(
            {"name": name, "in": "header", "required": False, "description": meaning, "schema": _ID_SCHEMA}
            for name, meaning in _ID_HEADERS.items()
        ),
    ]
}


@router.post(
    "/v1/chat/completions",
    summary="Create a chat completion",
    response_model=None,
    responses=_ANSWERS,
    openapi_extra=_HEADERS,
)
async def create(body: ChatCompletionRequest, request: Request) -> Response:
    """Start a turn and answer it as OpenAI would, streamed where `stream` is true.

    The client's leaving cancels it; with an `Idempotency-Key` it may come back for 30 seconds. A stream goes on behind
    the `Last-Event-ID` that the client has, with the same key and request.
    """
    if not body.model:
        desk_of(request).access.principal(request)
        raise RequestRefused("model_required", "`model` is required: the name of an upstream.")
    return await _answer(body, request, body.model)


@router.post(
    "/openai/deployments/{deployment}/chat/completions",
    summary="Create a chat completion, Azure's form",
    response_model=None,
    responses=_ANSWERS,
    openapi_extra=_HEADERS,
)
async def create_azure(
    deployment: Annotated[str, Path(max_length=256, description="an upstream")],
    body: ChatCompletionRequest,
    request: Request,
    api_version: Annotated[str | None, Query(alias="api-version", max_length=32, description="any")] = None,  # noqa: ARG001 - documented
) -> Response:
    """Do the same for clients of Azure OpenAI: the deployment is the upstream, whatever `model` says."""
    return await _answer(body, request, deployment)


async def _answer(body: ChatCompletionRequest, request: Request, model_name: str) -> Response:
    desk = desk_of(request)
    principal = desk.access.principal(request)
    last_event_id = request.headers.get("last-event-id")
    if body.stream and last_event_id:
        after = read_offset(last_event_id, "Last-Event-ID")
        return await _go_on(await asked_before(request, principal), after, body)
    # Only a client that can ask for the same turn again is waited for.
    policy: LastReaderPolicy = "cancel_after" if request.headers.get("idempotency-key") else "cancel"

    def start() -> Turn:
        return desk.turns.start(_turn_request(body, request, model_name), principal, "openai", policy=policy)

    turn, found = await start_once(request, principal, start)
    headers = turn_headers(turn, found=found)
    if not body.stream:
        return WholeCompletion(turn, headers)
    decision = Decision(partial(stream_error, shape=SHAPE), desk.settings.commit_after_ms / 1_000)
    return EventStream(turn, 0, _form(body), decision=decision, headers=headers)


async def _go_on(turn: Turn, after: int, body: ChatCompletionRequest) -> Response:
    """Stream what comes behind an offset; 204 where the turn has ended and the reader has all of it."""
    await turn.shown()
    turn.log.check_offset(after)
    if turn.log.ended and after == turn.log.tail:
        return Response(status_code=204, headers=turn_headers(turn, found=True))
    return EventStream(turn, after, _form(body), headers=turn_headers(turn, found=True))


def _form(body: ChatCompletionRequest) -> Form:
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return chunks_with_usage if with_usage else chunks


@router.get("/v1/models", summary="List models", responses=SHAPE.answers())
async def models(request: Request) -> dict[str, Any]:
    """List what a client may ask for: the upstreams by name."""
    desk = desk_of(request)
    desk.access.principal(request)
    return {"object": "list", "data": [_model(name) for name in desk.turns.admission.names]}


@router.get("/v1/models/{name}", summary="Show a model", responses=SHAPE.answers(404))
async def model(name: str, request: Request) -> dict[str, Any]:
    """Show one upstream as a model."""
    desk = desk_of(request)
    desk.access.principal(request)
    desk.turns.admission.find(name)
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "trunkline"}


def _turn_request(body: ChatCompletionRequest, request: Request, model_name: str) -> TurnRequest:
    """Make the turn's request: ids from headers, else metadata, else `user`; what is unknown goes on as options."""
    metadata = dict(body.metadata or {})
    conversation = request.headers.get("x-conversation-id") or metadata.pop("conversation_id", None)
    session = request.headers.get("x-session-id") or metadata.pop("session_id", None)
    if session is None and body.user is not None and is_client_id(body.user):
        session = body.user
    options = dict(body.model_extra or {})
    if body.n is not None and body.n > 1:
        options["n"] = body.n
    if body.user is not None:
        options["user"] = body.user
    if metadata:
        options["metadata"] = metadata
    try:
        return TurnRequest(
            model=model_name,
            messages=body.messages,
            temperature=body.temperature,
            max_tokens=body.max_tokens,
            stop=body.stop,
            conversation_id=conversation,
            session_id=session,
            terms=body.terms,
            options=options,
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise RequestRefused("invalid_request", f"{name}: {first['msg']}", faults=[Fault(name, first["msg"])]) from None


# The stream


def chunks(turn: TurnLog, a: int, b: int) -> bytes:
    """The form of a stream without usage."""
    return _chunks(turn, a, b, with_usage=False)


def chunks_with_usage(turn: TurnLog, a: int, b: int) -> bytes:
    """The form of a stream with a usage chunk before `[DONE]`."""
    return _chunks(turn, a, b, with_usage=True)


def _chunks(turn: TurnLog, a: int, b: int, *, with_usage: bool) -> bytes:
    started = turn.started
    out: list[bytes] = []
    for entry in turn.entries[a:b]:
        event = entry.event
        match event:
            case Delta() | ToolCall():
                out.append(b"data: %b\nid: %d\n\n" % (chunk_of(started, event), entry.offset))
            case Started():
                out.append(b"data: %b\nid: %d\n\n" % (role_chunk(started), entry.offset))
            case Ended():
                out += [b"data: %b\n\n" % last for last in _last(started, event, with_usage=with_usage)]
                out.append(b"data: [DONE]\nid: %d\n\n" % entry.offset)
            case _:
                pass
    return out[0] if len(out) == 1 else b"".join(out)


def _last(started: Started, ended: Ended, *, with_usage: bool) -> list[bytes]:
    """What comes before `[DONE]`, which carries the entry's id."""
    if ended.outcome in ("failed", "cancelled"):
        return [_json(SHAPE.body(problem_of_end(ended)))]
    last = finish_chunks(started, ended)
    if with_usage and ended.usage is not None:
        last.append(usage_chunk(started, ended.usage))
    return last


# The whole answer


class WholeCompletion(FollowResponse):
    """A turn as one `chat.completion` object, sent when the turn has ended."""

    def __init__(self, turn: Turn, headers: Mapping[str, str]) -> None:
        super().__init__(turn, 0)
        self._about = headers

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Wait for the end, then answer."""
        await until_ended(follower)
        record = self.turn.record()
        ended = record.ended
        if ended is None or REASONS[ended.reason].outcome in ("failed", "cancelled"):
            problem = problem_of_end(ended or Ended("failed", "internal_error"))
            response = SHAPE.response(problem)
        else:
            response = Response(_json(_completion(record, ended)), media_type="application/json")
        response.headers.update(self._about)
        await response(scope, nothing_more, send)


def _completion(record: TurnRecord, ended: Ended) -> dict[str, Any]:
    started = record.started
    reasons = finishes(ended)
    choices = []
    for index in range(max(1, len(ended.finish_reasons))):
        finish = reasons[index] if index < len(reasons) else reasons[0]
        message = _message(record.choices.get(index, ChoiceRecord()))
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": finish})
    body = {
        "id": completion_id(started.turn),
        "object": "chat.completion",
        "created": record.started_ms // 1_000,
        "model": started.model,
        "choices": choices,
    }
    if ended.usage is not None:
        body["usage"] = usage_object(ended.usage)
    return body


def _message(choice: ChoiceRecord) -> dict[str, Any]:
    text = choice.answer + choice.relay
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": choice.refusal or None}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["content"] = text or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for _, call in sorted(choice.tool_calls.items())
        ]
    return message
