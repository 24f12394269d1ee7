"""The OpenAI chat-completions API, for clients that speak it: streamed and whole answers, models, errors in its shape.

Source: platform.openai.com/docs/api-reference/chat. Every streamed chunk also has the `id:` line of its log entry.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Final

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Scope, Send

from trunkline.core.errors import REASONS, Fault, RequestRefused
from trunkline.core.events import Delta, Ended, Started, ToolCall, Usage
from trunkline.core.ids import is_client_id
from trunkline.core.record import ChoiceRecord, TurnRecord
from trunkline.core.request import Message, TurnRequest
from trunkline.endpoints.base import (
    EventStream,
    FollowResponse,
    Problem,
    Shape,
    desk_of,
    nothing_more,
    problem_of_end,
    route_class,
    stream_error,
    whole,
)
from trunkline.log import Follower
from trunkline.stores.base import TurnLog
from trunkline.turns import Turn

_json: Final = msgspec.json.Encoder().encode


class OpenAIShape(Shape):
    """`{"error": {"message", "type", "param", "code"}}`."""

    media_type: ClassVar[str] = "application/json"

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
    stop: str | list[str] | None = None
    n: int | None = Field(default=1, ge=1, le=16)
    user: str | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


@router.post("/v1/chat/completions", summary="Create a chat completion", responses={200: {"content": {
    "application/json": {}, "text/event-stream": {}}}})  # fmt: skip
async def create(body: ChatCompletionRequest, request: Request) -> Response:
    """Start a turn and answer it as OpenAI would, streamed where `stream` is true. The client's leaving cancels it."""
    desk = desk_of(request)
    principal = desk.keys.principal(request)
    if not body.model:
        raise RequestRefused("model_required", "`model` is required: the name of an upstream.")
    turn = desk.turns.start(_turn_request(body, request), principal, "openai", policy="cancel")
    if not body.stream:
        return WholeCompletion(turn)
    with_usage = bool(body.stream_options is not None and body.stream_options.include_usage)
    return EventStream(
        turn,
        0,
        chunks_with_usage if with_usage else chunks,
        commit_after_s=desk.settings.commit_after_ms / 1_000,
        decide=lambda turn, ended: stream_error(turn, ended, SHAPE),
        headers={"x-turn-id": turn.id},
    )


@router.get("/v1/models", summary="List models")
async def models(request: Request) -> dict[str, Any]:
    """List what a client may ask for: the upstreams by name."""
    desk = desk_of(request)
    desk.keys.principal(request)
    return {"object": "list", "data": [_model(name) for name in desk.turns.admission.names]}


@router.get("/v1/models/{name}", summary="Show a model")
async def model(name: str, request: Request) -> dict[str, Any]:
    """Show one upstream as a model."""
    desk = desk_of(request)
    desk.keys.principal(request)
    desk.turns.admission.find(name)
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "trunkline"}


def _turn_request(body: ChatCompletionRequest, request: Request) -> TurnRequest:
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
            model=body.model,
            messages=body.messages,
            temperature=body.temperature,
            max_tokens=body.max_tokens,
            stop=body.stop,
            conversation_id=conversation,
            session_id=session,
            options=options,
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise RequestRefused("invalid_request", f"{name}: {first['msg']}", faults=[Fault(name, first["msg"])]) from None


# The stream


@lru_cache(maxsize=4_096)
def _head(turn_id: str, model_name: str, created_at: str) -> bytes:
    """What every chunk of a turn begins with."""
    created = int(datetime.fromisoformat(created_at).timestamp())
    head = {"id": _completion_id(turn_id), "object": "chat.completion.chunk", "created": created, "model": model_name}
    return _json(head).removesuffix(b"}") + b',"choices":['


def _completion_id(turn_id: str) -> str:
    return "chatcmpl-" + turn_id.removeprefix("turn_")


def chunks(turn: TurnLog, a: int, b: int) -> bytes:
    """The form of a stream without usage."""
    return _chunks(turn, a, b, with_usage=False)


def chunks_with_usage(turn: TurnLog, a: int, b: int) -> bytes:
    """The form of a stream with a usage chunk before `[DONE]`."""
    return _chunks(turn, a, b, with_usage=True)


def _chunks(turn: TurnLog, a: int, b: int, *, with_usage: bool) -> bytes:
    started = turn.started
    head = _head(started.turn, started.model, started.created_at)
    out: list[bytes] = []
    for entry in turn.entries[a:b]:
        event = entry.event
        match event:
            case Delta():
                delta = _DELTA_FIELDS[event.channel] % _json(event.text)
                out.append(_CHUNK % (head, event.choice, delta, b"null", entry.offset))
            case ToolCall():
                delta = _json({"tool_calls": [_tool_call_piece(event)]})
                out.append(_CHUNK % (head, event.choice, delta, b"null", entry.offset))
            case Started():
                out.append(_CHUNK % (head, 0, b'{"role":"assistant","content":""}', b"null", entry.offset))
            case Ended():
                out.extend(_end(event, head, with_usage=with_usage))
                out.append(b"data: [DONE]\nid: %d\n\n" % entry.offset)
            case _:
                pass
    return out[0] if len(out) == 1 else b"".join(out)


_CHUNK: Final = b'data: %b{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]}\nid: %d\n\n'
_LAST_CHUNK: Final = b'data: %b{"index":%d,"delta":{},"logprobs":null,"finish_reason":%b}]}\n\n'
_DELTA_FIELDS: Final[dict[str, bytes]] = {
    "answer": b'{"content":%b}',
    "relay": b'{"content":%b}',
    "reasoning": b'{"reasoning_content":%b}',
    "refusal": b'{"refusal":%b}',
}


def _tool_call_piece(event: ToolCall) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": event.arguments}
    piece: dict[str, Any] = {"index": event.index, "function": function}
    if event.name:
        function["name"] = event.name
    if event.call_id:
        piece |= {"id": event.call_id, "type": "function"}
    return piece


def _end(ended: Ended, head: bytes, *, with_usage: bool) -> list[bytes]:
    """The chunks of an end, up to `[DONE]`, which carries the entry's id."""
    if ended.outcome in ("failed", "cancelled"):
        return [b"data: " + _json(SHAPE.body(problem_of_end(ended))) + b"\n\n"]
    out = [_LAST_CHUNK % (head, index, _json(finish)) for index, finish in enumerate(_finishes(ended))]
    if with_usage and ended.usage is not None:
        out.append(b'data: %b],"usage":%b}\n\n' % (head, _json(_usage(ended.usage))))
    return out


def _finishes(ended: Ended) -> tuple[str, ...]:
    """OpenAI's finish reason for each choice."""
    if ended.outcome == "blocked":
        return tuple("content_filter" for _ in ended.finish_reasons) or ("content_filter",)
    return tuple(finish or "stop" for finish in ended.finish_reasons) or (ended.finish_reason or "stop",)


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


# The whole answer


class WholeCompletion(FollowResponse):
    """A turn as one `chat.completion` object, sent when the turn has ended."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(turn, 0)

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Wait for the end, then answer."""
        await whole(follower)
        record = self.turn.record()
        ended = record.ended
        if ended is None or REASONS[ended.reason].outcome in ("failed", "cancelled"):
            problem = problem_of_end(ended or Ended("failed", "internal_error"))
            response = SHAPE.response(problem)
        else:
            response = Response(_json(_completion(record, ended)), media_type="application/json")
        response.headers["x-turn-id"] = self.turn.id
        await response(scope, nothing_more, send)


def _completion(record: TurnRecord, ended: Ended) -> dict[str, Any]:
    started = record.started
    finishes = _finishes(ended)
    choices = []
    for index in range(max(1, len(ended.finish_reasons))):
        finish = finishes[index] if index < len(finishes) else finishes[0]
        message = _message(record.choices.get(index, ChoiceRecord()))
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": finish})
    body = {
        "id": _completion_id(started.turn),
        "object": "chat.completion",
        "created": record.started_ms // 1_000,
        "model": started.model,
        "choices": choices,
    }
    if ended.usage is not None:
        body["usage"] = _usage(ended.usage)
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
