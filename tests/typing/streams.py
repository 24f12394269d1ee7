"""A program that streams answers: what a type checker knows about the relay and its events."""
# ruff: noqa: T201 - it speaks to a terminal

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, assert_never, assert_type

from trunkline import (
    AnyEvent,
    Delta,
    Ended,
    Event,
    Guarded,
    Notice,
    Relay,
    Started,
    ToolCall,
    TurnRequest,
    Usage,
    __version__,
)

assert_type(__version__, str)

SETTINGS: dict[str, Any] = {
    "upstreams": {"support": {"preset": "openai", "base_url": "http://127.0.0.1:9000/v1", "model": "m"}}
}


async def print_answer() -> None:
    """The example of the README."""
    async with Relay(SETTINGS) as relay:
        assert_type(relay, Relay)
        async for event in relay.stream(TurnRequest(input="Where is my order?")):
            if isinstance(event, Delta):
                print(event.text, end="", flush=True)
            elif isinstance(event, Ended):
                print(f"\n{event.outcome}: {event.reason} {event.detail}")


async def describe(relay: Relay) -> AsyncGenerator[str, None]:
    """Every event in its branch; were there one more, `assert_never` would not be satisfied."""
    async for event in relay.stream(TurnRequest(input="Where is my order?"), principal="web-app"):
        assert_type(event, AnyEvent)
        assert_type(event, Started | Delta | ToolCall | Guarded | Usage | Notice | Ended)
        match event:
            case Started():
                assert_type(event.prompt_tokens, int)
                yield f"{event.turn} {event.principal} {event.upstream} {event.model} {event.created_at}"
            case Delta(text=text, choice=choice):
                assert_type(event.channel, Literal["answer", "reasoning", "refusal", "relay"])
                assert_type(choice, int)
                yield text
            case ToolCall():
                assert_type(event.index, int)
                yield event.name + event.arguments
            case Guarded():
                assert_type(event.start + event.end + event.offset + event.length, int)
                yield event.rule + event.action
            case Usage():
                assert_type(event.counted_by, Literal["platform", "relay"])
                yield str(event.prompt_tokens + event.completion_tokens + event.total_tokens)
            case Notice(kind=kind, detail=detail):
                yield kind + detail
            case Ended():
                assert_type(event.outcome, Literal["completed", "blocked", "failed", "cancelled"])
                assert_type(event.finish_reasons, tuple[str, ...])
                assert_type(event.heard_upto, int | None)
                assert_type(event.usage, Usage | None)
                yield event.reason + event.finish_reason + event.detail
            case _:
                assert_never(event)


async def gather(relay: Relay, request: TurnRequest) -> list[Event]:
    """Stop in the middle: the generator can be closed, which cancels the turn. Every event is an `Event`."""
    seen: list[Event] = []
    async with aclosing(relay.stream(request)) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == 3:
                break
    return seen
