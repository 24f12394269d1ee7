"""A relay that is told to stop: no reader is lost or left waiting, and it ends whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from conformance.readers import READERS, Seen
from conftest import settings_for
from stores.disks import FaultyDisk
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


def kept_in(folder, simulator) -> dict:
    return settings_for(f"{simulator.url}/v1", store={"durability": "process", "data_dir": str(folder)})


async def test_a_folder_that_became_read_only_does_not_keep_the_relay_from_ending(simulator, tmp_path, caplog):
    async with stoppable(kept_in(tmp_path, simulator)) as (_, server, running):
        durable = server._relay.storage.durable
        durable.store._journal._files = disk = FaultyDisk()
        disk.fails = {"remove": errno.EROFS}
        server.stop()
        await asyncio.wait_for(running, 10)
    assert "what=close detail=Read-only file system" in caplog.text
    assert not durable.folder.is_held


async def test_a_database_that_does_not_answer_does_not_keep_the_relay_from_ending(
    simulator, http, tmp_path, monkeypatch
):
    monkeypatch.setattr("trunkline.stores.durable.CLOSE_LIMIT_S", 0.1)
    monkeypatch.setattr("trunkline.storage.CLOSE_LIMIT_S", 0.1)
    answers = threading.Event()
    async with stoppable(kept_in(tmp_path, simulator)) as (url, server, running):
        records = server._relay.storage.durable.records
        records.keep = records.close = lambda *_: answers.wait(60)
        await http.post(f"{url}/v1/turns", json={"input": "sim:text=short"})
        server.stop()
        await asyncio.wait_for(running, 10)
    assert not server._relay.storage.durable.folder.is_held
    answers.set()


async def test_whatever_the_drain_meets_the_relay_ends(simulator, tmp_path, caplog):
    async with stoppable(kept_in(tmp_path, simulator)) as (_, server, running):

        def fail() -> None:
            raise RuntimeError

        monkeypatched, server._relay.turns.house.log.flush = server._relay.turns.house.log.flush, fail
        server.stop()
        while "where=drain" not in caplog.text:
            await asyncio.sleep(0)
        server._relay.turns.house.log.flush = monkeypatched
        await asyncio.wait_for(running, 10)


async def test_told_a_third_time_it_waits_for_nobody(simulator, tmp_path, monkeypatch):
    async with stoppable(kept_in(tmp_path, simulator)) as (_, server, running):
        drain = server._relay.drain

        async def never(limit_s: float | None = None) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(server._relay, "drain", never)
        server.stop()
        server.stop()
        await asyncio.sleep(0)
        assert not server._uvicorn.should_exit
        server.stop()
        monkeypatch.setattr(server._relay, "drain", drain)
        await asyncio.wait_for(running, 10)
