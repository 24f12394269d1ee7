"""Mistakes that a type checker finds: each line names its error, and an error that is not found is one as well."""
# ruff: noqa: T201 - it speaks to a terminal

from __future__ import annotations

from typing import assert_never

from trunkline import Delta, Ended, Event, Message, Overloaded, Relay, Settings, Started, TrunklineError, TurnRequest


async def misuse_a_relay(relay: Relay, request: TurnRequest) -> None:
    Relay()  # type: ignore[call-arg]
    Relay("trunkline.toml")  # type: ignore[arg-type]
    with Relay({}):  # type: ignore[attr-defined]
        pass
    for _ in relay.stream(request):  # type: ignore[attr-defined]
        pass
    await relay.stream(request)  # type: ignore[misc]
    relay.stream("Where is my order?")  # type: ignore[arg-type]
    relay.stream(request, "web-app")  # type: ignore[call-arg]
    relay.turns = None  # type: ignore[misc,assignment]
    await relay.start(request)  # type: ignore[misc]


async def misuse_a_turn(relay: Relay, request: TurnRequest) -> None:
    turn = relay.start(request)
    turn.follow("7")  # type: ignore[arg-type]
    turn.cancel(heard_upto=1.5)  # type: ignore[arg-type]
    print(turn.record().ended.reason)  # type: ignore[union-attr]
    async for entry in turn.follow():  # type: ignore[attr-defined]
        print(entry)
    async for batch in turn.follow().entries():
        print(batch.offset)  # type: ignore[attr-defined]
        print(batch[0].event.text)  # type: ignore[union-attr]


async def misuse_events(relay: Relay, request: TurnRequest, event: Event) -> None:
    Delta("text")  # type: ignore[call-arg]
    Delta("text", 0, "aside")  # type: ignore[arg-type]
    Ended("done", "stop")  # type: ignore[arg-type]
    Delta("text", 0).text = "another"  # type: ignore[misc]
    print(event.text)  # type: ignore[attr-defined]
    async for one in relay.stream(request):
        print(one.text)  # type: ignore[union-attr]
        match one:
            case Started():
                pass
            case Delta():
                pass
            case _:
                assert_never(one)  # type: ignore[arg-type]


def misuse_requests(settings: Settings, error: TrunklineError) -> None:
    TurnRequest(prompt="Where is my order?")  # type: ignore[call-arg]
    TurnRequest(input=["Where", "is", "my", "order"])  # type: ignore[arg-type]
    TurnRequest(input="Where is my order?", on_last_reader_gone="stop")  # type: ignore[arg-type]
    Message(role="bot", content="Hello")  # type: ignore[arg-type]
    Settings()  # type: ignore[call-arg]
    print(settings.sole_upstream.upper())  # type: ignore[union-attr]
    print(error.retry_after_s)  # type: ignore[attr-defined]
    Overloaded("too_many_turns")  # type: ignore[call-arg]
