"""The three given WebSocket platforms, whole: each against its simulator, on good days and on bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conftest import PATIENCE
from trunkline import Delta, Ended, Notice, Relay, RequestRefused, TurnRequest
from trunkline.config import load
from trunkline.live_check import check_live
from trunkline.simulators import Simulator
from trunkline.simulators.ledger import Record

CONVERSATIONS, GATEWAY, COGNIGY = PRESETS = ("genesys-conversations", "genesys-gateway", "cognigy")
STREAMS = {
    CONVERSATIONS: "/api/v2/conversations/websocket",
    GATEWAY: "/api/v2/ai/llm/gateway/completions/stream",
    COGNIGY: "/api/v2/llm/stream",
}
IDS = {
    CONVERSATIONS: {"conversation_id": "c-1"},
    GATEWAY: {"prompt_id": "p-1"},
    COGNIGY: {"dialog_id": "d-1", "session_id": "s-1"},
}
HASTE = {**PATIENCE, "first_token_s": 0.4, "between_tokens_s": 0.4}
Answer = tuple[str, list[Notice], Ended]


def settings_of(simulator: Simulator, preset: str, **more: Any) -> dict[str, Any]:
    upstream = {
        "preset": preset,
        "base_url": simulator.url,
        "client_id": "me",
        "client_secret": "s3cret",
        "model": "sim-model",
        "timeouts": PATIENCE,
        "guards": "none",
        "attempts": 1,
        **more,
    }
    return {"upstreams": {"support": upstream}, "store": {"durability": "memory"}}


@asynccontextmanager
async def relay_of(simulator: Simulator, preset: str, **more: Any) -> AsyncIterator[Relay]:
    async with Relay(settings_of(simulator, preset, **more)) as relay:
        # The dialect's waits between two links have no place in a test.
        object.__setattr__(relay._transports, "random", lambda: 0.0)
        yield relay


async def ask(relay: Relay, preset: str, prompt: str = "Where is my order?", **fields: Any) -> Answer:
    text, notices, ended = "", [], None
    async for event in relay.stream(TurnRequest(**{"input": prompt, **IDS[preset], **fields})):
        assert ended is None
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Notice):
            notices.append(event)
        elif isinstance(event, Ended):
            ended = event
    assert ended is not None
    return text, notices, ended


async def streams(simulator: Simulator, preset: str) -> list[Record]:
    """The ledger's entries of the streams, once all have ended, and no rule of the wire broken on any request."""
    records = await simulator.ended(len(simulator.ledger))
    assert [record["broken"] for record in records if record["broken"]] == []
    return [record for record in records if record["path"] == STREAMS[preset]]


def messages(record: Record) -> list[Any]:
    return [frame["data"] for frame in record["frames"] if (frame["sender"], frame["kind"]) == ("client", "text")]


# Good days


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


# Bad days

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
@pytest.mark.parametrize(("faults", "reason"), BROKEN, ids=lambda value: ";".join(value) if isinstance(value, list) else value)
async def test_each_bad_day_has_its_reason_and_nothing_is_made_up(
    simulator: Simulator, preset: str, faults: list[str], reason: str
):
    hasty = {**HASTE, "connect_s": 0.4, "first_token_s": 3}
    async with relay_of(simulator, preset, timeouts=hasty) as relay:
        simulator.set_faults(faults, connections=9, at="platform")
        text, _, ended = await ask(relay, preset)
    record = (await streams(simulator, preset))[-1]
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert record["text"].startswith(text)
