"""Laws 1, 2 and 4 over crashes: whatever is appended, read, archived and forgotten, and wherever the process dies, what
a reader was shown is there afterwards, unchanged and once, and every turn has exactly one end.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from properties.crashing import CrashingDisk, DictArchive, Died, Inline, Mortal
from trunkline.core.errors import TurnForgotten
from trunkline.core.events import AnyEvent, Delta, Ended, Started, Usage, decode_event
from trunkline.core.ids import turn_id
from trunkline.log import Log
from trunkline.stores import syncing
from trunkline.stores.base import Query, TurnLog
from trunkline.stores.durable import DurableStore
from trunkline.stores.journal import Journal
from trunkline.stores.settings import StoreSettings

SEGMENT = 16 << 10
MOST_OPEN = 5  # so that the reserve holds the end of each
ENDED = Ended("completed", "stop", "stop")


@dataclass(eq=False)
class ModelTurn:
    """What was appended to a turn, and what anybody has seen of it: its JSON by offset."""

    id: str
    log: TurnLog | None
    appended: list[AnyEvent] = field(default_factory=list)
    shown: dict[int, bytes] = field(default_factory=dict)
    is_open: bool = True
    is_forgotten: bool = False

    @property
    def says(self) -> bytes:
        """A text that is in no other turn."""
        return f"words of {self.id}".encode()


@dataclass(eq=False)
class ModelReader:
    """A client that reads now and then, and holds the offset of the last entry it has."""

    turn: ModelTurn
    offset: int = 0
    seen: list[bytes] = field(default_factory=list)


class DurabilityMachine(RuleBasedStateMachine):
    turns = Bundle("turns")
    readers = Bundle("readers")

    @initialize(durability=st.sampled_from(["process", "disk"]), seed=st.randoms(use_true_random=False))
    def begin(self, durability: str, seed: object) -> None:
        self.lots = seed
        self.folder = Path(tempfile.mkdtemp(prefix="trunkline-test-"))
        self.settings = StoreSettings(durability=durability, data_dir=self.folder)
        self.mortal = Mortal()
        self.disk = CrashingDisk(self.mortal, lambda size: self.lots.randint(0, size))
        self.archive = DictArchive(self.mortal)
        self.now_ms = 1_000
        self.all_turns: list[ModelTurn] = []
        self.all_readers: list[ModelReader] = []
        self.journal: Journal | None = None
        self.open()

    # The process

    def open(self, *deaths: int) -> None:
        """Start a process, after some that die while they start; somebody made room on the disk."""
        self.disk.is_full = False
        for steps in (*deaths, None):
            self.mortal.arm(steps)
            self.loop = asyncio.new_event_loop()
            self.ticks: list[Callable[[], None]] = []
            self.journal = Journal(self.folder, self.disk, segment_bytes=SEGMENT, syncs=self.is_disk)
            self.store = DurableStore(
                self.settings,
                self.journal,
                self.archive,
                wall_ms=lambda: self.now_ms,
                tell=lambda _: None,
                executor=Inline,
            )
            self.log = Log(self.store, self.ticks.append, lambda: self.now_ms)
            with suppress(Died):
                self.loop.run_until_complete(self.store.open())
            if steps is not None:
                self.bury()
        for turn in self.all_turns:
            turn.log, turn.is_open = None, False
        for record in self.loop.run_until_complete(self.store.list(Query(limit=1_000))):
            assert record.ended is not None, "every turn of a process that died has its end"

    @property
    def is_disk(self) -> bool:
        return self.settings.durability == "disk"

    def bury(self) -> None:
        """What is left of a process that died: its files, and at `disk` perhaps less than it wrote to them."""
        assert self.journal is not None
        self.loop.close()
        self.journal.end()
        if self.is_disk:
            self.disk.lose_power(lambda size: self.lots.randint(0, size))
        self.disk.forget_writes()

    def live(self, step: Callable[[], object]) -> bool:
        """Take a step; where the process dies in it, start another."""

        async def inside() -> None:
            done = step()
            if asyncio.iscoroutine(done):
                await done
            for _ in range(6):  # what a sync needs from its timer to its end
                await asyncio.sleep(0)

        with suppress(Died):
            self.loop.run_until_complete(inside())
        if self.mortal.is_dead:
            self.disk.errs = 0
            self.bury()
            self.open()
            return False
        return True

    def tick(self) -> None:
        ticks, self.ticks = self.ticks, []
        for one in ticks:
            one()

    # What happens in it

    @precondition(lambda self: sum(turn.is_open for turn in self.all_turns) < MOST_OPEN and not self.store.fault())
    @rule(target=turns)
    def start_a_turn(self) -> ModelTurn:
        name = turn_id(self.now_ms, len(self.all_turns).to_bytes(10, "big"))
        turn = ModelTurn(name, self.log.create(name))
        turn.log.on_lost = lambda: self.lost(turn)
        self.all_turns.append(turn)
        self.append(
            turn, Started(turn=name, principal="p", upstream="u", model="m", created_at="now", endpoint="native")
        )
        return turn

    @rule(picks=st.lists(st.integers(0, 9), min_size=1, max_size=6), and_tick=st.sampled_from([True, True, False]))
    def turns_talk(self, picks: list[int], and_tick: bool) -> None:  # noqa: FBT001
        for pick in picks:
            if self.all_turns:
                turn = self.all_turns[-1 - pick % min(MOST_OPEN, len(self.all_turns))]
                self.append(turn, Delta(f"{turn.says.decode()}: {pick} ", 0))
        if and_tick:
            self.live(self.tick)

    @rule(turn=turns, kib=st.integers(1, 20))
    def one_says_much(self, turn: ModelTurn, kib: int) -> None:
        self.append(turn, Delta(turn.says.decode() + "x" * (kib << 10), 0))

    @rule(turn=turns, and_tick=st.booleans())
    def one_ends(self, turn: ModelTurn, and_tick: bool) -> None:  # noqa: FBT001
        if turn.is_open:
            self.append(turn, ENDED)
            turn.is_open = False
        if and_tick:
            self.live(self.tick)

    def append(self, turn: ModelTurn, *events: AnyEvent) -> None:
        if turn.is_open and turn.log is not None:
            self.log.append(turn.log, events)
            turn.appended += events

    def lost(self, turn: ModelTurn) -> None:
        """As the pump would."""
        turn.is_open = False
        self.log.append(turn.log, [Ended("failed", "store_error")])

    @rule(milliseconds=st.integers(0, 3))
    def time_goes_on(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    @rule()
    def the_loop_ticks(self) -> None:
        self.live(self.tick)

    @rule()
    def the_archive_settles(self) -> None:
        self.live(self.store.settle)

    @rule(later_s=st.sampled_from([1, 100, 10_000]))
    def the_clock_sweeps(self, later_s: int) -> None:
        self.now_ms += later_s * 1_000
        self.live(lambda: self.store.sweep(self.now_ms))

    @rule(is_full=st.booleans())
    def the_disk_fills_up_or_has_room_again(self, is_full: bool) -> None:  # noqa: FBT001
        self.disk.is_full = is_full

    @rule(calls=st.integers(1, 3), and_dies=st.booleans())
    def the_disk_errs(self, calls: int, and_dies: bool) -> None:  # noqa: FBT001
        """Writes and syncs fail for a while, and leave something behind or not."""
        self.turns_talk([0, 1, 2, 3, 4], and_tick=False)
        self.disk.errs = calls
        for _ in range(3):
            self.live(self.tick)
        self.disk.errs = 0
        if and_dies:
            self.it_dies_between_two_steps([])

    @rule(kib=st.integers(12, 18), and_dies=st.booleans())
    def the_disk_is_full_for_long(self, kib: int, and_dies: bool) -> None:  # noqa: FBT001
        self.turns_talk([0, 1, 2, 3, 4], and_tick=True)
        self.disk.is_full = True
        for turn in self.all_turns[-MOST_OPEN:]:
            self.one_says_much(turn, kib)
            for _ in range(3):
                self.live(self.tick)
        if and_dies:
            self.it_dies_between_two_steps([])

    @rule(steps=st.integers(0, 2))
    def it_dies_in_a_tick(self, steps: int) -> None:
        self.turns_talk([0, 1, 2, 3, 4], and_tick=False)
        self.mortal.arm(steps)
        if self.live(self.tick):
            self.mortal.arm(None)

    @rule(steps=st.integers(0, 4), then=st.sampled_from(["settle", "sweep"]))
    def it_dies_at_some_step(self, steps: int, then: str) -> None:
        self.mortal.arm(steps)
        if self.live(self.store.settle if then == "settle" else lambda: self.store.sweep(self.now_ms + 10**7)):
            self.mortal.arm(None)

    @rule(deaths=st.lists(st.integers(0, 12), max_size=2))
    def it_dies_between_two_steps(self, deaths: list[int]) -> None:
        self.bury()
        self.open(*deaths)

    @rule(turn=turns, steps=st.one_of(st.none(), st.integers(0, 3)))
    def a_turn_is_forgotten(self, turn: ModelTurn, steps: int | None) -> None:
        self.turns_talk([0, 1, 2, 3, 4], and_tick=True)
        if turn.is_open and turn.log is not None:
            self.append(turn, Ended("cancelled", "client_cancelled"))
            turn.is_open = False
        if not self.live(self.tick):
            return
        self.mortal.arm(steps)
        lived = self.live(lambda: self.store.forget([(turn.id, "p")]))
        self.mortal.arm(None)
        turn.is_forgotten = turn.is_forgotten or lived or turn.id in self.archive.forgotten
        if turn.is_forgotten:
            for path in self.folder.iterdir():
                assert turn.says not in path.read_bytes(), "erased text is still on the disk"

    # Who reads it

    @rule(target=readers, turn=turns)
    def a_reader_comes(self, turn: ModelTurn) -> ModelReader:
        reader = ModelReader(turn)
        self.all_readers.append(reader)
        return reader

    @rule(reader=readers)
    def read_on(self, reader: ModelReader) -> None:
        log = self.find(reader.turn)
        if log is None:
            return
        with self.log.follow(log, reader.offset) as follower:
            a, b = follower.take()
            for entry in log.entries[a:b]:
                assert entry.offset > reader.offset
                reader.offset = entry.offset
                reader.seen.append(entry.json)
                assert reader.turn.shown.setdefault(entry.offset, entry.json) == entry.json
        everything = [json for _, json in sorted(reader.turn.shown.items())]
        assert reader.seen == everything[: len(reader.seen)], "another reader was shown something in between"

    def find(self, turn: ModelTurn) -> TurnLog | None:
        try:
            log = self.loop.run_until_complete(self.store.find(turn.id))
        except TurnForgotten:
            assert turn.is_forgotten
            return None
        assert not turn.is_forgotten
        return log

    @invariant()
    def what_was_shown_is_there_and_was_appended_in_this_order(self) -> None:
        for turn in getattr(self, "all_turns", ()):
            if turn.is_forgotten:
                continue
            log = self.find(turn)
            if log is None:
                assert not turn.shown, "a turn that somebody has seen is gone"
                continue
            visible = {entry.offset: entry.json for entry in log.entries[: log.visible]}
            assert turn.shown.items() <= visible.items()
            turn.shown |= visible
            assert list(visible) == sorted(visible)
            events = [decode_event(json) for json in visible.values()]
            own = [event for event in events if not _is_the_relays(event)]
            assert own == turn.appended[: len(own)]
            assert sum(isinstance(event, Ended) for event in events) == int(log.ended)

    @invariant()
    def a_list_names_every_turn_once(self) -> None:
        if hasattr(self, "store"):
            listed = self.loop.run_until_complete(self.store.list(Query(limit=1_000)))
            names = [record.started.turn for record in listed]
            assert names == sorted(set(names), reverse=True)
            seen = {turn.id for turn in self.all_turns if turn.shown and not turn.is_forgotten}
            assert seen <= set(names)
            assert not {turn.id for turn in self.all_turns if turn.is_forgotten} & set(names)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            try:
                self.everything_comes_to_an_end()
            finally:
                self.loop.close()
                shutil.rmtree(self.folder)

    def everything_comes_to_an_end(self) -> None:
        self.bury()
        self.open()
        self.what_was_shown_is_there_and_was_appended_in_this_order()
        for turn in self.all_turns:
            log = self.find(turn)
            assert log is None or log.ended, "no reader may wait for ever"
        self.live(self.store.settle)
        for reader in self.all_readers:
            self.read_on(reader)
        self.loop.run_until_complete(self.store.close())
        assert self.journal is not None
        assert self.journal.segments() == []


def _is_the_relays(event: AnyEvent) -> bool:
    return isinstance(event, Usage) or (isinstance(event, Ended) and event.reason in ("relay_restarted", "store_error"))


@pytest.fixture(autouse=True, scope="module")
def _no_pause_between_syncs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncing, "EVERY_S", 0.0)
        yield


TestDurability = DurabilityMachine.TestCase
TestDurability.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
