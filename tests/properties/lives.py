"""One life of the durable log after another over the same folder, stepped by hand; and who reads along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from properties.crashing import CrashingDisk, DictArchive, Died, Fate
from trunkline.core.errors import OffsetPastTail, Overloaded, TurnForgotten
from trunkline.core.events import AnyEvent, Ended
from trunkline.log import Log
from trunkline.stores.base import TurnLog
from trunkline.stores.durable import DurableStore
from trunkline.stores.journal import Journal
from trunkline.stores.settings import StoreSettings

SEGMENT = 16 << 10
RETENTION_S = 5_000
SPINS = 8  # of the loop: what a sync needs from its timer to its end

Shown = tuple[int, AnyEvent]
"""When it was appended, and what."""


@dataclass(eq=False)
class Turn:
    """What was appended to a turn, and what anybody has seen of it, by offset."""

    id: str
    log: TurnLog | None
    appended: list[AnyEvent] = field(default_factory=list)
    shown: dict[int, Shown] = field(default_factory=dict)
    ever: dict[int, Shown] = field(default_factory=dict)
    """All that was ever shown, also what a loss of power took that the level does not cover."""
    is_open: bool = True
    may_lack: bool = False
    """The power was lost at a level that does not cover it, and nobody has looked since."""
    """That has happened once."""
    last_ms: int = 0
    """When something of its own was appended to it last; a crash may bring back an end that a failed sync had lost."""
    errors_before_end: int = 0
    looked_at: frozenset[int] = frozenset()
    shaky: frozenset[int] = frozenset()
    """What was shown with its end though the disk could not keep it: nobody may wait for ever."""
    forgetting: asyncio.Task[None] | None = None
    is_forgotten: bool = False
    is_erased: bool = False

    @property
    def says(self) -> bytes:
        """A text that is in no other turn."""
        return f"words of {self.id}".encode()

    @property
    def ended_ms(self) -> int | None:
        """When it ended, as far as was shown."""
        at_ms, event = self.shown[max(self.shown)] if self.shown else (0, None)
        return at_ms if isinstance(event, Ended) else None


@dataclass(eq=False)
class Reader:
    """A client that follows a turn, leaves, and comes back with the offset of the last entry it has."""

    turn: Turn
    offset: int = 0
    seen: dict[int, Shown] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    async def follow(self, life: Life) -> None:
        try:
            log = await life.store.find(self.turn.id)
        except (TurnForgotten, Overloaded):
            return
        if log is None:
            return
        is_there = self.offset in (0, *(entry.offset for entry in log.entries[: log.visible]))
        try:
            follower = life.log.follow(log, self.offset)
        except OffsetPastTail:
            assert not is_there, "a reader is refused an offset that the log has"
            self.offset, self.seen = 0, {}
            follower = life.log.follow(log, 0)
        else:
            assert is_there, "a reader goes on from an offset that the log does not have"
        with follower:
            async for entries in follower.entries():
                if life.fate.is_dead:
                    return
                for entry in entries:
                    assert entry.offset > self.offset
                    self.offset = entry.offset
                    self.seen[entry.offset] = (entry.at_ms, entry.event)


class Pool(Executor):
    """Does what it is given when it is told to, or at once."""

    def __init__(self, disk: CrashingDisk, *, is_held: bool, covers: bool) -> None:
        """`covers`: a job that syncs covers what was written when it was given."""
        self.disk = disk
        self.is_held = is_held
        self.covers = covers
        self.jobs: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        covered = (dict(self.disk.opened), self.disk.written) if self.covers and self.is_held else None

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            self.disk.covered = covered
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - as a thread would
                future.set_exception(error)
            finally:
                self.disk.covered = None

        self.jobs.append(job)
        if not self.is_held:
            self.step()
        return future

    def step(self, which: int = 0) -> None:
        if self.jobs:
            self.jobs.pop(which % len(self.jobs))()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        self.jobs.clear()


class World:
    """What outlives a process: the folder, the archive, the clocks."""

    def __init__(self, folder: Path, durability: str, keep: Callable[[int], int]) -> None:
        self.folder = folder
        self.settings = StoreSettings(durability=durability, data_dir=folder, retention=RETENTION_S)  # type: ignore[arg-type]
        self.fate = Fate()
        self.disk = CrashingDisk(self.fate, keep)
        self.archive = DictArchive(self.fate)
        self.wall_ms = 10_000_000
        self.monotonic_s = 0.0

    @property
    def is_disk(self) -> bool:
        return self.settings.durability == "disk"


class Life:
    """A process from its start to its death."""

    def __init__(self, world: World) -> None:
        self.world, self.fate, self.disk = world, world.fate, world.disk
        self.loop = asyncio.new_event_loop()
        self.loop.time = lambda: world.monotonic_s  # type: ignore[method-assign]
        self.loop.set_exception_handler(self._met)
        self.faults: list[BaseException] = []
        self.ticks: list[Callable[[], None]] = []
        self.pools: list[Pool] = []
        self.journal = Journal(world.folder, world.disk, segment_bytes=SEGMENT, syncs=world.is_disk)
        self.store = DurableStore(
            world.settings,
            self.journal,
            world.archive,
            wall_ms=lambda: world.wall_ms,
            clock=lambda: world.monotonic_s,
            tell=lambda _: None,
            executor=self._pool,
        )
        self.log = Log(self.store, self.ticks.append, lambda: world.wall_ms, self.faults.append)
        self.running: asyncio.Task[None] | None = None

    def _pool(self, threads: int) -> Pool:
        self.pools.append(Pool(self.disk, is_held=False, covers=threads == 2))  # those of the disk
        return self.pools[-1]

    @property
    def writer(self) -> Pool:
        return self.pools[0]

    @property
    def syncer(self) -> Pool:
        return self.pools[2]

    def _met(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        is_of_now = "never retrieved" not in context["message"]  # that is said when the garbage is collected
        if isinstance(error, Exception) and is_of_now and not self.fate.is_dead:
            self.faults.append(error)

    def start(self) -> bool:
        """Recover and begin; False where the process died in it, or could not."""
        try:
            self.loop.run_until_complete(self.store.open())
        except (Died, OSError, Overloaded):
            return False
        self.writer.is_held = self.syncer.is_held = True
        self.running = self.loop.create_task(self.store.run())
        return self.run(lambda: None)

    def run(self, *steps: Callable[[], object]) -> bool:
        """Take steps, and let the loop follow each; False where the process died in it."""

        async def inside() -> None:
            for step in steps:
                step()
                await _spin()

        with suppress(Died):
            self.loop.run_until_complete(inside())
        if self.fate.is_dead:
            return False
        assert not self.faults, self.faults
        return True

    def ask(self, question: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(question)  # type: ignore[arg-type]

    def tick(self) -> None:
        ticks = list(self.ticks)
        self.ticks.clear()
        for one in ticks:
            one()

    def sweep(self) -> None:
        self.store.sweep(self.world.wall_ms)

    def work(self) -> None:
        """Do what waits in the pools, once."""
        for pool in (self.syncer, self.writer):
            for _ in range(len(pool.jobs)):
                pool.step()

    async def close(self) -> None:
        """Go as a relay does that stops, however long it takes."""
        closing = asyncio.ensure_future(self.store.close())
        while not closing.done():
            self.tick()
            self.work()
            self.world.monotonic_s += 0.2
            await asyncio.sleep(0)
        await closing

    def bury(self) -> None:
        """Leave the files, and nothing else."""
        self.fate.is_dead = True  # Whatever its tasks still do, it changes nothing.
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        with suppress(Died):
            self.loop.run_until_complete(_spin())
        self.loop.close()
        self.disk.let_go()


async def _spin() -> None:
    for _ in range(SPINS):
        await asyncio.sleep(0)
