"""At level `disk`: what was written is shown once it is on the disk, by syncs that many ticks share."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from trunkline.stores.base import TurnLog
from trunkline.stores.journal import Journal, Place

EVERY_S: Final = 0.004  # a sync costs some 100 us of CPU, so that not every tick gets one
LIMIT_S: Final = 20.0  # a disk that takes longer is taken for dead

Batch = dict[TurnLog, int]
"""Turns, and how many entries of each were written."""


class Syncing:
    """Syncs a journal while there is something to sync, one sync at a time, in a thread."""

    def __init__(
        self,
        journal: Journal,
        pool: Executor,
        *,
        synced: Callable[[list[TurnLog]], None],
        failed: Callable[[list[TurnLog], OSError], None],
    ) -> None:
        """`synced` is called with turns that have more that is safe, `failed` with all of which nothing is known."""
        self._journal = journal
        self._pool = pool
        self._tell_synced, self._tell_failed = synced, failed
        self._waiting: dict[TurnLog, None] = {}
        self._batch: Batch = {}
        self._until: Place = 0  # where the records that it syncs end
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[None] | None = None
        self._began = float("-inf")

    def add(self, turns: list[TurnLog]) -> None:
        """Turns were written."""
        self._waiting.update(dict.fromkeys(turns))
        self._soon()

    def _soon(self) -> None:
        if self._timer is None and self._running is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._began + EVERY_S), self._sync)

    def _sync(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer, self._began = None, loop.time()
        self._batch = {turn: turn.written for turn in self._waiting}
        self._waiting.clear()
        self._until = self._journal.here
        self._running = loop.run_in_executor(self._pool, self._journal.sync, self._journal.unsynced())
        self._running.add_done_callback(self._done)

    def _done(self, running: asyncio.Future[None]) -> None:
        if running is not self._running:
            return  # It was given up.
        self._running = None
        error = asyncio.CancelledError() if running.cancelled() else running.exception()
        if error is not None:
            self._fail(error)
            return
        batch, self._batch = self._batch, {}
        for turn, written in batch.items():
            turn.safe = max(turn.safe, written)
        self._tell_synced(list(batch))
        self._journal.show(self._until)
        self._soon()

    def _fail(self, error: BaseException) -> None:
        """After a sync that failed the next one tells nothing about what was written before it."""
        everything = {**dict.fromkeys(self._batch), **self._waiting}
        turns = [turn for turn in everything if turn.safe < turn.written]  # Others were shown without a sync.
        self._batch, self._waiting = {}, {}
        for turn in turns:
            turn.written = turn.safe
        what = error if isinstance(error, OSError) else OSError(errno.EIO, "the disk does not answer")
        self._tell_failed(turns, what)

    def sweep(self) -> None:
        """Give up a sync that does not end."""
        if self._running is not None and asyncio.get_running_loop().time() - self._began > LIMIT_S:
            self._running = None
            self._fail(TimeoutError())

    async def finish(self) -> None:
        """Wait until all that was written is on the disk, or given up."""
        while self._timer is not None or self._running is not None:  # noqa: ASYNC110 - each may lead to the other
            await asyncio.sleep(EVERY_S)
