"""What many tests need: the simulated platform, a relay in front of it, and both in one process over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from trunkline import Delta, Ended, Notice, TurnRequest
from trunkline.app import Relay
from trunkline.config import parse
from trunkline.server import Server, bind
from trunkline.simulators import Simulator

PATIENCE = {"connect_s": 5, "first_token_s": 10, "between_tokens_s": 10, "turn_s": 40}
HASTE = {"connect_s": 2, "first_token_s": 0.3, "between_tokens_s": 0.3, "turn_s": 10}


def settings_for(base_url: str, *, timeouts: Mapping[str, float] = PATIENCE, **more: Any) -> dict[str, Any]:
    """Settings with one upstream called `support`."""
    upstream = {
        "preset": "openai",
        "base_url": base_url,
        "model": "sim-model",
        "guards": "none",
        "timeouts": dict(timeouts),
        "attempts": 1,
    }
    server = {"port": 0, "drain_s": 0.1, **more.pop("server", {})}
    store = {"durability": "memory", **more.pop("store", {})}
    return {"server": server, "store": store, "upstreams": {"support": upstream | more.pop("upstream", {})}, **more}


@asynccontextmanager
async def serving(settings: Mapping[str, Any], *, insecure: bool = True) -> AsyncIterator[str]:
    """Serve a relay over a real socket; yields its address."""
    parsed = parse(settings)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = Server(parsed, bind(parsed), insecure=insecure)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run(ready.set_result))
        try:
            async with asyncio.timeout(10):
                yield await asyncio.shield(ready)
        finally:
            if not task.done():
                server.stop()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(seed=7) as simulator:
        yield simulator


@pytest.fixture
async def relay(simulator: Simulator) -> AsyncIterator[Relay]:
    async with Relay(settings_for(f"{simulator.url}/v1")) as relay:
        yield relay


@pytest.fixture
async def relay_url(simulator: Simulator) -> AsyncIterator[str]:
    async with serving(settings_for(f"{simulator.url}/v1")) as url:
        yield url


@pytest.fixture
async def hasty_url(simulator: Simulator) -> AsyncIterator[str]:
    """A relay with short time-outs."""
    async with serving(settings_for(f"{simulator.url}/v1", timeouts=HASTE)) as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


Answer = tuple[str, list[Notice], Ended]
"""What a turn said: its text, the notices in it, and its one end."""


async def answer_of(relay: Relay, request: TurnRequest) -> Answer:
    text, notices, ended = "", [], None
    async for event in relay.stream(request):
        assert ended is None
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Notice):
            notices.append(event)
        elif isinstance(event, Ended):
            ended = event
    assert ended is not None
    return text, notices, ended
