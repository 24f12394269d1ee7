"""`check --live` before a WebSocket platform: as far as the handshake, and it spends no completion."""

from __future__ import annotations

from typing import Any

import pytest

from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, PRESETS, relay_of, streams
from platforms.parrot import AROUND, TOKEN, issued, parrot
from trunkline.live_check import check_live
from trunkline.rehearsal import MAX_WORDS
from trunkline.simulators import Simulator


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_live_check_goes_as_far_as_the_handshake_and_spends_no_completion(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        steps = [step async for step in check_live(relay.turns.upstreams["support"])]
    assert [step.words for step in steps if not step.ok] == []
    expected = ["quota"] if preset == CONVERSATIONS else []
    assert [step.name for step in steps] == ["name", "connection", "credentials", *expected, "handshake"]
    (record,) = await streams(simulator, preset)
    assert (record["status"], record["text"], record["pieces"]) == (101, "", 0)
    assert not [record for record in simulator.ledger if record["path"].endswith("/config")]


@pytest.mark.parametrize(
    ("preset", "fault", "at", "name", "words"),
    [
        (CONVERSATIONS, "quota-slots=0", "quota", "quota", "0 free slots"),
        (CONVERSATIONS, "status=403", "platform", "handshake", "grant the scopes conversations:read"),
        (GATEWAY, "handshake=rejected", "platform", "handshake", "cannot be started"),
        (COGNIGY, "refuse", "platform", "handshake", "no connection"),
    ],
)
async def test_a_live_check_says_what_is_wrong(
    simulator: Simulator, preset: str, fault: str, at: Any, name: str, words: str
):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults([fault], at=at)
        last = [step async for step in check_live(relay.turns.upstreams["support"])][-1]
    assert (last.name, last.ok) == (name, False)
    assert words in last.words


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("preset", PRESETS)
async def test_words_of_a_platform_are_shown_short_and_without_what_we_showed_it(preset: str, status: int):
    said = (status, {"message": AROUND})
    async with parrot(token=[issued()], api=[said]) as platform, relay_of(platform, preset) as relay:
        (last,) = [step async for step in check_live(relay.turns.upstreams["support"]) if not step.ok]
    assert (last.name, len(last.words)) == ("quota" if preset == CONVERSATIONS else "handshake", MAX_WORDS)
    assert f"HTTP {status}: bad  [31m request, it said Bearer [secret]" in last.words
    assert last.words.isprintable()
    assert TOKEN[:6] not in last.words
    if status == 403 and preset != COGNIGY:  # what to do about it stands at the end
        assert last.words.endswith("Custom AI Developer" if preset == CONVERSATIONS else "ai:llm:prompt:read")


async def test_a_token_that_is_refused_on_the_way_is_a_step_that_failed():
    refused = (401, {"error": "invalid_client"})
    answers = {"token": [issued(), refused], "quotas": [(401, {})]}
    async with parrot(**answers) as platform, relay_of(platform, CONVERSATIONS) as relay:
        last = [step async for step in check_live(relay.turns.upstreams["support"])][-1]
    assert (last.name, last.ok) == ("credentials", False)
    assert "check client_id and client_secret" in last.words
