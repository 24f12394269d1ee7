"""Moves ended turns from the journal into the archive, one transaction each, in the order of their ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final

from trunkline.stores.archive import Archive
from trunkline.stores.held import HeldTurn
from trunkline.stores.journal import Journal
from trunkline.stores.recovery import whole
from trunkline.telemetry import Fact, StoreFailed, words_of

RETRY_S: Final = (0.1, 0.5, 2.0, 5.0)
ANSWER_LIMIT_S: Final = 20.0  # an archive that takes longer is told; it is waited for, since it may keep the turn yet


class Archiving:
    """The turns that are owed to the archive. One that cannot be kept is tried again, and stands in nobody's way."""

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
        pool: Executor,
        *,
        find: Callable[[str], HeldTurn | None],
        archived: Callable[[str], None],
        tell: Callable[[Fact], None],
    ) -> None:
        """`find` returns a turn that is to be kept, None for one that is not; `archived` is called once it is kept."""
        self._journal = journal
        self._archive = archive
        self._pool = pool
        self._find, self._archived, self._tell = find, archived, tell
        self._owed: deque[str] = deque()
        self._something = asyncio.Event()
        self._settling = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._owed)

    def add(self, turn_id: str) -> None:
        """A turn has ended."""
        self._owed.append(turn_id)
        self._something.set()

    async def run(self) -> None:
        """Archive turns as they end, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.settle()

    async def settle(self) -> None:
        """Archive all turns that have ended by now; where the archive fails, wait and try again."""
        async with self._settling:
            failures = 0
            while self._owed:
                if await self._settle_one(self._owed[0]):
                    self._owed.popleft()
                    failures = 0
                    continue
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                if failures >= len(RETRY_S):
                    self._owed.rotate(-1)  # It may be this one alone that cannot be kept.

    async def _settle_one(self, turn_id: str) -> bool:
        turn = self._find(turn_id)
        if turn is None:
            return True
        keeping = asyncio.get_running_loop().run_in_executor(self._pool, partial(self._keep, turn_id, turn))
        try:
            if keeping not in (await asyncio.wait([keeping], timeout=ANSWER_LIMIT_S))[0]:
                self._tell(StoreFailed("archive", "no answer"))
            await keeping
        except Exception as error:  # noqa: BLE001 - whatever it is, the turn is in the journal and stays owed
            self._tell(StoreFailed("archive", words_of(error)))
            return False
        finally:
            keeping.cancel()  # where nobody waits for it any more
        self._archived(turn_id)
        return True

    def _keep(self, turn_id: str, turn: HeldTurn) -> None:
        """Archive a turn; runs in a thread."""
        log = turn.log
        entries = whole(self._journal.read(turn.places)) if log is None else log.entries
        self._archive.keep(turn_id, entries)
        unknown = 0 if log is not None else sum(not entry.is_known for entry in entries)
        if unknown:
            detail = f"{unknown} events of {turn_id} are of another version of trunkline; they are kept as they are"
            self._tell(StoreFailed("unknown_event", detail))
