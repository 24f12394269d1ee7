"""The `chat.completion.chunk` objects of a turn, as JSON: what OpenAI's stream and the WebSocket proxy both carry."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from trunkline.core.events import Delta, Ended, Started, ToolCall, Usage

_json: Final = msgspec.json.Encoder().encode
_CHUNK: Final = b'%b{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]}'
_DELTA_FIELDS: Final[dict[str, bytes]] = {
    "answer": b'{"content":%b}',
    "relay": b'{"content":%b}',
    "reasoning": b'{"reasoning_content":%b}',
    "refusal": b'{"refusal":%b}',
}


def chunk_of(started: Started, event: Delta | ToolCall) -> bytes:
    """Return the chunk of one piece of an answer."""
    if isinstance(event, Delta):
        delta = _DELTA_FIELDS[event.channel] % _json(event.text)
    else:
        delta = _json({"tool_calls": [_tool_call_piece(event)]})
    return _CHUNK % (_head(started.turn, started.model, started.created_at), event.choice, delta, b"null")


def role_chunk(started: Started) -> bytes:
    """Return the first chunk, which only says who speaks."""
    head = _head(started.turn, started.model, started.created_at)
    return _CHUNK % (head, 0, b'{"role":"assistant","content":""}', b"null")


def finish_chunks(started: Started, ended: Ended) -> list[bytes]:
    """Return the chunks that close the choices of a turn that was completed or blocked."""
    head = _head(started.turn, started.model, started.created_at)
    return [_CHUNK % (head, index, b"{}", _json(finish)) for index, finish in enumerate(finishes(ended))]


def usage_chunk(started: Started, usage: Usage) -> bytes:
    """Return the chunk that carries the usage and no choice."""
    head = _head(started.turn, started.model, started.created_at)
    return b'%b],"usage":%b}' % (head, _json(usage_object(usage)))


def finishes(ended: Ended) -> tuple[str, ...]:
    """Return OpenAI's finish reason for each choice."""
    if ended.outcome == "blocked":
        return tuple("content_filter" for _ in ended.finish_reasons) or ("content_filter",)
    return tuple(finish or "stop" for finish in ended.finish_reasons) or (ended.finish_reason or "stop",)


def usage_object(usage: Usage) -> dict[str, int]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def completion_id(turn_id: str) -> str:
    """Return OpenAI's name of a turn."""
    return "chatcmpl-" + turn_id.removeprefix("turn_")


@lru_cache(maxsize=4_096)
def _head(turn_id: str, model_name: str, created_at: str) -> bytes:
    """What every chunk of a turn begins with."""
    created = int(datetime.fromisoformat(created_at).timestamp())
    head = {"id": completion_id(turn_id), "object": "chat.completion.chunk", "created": created, "model": model_name}
    return _json(head).removesuffix(b"}") + b',"choices":['


def _tool_call_piece(event: ToolCall) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": event.arguments}
    piece: dict[str, Any] = {"index": event.index, "function": function}
    if event.name:
        function["name"] = event.name
    if event.call_id:
        piece |= {"id": event.call_id, "type": "function"}
    return piece
