"""The store that outlives its process: a journal while turns are open, an archive once they have ended.

`write` puts a tick's entries into the journal with one write. At `process` they are shown at once: the kernel has them.
At `disk` they wait for a sync, which many ticks share. A turn that has ended is kept by the archive in one transaction,
and only then leaves the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final, ParamSpec, TypeVar

from trunkline.core.errors import Overloaded, TurnForgotten
from trunkline.core.record import TurnRecord
from trunkline.stores.appending import Appending
from trunkline.stores.archive import Archive
from trunkline.stores.archiving import Archiving
from trunkline.stores.base import Audience, Query, TurnLog
from trunkline.stores.held import Held, HeldTurn
from trunkline.stores.journal import Journal
from trunkline.stores.recovery import Recovered, key_of, recover
from trunkline.stores.settings import StoreSettings
from trunkline.stores.shelf import Shelf
from trunkline.stores.syncing import Syncing
from trunkline.telemetry import Fact, StoreFailed, internal_error, words_of
from trunkline.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

READ_LIMIT_S: Final = 15.0
ANSWER_LIMIT_S: Final = 15.0  # for those who ask for something to be forgotten
CLOSE_LIMIT_S: Final = 5.0
LEAVE_LIMIT_S: Final = 2.0  # to close and remove files, which a disk that is well does at once
EXPIRE_EVERY_S: Final = 60.0
EXPIRE_AT_ONCE: Final = 500
OLDEST_SEGMENT_S: Final = 900.0  # what was archived does not stay in the journal for longer
MAX_OWED_IN_MEMORY: Final = 1_000
MAX_OWED: Final = 20_000


class DurableStore:
    """Turns in a journal and an archive. For one event loop; what blocks runs in threads."""

    def __init__(  # noqa: PLR0913 - what it is made of, and two clocks
        self,
        settings: StoreSettings,
        journal: Journal,
        archive: Archive,
        *,
        wall_ms: Callable[[], int],
        tell: Callable[[Fact], None],
        clock: Callable[[], float] = time.monotonic,
        executor: Callable[[int], Executor] = Threads,
    ) -> None:
        """Take a journal and an archive; `executor` makes a pool of so many threads.

        `wall_ms` says how old a turn is, `clock` when something is due: somebody may set the time of day back.
        """
        self._retention_ms = int(settings.retention * 1_000)
        self._journal = journal
        self._archive = archive
        self._wall_ms, self._clock = wall_ms, clock
        self._tell = tell
        self._executor = executor
        self._writer, self._readers, self._disk = executor(1), executor(4), executor(2)
        self._held = Held(self._let_drop)
        self._shelf = Shelf(journal, archive, self._read)
        self._forgetting: dict[str, str] = {}  # whose turns they are; see `forget`
        self._owed = Archiving(journal, archive, self._writer, find=self._to_keep, archived=self._archived, tell=tell)
        self._syncing: Syncing | None = None
        if settings.durability == "disk":
            self._syncing = Syncing(journal, self._disk, synced=self._synced, failed=self._sync_failed)
        self._audience = Audience(_nobody, _nobody)
        self._appending = Appending(journal, self._held, clock=clock, tell=tell, syncs=settings.durability == "disk")
        self._expired_s = float("-inf")
        self._preparing: asyncio.Future[None] | None = None
        self._erasing: asyncio.Future[None] | None = None
        self._expiring: Future[None] | None = None
        self._closed = False

    # From start to end

    async def open(self) -> Recovered:
        """Recover what an earlier process left, and begin; to be called once, before all else. Raises `OSError`.

        On a full disk it begins as a store without room: turns can be read, and none is taken.
        """
        found = await self._in(self._writer, recover, self._journal, self._archive, self._wall_ms())
        for turn_id, left in found.turns.items():
            self._held.take_back(left)
            self._owed.add(turn_id)
        for left in found.unknown:
            self._held.take_back(left)
        if found.full is not None:
            self._appending.failed(found.full)
        if self._syncing is not None:
            await self._in(self._disk, self._journal.sync_segments)
        try:
            await self._in(self._writer, self._journal.begin_showing)
        except OSError:
            if found.full is None:
                raise  # else readers beside see what an earlier relay showed
        for segment in self._journal.segments():
            self._held.let_go(segment, self._journal.number)
        self._appending.begun_s = self._clock()
        return found

    async def run(self) -> None:
        """Archive turns as they end, until cancelled."""
        await self._owed.run()

    async def settle(self) -> None:
        """Archive all turns that have ended by now; where the archive fails, wait and try again."""
        await self._owed.settle()

    async def close(self) -> None:
        """Finish what was written, archive what has ended as far as time allows, and let go of the files.

        It comes to its end whatever the disk and the archive do, and tells what they did not.
        """
        if self._closed:
            return
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                if self._syncing is not None:
                    await self._syncing.finish()
                await self.settle()
                await self._in(self._writer, _nothing)  # what stands in line before it
        except TimeoutError:
            left = f"{len(self._held)} turns wait in the journal for the next start; nothing is lost"
            self._tell(StoreFailed("close", left))
        self._closed = True
        self._appending.close()
        for pool in (self._writer, self._readers, self._disk):
            pool.shutdown(wait=False, cancel_futures=True)
        leaving = self._executor(1)  # The others may stand still for ever.
        try:
            async with asyncio.timeout(LEAVE_LIMIT_S):
                await self._in(leaving, self._leave_journal)
        except OSError as error:  # a time-out is one too
            self._tell(StoreFailed("close", words_of(error)))
        leaving.shutdown(wait=False)

    def _leave_journal(self) -> None:
        """Close its files, and remove the last one where no turn needs it; runs in a thread."""
        try:
            self._journal.end()
        finally:
            if not len(self._held):
                self._journal.drop(self._journal.number)

    # Writing

    def fault(self) -> str:
        """Say what is wrong with the disk, or that the archive is too far behind."""
        return self._appending.fault or ("archive_behind" if len(self._owed) > MAX_OWED else "")

    @property
    def owed(self) -> int:
        """How many ended turns wait for the archive."""
        return len(self._owed)

    def add(self, turn: TurnLog) -> None:
        """Take in a new turn."""
        self._held.add(turn)

    def write(self, turns: list[TurnLog], audience: Audience) -> None:
        """Write what is new to the journal; it is shown now, or after the next sync."""
        self._audience = audience
        written, unkept, lost = self._appending.write(turns)
        for turn in (*written, *unkept):
            turn.written = len(turn.entries)
        self._show(unkept)
        audience.lose(lost)
        if self._syncing is not None:
            self._syncing.add(written)
        else:
            self._show(written)

    def _show(self, turns: list[TurnLog]) -> None:
        for turn in turns:
            turn.safe = turn.written
        self._synced(turns)

    def _synced(self, turns: list[TurnLog]) -> None:
        self._audience.publish(turns)
        for turn in turns:
            if turn.ended and (held := self._held.get(turn.id)) is not None:
                self._held.owe(held, in_memory=len(self._owed) < MAX_OWED_IN_MEMORY)
                self._owed.add(turn.id)

    def _sync_failed(self, turns: list[TurnLog], error: OSError) -> None:
        """Nobody has seen these, and nobody will: whether they reached the disk is unknown."""
        self._appending.failed(error)
        if self._appending.begin(laid_out=isinstance(error, TimeoutError)):  # A disk that hangs would stop the loop.
            self._journal.give_up()
        self._audience.lose(turns)

    def _let_drop(self, segment: int) -> None:
        """Have a segment removed; once closed, the next start does that."""
        if not self._closed:
            self._writer.submit(self._drop, segment)

    def _drop(self, segment: int) -> None:
        """Remove a segment; runs in a thread."""
        try:
            self._journal.drop(segment)
        except OSError as error:
            self._tell(StoreFailed("drop", words_of(error)))

    # Finding

    async def find(self, turn_id: str) -> TurnLog | None:
        """Find a turn in memory, in the journal, or in the archive."""
        if turn_id in self._forgetting:
            raise TurnForgotten(turn_id, self._forgetting[turn_id])
        turn = await self._find(turn_id)
        if turn_id in self._forgetting:
            raise TurnForgotten(turn_id, self._forgetting[turn_id])
        if turn is not None and turn.ended and turn.entries[-1].at_ms < self._wall_ms() - self._retention_ms:
            raise TurnForgotten(turn_id, turn.started.principal)
        return turn

    async def _find(self, turn_id: str) -> TurnLog | None:
        held = self._held.get(turn_id)
        if held is not None and held.log is not None:
            return held.log
        return await self._shelf.find(turn_id, held)

    async def list(self, query: Query) -> list[TurnRecord]:
        """List what the journal holds and what is archived; a turn may be both for a moment."""
        found = self._listed(query)  # before the archive too: a turn may move there meanwhile
        if query.state != "open":
            found |= {record.started.turn: record for record in await self._read(self._archive.list, query)}
            found |= self._listed(query)
        oldest_ms = 0 if query.of_any_age else self._wall_ms() - self._retention_ms
        kept = {turn_id for turn_id, record in found.items() if (record.ended_ms or oldest_ms) >= oldest_ms}
        newest = sorted(kept - self._forgetting.keys(), reverse=True)
        return [found[turn_id] for turn_id in newest[: query.limit]]

    def _listed(self, query: Query) -> dict[str, TurnRecord]:
        records = (held.shown() for held in self._held)
        return {record.started.turn: record for record in records if record is not None and query.asks_for(record)}

    async def _read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            raise Overloaded("shutting_down", "The relay is shutting down; ask the one that follows it.")
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                return await self._in(self._readers, function, *args, **kwargs)
        except (OSError, ValueError) as error:  # a time-out is an OSError too
            self._tell(internal_error("store.read", error))
            raise Overloaded("store_unavailable", "The log could not be read; try again later.") from None

    @staticmethod
    async def _in(pool: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args, **kwargs))

    # Archiving, and forgetting

    def _to_keep(self, turn_id: str) -> HeldTurn | None:
        return None if turn_id in self._forgetting else self._held.get(turn_id)

    def _archived(self, turn_id: str) -> None:
        held = self._held.leave(turn_id, self._journal.number)
        if held is not None and held.log is not None:
            self._shelf.put(held.log)

    async def forget(self, turns: Sequence[tuple[str, str]]) -> None:
        """Erase turns, and go on with all that an earlier call did not finish; with none, only that.

        The order, so that it may fail or be killed between any two steps, and go on from the first one again:

        1. The turns are noted as being forgotten: whoever asks for one is told so from now on, and none is archived.
        2. The archive takes them for forgotten, in one transaction: from now on they are so for every later process.
        3. They leave the memory, so that nothing more of them is written.
        4. Their words are overwritten in the journal.
        5. The note of step 1 goes.

        Where a step fails, this raises `Overloaded`, the note stays, and `sweep` begins again about once a second. A
        process that dies before step 2 has forgotten nothing, and whoever asked has no answer; after it, the next one
        erases at its start what the archive takes for forgotten.
        """
        if self._closed:
            raise Overloaded("shutting_down", "The relay is shutting down; ask the one that follows it.")
        self._forgetting.update(turns)
        if self._forgetting:
            await self._forget(dict(self._forgetting))

    async def _forget(self, turns: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._in(self._writer, self._archive.forget, list(turns.items()), self._wall_ms())
        except TimeoutError:
            self._tell(StoreFailed("forget", "no answer"))
            raise Overloaded("store_unavailable", "The archive does not answer; ask again later.") from None
        for turn_id in turns:
            self._shelf.remove(turn_id)
            self._held.leave(turn_id, self._journal.number)
        try:
            self._journal.clear_broken_write()
            places = {key_of(turn_id): self._held.places(turn_id) for turn_id in turns}
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._in(self._writer, self._journal.erase, places)
        except OSError as error:  # a time-out is one too
            self._tell(StoreFailed("erase", words_of(error)))
            detail = "The journal cannot be overwritten now. Nobody can read the turns, and the relay goes on trying."
            raise Overloaded("store_unavailable", detail) from None
        for turn_id in turns:
            self._forgetting.pop(turn_id, None)

    # The clock

    def sweep(self, now_ms: int) -> None:
        """Mend a fault, leave an old segment behind, lay out the next one in time, and let old turns go."""
        if self._closed:
            return
        if self._syncing is not None:
            self._syncing.sweep()
        now_s, oldest_s = self._clock(), min(OLDEST_SEGMENT_S, self._retention_ms / 4_000)
        if self._preparing is None:
            is_old = self._journal.is_used and now_s - self._appending.begun_s >= oldest_s
            self._preparing = asyncio.ensure_future(self._prepare(begins=is_old or bool(self._appending.fault)))
            self._preparing.add_done_callback(self._prepared)
        if self._erasing is None and self._forgetting:
            self._erasing = asyncio.ensure_future(self._forget(dict(self._forgetting)))
            self._erasing.add_done_callback(self._erased)
        before_ms = now_ms - self._retention_ms
        self._shelf.expire(before_ms)
        if now_s - self._expired_s >= EXPIRE_EVERY_S and (self._expiring is None or self._expiring.done()):
            self._expired_s = now_s
            self._expiring = self._writer.submit(self._expire, before_ms, now_ms)

    async def _prepare(self, *, begins: bool) -> None:
        """Lay out the next segment, begin it if that is due, and see whether a disk that failed syncs again."""
        number = self._journal.number
        await self._in(self._disk, self._journal.prepare, at_once=begins)
        if begins and self._journal.number == number:
            self._appending.begin(laid_out=True)
        if self._appending.fault and self._syncing is not None:
            await self._in(self._disk, self._journal.sync, self._journal.current())
            self._appending.fault = ""

    def _prepared(self, preparing: asyncio.Future[None]) -> None:
        self._preparing = None
        error = None if preparing.cancelled() else preparing.exception()
        if error is not None:
            self._appending.failed(error, "store.prepare")

    def _erased(self, erasing: asyncio.Future[None]) -> None:
        self._erasing = None
        error = None if erasing.cancelled() else erasing.exception()
        if error is not None and not isinstance(error, Overloaded):  # Those were told.
            self._appending.failed(error, "store.forget")

    def _expire(self, before_ms: int, now_ms: int) -> None:
        """Let go of what is past its retention; runs in a thread."""
        try:
            while self._archive.expire(before_ms, now_ms, EXPIRE_AT_ONCE) >= EXPIRE_AT_ONCE:
                pass
        except Exception as error:  # noqa: BLE001 - it is tried again a minute later
            self._tell(StoreFailed("expire", words_of(error)))


def _nothing() -> None:
    """Take a turn in a thread."""


def _nobody(turns: list[TurnLog]) -> None:
    """Nothing was written yet, so that there is nobody to tell."""
