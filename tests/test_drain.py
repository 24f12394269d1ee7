"""A relay that is told to stop while all kinds of readers follow: none is lost, none is left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from conformance.readers import READERS, Seen
from conftest import settings_for
from trunkline.config import parse
from trunkline.server import Server, bind

STREAMED = {name: read for name, read in READERS.items() if name not in ("native-follow", "front-end", "openai-whole")}


@asynccontextmanager
async def stoppable(settings) -> AsyncIterator[tuple[str, Server, asyncio.Task[None]]]:
    """A server to stop in the middle; leaving the block waits until it is gone."""
    parsed = parse(settings)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = Server(parsed, bind(parsed), insecure=True)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.run(ready.set_result))
        yield await ready, server, running


async def read_all(url: str, prompt: str, stop: Callable[[], object], simulator) -> dict[str, Seen]:
    """Start every kind of reader twice; tell the relay to stop as soon as all their answers stream."""
    tasks = {
        f"{name}-{n}": asyncio.ensure_future(read(url, f"{prompt};sim:tokens={60 + n}"))
        for name, read in STREAMED.items()
        for n in range(2)
    }
    while len([row for row in simulator.ledger if row["text"]]) < len(tasks):
        await asyncio.sleep(0.005)
    stop()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks.values())
    return {name: task.result() for name, task in tasks.items()}


async def test_open_turns_end_as_they_would_have_and_every_reader_has_it_all(simulator):
    async with stoppable(settings_for(f"{simulator.url}/v1", server={"drain_s": 15})) as (url, server, running):
        seen = await read_all(url, "sim:text=long;sim:interval-ms=10", server.stop, simulator)
        await asyncio.wait_for(running, 10)
    texts = {row["text"] for row in await simulator.ended(len(seen))}
    for name, reader in seen.items():
        assert (reader.outcome, reader.text in texts, reader.ids_in_order) == ("completed", True, True), name


@pytest.mark.parametrize("twice", [False, True], ids=["the limit is over", "told a second time"])
async def test_turns_that_are_cut_short_say_so_to_every_reader(simulator, twice):
    limits = {"drain_s": 15 if twice else 0.05}

    async with stoppable(settings_for(f"{simulator.url}/v1", server=limits)) as (url, server, running):

        def stop() -> None:
            server.stop()
            if twice:
                server.stop()

        seen = await read_all(url, "sim:text=long;sim:interval-ms=40", stop, simulator)
        await asyncio.wait_for(running, 10)
    rows = await simulator.ended(len(seen))
    assert {row["ended"] for row in rows} == {"client_gone"}, "the platform generates for nobody"
    for name, reader in seen.items():
        assert reader.reason == "shutdown", name
        assert reader.text, name
        assert any(row["text"].startswith(reader.text) for row in rows), name
