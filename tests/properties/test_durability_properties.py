"""Laws 1, 2 and 4 over crashes: whatever is appended, read, archived and forgotten, and wherever the process dies, what
a reader was shown is there afterwards, unchanged and once, and every turn has exactly one end.

`DURABILITY_EXAMPLES=20000` has it look for so long (`make crash-test`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from properties.crashing import Blow
from properties.lives import RETENTION_S, SEGMENT, Life, Reader, Shown, Turn, World
from trunkline.core.errors import Overloaded, TurnForgotten
from trunkline.core.events import AnyEvent, Delta, Ended, Started, Usage
from trunkline.core.ids import turn_id
from trunkline.core.record import TurnRecord
from trunkline.log import Log
from trunkline.stores import archiving, durable, journal, recent, syncing
from trunkline.stores.base import Query, TurnLog

EXAMPLES = int(os.environ.get("DURABILITY_EXAMPLES", "800"))
MOST_OPEN = 3  # so that the reserve holds the end of each
MOST_TURNS = 8
LEAST_SEGMENT = SEGMENT // 2
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, where there is one: nothing here tests a real disk
OWN_END_MAY_MOVE = True
"""Whether the end that a recovery gave, and power took again, may come back at another offset that had been shown."""
ENDED = Ended("completed", "stop", "stop")
LOST = Ended("failed", "store_error", detail="what followed could not be written")
EVERYTHING = Query(limit=1_000)

pytestmark = pytest.mark.timeout(0)
picks = st.integers(0, 2)
lots = st.integers(0, 1 << 16)
blows = st.sampled_from(["dies", "dies", "dies", "errs"])
few = st.sampled_from([0, 0, 0, 1, 1, 2])


class DurabilityMachine(RuleBasedStateMachine):
    durability = "process"

    @initialize(lot=lots)
    def begin(self, lot: int) -> None:
        self.random = Random(lot)
        self.turns: list[Turn] = []
        self.readers: list[Reader] = []
        root = Path(tempfile.mkdtemp(prefix="trunkline-test-", dir=MEMORY if MEMORY.is_dir() else None))
        self.world = World(root, self.durability, self.keep)
        self.fate, self.disk, self.archive = self.world.fate, self.world.disk, self.world.archive
        self.open()

    def keep(self, size: int) -> int:
        """Say how much of a write comes down: mostly all or nothing, else up to any byte."""
        return self.random.choice((0, 0, size, self.random.randint(0, size)))

    # Processes

    def open(self, *blows: tuple[Blow, int]) -> None:
        """Start a process, after some that come to grief while they start; somebody mended the disk for the last."""
        for blow, steps in blows:
            self.fate.arm(blow, steps)
            self.life = Life(self.world)
            if not self.life.start():
                self.life.bury()
                if blow == "errs":
                    self.disk.flush()  # Who mends a disk saves what it took: no sync helps after one that failed.
            else:
                self.fate.disarm()
                self.die(loses_power=False)
            self.fate.disarm()
        self.disk.room, self.archive.is_down = None, False
        self.life = Life(self.world)
        assert self.life.start()
        for turn in self.turns:
            turn.is_forgotten = turn.is_forgotten or (turn.forgetting is not None and turn.id in self.archive.forgotten)
            turn.log, turn.is_open, turn.forgetting = None, False, None
            if turn.is_forgotten:
                turn.is_erased = True
        for reader in self.readers:
            reader.task = None
        self.look()
        self.come_back()

    def die(self, *, loses_power: bool) -> None:
        """What is left of a process: its files, and without power perhaps less than it wrote to them."""
        self.life.bury()
        self.fate.disarm()
        if loses_power:
            self.disk.lose_power(self.keep)
        for turn in self.turns:
            turn.is_forgotten = turn.is_forgotten or (turn.forgetting is not None and turn.id in self.archive.forgotten)
            if turn.id in self.archive.kept:
                continue
            if loses_power and not self.world.is_disk:
                turn.may_lack = True
            for offset in turn.shaky:
                turn.shown.pop(offset, None)
                turn.ever.pop(offset, None)
            turn.shaky = frozenset()

    def live(self, *steps: object) -> bool:
        """Take steps; where the process dies in one, start another."""
        if self.life.run(*steps):  # type: ignore[arg-type]
            return True
        self.die(loses_power=self.random.random() < 0.5)
        self.open()
        return False

    # What happens in one

    def opened(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.is_open]

    def start_one(self) -> None:
        if len(self.opened()) >= MOST_OPEN or len(self.turns) >= MOST_TURNS or self.life.store.fault():
            return
        name = turn_id(self.world.wall_ms, len(self.turns).to_bytes(10, "big"))
        turn = Turn(name, self.life.log.create(name))
        assert turn.log is not None
        log = self.life.log
        turn.log.on_lost = lambda: self.lost(turn, log)
        self.turns.append(turn)
        self.readers.append(Reader(turn))
        created = Started(turn=name, principal="p", upstream="u", model="m", created_at="now", endpoint="native")
        self.append(turn, created)

    def talk(self, kib: int = 0) -> None:
        """All turns that are open say something; nobody has written it yet."""
        if not self.opened():
            self.start_one()
        for turn in self.opened():
            self.append(turn, Delta(f"{turn.says.decode()}: {len(turn.appended)} " + "x" * (kib << 10), 0))

    def append(self, turn: Turn, *events: AnyEvent) -> None:
        if turn.is_open and turn.log is not None:
            self.life.log.append(turn.log, events)
            turn.appended += events
            turn.last_ms, turn.errors_before_end = self.world.wall_ms, self.fate.errors

    def end(self, turn: Turn) -> None:
        self.append(turn, ENDED)
        turn.is_open = False

    def lost(self, turn: Turn, log: Log) -> None:
        """As the pump would."""
        turn.is_open = False
        turn.errors_before_end = self.fate.errors
        assert turn.log is not None
        log.append(turn.log, [LOST])

    def come_back(self) -> None:
        """Everybody who reads and is not there comes back, and takes what there is."""
        for reader in self.readers:
            if reader.task is None or reader.task.done():
                reader.task = self.life.loop.create_task(reader.follow(self.life))
        self.live(lambda: None)

    @rule(says=st.booleans(), ticks=st.booleans())
    def a_turn_starts(self, says: bool, ticks: bool) -> None:  # noqa: FBT001
        self.start_one()
        if says:
            self.talk()
        if ticks:
            self.live(self.life.tick)

    @rule(kib=st.sampled_from([0, 0, 0, 2, 9, 17]), goes=st.sampled_from(["tick", "tick and sync", "no further"]))
    def turns_talk(self, kib: int, goes: str) -> None:
        self.talk(kib)
        if goes != "no further":
            self.live(self.life.tick, *[self.life.syncer.step] * (goes == "tick and sync"))

    @rule(pick=picks, talks=st.booleans(), goes=st.sampled_from(["tick", "tick and sync", "no further"]))
    def a_turn_ends(self, pick: int, talks: bool, goes: str) -> None:  # noqa: FBT001
        if talks:
            self.talk()
        if opened := self.opened():
            self.end(opened[pick % len(opened)])
        if goes != "no further":
            self.live(self.life.tick, *[self.life.syncer.step] * (goes == "tick and sync"))

    @rule()
    def the_loop_ticks(self) -> None:
        self.live(self.life.tick)

    @precondition(lambda self: self.life.syncer.jobs)
    @rule(which=st.integers(0, 1), talks=st.booleans())
    def the_disk_has_done_what_it_was_asked(self, which: int, talks: bool) -> None:  # noqa: FBT001
        """A sync ends, well, and perhaps something was written while it ran."""
        if talks:
            self.talk()
        self.live(self.life.tick, lambda: self.life.syncer.step(which))

    @precondition(lambda self: self.life.syncer.jobs)
    @rule(talks=st.booleans(), ends=st.booleans(), calls=st.integers(1, 4))
    def the_disk_has_failed(self, talks: bool, ends: bool, calls: int) -> None:  # noqa: FBT001
        """A sync ends badly, and perhaps something was written while it ran."""
        if talks:
            self.talk()
        if ends and self.opened():
            self.end(self.opened()[0])
        self.live(self.life.tick)
        self.fate.arm("errs", 0, calls)
        if self.live(self.life.syncer.step, self.life.tick):
            self.fate.disarm()

    @rule(talks=st.booleans())
    def the_disk_does_not_answer_for_long(self, talks: bool) -> None:  # noqa: FBT001
        """A sync that does not end is given up; it may end later."""
        if talks:
            self.talk()
        self.world.monotonic_s += 21
        self.live(self.life.tick, self.life.sweep, self.life.tick)

    @rule(jobs=st.integers(1, 4))
    def the_archive_has_time(self, jobs: int) -> None:
        self.live(*[self.life.writer.step] * jobs)

    @rule(is_down=st.booleans())
    def the_archive_goes_or_comes(self, is_down: bool) -> None:  # noqa: FBT001
        self.archive.is_down = is_down

    @rule(room=st.sampled_from([None, 0, LEAST_SEGMENT]), fills=st.booleans())
    def the_disk_fills_up_or_has_room_again(self, room: int | None, fills: bool) -> None:  # noqa: FBT001
        self.disk.room = room
        if fills:
            self.fill()

    def fill(self) -> None:
        """Write until the segment is full, or the disk."""
        for kib in (2, 3):
            self.talk(kib)
            self.live(self.life.tick, self.life.syncer.step, self.life.tick)
        self.talk()
        self.live(self.life.tick)

    @rule(later_s=st.sampled_from([0, 1, 1_000, RETENTION_S + 1, -1, -3_000]), works=st.booleans())
    def time_goes_on_or_is_set_back(self, later_s: int, works: bool) -> None:  # noqa: FBT001
        self.world.wall_ms += later_s * 1_000 + 1
        self.world.monotonic_s += 1
        self.live(self.life.sweep, *[self.life.work] * works)

    # Blows

    @rule(blow=blows, steps=st.sampled_from([0, 0, 1]), calls=st.integers(1, 5), ends=st.booleans(), lot=lots)
    def a_write_breaks(self, blow: Blow, steps: int, calls: int, ends: bool, lot: int) -> None:  # noqa: FBT001
        self.breaks(blow, (steps, calls, lot), "tick", 0 if ends else 1)

    @rule(blow=blows, steps=few, action=st.sampled_from(["archive", "forget", "forget"]), pick=picks, lot=lots)
    def the_archive_breaks(self, blow: Blow, steps: int, action: str, pick: int, lot: int) -> None:
        self.breaks(blow, (steps, 1, lot), action, pick)

    @rule(blow=blows, steps=few, calls=st.integers(1, 5), action=st.sampled_from(["sync", "sweep", "fill"]), lot=lots)
    def another_step_breaks(self, blow: Blow, steps: int, calls: int, action: str, lot: int) -> None:
        self.breaks(blow, (steps, calls, lot), action, lot % 3)

    def breaks(self, blow: Blow, when: tuple[int, int, int], action: str, pick: int) -> None:
        """Have turns talk, and something break while that is dealt with."""
        steps, calls, lot = when
        self.random.seed(lot)
        self.talk()
        if pick == 0 and self.opened():
            self.end(self.opened()[-1])
        if action != "tick" and not self.live(self.life.tick):
            return
        self.fate.arm(blow, steps, calls)
        life = self.life
        if action == "forget":
            self.forget(pick)
        elif action == "fill":
            self.fill()
        steps_of = {
            "tick": [life.tick, life.tick],
            "sync": [life.syncer.step, life.tick],
            "archive": [life.writer.step, life.writer.step],
            "sweep": [life.sweep, life.work, life.tick],
            "forget": [life.writer.step, life.writer.step, life.writer.step],
            "fill": [],
        }[action]
        if self.life is life and self.live(*steps_of):
            self.fate.disarm()

    @rule(
        loses_power=st.booleans(),
        talks=st.booleans(),
        blows=st.lists(st.tuples(st.sampled_from(["dies", "errs"]), st.integers(0, 9)), max_size=2),
        lot=lots,
    )
    def it_dies(self, loses_power: bool, talks: bool, blows: list[tuple[Blow, int]], lot: int) -> None:  # noqa: FBT001
        self.random.seed(lot)
        if talks:
            self.talk()
            if not self.live(self.life.tick):
                return
        self.die(loses_power=loses_power)
        self.open(*blows)

    @rule()
    def a_second_process_takes_over(self) -> None:
        if self.live(self.life.tick):
            self.life.ask(self.life.close())
            self.settle_forgetting()
            self.die(loses_power=False)
            self.open()

    # Who reads it, and who wants it gone

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, MOST_TURNS - 1), at_once=st.booleans())
    def a_reader_leaves(self, pick: int, at_once: bool) -> None:  # noqa: FBT001
        reader = self.readers[pick % len(self.readers)]
        if reader.task is not None and not reader.task.done():
            reader.task.cancel()
        if self.live(lambda: None) and at_once:
            self.come_back()

    @rule()
    def readers_come_back(self) -> None:
        self.come_back()

    def forget(self, pick: int) -> None:
        ended = [
            turn
            for turn in self.turns
            if turn.ended_ms is not None and not turn.is_erased and (turn.forgetting is None or turn.forgetting.done())
        ]
        if ended:
            turn = ended[-1 - pick % len(ended)]
            turn.forgetting = self.life.loop.create_task(self.life.store.forget([(turn.id, "p")]))

    @rule(pick=picks, jobs=st.sampled_from([0, 1, 5, 5]), errs=st.booleans())
    def a_turn_is_forgotten(self, pick: int, jobs: int, errs: bool) -> None:  # noqa: FBT001
        """Also one whose end could be written only in another place than was tried first."""
        opened = self.opened()
        if errs and opened:
            self.talk()
            self.fate.arm("errs", 0, 1)
            if not self.live(self.life.tick):
                return
            self.fate.disarm()
        if pick == 0 and opened:
            self.end(opened[-1])
            if not self.live(self.life.tick, self.life.syncer.step, self.life.tick):
                return
            self.look()
        self.forget(pick)
        self.live(*[self.life.writer.step] * jobs)

    def settle_forgetting(self) -> None:
        for turn in self.turns:
            if turn.forgetting is not None and turn.forgetting.done():
                error = turn.forgetting.exception()
                assert error is None or isinstance(error, Overloaded), error
                turn.is_forgotten = turn.id in self.archive.forgotten
                if error is None:  # Else the store goes on with it by itself, and nobody reads the turn meanwhile.
                    assert turn.is_forgotten
                    turn.is_erased, turn.forgetting = True, None

    # What must hold

    @invariant()
    def the_log_keeps_its_word(self) -> None:
        if hasattr(self, "life"):
            self.look()

    def look(self) -> None:
        self.settle_forgetting()
        self.look_at_readers()
        logs = self.life.ask(self.found())
        listed = self.life.ask(self.listed())
        for turn in self.turns:
            if turn.id in logs:
                self.look_at(turn, logs[turn.id])
        if listed is not None:
            self.look_at_list(listed, logs)
        gone = [turn for turn in self.turns if turn.is_erased]
        for path in self.world.folder.iterdir() if gone else ():
            data = path.read_bytes()
            assert not [turn.id for turn in gone if turn.says in data], "erased text is still on the disk"

    def look_at_readers(self) -> None:
        for reader in self.readers:
            if reader.task is not None and reader.task.done() and not reader.task.cancelled():
                error = reader.task.exception()
                if error is not None:
                    raise error
            for offset, shown in reader.seen.items():
                self.look_at_offset(reader.turn, offset, shown)
                reader.turn.shown.setdefault(offset, shown)
            reader.seen.clear()

    def is_past(self, turn: Turn) -> bool:
        return turn.ended_ms is not None and self.is_old(turn.ended_ms)

    def may_be_past(self, turn: Turn) -> bool:
        """Tell whether a turn may be past its retention before its end was looked at."""
        return turn.id in self.archive.forgotten or (
            self.is_old(turn.last_ms) if turn.ended_ms is None else self.is_past(turn)
        )

    def is_old(self, at_ms: int) -> bool:
        return at_ms < self.world.wall_ms - RETENTION_S * 1_000

    async def found(self) -> dict[str, TurnLog | None]:
        """Look every turn up."""
        logs: dict[str, TurnLog | None] = {}
        for turn in self.turns:
            try:
                logs[turn.id] = await self.life.store.find(turn.id)
            except TurnForgotten:
                assert turn.forgetting or turn.may_lack or self.may_be_past(turn), "a turn is gone"
            except Overloaded:
                assert self.archive.is_down
            else:
                assert turn.forgetting is None, "a turn is there that is being forgotten"
                assert not turn.is_forgotten, "a turn is back that was forgotten"
                assert not self.is_past(turn) or turn.may_lack, "a turn is there past its retention"
        return logs

    async def listed(self) -> list[TurnRecord] | None:
        try:
            return await self.life.store.list(EVERYTHING)
        except Overloaded:
            assert self.archive.is_down
            return None

    def look_at(self, turn: Turn, log: TurnLog | None) -> None:
        visible: dict[int, Shown] = {}
        if log is not None:
            visible = {entry.offset: (entry.at_ms, entry.event) for entry in log.entries[: log.visible]}
        if not turn.may_lack:
            assert turn.shown.items() <= visible.items(), "what somebody was shown is gone, or something else"
        for offset, shown in visible.items():
            self.look_at_offset(turn, offset, shown)
        new = visible.keys() - turn.looked_at
        turn.shown, turn.looked_at = visible, frozenset(visible)
        if new:
            self.look_at_events(turn, [event for _, event in visible.values()])
            assert list(visible) == sorted(visible)
            if turn.ended_ms is not None and turn.log is not None and self.fate.errors > turn.errors_before_end:
                turn.shaky = frozenset(new)
        turn.may_lack = False
        assert log is None or log.ended == (turn.ended_ms is not None)

    def look_at_offset(self, turn: Turn, offset: int, shown: Shown) -> None:
        was = turn.ever.get(offset)
        if was is not None and was[1] != shown[1]:
            may_move = OWN_END_MAY_MOVE and not self.world.is_disk
            are_the_relays = _is_the_relays(was[1]) and _is_the_relays(shown[1])
            assert all((may_move, are_the_relays)), "an offset is used twice"
        turn.ever[offset] = shown

    @staticmethod
    def look_at_events(turn: Turn, events: list[AnyEvent]) -> None:
        own = [event for event in events if not _is_the_relays(event)]
        assert own == turn.appended[: len(own)]
        ends = [isinstance(event, Ended) for event in events]
        assert sum(ends[:-1]) == 0, "something follows the end"

    def look_at_list(self, listed: list[TurnRecord], logs: dict[str, TurnLog | None]) -> None:
        names = [record.started.turn for record in listed]
        assert names == sorted(set(names), reverse=True)
        seen = {turn.id for turn in self.turns if turn.id in logs and turn.shown}
        expired = {turn.id for turn in self.turns if turn.id in self.archive.forgotten and not turn.is_forgotten}
        assert set(names) - expired == seen - expired, "a list lacks a turn, or has one that is gone"
        for record in listed:
            log = logs.get(record.started.turn)
            if log is None:
                continue
            last = log.entries[log.visible - 1]
            assert (record.tail, record.ended) == (last.offset, last.event if log.ended else None)

    # The end

    @rule()
    def everything_comes_to_rest(self) -> None:
        """Once nothing is broken any more, nobody waits, nothing is owed, and new turns are taken."""
        self.disk.room, self.archive.is_down = None, False
        self.fate.disarm()
        for _ in range(4):
            self.world.monotonic_s += 21
            assert self.live(self.life.tick, self.life.sweep, self.life.work, self.life.tick, self.life.work)
            assert self.live(*[self.life.work] * 4)
        self.come_back()
        for turn in self.turns:
            turn.is_erased = turn.is_erased or turn.is_forgotten
        self.look()
        assert self.life.store.fault() == ""
        assert self.life.store.owed == 0
        for turn, reader in zip(self.turns, self.readers, strict=True):
            if turn.log is not None:
                assert turn.log.visible == len(turn.log.entries), "something is never shown"
            if turn.is_open:
                continue
            is_gone = self.may_be_past(turn) or not turn.shown
            assert is_gone or turn.ended_ms is not None, "a turn has no end"
            assert is_gone or turn.id in self.archive.kept, "a turn is never archived"
            assert reader.task is not None
            assert reader.task.done(), "a reader waits for ever"

    def teardown(self) -> None:
        if hasattr(self, "life"):
            try:
                self.everything_comes_to_rest()
                self.die(loses_power=True)
                self.open()
                self.everything_comes_to_rest()
                self.life.ask(self.life.close())
                assert self.life.journal.segments() == []
            finally:
                self.life.bury()
                shutil.rmtree(self.world.folder)


def _is_the_relays(event: AnyEvent) -> bool:
    return isinstance(event, Usage) or (isinstance(event, Ended) and event.reason in ("relay_restarted", "store_error"))


@pytest.fixture(autouse=True, scope="module")
def _small_bounds():
    """No pauses, and bounds that a handful of turns reaches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncing, "EVERY_S", 0.0)
        patch.setattr(archiving, "RETRY_S", (0.0,))
        patch.setattr(journal, "SHRINK", 2)
        patch.setattr(journal, "LEAST_SEGMENT_BYTES", LEAST_SEGMENT)
        patch.setattr(durable, "MAX_OWED_IN_MEMORY", 2)
        patch.setattr(recent, "MAX_TURNS", 2)
        yield


class DurabilityAtDisk(DurabilityMachine):
    durability = "disk"


TestAtProcess = DurabilityMachine.TestCase
TestAtDisk = DurabilityAtDisk.TestCase
TestAtProcess.settings = TestAtDisk.settings = settings(
    max_examples=EXAMPLES // 2, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
