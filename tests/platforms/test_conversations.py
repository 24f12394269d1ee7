"""Genesys' conversations, whole: the quota, links that are taken up again, and the text exactly once."""

from __future__ import annotations

import asyncio

import pytest

from conftest import PATIENCE
from platforms.asking import CONVERSATIONS, HASTE, ask, relay_of, streams, word
from trunkline.simulators import Simulator


@pytest.mark.parametrize(
    "faults",
    [
        ["duplicates"], ["reorder=8"], ["reorder=8", "duplicates"], ["bad-json-after=3"], ["not-an-object-after=3"],
        ["keyless-after=3"], ["reset-after=4"], ["close-after=4"], ["half-event-after=4"], ["no-end"],
        ["close-frame=1000/4"], ["close-frame=1011/4"], ["close-frame=4429/4"], ["close-frame=4503/4"],
        ["reset-after=0"], ["reset-after=9", "reorder=6", "duplicates"],
        ["reset-after=6", "replay=continues"], ["reset-after=6", "no-sequence"], ["no-end", "no-sequence"],
        ["reset-after=4", "revoked"], ["no-sequence", "lone-surrogates", "reset-after=7"],
    ],
    ids=";".join,
)  # fmt: skip
async def test_a_conversation_comes_exactly_once_and_in_order(simulator: Simulator, faults: list[str]):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(faults, at="platform")
        text, notices, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert text == records[-1]["meant"]
    assert (ended.outcome, ended.reason) == ("completed", "stop")
    reconnects = [notice for notice in notices if notice.kind == "reconnected"]
    subscribed = [record for record in records if record["turn"]]
    assert len(reconnects) == len(subscribed) - 1
    assert len({record["turn"] for record in subscribed}) == 1


async def test_a_link_that_breaks_again_and_again_is_taken_up_each_time_with_the_same_turn(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(["reset-after=9"], connections=5, at="platform")
        text, notices, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")
    assert [record["attempt"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert sum(notice.kind == "reconnected" for notice in notices) == 5


async def test_a_token_that_was_revoked_meanwhile_is_renewed_before_the_turn_goes_on(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(["revoked", "reset-after=9"], connections=3, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")
    # Of each two further links the first is refused with the old token.
    assert [record["status"] for record in records[:3]] == [101, 401, 101]
    assert len([record for record in simulator.ledger if "token" in record["path"]]) > 1


@pytest.mark.parametrize(
    "refusal",
    [["status=503"], ["status=429", "retry-after=0"], ["refuse"], ["status=500"], ["close-frame=4429/0"],
     ["close-frame=4503/0"]],
    ids=";".join,
)  # fmt: skip
async def test_a_platform_that_is_away_for_a_while_is_waited_for(simulator: Simulator, refusal: list[str]):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.line_up(["reset-after=9"], refusal, refusal, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
        told = relay.telemetry.exposition().decode()
    assert 'trunkline_upstream_reopened_streams_total{upstream="support"} 3.0' in told
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (["gap=3"], "sequence_gap"),
        (["reset-after=6", "no-sequence", "replay=other"], "replay_mismatch"),
        (["reset-after=6", "replay=other"], "replay_mismatch"),
        (["stall-after=4"], "between_tokens_timeout"),
        (["reset-after=4", "replay=none"], "between_tokens_timeout"),
        (["error-after=4"], "upstream_error"),
        (["close-frame=4403/4"], "upstream_forbidden"),
        (["huge-line=2"], "upstream_protocol"),
        (["status=403"], "upstream_forbidden"),
        (["status=503"], "upstream_unavailable"),
        (["stall"], "handshake_timeout"),
        (["refuse"], "upstream_unavailable"),
    ],
    ids=word,
)
async def test_a_conversation_that_cannot_go_on_says_why(simulator: Simulator, faults: list[str], reason: str):
    timeouts = {**HASTE, "first_token_s": 3, "connect_s": 0.4, "handshake_s": 0.4}
    async with relay_of(simulator, CONVERSATIONS, timeouts=timeouts, gap_s=0.1) as relay:
        simulator.set_faults(faults, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert records[0]["meant"].startswith(text)


@pytest.mark.parametrize("more", [[], ["closes"], ["duplicates"], ["reset-after=20"], ["reorder=40"]], ids=word)
async def test_an_end_mark_without_a_number_leaves_nothing_out_that_it_has_overtaken(
    simulator: Simulator, more: list[str]
):
    async with relay_of(simulator, CONVERSATIONS, gap_s=0.2) as relay:
        simulator.set_faults(["unnumbered-end", "early-end=2", *more], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.outcome, ended.reason) == (records[-1]["meant"], "completed", "stop")


async def test_one_number_that_is_missing_among_others_is_not_guessed(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(["unnumbered=5"], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    (record,) = await streams(simulator, CONVERSATIONS)
    assert (ended.reason, record["meant"].startswith(text), text != "") == ("upstream_protocol", True, True)


@pytest.mark.parametrize(("replay", "reason"), [("continues", "stop"), ("none", "upstream_interrupted")])
async def test_without_numbers_the_preset_says_how_the_platform_goes_on(simulator: Simulator, replay: str, reason: str):
    async with relay_of(simulator, CONVERSATIONS, replay=replay) as relay:
        simulator.set_faults(["close-after=6", "no-sequence", f"replay={replay}"], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert ended.reason == reason
    assert text == (records[-1]["meant"] if replay == "continues" else records[-1]["text"])


async def test_reconnecting_ends_at_the_turns_own_deadline(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS, timeouts={**HASTE, "turn_s": 0.8}) as relay:
        simulator.line_up(["reset-after=4"], *[["status=503", "retry-after=30"]] * 9, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    assert (ended.reason, text != "") == ("turn_timeout", True)


@pytest.mark.parametrize(
    ("faults", "reason", "words"),
    [
        (["quota-slots=0"], "quota_exceeded", "0 free slots of 10"),
        (["quota-model-status=RETIRED"], "quota_exceeded", "'RETIRED', not AVAILABLE"),
        (["status=401"], "upstream_auth", "quota"),
        (["status=403"], "upstream_forbidden", "AI Administrator or Custom AI Developer"),
        (["status=404"], "upstream_error", "not published"),
        (["status=429", "retry-after=0"], "rate_limited", "429"),
        (["status=500"], "upstream_error", "500"),
        (["status=503"], "upstream_unavailable", "503"),
        (["html"], "upstream_protocol", "available_slots"),
    ],
    ids=word,
)
async def test_each_answer_about_the_quota_has_its_own_words(
    simulator: Simulator, faults: list[str], reason: str, words: str
):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(faults, connections=2, at="quota")
        text, _, ended = await ask(relay, CONVERSATIONS)
    assert (text, ended.reason) == ("", reason)
    assert words in ended.detail
    assert await streams(simulator, CONVERSATIONS) == []


@pytest.mark.parametrize(("fresh_s", "asked"), [(30, 1), (0, 5)])
async def test_the_quota_can_be_asked_for_many_turns_at_once_or_for_each(fresh_s: float, asked: int):
    async with Simulator(quota_fresh_s=fresh_s) as simulator:
        async with relay_of(simulator, CONVERSATIONS, quota_fresh_s=fresh_s) as relay:
            ends = await asyncio.gather(*(ask(relay, CONVERSATIONS) for _ in range(5)))
        assert len(await streams(simulator, CONVERSATIONS)) == 5
        assert len([record for record in simulator.ledger if "quotas" in record["path"]]) == asked
    assert {ended.outcome for _, _, ended in ends} == {"completed"}


async def test_pings_keep_a_link_alive_on_which_nothing_is_said():
    async with Simulator(idle_s=0.3) as simulator:
        timeouts = {**PATIENCE, "ping_every_s": 0.1}
        async with relay_of(simulator, CONVERSATIONS, timeouts=timeouts) as relay:
            simulator.set_faults(["slow-first=700"], at="platform")
            text, _, ended = await ask(relay, CONVERSATIONS)
        (record,) = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (record["meant"], "stop")
    assert any((frame["sender"], frame["kind"]) == ("client", "ping") for frame in record["frames"])


async def test_a_link_without_pongs_is_dead_and_taken_up_again(simulator: Simulator):
    timeouts = {**PATIENCE, "ping_every_s": 0.05, "pong_within_s": 0.05}
    async with relay_of(simulator, CONVERSATIONS, timeouts=timeouts) as relay:
        simulator.set_faults(["no-pong", "stall-after=5"], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason, len(records)) == (records[-1]["meant"], "stop", 2)
