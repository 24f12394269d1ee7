"""Cognigy, whole: the configuration, the opening, bytes in disguise, and links lost before the first token."""

from __future__ import annotations

import asyncio

from platforms.asking import COGNIGY, ask, messages, relay_of, streams
from trunkline.simulators import Simulator


async def test_a_dialog_is_configured_once_for_all_turns_with_the_same_settings(simulator: Simulator):
    async with relay_of(simulator, COGNIGY) as relay:
        await asyncio.gather(*(ask(relay, COGNIGY) for _ in range(5)))
        await ask(relay, COGNIGY, temperature=0.1)
        await ask(relay, COGNIGY)
        await ask(relay, COGNIGY, dialog_id="d-2")
    configs = [record["body"] for record in simulator.ledger if record["path"].endswith("/config")]
    assert [(config["dialog_id"], config["temperature"]) for config in configs] == [
        ("d-1", 0.7), ("d-1", 0.1), ("d-1", 0.7), ("d-2", 0.7),
    ]  # fmt: skip


async def test_the_configuration_and_the_opening_can_be_switched_off():
    async with Simulator(opening_wait_s=0, wants_config=False) as simulator:
        async with relay_of(simulator, COGNIGY, configure=False, opening=False) as relay:
            text, notices, ended = await ask(relay, COGNIGY)
        (record,) = await streams(simulator, COGNIGY)
        assert not [record for record in simulator.ledger if record["path"].endswith("/config")]
    assert (text, ended.reason, messages(record)) == (record["meant"], "stop", [])
    assert [(notice.kind, notice.detail) for notice in notices] == [("not_sent", "input")]


async def test_a_configuration_that_is_refused_ends_the_turn_and_is_asked_for_again(simulator: Simulator):
    async with relay_of(simulator, COGNIGY) as relay:
        simulator.set_faults(["status=403"], at="config")
        _, _, refused = await ask(relay, COGNIGY)
        _, _, ended = await ask(relay, COGNIGY)
    assert (refused.reason, ended.reason) == ("upstream_forbidden", "stop")


async def test_bytes_are_put_together_where_the_settings_say_so(simulator: Simulator):
    async with relay_of(simulator, COGNIGY, byte_tokens="latin1") as relay:
        simulator.set_faults(["byte-tokens"], at="platform")
        text, _, _ = await ask(relay, COGNIGY, "sim:text=unicode")
    (record,) = await streams(simulator, COGNIGY)
    assert text == record["meant"]


async def test_a_link_that_cognigy_loses_before_the_first_token_is_tried_again(simulator: Simulator):
    async with relay_of(simulator, COGNIGY, attempts=3) as relay:
        simulator.set_faults(["metadata", "reset-after=0"], connections=2, at="platform")
        text, _, ended = await ask(relay, COGNIGY)
    records = await streams(simulator, COGNIGY)
    assert (text, ended.reason, len(records)) == (records[-1]["meant"], "stop", 3)
