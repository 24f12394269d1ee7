"""Looks at a relay's log from beside it: reads turns, checks and compacts the log, asks for conversations to be erased.

Reading changes nothing, and goes on while a relay holds the folder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple, cast

from trunkline.core.errors import Fault, FolderInUse, Overloaded, SettingsError, TurnNotFound
from trunkline.core.events import Entry
from trunkline.core.record import TurnRecord, outline
from trunkline.guards.chain import MAX_CONVERSATIONS
from trunkline.records.records import Records
from trunkline.storage import Durable, check_owner, open_durable, owner, wall_ms
from trunkline.stores.base import Query, TurnLog
from trunkline.stores.files import Disk
from trunkline.stores.folder import Folder
from trunkline.stores.journal import Journal, Place
from trunkline.stores.recovery import Left, key_of, left_in, unbroken
from trunkline.stores.settings import StoreSettings
from trunkline.stores.tail import Tail
from trunkline.tasks import Tasks
from trunkline.telemetry import Telemetry

LOOK_EVERY_S: Final = 0.5
FORGET_LIMIT_S: Final = 60.0
_BATCH: Final = 200


class Checked(NamedTuple):
    """How much of a log has been checked so far, and what was found to be wrong since the step before."""

    turns: int
    findings: tuple[str, ...]


class Beside:
    """The log that the settings name, whether a relay holds it or not. Its methods block where they are not async."""

    def __init__(self, settings: StoreSettings) -> None:
        """Open it. Raises `SettingsError` where there is none."""
        if settings.durability == "memory":
            detail = "is `memory`: that log is in the relay's process, and there is nothing to look at beside it"
            raise SettingsError([Fault("store.durability", detail)])
        self._settings = settings
        self._folder = Folder(settings.data_dir)
        if not self._folder.journal.is_dir():
            detail = f"there is no log in {settings.data_dir.absolute()}: no relay has run with these settings"
            raise SettingsError([Fault("store.data_dir", detail)])
        self._journal = Journal(self._folder.journal, Disk())
        self.records = Records.open(settings, migrate=False)
        try:
            check_owner(self._folder, self.records, settings, wall_ms())
        except SettingsError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        self.records.close()

    @property
    def is_held(self) -> bool:
        """True while a relay runs on it."""
        return self._folder.is_held

    # Reading

    def find(self, turn_id: str) -> list[Entry]:
        """Return the entries of a turn so far. Raises `TurnNotFound`, `TurnForgotten`."""
        return self._find(turn_id, Tail(self._journal, key_of(turn_id)))

    def _find(self, turn_id: str, tail: Tail) -> list[Entry]:
        for _ in range(2):  # A turn may move from the journal to the archive in between.
            entries = self.records.find(turn_id)
            if entries is None and (places := tail.places()):
                entries = self._entries(places)
            if entries:
                return unbroken(entries)
        raise TurnNotFound(turn_id, whose=" in this log")

    def turns(self, query: Query) -> list[TurnRecord]:
        """Return turns without their texts, the newest first."""
        found = {}
        for left in self._left().values():
            first, last = self._entries(left.places[:1]), self._entries(left.places[-1:])
            if first and last and query.asks_for(record := outline(first[0], last[-1])):
                found[left.id] = record
        if query.state != "open":
            found |= {record.started.turn: record for record in self.records.list(query)}
        return [found[turn_id] for turn_id in sorted(found, reverse=True)[: query.limit]]

    async def follow(self, turn_id: str, after: int) -> AsyncIterator[list[Entry]]:
        """Iterate over what a turn says after an offset, as it comes, until its end.

        Raises as `find`, `OffsetPastTail`, and `Overloaded` where nobody goes on with the turn.
        """
        find = partial(self._find, turn_id, Tail(self._journal, key_of(turn_id)))
        while True:
            entries = await asyncio.to_thread(find)
            turn = TurnLog.of(turn_id, entries)
            turn.check_offset(after)
            new = entries[turn.position(after) :]
            if new:
                yield new
                after = new[-1].offset
            if turn.ended:
                return
            if not self.is_held and not TurnLog.of(turn_id, await asyncio.to_thread(find)).ended:
                detail = "The turn is open, and no relay runs that could go on with it: the next one to start ends it."
                raise Overloaded("no_relay", detail)
            await asyncio.sleep(LOOK_EVERY_S)

    def _left(self) -> dict[bytes, Left]:
        for _ in range(3):  # Segments may go while they are read.
            try:
                return left_in(self._journal, self._journal.segments())[0]
            except FileNotFoundError:
                continue
        return {}

    def _entries(self, places: Sequence[Place]) -> list[Entry] | None:
        """Return what the journal has at these places; None where it has moved on into the archive."""
        try:
            return self._journal.read(places)
        except (FileNotFoundError, ValueError):
            return None

    # Checking

    def verify(self) -> Iterator[Checked]:
        """Check every record of the journal and every turn of the archive, in steps."""
        segments = self._journal.segments()
        for segment in segments:
            yield self._verify_segment(segment, may_be_written=self.is_held and segment == segments[-1])
        broken = [left.id for left in self._left().values() if self._is_broken(left)]
        yield Checked(0, tuple(f"{turn_id}: entries are missing in the journal" for turn_id in broken))
        for step in self.records.verify():
            yield Checked(step.checked, tuple(f"{turn or 'the database'}: {detail}" for turn, detail in step.findings))

    def _verify_segment(self, segment: int, *, may_be_written: bool) -> Checked:
        try:
            turns, damages = left_in(self._journal, [segment])
        except FileNotFoundError:  # It was not needed any more.
            return Checked(0, ())
        findings = [
            f"journal segment {damage.segment}: {damage.size} bytes at {damage.at} cannot be read"
            for damage in damages
            if not (damage.torn and may_be_written)
        ]
        return Checked(len(turns), tuple(findings))

    def _is_broken(self, left: Left) -> bool:
        entries = self._entries(left.places)
        try:
            return entries is not None and len(unbroken(entries)) < len(entries)
        except ValueError:
            return True

    # Changing

    async def forget(self, conversation_id: str, principal: str | None) -> None:
        """Erase a conversation, of everybody where `principal` is None.

        The relay that holds the folder does it; without one it is done here. The request is on record until then, so
        that it is met in the end. Raises `Overloaded` where that takes longer than `FORGET_LIMIT_S`, with the reason.
        """
        number = self.records.ask_to_forget(conversation_id, principal, wall_ms())
        until = time.monotonic() + FORGET_LIMIT_S
        while (request := self.records.forget_request(number)) is not None:
            if time.monotonic() > until:
                detail = request.why or "The relay that runs did not get to it."
                raise Overloaded("store_unavailable", f"The request is on record and will be met. {detail}")
            try:
                async with holding(self._settings) as durable:
                    await _forget(durable, conversation_id, principal)
                self.records.has_forgotten(number)
            except FolderInUse:
                pass
            except Overloaded as error:
                self.records.cannot_forget(number, error.detail)
            await asyncio.sleep(LOOK_EVERY_S)


async def _forget(durable: Durable, conversation_id: str, principal: str | None) -> None:
    query = Query(principal, conversation_id, limit=_BATCH, of_any_age=True)
    while found := await durable.store.list(query):
        await durable.store.forget([(record.started.turn, record.started.principal) for record in found])
    keys = await asyncio.to_thread(durable.records.conversations, MAX_CONVERSATIONS)
    named = [(key.principal, key.conversation_id) for key in keys if key.conversation_id == conversation_id]
    await asyncio.to_thread(
        durable.records.forget_conversations, [name for name in named if principal in (None, name[0])]
    )
    await durable.erased()


def adopt(settings: StoreSettings) -> None:
    """Give a database to the data folder of these settings, whichever it belonged to. Raises `SettingsError`."""
    folder = Folder(settings.data_dir)
    folder.make()
    records = Records.open(settings)
    try:
        records.take_over(owner(folder, wall_ms()))
    finally:
        records.close()


async def compact(settings: StoreSettings) -> tuple[int, int]:
    """Archive what has ended, drop what is past its time, and give the room back; return the bytes before and after.

    Raises `FolderInUse` while a relay holds the folder: most of this it does by itself.
    """
    journal = Journal(Folder(settings.data_dir).journal, Disk())
    before = journal.bytes_used()
    async with _only_one(settings) as durable:
        before += await asyncio.to_thread(durable.records.size)
        await durable.store.settle()
        now_ms = wall_ms()
        ended_before_ms = now_ms - int(settings.retention * 1_000)
        while await asyncio.to_thread(durable.records.expire, ended_before_ms, now_ms, _BATCH) >= _BATCH:
            pass
        _, after = await asyncio.to_thread(durable.records.compact)
    return before, after + journal.bytes_used()


@asynccontextmanager
async def _only_one(settings: StoreSettings) -> AsyncIterator[Durable]:
    try:
        async with holding(settings) as durable:
            yield durable
    except FolderInUse:
        detail = "a relay runs on it, which archives and expires by itself; stop it to give the rest of the room back"
        raise FolderInUse([Fault("store.data_dir", detail)]) from None


@asynccontextmanager
async def holding(settings: StoreSettings) -> AsyncIterator[Durable]:
    """Hold the folder as a relay does, and mend what the last one left. Raises `FolderInUse`."""
    telemetry = Telemetry()
    tasks = Tasks(telemetry)
    storage = await open_durable(settings.model_copy(update={"take_over_s": 0}), (), wall_ms, tasks, telemetry)
    try:
        yield cast("Durable", storage.durable)
    finally:
        await storage.close()
        await tasks.close()
