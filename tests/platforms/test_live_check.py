"""`check --live` before a WebSocket platform: as far as the handshake, and it spends no completion."""

from __future__ import annotations

from typing import Any

import pytest

from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, PRESETS, relay_of, streams
from trunkline.live_check import check_live
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
