"""The three WebSocket platforms on good days: nothing but address, credentials and model is needed."""

from __future__ import annotations

import asyncio

import pytest

from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, IDS, PRESETS, ask, messages, relay_of, streams
from trunkline import RequestRefused, TurnRequest
from trunkline.simulators import Simulator


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_turn_works_with_nothing_but_address_credentials_and_model(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        text, _, ended = await ask(relay, preset)
    (record,) = await streams(simulator, preset)
    assert text == record["text"] == record["meant"]
    assert (ended.outcome, ended.reason, record["ended"]) == ("completed", "stop", "completed")
    assert ended.usage is not None
    assert ended.usage.counted_by == ("relay" if preset == CONVERSATIONS else "platform")


async def test_the_bodies_are_those_of_the_wires(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        await ask(relay, CONVERSATIONS)
    async with relay_of(simulator, GATEWAY) as relay:
        prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
        await ask(relay, GATEWAY, input=None, messages=prompt, stop="END", temperature=0.5)
    async with relay_of(simulator, COGNIGY) as relay:
        await ask(relay, COGNIGY, "Hello", max_tokens=9)
    (conversations,), (gateway,), (cognigy,) = [await streams(simulator, preset) for preset in PRESETS]
    (subscription,) = messages(conversations)
    context = subscription["subscriptions"][0].pop("conversation_context")
    assert subscription == {"subscriptions": [{
        "event_type": "ai:chat:completion", "model_id": "sim-model", "max_tokens": 2048, "stream_mode": "delta",
    }]}  # fmt: skip
    assert context == {"conversation_id": "c-1", "turn_id": conversations["turn"]}
    assert messages(gateway) == [
        {"action": "init_stream", "protocol_version": "v2"},
        {
            "model": "sim-model",
            "prompt_id": "p-1",
            "parameters": {"temperature": [0.5], "max_tokens": 1024, "stop_sequences": ["END"], "stream": True},
            "context": {"system": "Be kind.", "format": "json", "messages": [{"role": "user", "content": "Hello"}]},
        },
    ]
    assert messages(cognigy) == [{"dialog_id": "d-1", "session_id": "s-1", "input": "Hello"}]
    (config,) = [record["body"] for record in simulator.ledger if record["path"].endswith("/gateway/config")]
    assert config == {
        "streaming": True, "model": "sim-model", "temperature": 0.7, "max_tokens": 9, "dialog_id": "d-1",
    }  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
async def test_two_hundred_turns_at_once_cause_one_token_request(preset: str):
    async with Simulator(max_concurrent=1_000) as simulator, relay_of(simulator, preset) as relay:
        ends = await asyncio.gather(*(ask(relay, preset) for _ in range(200)))
        tokens = [record for record in simulator.ledger if "token" in record["path"]]
        await streams(simulator, preset)
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    assert len(tokens) == 1


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "faults",
    [
        ["fragments=3"], ["pings", "fragments=5"], ["cut=bytes"], ["ascii"], ["closes"], ["double-done"],
        ["after-finish"], ["empty-deltas", "null-deltas"], ["metadata"], ["finish-with-text"], ["no-usage"],
        ["usage-each"], ["usage-before"], ["lone-surrogates"], ["dangling-surrogate"], ["missing-key=any"],
        ["slow-first=30"], ["drip=1", "cut=400"],
    ],
    ids=";".join,
)  # fmt: skip
async def test_what_a_platform_may_do_changes_nothing(simulator: Simulator, preset: str, faults: list[str]):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults([*faults], at="platform")
        text, _, ended = await ask(relay, preset, "sim:text=unicode")
    (record,) = await streams(simulator, preset)
    dangling = "\ufffd" if "dangling-surrogate" in faults else ""
    assert text.removesuffix(dangling) == record["meant"]
    assert (ended.outcome, ended.reason) == ("completed", "stop")


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_prompt_is_optional_and_what_changes_the_answer_is_refused(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        _, _, ended = await ask(relay, preset, input=None)
        assert ended.outcome == "completed"
        for option in ({"tools": []}, {"response_format": {}}, {"n": 2}):
            with pytest.raises(RequestRefused, match="cannot pass on"):
                relay.start(TurnRequest(options=option, **IDS[preset]))
        _, notices, _ = await ask(relay, preset, options={"seed": 1, "n": 1})
    assert "seed" in notices[0].detail
