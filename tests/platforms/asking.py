"""What the tests of the three WebSocket platforms share: a relay before a simulator, a question, and its ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from conftest import PATIENCE, Answer, answer_of
from trunkline import Relay, TurnRequest
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
    return await answer_of(relay, TurnRequest(**{"input": prompt, **IDS[preset], **fields}))


async def streams(simulator: Simulator, preset: str) -> list[Record]:
    """The ledger's entries of the streams, once all have ended, and no rule of the wire broken on any request."""
    records = await simulator.ended(len(simulator.ledger))
    assert [record["broken"] for record in records if record["broken"]] == []
    return [record for record in records if record["path"] == STREAMS[preset]]


def messages(record: Record) -> list[Any]:
    return [frame["data"] for frame in record["frames"] if (frame["sender"], frame["kind"]) == ("client", "text")]


def word(value: Any) -> str:
    """The name of a case: its faults as they are written in a request."""
    return ";".join(value) if isinstance(value, list) else str(value)
