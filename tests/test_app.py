"""The relay as a library."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from conftest import settings_for
from trunkline import Delta, Ended, Relay, RequestRefused, SettingsError, Started, TurnNotFound, TurnRequest


async def test_a_stream_begins_with_started_and_ends_with_ended(relay, simulator):
    events = [event async for event in relay.stream(TurnRequest(input="sim:text=order", conversation_id="c"))]
    assert isinstance(events[0], Started)
    assert events[0].conversation_id == "c"
    assert events[0].prompt_tokens > 0
    assert isinstance(events[-1], Ended)
    text = "".join(event.text for event in events if isinstance(event, Delta))
    assert text == (await simulator.ended(1))[-1]["text"]


async def test_leaving_the_loop_cancels_the_turn(relay, simulator):
    async with aclosing(relay.stream(TurnRequest(input="sim:text=long;sim:interval-ms=20"))) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"
    assert relay.turns.open_count == 0


async def test_leaving_the_relay_ends_what_is_open(simulator):
    async with Relay(settings_for(f"{simulator.url}/v1")) as relay:
        turn = relay.start(TurnRequest(input="sim:fault=stall"))
        follower = turn.follow()
    batches = [batch async for batch in follower.entries()]
    end = batches[-1][-1].event
    assert isinstance(end, Ended)
    assert (end.outcome, end.reason) == ("cancelled", "shutdown")
    follower.close()


async def test_one_turn_that_fails_in_the_sweep_stops_no_other_turns_clock(simulator):
    hasty = {"connect_s": 2, "first_token_s": 0.3, "between_tokens_s": 0.3, "turn_s": 10}
    async with Relay(settings_for(f"{simulator.url}/v1", timeouts=hasty)) as relay:

        class Broken:
            def sweep(self, now: float) -> None:
                raise RuntimeError

            def cancel(self, reason: str) -> None:
                pass

        broken = SimpleNamespace(pump=Broken(), policy="finish", cancel_after_s=0, alone_since=None)
        relay.turns._open["broken"] = broken  # type: ignore[assignment]
        events = [event async for event in relay.stream(TurnRequest(input="sim:fault=stall"))]
        del relay.turns._open["broken"]
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "first_token_timeout"


@pytest.mark.parametrize("broken", ["the turns' sweep", "the log's sweep", "the store's sweep"])
async def test_a_sweep_that_fails_stops_no_turns_clock_and_is_told(simulator, broken: str):
    swept: list[str] = []

    def fail(*_: object) -> None:
        swept.append(broken)
        raise RuntimeError("words of a customer")

    hasty = {"connect_s": 2, "first_token_s": 0.3, "between_tokens_s": 0.3, "turn_s": 10}
    async with Relay(settings_for(f"{simulator.url}/v1", timeouts=hasty)) as relay:
        match broken:
            case "the turns' sweep":
                sweep = relay.turns.sweep
                relay.turns.sweep = lambda: sweep() if swept else fail()  # type: ignore[method-assign, func-returns-value]
            case "the log's sweep":
                relay.turns.house.log.sweep = fail  # type: ignore[method-assign]
                relay.turns.house.log.store.sweep = lambda now_ms: swept.append("the store")  # type: ignore[method-assign]
            case _:
                relay.turns.house.log.store.sweep = fail  # type: ignore[method-assign]
        events = [event async for event in relay.stream(TurnRequest(input="sim:fault=stall"))]
        assert b'trunkline_internal_errors_total{where="sweep"}' in relay.telemetry.exposition()
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "first_token_timeout"
    assert set(swept) == {broken} | ({"the store"} if broken == "the log's sweep" else set())


async def test_two_relays_live_in_one_process_and_know_nothing_of_each_other(simulator):
    settings = settings_for(f"{simulator.url}/v1")
    async with Relay(settings) as one, Relay(settings) as two:
        turn = one.start(TurnRequest(input="sim:text=short"))
        with pytest.raises(TurnNotFound):
            await two.find(turn.id)
        assert (await one.find(turn.id)).id == turn.id


async def test_refusals_are_raised_before_anything_is_asked(relay, simulator):
    with pytest.raises(RequestRefused) as refused:
        relay.start(TurnRequest(upstream="suport", input="hi"))
    assert refused.value.code == "model_not_found"
    with pytest.raises(RequestRefused):
        relay.start(TurnRequest())
    assert simulator.ledger == []


async def test_a_relay_that_is_not_running_says_so():
    relay = Relay(settings_for("http://127.0.0.1:9/v1"))
    with pytest.raises(RuntimeError, match="async with"):
        relay.start(TurnRequest(input="hi"))


def test_wrong_settings_are_refused_at_once():
    with pytest.raises(SettingsError):
        Relay({"upstreams": {}})


async def test_a_hundred_turns_at_once_leave_nothing_behind(simulator):
    async with Relay(settings_for(f"{simulator.url}/v1")) as relay:

        async def one(n: int) -> str:
            text = ""
            async with aclosing(relay.stream(TurnRequest(input="sim:text=unicode;sim:fault=cut=random"))) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        text += event.text
                        if n % 5 == 0:
                            return ""
            return text

        texts = await asyncio.gather(*(one(n) for n in range(100)))
        assert len(set(texts) - {""}) == 1
        assert relay.turns.open_count == 0
        assert relay.telemetry.readers == 0
        assert not relay.turns.house.log.followers
    whole = {record["text"] for record in await simulator.ended(100) if record["ended"] == "completed"}
    assert whole == set(texts) - {""}
