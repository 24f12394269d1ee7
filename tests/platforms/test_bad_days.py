"""The WebSocket platforms on bad days: each has its reason, its tries, and nothing is made up."""

from __future__ import annotations

import pytest

from conftest import PATIENCE
from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, HASTE, PRESETS, ask, relay_of, settings_of, streams, word
from trunkline import Relay
from trunkline.simulators import Simulator

BROKEN = [
    (["no-end"], "upstream_interrupted"),
    (["reset-after=4"], "upstream_interrupted"),
    (["close-after=4"], "upstream_interrupted"),
    (["half-event-after=4"], "upstream_interrupted"),
    (["close-frame=1000/4"], "upstream_interrupted"),
    (["close-frame=1001/4"], "upstream_interrupted"),
    (["close-frame=1011/4"], "upstream_interrupted"),
    (["close-frame=4401/4"], "upstream_auth"),
    (["close-frame=4503/4"], "upstream_unavailable"),
    (["stall-after=4"], "between_tokens_timeout"),
    (["error-after=4"], "upstream_error"),
    (["huge-line=2"], "upstream_protocol"),
    (["stall"], "handshake_timeout"),
    (["refuse"], "upstream_unavailable"),
    (["redirect=http://127.0.0.1:9/"], "upstream_error"),
    (["status=401"], "upstream_auth"),
    (["status=403"], "upstream_forbidden"),
    (["status=404"], "upstream_error"),
    (["status=429", "retry-after=0"], "rate_limited"),
    (["status=500"], "upstream_error"),
    (["status=503"], "upstream_unavailable"),
]


@pytest.mark.parametrize("preset", [GATEWAY, COGNIGY])
@pytest.mark.parametrize(("faults", "reason"), BROKEN, ids=word)
async def test_each_bad_day_has_its_reason_and_nothing_is_made_up(
    simulator: Simulator, preset: str, faults: list[str], reason: str
):
    hasty = {**HASTE, "connect_s": 0.4, "handshake_s": 0.4, "first_token_s": 3}
    async with relay_of(simulator, preset, timeouts=hasty) as relay:
        simulator.set_faults(faults, connections=9, at="platform")
        text, _, ended = await ask(relay, preset)
    record = (await streams(simulator, preset))[-1]
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert record["text"].startswith(text)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("faults", "reason", "limit"),
    [
        (["late-101=60000"], "handshake_timeout", "handshake_s"),
        (["stall-after=0"], "first_token_timeout", "first_token_s"),
        (["stall-after=4"], "between_tokens_timeout", "between_tokens_s"),
        (["drip=100", "cut=20"], "turn_timeout", "turn_s"),
    ],
    ids=word,
)
async def test_each_step_has_a_time_and_an_end_of_its_own(
    simulator: Simulator, preset: str, faults: list[str], reason: str, limit: str
):
    async with relay_of(simulator, preset, timeouts={**PATIENCE, "handshake_s": 3, limit: 0.3}) as relay:
        simulator.set_faults(faults, at="platform")
        text, _, ended = await ask(relay, preset)
    (record,) = await streams(simulator, preset)
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert record["meant"].startswith(text)


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_101_that_comes_too_late_is_given_up_for_a_second_one(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, attempts=2, timeouts={**PATIENCE, "handshake_s": 0.3}) as relay:
        simulator.set_faults(["late-101=60000"], at="platform")
        text, _, ended = await ask(relay, preset)
    first, second = await streams(simulator, preset)
    assert (text, ended.reason) == (second["meant"], "stop")
    assert (first["ended"], first["status"], first["frames"]) == ("client_gone", None, [])


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_429_at_the_handshake_is_tried_three_times(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, attempts=3) as relay:
        simulator.set_faults(["status=429", "retry-after=0"], connections=2, at="platform")
        text, notices, ended = await ask(relay, preset, temperature=0.3)
        first = await streams(simulator, preset)
        simulator.set_faults(["status=429", "retry-after=0"], connections=9, at="platform")
        _, _, refused = await ask(relay, preset)
    assert (text, ended.reason) == (first[-1]["meant"], "stop")
    assert sum(notice.kind == "not_sent" for notice in notices) <= 1
    assert refused.reason == "rate_limited"
    assert [record["status"] for record in await streams(simulator, preset)] == [429, 429, 101, 429, 429, 429]


async def test_a_platform_that_is_away_before_the_first_text_leaves_the_turn_to_the_next(simulator: Simulator):
    settings = settings_of(simulator, CONVERSATIONS, fallbacks=["other"], timeouts=HASTE)
    settings["upstreams"]["other"] = settings_of(simulator, GATEWAY)["upstreams"]["support"]
    settings["default_upstream"] = "support"
    async with Relay(settings) as relay:
        object.__setattr__(relay._transports, "random", lambda: 0.0)  # as in `relay_of`
        simulator.line_up(["reset-after=0"], ["status=503", "retry-after=1"], ["slow-first=1200"], at="platform")
        text, notices, ended = await ask(relay, CONVERSATIONS, prompt_id="p-1")
    (record,) = await streams(simulator, GATEWAY)
    assert (text, ended.reason) == (record["meant"], "stop")
    assert [notice.kind for notice in notices] == ["not_sent", "fallback"]
    # The second link was refused, and nobody comes back for a third when its time has come.
    assert len(await streams(simulator, CONVERSATIONS)) == 2
