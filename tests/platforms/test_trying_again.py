"""A WebSocket platform in trouble, as one with SSE: tokens, limits, the breaker, tries and fallbacks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from conftest import PATIENCE
from platforms.asking import (
    COGNIGY,
    CONVERSATIONS,
    GATEWAY,
    HASTE,
    IDS,
    PRESETS,
    ask,
    relay_of,
    settings_of,
    streams,
)
from trunkline import Relay
from trunkline.connect.oauth import Client
from trunkline.dialects.presets import PRESETS as TABLE
from trunkline.simulators import Simulator

EVERY_ID = {name: value for ids in IDS.values() for name, value in ids.items()}
CALLS = {CONVERSATIONS: "quota", COGNIGY: "config"}


def tokens(simulator: Simulator) -> list[Any]:
    return [record for record in simulator.ledger if "token" in record["path"]]


def with_fallback(simulator: Simulator, preset: str, **more: Any) -> dict[str, Any]:
    """Settings with an upstream of one preset, and one of another to fall back on."""
    other = GATEWAY if preset != GATEWAY else COGNIGY
    settings = settings_of(simulator, preset, fallbacks=["other"], **more)
    settings["upstreams"]["other"] = settings_of(simulator, other)["upstreams"]["support"]
    return {**settings, "default_upstream": "support"}


# Tokens


@pytest.mark.parametrize(
    ("preset", "scopes", "style", "leeway_s"),
    [
        (CONVERSATIONS, "ai:read conversations:read ai:chat:stream", "form", 60),
        (GATEWAY, "ai:llm:gateway:use ai:llm:gateway:stream ai:llm:prompt:read", "basic", 300),
        (COGNIGY, "llm:stream bot:dialog:write api:access", "json", 60),
    ],
)
async def test_a_token_is_asked_for_as_the_wire_says(
    simulator: Simulator, preset: str, scopes: str, style: str, leeway_s: float
):
    async with relay_of(simulator, preset) as relay:
        await ask(relay, preset)
        credentials = relay.turns.upstreams["support"].credentials
    (record,) = tokens(simulator)
    path = "/api/v2/oauth/token" if preset == COGNIGY else "/oauth/token"
    assert (record["path"], record["style"], record["status"]) == (path, style, 200)
    client: Client = credentials._client  # type: ignore[attr-defined]
    assert (" ".join(client.scopes), client.leeway_s) == (scopes, leeway_s)


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_token_that_the_platform_gives_up_is_renewed_once(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        await ask(relay, preset)
        simulator.set_faults(["unauthorized-once"], at="platform")
        _, _, ended = await ask(relay, preset)
        assert (ended.reason, len(tokens(simulator))) == ("stop", 2)
        simulator.set_faults(["status=401"], connections=9, at="platform")
        _, _, refused = await ask(relay, preset)
    assert refused.reason == "upstream_auth"
    assert [record["status"] for record in await streams(simulator, preset)] == [101, 401, 101, 401, 401]


@pytest.mark.parametrize("preset", CALLS)
async def test_a_call_that_is_answered_401_renews_the_token_once(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults(["unauthorized-once"], at=CALLS[preset])  # type: ignore[arg-type]
        _, _, ended = await ask(relay, preset)
        assert (ended.reason, len(tokens(simulator))) == ("stop", 2)
        simulator.set_faults(["status=401"], connections=9, at=CALLS[preset])  # type: ignore[arg-type]
        _, _, refused = await ask(relay, preset, dialog_id="d-2")
    assert refused.reason == "upstream_auth"
    assert len(tokens(simulator)) == 3


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_token_that_is_refused_by_a_close_code_is_renewed_once(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults(["close-frame=4401/0"], at="platform")
        text, notices, ended = await ask(relay, preset)
        records = await streams(simulator, preset)
        assert (text, ended.reason) == (records[-1]["meant"], "stop")
        assert sum(notice.kind == "not_sent" for notice in notices) <= 1
        assert len(tokens(simulator)) == 2
        simulator.set_faults(["close-frame=4401/0"], connections=9, at="platform")
        _, _, refused = await ask(relay, preset)
    assert refused.reason == "upstream_auth"
    assert len(await streams(simulator, preset)) == 4


@pytest.mark.parametrize("preset", PRESETS)
async def test_after_the_first_text_such_a_close_ends_the_turn_and_the_next_one_has_another_token(
    simulator: Simulator, preset: str
):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults(["close-frame=4401/4"], at="platform")
        text, _, refused = await ask(relay, preset)
        assert (refused.reason, bool(text), len(tokens(simulator))) == ("upstream_auth", True, 1)
        _, _, ended = await ask(relay, preset)
    assert (ended.reason, len(tokens(simulator))) == ("stop", 2)


async def test_a_token_that_expired_meanwhile_is_renewed_before_the_link_is_taken_up():
    async with Simulator(token_lifetime_s=1, interval_ms=150) as simulator, relay_of(simulator, CONVERSATIONS) as relay:
        simulator.line_up(["reset-after=9"], ["flood"], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
        records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")
    assert [record["status"] for record in records] == [101, 101]
    assert len(tokens(simulator)) == 2


@pytest.mark.parametrize("fault", ["token-status=503", "token-drop"])
async def test_a_token_endpoint_that_is_away_for_a_while_at_a_reconnect_is_waited_for(fault: str):
    async with Simulator(token_lifetime_s=1, interval_ms=150) as simulator, relay_of(simulator, CONVERSATIONS) as relay:
        simulator.line_up(["reset-after=9"], ["flood"], at="platform")
        simulator.line_up([], *[[fault]] * 3, at="token")
        text, _, ended = await ask(relay, CONVERSATIONS)
        records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")


async def test_a_client_that_is_refused_a_token_at_a_reconnect_ends_its_answer():
    async with Simulator(token_lifetime_s=1, interval_ms=150) as simulator, relay_of(simulator, CONVERSATIONS) as relay:
        simulator.line_up(["reset-after=9"], ["flood"], at="platform")
        simulator.line_up([], ["token-status=401"], at="token")
        text, _, ended = await ask(relay, CONVERSATIONS)
    assert (ended.reason, bool(text)) == ("upstream_auth", True)


# Limits


@pytest.mark.parametrize("preset", PRESETS)
async def test_the_relay_slows_down_before_the_platform_says_no(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, timeouts={**PATIENCE, "first_token_s": 1}) as relay:
        simulator.set_faults(["limit-headers=0/60"], at="platform")
        _, _, first = await ask(relay, preset)
        _, _, second = await ask(relay, preset)
    # A caller does not wait that long, and nobody ran into a 429.
    assert (first.reason, second.reason) == ("stop", "rate_limited")
    assert second.detail == "the platform takes no more requests for 60 s"
    assert len(await streams(simulator, preset)) == 1


@pytest.mark.parametrize("preset", PRESETS)
async def test_waiting_for_the_platforms_window_is_no_silence_of_the_platform(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, timeouts={**PATIENCE, "first_token_s": 1.5}) as relay:
        simulator.set_faults(["limit-headers=0/1"], at="platform")
        await ask(relay, preset)
        simulator.set_faults(["slow-first=1000"], at="platform")
        _, _, second = await ask(relay, preset)
    assert second.reason == "stop"
    began = [record["at_ms"] for record in await streams(simulator, preset)]
    assert began[1] - began[0] > 900


@pytest.mark.parametrize("preset", PRESETS)
async def test_turns_that_our_own_limiter_turns_away_do_not_open_the_breaker(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, timeouts={**PATIENCE, "first_token_s": 1}, breaker_failures=2) as relay:
        simulator.set_faults(["limit-headers=0/60"], at="platform")
        ends = [(await ask(relay, preset))[2] for _ in range(5)]
        told = relay.telemetry.exposition().decode()
    assert [ended.reason for ended in ends] == ["stop", *["rate_limited"] * 4]
    assert 'trunkline_upstream_breaker{state="closed",upstream="support"} 1.0' in told


@pytest.mark.parametrize(("preset", "at"), [*CALLS.items(), *((preset, "platform") for preset in PRESETS)])
async def test_a_platform_that_asks_for_more_time_than_there_is_is_not_asked_again(
    simulator: Simulator, preset: str, at: Any
):
    async with relay_of(simulator, preset, attempts=3) as relay:
        simulator.set_faults(["status=429", "retry-after=3600"], connections=9, at=at)
        _, _, ended = await ask(relay, preset)
    assert (ended.outcome, ended.reason) == ("failed", "rate_limited")
    assert [record["status"] for record in simulator.ledger].count(429) == 1


async def test_without_a_word_from_the_gateway_a_429_is_waited_out_for_two_seconds_at_least(simulator: Simulator):
    async with relay_of(simulator, GATEWAY, attempts=3) as relay:
        simulator.set_faults(["status=429"], at="platform")
        _, _, ended = await ask(relay, GATEWAY)
    began = [record["at_ms"] for record in await streams(simulator, GATEWAY)]
    assert (ended.reason, len(began)) == ("stop", 2)
    assert all(later - earlier >= 2_000 for earlier, later in pairwise(began))
    retries = TABLE[GATEWAY].retries
    assert (retries.least_s, retries.cap_s) == (2, 10)


# Breaker and fallbacks


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("faults", [["status=503"], ["refuse"], ["stall-after=0"]], ids=";".join)
async def test_a_platform_that_fails_again_and_again_is_left_alone_for_a_while(
    simulator: Simulator, preset: str, faults: list[str]
):
    async with relay_of(simulator, preset, breaker_failures=3, breaker_open_s=60, timeouts=HASTE) as relay:
        simulator.set_faults(faults, connections=9, at="platform")
        details = [(await ask(relay, preset))[2].detail for _ in range(5)]
    assert len(await streams(simulator, preset)) == 3
    assert ["left alone" in detail for detail in details] == [False] * 3 + [True] * 2


@pytest.mark.parametrize("preset", PRESETS)
async def test_an_answer_closes_the_breaker_again(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, breaker_failures=2, breaker_open_s=0.01) as relay:
        simulator.set_faults(["status=503"], connections=2, at="platform")
        ends = [(await ask(relay, preset))[2].reason for _ in range(2)]
        breaker = relay.turns.upstreams["support"].breaker
        assert breaker.state(0.0) == "open"
        while (ended := (await ask(relay, preset))[2]).reason != "stop":
            assert "left alone" in ended.detail
        assert breaker.state(0.0) == "closed"
    assert ends == ["upstream_unavailable"] * 2


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("faults", [["status=503"], ["status=401"], ["refuse"], ["stall-after=0"]], ids=";".join)
async def test_before_the_first_text_another_upstream_is_asked(simulator: Simulator, preset: str, faults: list[str]):
    async with Relay(with_fallback(simulator, preset, timeouts=HASTE)) as relay:
        simulator.set_faults(faults, connections=2 if "401" in faults[0] else 1, at="platform")
        text, notices, ended = await ask(relay, preset, **EVERY_ID)
    other = GATEWAY if preset != GATEWAY else COGNIGY
    (record,) = await streams(simulator, other)
    assert (text, ended.reason) == (record["meant"], "stop")
    assert sum(notice.kind == "fallback" for notice in notices) == 1


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("faults", [["close-frame=4403/4"], ["stall-after=4"], ["error-after=4"]], ids=";".join)
async def test_after_the_first_text_an_upstream_is_never_changed(simulator: Simulator, preset: str, faults: list[str]):
    async with Relay(with_fallback(simulator, preset, attempts=3, timeouts=HASTE)) as relay:
        simulator.set_faults(faults, at="platform")
        text, notices, ended = await ask(relay, preset, **EVERY_ID)
    (record,) = await streams(simulator, preset)
    assert (ended.outcome, text != "", record["meant"].startswith(text)) == ("failed", True, True)
    assert "fallback" not in {notice.kind for notice in notices}


@pytest.mark.parametrize(("faults", "tries"), [(["metadata", "reset-after=0"], 3), (["reset-after=4"], 1)])
async def test_cognigy_is_tried_three_times_before_its_first_token_and_never_after_it(
    simulator: Simulator, faults: list[str], tries: int
):
    async with relay_of(simulator, COGNIGY, attempts=3) as relay:
        simulator.set_faults(faults, connections=9, at="platform")
        _, _, ended = await ask(relay, COGNIGY)
    assert ended.reason == "upstream_interrupted"
    assert len(await streams(simulator, COGNIGY)) == tries
