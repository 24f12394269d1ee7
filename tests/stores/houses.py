"""A durable store in a house of its own: pools that are stepped by hand, a disk and an archive that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Self

from stores.archives import DictArchive
from stores.disks import FaultyDisk
from stores.writing import SMALL, started, turn_id
from trunkline.core.events import AnyEvent, Delta, Ended, Entry
from trunkline.log import Log
from trunkline.stores.base import TurnLog
from trunkline.stores.durable import DurableStore
from trunkline.stores.journal import Journal
from trunkline.stores.settings import StoreSettings
from trunkline.telemetry import Fact, StoreFailed

STOP = Ended("completed", "stop", "stop")
LOST = Ended("failed", "store_error", detail="what followed could not be written")


class Pool(Executor):
    """Does what it is given at once, or, while it is `held`, when it is told to `step`."""

    def __init__(self) -> None:
        self.held = False
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.given = asyncio.Event()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job: Future[Any] = Future()
        self.jobs.append((job, lambda: function(*args, **kwargs)))
        self.given.set()
        if not self.held:
            self.step()
        return job

    def step(self) -> None:
        """Do all that waits."""
        while self.jobs:
            job, call = self.jobs.pop(0)
            try:
                job.set_result(call())
            except Exception as error:  # noqa: BLE001 - as an executor does
                job.set_exception(error)

    async def is_given(self) -> None:
        """Wait until there is something to do."""
        while not self.jobs:
            self.given.clear()
            await self.given.wait()

    def release(self) -> None:
        self.held = False
        self.step()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        self.jobs.clear()


class House:
    """A store over a folder, the log in front of it with its ticks driven by hand, and turns that hear of losses."""

    def __init__(self, folder: Path, archive: DictArchive | None = None, **settings: Any) -> None:
        self.folder = folder
        self.disk = FaultyDisk()
        self.archive = archive or DictArchive()
        self.now_ms = 1_000_000
        self.set_ahead_ms = 0
        self.told: list[Fact] = []
        self.pools: list[Pool] = []
        self.ticks: list[Callable[[], None]] = []
        settings = {"durability": "process", **settings}
        self.journal = Journal(folder, self.disk, segment_bytes=SMALL, syncs=settings["durability"] == "disk")
        self.store = DurableStore(
            StoreSettings(**settings),
            self.journal,
            self.archive,
            wall_ms=lambda: self.now_ms,
            tell=self.told.append,
            clock=lambda: (self.now_ms - self.set_ahead_ms) / 1_000,
            executor=self._pool,
        )
        self.writer, self.readers, self.syncer = self.pools
        self.log = Log(self.store, self.ticks.append, lambda: self.now_ms)
        self.is_open = True

    def _pool(self, threads: int) -> Pool:
        self.pools.append(Pool())
        return self.pools[-1]

    async def __aenter__(self) -> Self:
        self.found = await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disk.is_mended()
        if self.is_open:
            self.kill()

    async def close(self) -> None:
        self.is_open = False
        await self.store.close()

    def kill(self) -> None:
        """Leave everything as a killed process does."""
        self.is_open = False
        self.journal.end()

    def set_time(self, by_ms: int) -> None:
        """Somebody sets the time of day, which is none that has passed."""
        self.now_ms += by_ms
        self.set_ahead_ms += by_ms

    def begin(self, number: int, *texts: str, conversation: str = "c1") -> TurnLog:
        turn = self.log.create(turn_id(number))
        turn.on_lost = lambda: self.log.append(turn, [LOST])
        self.log.append(turn, [started(number, conversation), *(Delta(text, 0) for text in texts)])
        self.tick()
        return turn

    def say(self, turn: TurnLog, *events: AnyEvent) -> None:
        self.log.append(turn, events)
        self.tick()

    def whole(self, number: int, *texts: str, conversation: str = "c1") -> TurnLog:
        turn = self.begin(number, *texts, conversation=conversation)
        self.say(turn, STOP)
        return turn

    def tick(self) -> None:
        while self.ticks:
            self.ticks.pop(0)()

    async def sweep(self) -> None:
        """Sweep, and let what that set in motion come to its end."""
        self.store.sweep(self.now_ms)
        while self.store._preparing is not None or self.store._erasing is not None:
            await asyncio.sleep(0)

    async def synced(self) -> None:
        """Wait for the next sync to be asked for, and let it happen."""
        await self.syncer.is_given()
        self.syncer.step()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.tick()

    def faults(self) -> list[str]:
        return [fact.what for fact in self.told if isinstance(fact, StoreFailed)]


def shown(turn: TurnLog) -> list[AnyEvent]:
    """What readers see of a turn, without its beginning."""
    return [entry.event for entry in turn.entries[1 : turn.visible]]


def events_of(entries: list[Entry]) -> list[AnyEvent]:
    return [entry.event for entry in entries]
