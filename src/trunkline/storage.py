"""Opens the log that the settings ask for, with what outlives the process beside it, and closes it again."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from trunkline.core.errors import Fault, LogUnusable, Overloaded, SettingsError
from trunkline.core.times import iso
from trunkline.guards.chain import MAX_CONVERSATIONS, Conversations
from trunkline.recorder import Recorder, secrets_of
from trunkline.records.ownership import Owner
from trunkline.records.records import Records
from trunkline.stores.archive import Claim
from trunkline.stores.base import Store
from trunkline.stores.durable import DurableStore
from trunkline.stores.files import Disk
from trunkline.stores.folder import Folder
from trunkline.stores.journal import Journal
from trunkline.stores.memory import MemoryStore
from trunkline.stores.recovery import Recovered
from trunkline.stores.settings import StoreSettings
from trunkline.tasks import Tasks
from trunkline.telemetry import Fact, StoreFailed, StoreRecovered, Telemetry, words_of
from trunkline.threads import in_thread

LARGE_JOURNAL: Final = 128 << 20  # takes a second or more to read
LOOK_AGAIN_S: Final = 0.05
CLOSE_LIMIT_S: Final = 8.0  # of each part; the store has shorter ones for what it does
WIPE_LIMIT_S: Final = 5.0  # less than the clients of DELETE wait
WIPE_AGAIN_S: Final = 0.25  # while it is tried, nobody can write
MAX_CLAIMS: Final = 100_000  # of a kind, that are taken back at a start
logger = logging.getLogger("trunkline")
_make_key = partial(secrets.token_bytes, 32)


@dataclass(frozen=True, slots=True)
class Storage:
    """A store, and what beside it lives as long as it does."""

    store: Store
    conversations: Conversations
    key: bytes
    """What is kept of credentials and requests is signed or digested with it."""
    durable: Durable | None = None

    def claims(self, kind: str) -> Sequence[Claim]:
        """Return the claims of a kind that an earlier process made."""
        return () if self.durable is None else self.durable.claims.get(kind, ())

    @property
    def record(self) -> Callable[[Claim], None] | None:
        """What records a claim; None where nothing outlives the process."""
        return None if self.durable is None else self.durable.recorder.claim

    async def close(self) -> None:
        """Write what waits, and let the next process have the folder; closing twice is harmless."""
        if self.durable is not None:
            await self.durable.close()


@dataclass(slots=True)
class Durable:
    """The parts of a storage that a crash does not end."""

    folder: Folder
    records: Records
    store: DurableStore
    recorder: Recorder
    claims: dict[str, list[Claim]]
    tell: Callable[[Fact], None]
    closing: asyncio.Future[None] | None = None

    async def erased(self) -> None:
        """Wait until the files hold nothing of what was erased.

        Raises `Overloaded` where something is in the way for `WIPE_LIMIT_S`: the wipe is owed then, and done as soon as
        that is gone, by this process or the next.
        """
        until = time.monotonic() + WIPE_LIMIT_S
        while why := await in_thread(self._wipe):
            if time.monotonic() >= until:
                detail = (
                    f"{why} What was forgotten can be read no more, but files still hold it. The relay goes on trying."
                )
                raise Overloaded("store_unavailable", detail)
            await asyncio.sleep(WIPE_AGAIN_S)

    def _wipe(self) -> str:
        """Wipe; return what is in the way, if anything. Runs in a thread."""
        try:
            is_wiped = self.records.wipe()
        except Overloaded as error:
            return error.detail
        return (
            "" if is_wiped else "Something goes on reading an old state of the database, as a backup or a shell does."
        )

    async def close(self) -> None:
        """Close each whatever the others do, the lock last; whoever waits for that may stop waiting, and it goes on."""
        if self.closing is None:
            self.closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self.closing)

    async def _close(self) -> None:
        for close in (self.store.close, self.recorder.flush, partial(in_thread, self.records.close)):
            try:
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await close()
            except Exception as error:  # noqa: BLE001 - whatever it is, the process is to end
                self.tell(StoreFailed("close", words_of(error)))
        self.folder.leave()


def wall_ms() -> int:
    """Return the time of day in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def open_in_memory(settings: StoreSettings) -> Storage:
    """Open a log that ends with this process."""
    return Storage(MemoryStore(settings), Conversations(_make_key), _make_key())


async def open_durable(
    settings: StoreSettings, kinds: Sequence[str], wall_ms: Callable[[], int], tasks: Tasks, telemetry: Telemetry
) -> Storage:
    """Take the folder, and recover what is in it. Raises `SettingsError` where that cannot be.

    `kinds` are the claims to take back.
    """
    folder = Folder(settings.data_dir)
    async with AsyncExitStack() as undo:
        undo.callback(folder.leave)
        await _take(folder, settings.take_over_s)
        journal = Journal(folder.journal, Disk(), syncs=settings.durability == "disk")
        try:
            await in_thread(journal.trim)  # On a full disk a database needs what an earlier process laid out.
        except OSError as error:
            raise _unusable(folder, error) from None
        records = await in_thread(Records.open, settings)
        undo.push_async_callback(in_thread, records.close)
        try:
            await in_thread(check_owner, folder, records, settings, wall_ms())
            opened = await _open(folder, journal, records, settings, kinds, wall_ms, tasks, telemetry)
        except OSError as error:
            raise _unusable(folder, error) from None
        undo.pop_all()
        return opened


def _unusable(folder: Folder, error: OSError) -> LogUnusable:
    return LogUnusable([Fault("store.data_dir", f"the journal in {folder.journal} cannot be used: {error.strerror}")])


async def _take(folder: Folder, wait_s: float) -> None:
    """Become the holder of a folder, as soon as another relay leaves it. Raises `SettingsError`."""
    until = time.monotonic() + wait_s
    is_waiting = False
    while not folder.take():
        if time.monotonic() >= until:
            raise folder.in_use()
        if not is_waiting:
            is_waiting = True
            logger.info("waiting for another relay to leave its folder folder=%s limit_s=%g", folder.path, wait_s)
        await asyncio.sleep(LOOK_AGAIN_S)


def check_owner(folder: Folder, records: Records, settings: StoreSettings, now_ms: int) -> None:
    """Give a database that is not in the folder to it, if it belongs to none; raise `SettingsError` if to another.

    A journal and its archive are one log: what is erased in one must not live on in the journal of another relay.
    """
    if settings.database is not None:
        ours = owner(folder, now_ms)
        found = records.own(ours)
        if found.folder != ours.folder:
            detail = (
                f"this database is the archive of another relay's data folder ({found.place}, since "
                f"{iso(found.since_ms)}). Give this relay a database of its own; where that folder is gone for good, "
                "`trunkline store adopt` gives the database to this one"
            )
            raise SettingsError([Fault("store.database", detail)])


def owner(folder: Folder, now_ms: int) -> Owner:
    """Return how a database names this folder. Raises `OSError`."""
    return Owner(folder.mark(), f"{socket.gethostname()}:{folder.path.absolute()}", now_ms)


async def _open(  # noqa: PLR0913, PLR0917 - everything a log is made of
    folder: Folder,
    journal: Journal,
    records: Records,
    settings: StoreSettings,
    kinds: Sequence[str],
    wall_ms: Callable[[], int],
    tasks: Tasks,
    telemetry: Telemetry,
) -> Storage:
    began = time.monotonic()
    if (size := journal.bytes_used()) > LARGE_JOURNAL:
        logger.info("reading a large journal: the archive was behind folder=%s bytes=%d", folder.path, size)
    store = DurableStore(settings, journal, records, wall_ms=wall_ms, tell=telemetry.tell)
    found = await store.open()
    recorder = Recorder(records, wall_ms, telemetry.tell)
    conversations = Conversations(_make_key, recorder.conversation)
    for row in await in_thread(records.conversations, MAX_CONVERSATIONS):
        conversations.restore(row.principal, row.conversation_id, secrets_of(row))
    claims = {kind: await in_thread(records.claims, kind, wall_ms(), MAX_CLAIMS) for kind in kinds}
    _tell_recovered(telemetry, found, time.monotonic() - began)
    telemetry.store = lambda: {"journal_bytes": journal.bytes_used(), "turns_unarchived": store.owed}
    tasks.spawn(store.run(), "store")
    tasks.spawn(recorder.run(), "recorder")
    key = await in_thread(folder.secret)
    return Storage(store, conversations, key, Durable(folder, records, store, recorder, claims, telemetry.tell))


def _tell_recovered(telemetry: Telemetry, found: Recovered, seconds: float) -> None:
    if found.turns or found.damages or found.unreadable:
        cut = sum(damage.size for damage in found.damages if damage.torn)
        damaged = sum(damage.size for damage in found.damages if not damage.torn)
        telemetry.tell(
            StoreRecovered(len(found.turns), len(found.ended), cut, damaged, tuple(found.unreadable), seconds)
        )
