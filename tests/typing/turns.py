"""A program that starts turns, follows them, comes back to them and stops them, and knows what may go wrong."""
# ruff: noqa: T201 - it speaks to a terminal

from __future__ import annotations

from typing import assert_type

from trunkline import (
    AccessDenied,
    Delta,
    Ended,
    Entry,
    OffsetPastTail,
    Overloaded,
    Relay,
    RequestRefused,
    Started,
    TrunklineError,
    Turn,
    TurnForgotten,
    TurnNotFound,
    TurnRecord,
    TurnRequest,
)


async def follow(relay: Relay) -> int:
    """Read a turn in batches of entries, and come back to it by its id and the last offset."""
    turn = relay.start(TurnRequest(input="Where is my order?"), principal="bot")
    assert_type(turn, Turn)
    assert_type(turn.id, str)
    assert_type(turn.started, Started)
    last = 0
    with turn.follow() as follower:
        async for batch in follower.entries():
            for entry in batch:
                assert_type(entry, Entry)
                assert_type(entry.at_ms, int)
                assert_type(entry.json, bytes)
                last = entry.offset
                if isinstance(entry.event, Delta):
                    print(entry.event.text)
            if last:
                break
    again = await relay.find(turn.id, principal="bot")
    with again.follow(after=last) as follower:
        assert_type(follower.done, bool)
    again.cancel()
    again.cancel(heard_upto=12)
    return last


async def read(relay: Relay, turn_id: str) -> str:
    """Take what a turn amounts to."""
    record = (await relay.find(turn_id, principal="bot")).record()
    assert_type(record, TurnRecord)
    assert_type(record.text, str)
    assert_type(record.ended, Ended | None)
    assert_type(record.ended_ms, int | None)
    for choice in record.choices.values():
        assert_type(choice.answer + choice.reasoning, str)
        for call in choice.tool_calls.values():
            print(call.id, call.name, call.arguments)
    if record.ended is None or record.usage is None:
        return record.started.model
    return f"{record.ended.reason} {record.usage.total_tokens}"


async def stop(relay: Relay) -> None:
    """Drain, with and without a limit of one's own."""
    await relay.drain()
    await relay.drain(5)
    await relay.drain(limit_s=0.5)


def explain(relay: Relay, request: TurnRequest) -> str:
    """Every error says what a caller needs to go on."""
    try:
        return relay.start(request).id
    except RequestRefused as error:
        return "; ".join(f"{fault.pointer}: {fault.detail}" for fault in error.faults)
    except Overloaded as error:
        assert_type(error.retry_after_s, int)
        return f"again in {error.retry_after_s} s"
    except OffsetPastTail as error:
        assert_type(error.after, int)
        return f"go on from {error.tail}"
    except (TurnNotFound, TurnForgotten, AccessDenied) as error:
        return error.detail
    except TrunklineError as error:
        assert_type(error.code, str)
        assert_type(error.status, int)
        assert_type(error.retryable, bool)
        return error.detail
