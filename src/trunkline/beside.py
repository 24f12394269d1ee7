"""Looks at a relay's log from beside it: reads turns, checks and compacts the log, asks for conversations to be erased.

Reading changes nothing, and goes on while a relay holds the folder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, NamedTuple, cast

from msgspec import DecodeError

from trunkline.core.errors import Fault, FolderInUse, Overloaded, SettingsError, TurnNotFound
from trunkline.core.events import Entry
from trunkline.core.record import TurnRecord, outline
from trunkline.guards.chain import MAX_CONVERSATIONS
from trunkline.records.records import Records
from trunkline.storage import Durable, check_owner, open_durable, owner, wall_ms
from trunkline.stores.base import Query, TurnLog
from trunkline.stores.durable import DurableStore
from trunkline.stores.files import Disk
from trunkline.stores.folder import Folder
from trunkline.stores.journal import Journal, Place
from trunkline.stores.recovery import Left, key_of, left_in, unbroken
from trunkline.stores.settings import StoreSettings
from trunkline.stores.tail import Tail
from trunkline.tasks import Tasks
from trunkline.telemetry import Telemetry

LOOK_EVERY_S: Final = 0.5
RELAY_LIMIT_S: Final = 30.0  # more than a restart takes
FORGET_LIMIT_S: Final = 60.0
SETTLE_LIMIT_S: Final = 60.0  # An archive that takes nothing would keep `compact` for ever.
_BATCH: Final = 200


class Checked(NamedTuple):
    """How much of a log has been checked so far, and what was found to be wrong since the step before."""

    turns: int
    findings: tuple[str, ...]


class Compacted(NamedTuple):
    """How many bytes the log took before and takes now, and how many ended turns the archive did not take."""

    before: int
    after: int
    owed: int


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
        return self._find(turn_id, self._tail(turn_id))

    def _tail(self, turn_id: str) -> Tail:
        return Tail(self._journal, key_of(turn_id), is_held=lambda: self.is_held)

    def _find(self, turn_id: str, tail: Tail) -> list[Entry]:
        is_damaged = False
        for _ in range(2):  # A turn may move from the journal to the archive in between.
            if entries := self.records.find(turn_id):
                return entries
            if places := tail.places():
                try:
                    return unbroken(self._journal.read(places))
                except (FileNotFoundError, ValueError) as error:
                    is_damaged = isinstance(error, ValueError)
        if is_damaged:
            detail = f"The log of turn {turn_id} cannot be read; `trunkline store verify` says what is damaged."
            raise Overloaded("store_unavailable", detail)
        raise TurnNotFound(turn_id, whose=" in this log")

    def turns(self, query: Query) -> list[TurnRecord]:
        """Return turns without their texts, the newest first."""
        found = {}
        for left in self._left():
            record = self._outline(left)
            if record is not None and query.asks_for(record):
                found[left.id] = record
        if query.state != "open":
            found |= {record.started.turn: record for record in self.records.list(query)}
        return [found[turn_id] for turn_id in sorted(found, reverse=True)[: query.limit]]

    async def follow(self, turn_id: str, after: int, wait_s: float = RELAY_LIMIT_S) -> AsyncIterator[list[Entry]]:
        """Iterate over what a turn says after an offset, as it comes, until its end.

        Where no relay runs the next one to start gives the turn its end. Raises as `find`, `OffsetPastTail`, and
        `Overloaded` where none did within `wait_s`.
        """
        until = time.monotonic() + wait_s
        find = partial(self._find, turn_id, self._tail(turn_id))
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
            is_held = self.is_held
            if is_held:
                until = time.monotonic() + wait_s
            elif time.monotonic() >= until and not TurnLog.of(turn_id, await asyncio.to_thread(find)).ended:
                detail = "The turn is open, and no relay runs that could go on with it: the next one to start ends it."
                raise Overloaded("no_relay", detail)
            await asyncio.sleep(LOOK_EVERY_S if is_held else min(LOOK_EVERY_S, max(0, until - time.monotonic())))

    def _left(self) -> list[Left]:
        """Return the turns that the journal alone has; of one that is archived it may have any part still."""
        until = self._journal.shown_until()
        turns, _ = left_in(self._journal, self._journal.segments(), until)
        known = self.records.known([left.id for left in turns.values()])
        return [left for left in turns.values() if left.id not in known]

    def _outline(self, left: Left) -> TurnRecord | None:
        first, last = self._entries(left.places[:1]), self._entries(left.places[-1:])
        try:
            return outline(first[0], last[-1]) if first and last else None
        except ValueError:  # Its beginning is damaged; `verify` says so.
            return None

    def _entries(self, places: Sequence[Place]) -> list[Entry] | None:
        """Return what the journal has at these places; None where it has moved on into the archive."""
        try:
            return self._journal.read(places)
        except (FileNotFoundError, ValueError):
            return None

    # Checking

    def verify(self) -> Iterator[Checked]:
        """Check every record of the journal and every turn of the archive, in steps."""
        may_be_written = self.is_held
        # The newest first, as a tail reads them: a record that breaks off is being written where none is behind it.
        for segment in reversed(self._journal.segments()):
            checked = self._verify_segment(segment, may_be_written=may_be_written)
            may_be_written = may_be_written and not checked.turns
            yield checked
        yield Checked(0, tuple(f"{left.id}: {detail}" for left in self._left() if (detail := self._defect(left))))
        for step in self.records.verify():
            yield Checked(step.checked, tuple(f"{turn or 'the database'}: {detail}" for turn, detail in step.findings))

    def _verify_segment(self, segment: int, *, may_be_written: bool) -> Checked:
        turns, damages = left_in(self._journal, [segment])
        findings = [
            f"journal segment {damage.segment}: {damage.size} bytes at {damage.at} cannot be read"
            for damage in damages
            if not (damage.torn and may_be_written)
        ]
        return Checked(len(turns), tuple(findings))

    def _defect(self, left: Left) -> str:
        """Say what is wrong with a turn in the journal, if anything."""
        try:
            entries = self._journal.read(left.places)
        except DecodeError:
            return "it began with another version of trunkline, and this one cannot read it"
        except (FileNotFoundError, ValueError):  # It has moved on.
            return ""
        try:
            is_whole = len(unbroken(entries)) == len(entries)
        except ValueError:
            is_whole = False
        if not is_whole:
            return "entries are missing in the journal"
        unknown = sum(not entry.is_known for entry in entries)
        return f"{unknown} of its events are of another version of trunkline" if unknown else ""

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


async def compact(settings: StoreSettings, *, settle_limit_s: float = SETTLE_LIMIT_S) -> Compacted:
    """Archive what has ended, drop what is past its time, and give the room back.

    What the archive does not take stays in the journal. Raises `FolderInUse` while a relay holds the folder: most of
    this it does by itself.
    """
    journal = Journal(Folder(settings.data_dir).journal, Disk())
    before = journal.bytes_used()
    async with _only_one(settings) as durable:
        before += await asyncio.to_thread(durable.records.size)
        owed = await _settle(durable.store, settle_limit_s)
        now_ms = wall_ms()
        ended_before_ms = now_ms - int(settings.retention * 1_000)
        while await asyncio.to_thread(durable.records.expire, ended_before_ms, now_ms, _BATCH) >= _BATCH:
            pass
        _, after = await asyncio.to_thread(durable.records.compact)
    return Compacted(before, after + journal.bytes_used(), owed)


async def _settle(store: DurableStore, limit_s: float) -> int:
    """Archive what has ended, as long as the archive takes any within a time; return how many turns it did not take."""
    owed = -1
    while store.owed != owed:
        owed = store.owed
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await store.settle()
    return owed


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
