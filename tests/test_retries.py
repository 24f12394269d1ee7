"""Before the first text a turn is tried again, or elsewhere; after it, never."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conftest import PATIENCE, Answer, answer_of
from trunkline import Ended, Relay, TurnRequest
from trunkline.simulators import Simulator


def upstream(simulator: Simulator, **more: Any) -> dict[str, Any]:
    base = {"preset": "openai", "base_url": f"{simulator.url}/v1", "model": "m", "timeouts": PATIENCE, "guards": "none"}
    return base | more


async def ask(relay: Relay, prompt: str = "sim:text=short", **more: Any) -> Answer:
    return await answer_of(relay, TurnRequest(input=prompt, **more))


@pytest.mark.parametrize("fault", ["status=429", "status=502", "status=503", "status=504", "refuse"])
async def test_a_passing_trouble_is_not_seen_by_anybody(simulator, fault):
    async with Relay({"upstreams": {"a": upstream(simulator)}}) as relay:
        simulator.set_faults([fault, "retry-after=0"] if fault.startswith("status") else [fault], connections=2)
        text, notices, ended = await ask(relay)
        told = relay.telemetry.exposition().decode()
    assert (text, notices, ended.outcome) == ("Hello.", [], "completed")
    assert len(simulator.ledger) == 3
    reason = {"status=429": "rate_limited", "refuse": "upstream_interrupted"}.get(fault, "upstream_unavailable")
    assert f'trunkline_upstream_retries_total{{next="a",reason="{reason}",upstream="a"}} 2.0' in told


@pytest.mark.parametrize("fault", ["status=400", "status=401", "status=403", "status=404", "status=500", "html"])
async def test_what_would_fail_again_is_not_tried_again(simulator, fault):
    async with Relay({"upstreams": {"a": upstream(simulator)}}) as relay:
        simulator.set_faults([fault], connections=9)
        _, _, ended = await ask(relay)
    assert ended.outcome == "failed"
    assert len(simulator.ledger) == 1


async def test_three_attempts_are_all(simulator):
    async with Relay({"upstreams": {"a": upstream(simulator)}}) as relay:
        simulator.set_faults(["status=503", "retry-after=0"], connections=9)
        _, _, ended = await ask(relay)
    assert ended.reason == "upstream_unavailable"
    assert len(simulator.ledger) == 3


async def test_after_the_first_text_nothing_is_tried_again_or_elsewhere(simulator):
    settings = {"upstreams": {"a": upstream(simulator, fallbacks=["b"]), "b": upstream(simulator)}}
    async with Relay(settings | {"default_upstream": "a"}) as relay:
        simulator.set_faults(["reset-after=1"], connections=1)
        text, notices, ended = await ask(relay, "sim:text=order")
    assert ended.reason == "upstream_interrupted"
    assert text
    assert notices == []
    assert len(simulator.ledger) == 1


async def test_a_wait_that_the_turn_has_no_time_for_is_not_waited(simulator):
    async with Relay({"upstreams": {"a": upstream(simulator)}}) as relay:
        simulator.set_faults(["status=429", "retry-after=3600"], connections=9)
        _, _, ended = await ask(relay)
    assert ended.reason == "rate_limited"
    assert len(simulator.ledger) == 1


@pytest.mark.parametrize("fault", ["status=503", "status=500", "status=401", "html", "stall"])
async def test_fallbacks_are_asked_in_their_order_and_a_notice_says_so(simulator, fault):
    hasty = {**PATIENCE, "first_token_s": 0.2}
    settings = {
        "default_upstream": "a",
        "upstreams": {
            "a": upstream(simulator, fallbacks=["b", "c"], attempts=1, timeouts=hasty),
            "b": upstream(simulator, model="bb", attempts=1, timeouts=hasty),
            "c": upstream(simulator, model="cc"),
        },
    }
    async with Relay(settings) as relay:
        simulator.set_faults([fault], connections=2)
        text, notices, ended = await ask(relay)
        told = relay.telemetry.exposition().decode()
    reason = notices[0].detail.removeprefix("a to b: ")
    assert f'trunkline_upstream_retries_total{{next="b",reason="{reason}",upstream="a"}} 1.0' in told
    assert f'trunkline_upstream_retries_total{{next="c",reason="{reason}",upstream="b"}} 1.0' in told
    assert (text, ended.outcome) == ("Hello.", "completed")
    assert [notice.kind for notice in notices] == ["fallback", "fallback"]
    assert notices[0].detail.startswith("a to b: ")
    assert notices[1].detail.startswith("b to c: ")
    assert [record["body"]["model"] for record in simulator.ledger] == ["m", "bb", "cc"]


async def test_a_platform_that_fails_again_and_again_is_left_alone_for_a_while(simulator):
    settings = {"upstreams": {"a": upstream(simulator, attempts=1, breaker_failures=3, breaker_open_s=60)}}
    async with Relay(settings) as relay:
        simulator.set_faults(["status=503"], connections=9)
        details = [(await ask(relay))[2].detail for _ in range(5)]
        told = relay.telemetry.exposition().decode()
    assert 'trunkline_upstream_breaker{state="open",upstream="a"} 1.0' in told
    assert 'trunkline_upstream_breaker{state="closed",upstream="a"} 0.0' in told
    assert len(simulator.ledger) == 3
    assert all("left alone" in detail for detail in details[3:])


async def test_a_platform_that_is_well_again_is_used_again_under_traffic(simulator):
    settings = {"upstreams": {"a": upstream(simulator, attempts=1, breaker_failures=2, breaker_open_s=0.3)}}
    async with Relay(settings) as relay:
        simulator.set_faults(["status=503"], connections=2)
        outcomes = []
        async with asyncio.timeout(10):
            while "completed" not in outcomes:
                outcomes.append((await ask(relay))[2].outcome)
                await asyncio.sleep(0.02)
    assert outcomes.count("failed") > 2


async def test_open_turns_are_counted_right_after_a_fallback(simulator):
    settings = {
        "default_upstream": "a",
        "upstreams": {"a": upstream(simulator, fallbacks=["b"], attempts=1), "b": upstream(simulator)},
    }
    async with Relay(settings) as relay:
        simulator.set_faults(["status=503"], connections=1)
        await ask(relay)
        told = relay.telemetry.exposition().decode()
    assert 'trunkline_turns_open{upstream="a"} 0.0' in told
    assert 'trunkline_turns_open{upstream="b"}' not in told


async def test_a_cancel_ends_the_waiting_between_two_attempts(simulator):
    async with Relay({"upstreams": {"a": upstream(simulator)}}) as relay:
        simulator.set_faults(["status=429", "retry-after=2"], connections=9)
        turn = relay.start(TurnRequest(input="hi"))
        await simulator.ended(1)
        turn.cancel()
        with turn.follow() as follower:
            events = [entry.event async for batch in follower.entries() for entry in batch]
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "client_cancelled"
    assert len(simulator.ledger) == 1


async def test_with_a_fallback_nobody_waits_longer_than_for_a_first_text(simulator):
    settings = {
        "default_upstream": "a",
        "upstreams": {
            "a": upstream(simulator, fallbacks=["b"], timeouts={**PATIENCE, "first_token_s": 2}),
            "b": upstream(simulator, model="bb"),
        },
    }
    async with Relay(settings) as relay:
        simulator.set_faults(["status=429", "retry-after=5"], connections=1)
        text, notices, _ = await ask(relay)
    assert (text, notices[0].detail) == ("Hello.", "a to b: rate_limited")
    assert [record["body"]["model"] for record in simulator.ledger] == ["m", "bb"]


async def test_a_probe_that_a_caller_gave_up_leaves_the_next_turn_the_probe(simulator):
    settings = {"upstreams": {"a": upstream(simulator, attempts=1, breaker_failures=1, breaker_open_s=0.2)}}
    async with Relay(settings) as relay:
        simulator.set_faults(["status=503"])
        await ask(relay)
        simulator.set_faults(["stall"])
        async with asyncio.timeout(10):
            while len(simulator.ledger) < 2:
                turn = relay.start(TurnRequest(input="hi"))
                await asyncio.sleep(0.05)
                turn.cancel()
        # Within the time that a probe may take, and yet this one is let through.
        assert (await ask(relay))[2].outcome == "completed"


async def test_a_probe_goes_through_its_own_attempts(simulator):
    settings = {"upstreams": {"a": upstream(simulator, attempts=3, breaker_failures=1, breaker_open_s=0.2)}}
    async with Relay(settings) as relay:
        simulator.set_faults(["status=503", "retry-after=0"])
        assert "left alone" in (await ask(relay))[2].detail
        simulator.line_up(["status=429", "retry-after=0"], ["status=429", "retry-after=0"])
        async with asyncio.timeout(10):
            while (ended := (await ask(relay))[2]).outcome != "completed":
                assert "left alone" in ended.detail
    assert [record["status"] for record in simulator.ledger] == [503, 429, 429, 200]
