"""The growing end of the journal: what becomes of a tick's turns on a disk that fails, and by a fault of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from stores.disks import FaultyDisk
from stores.writing import COMPLETED, SMALL, key, started, turn_id
from trunkline.core.events import AnyEvent, Delta, Notice, ToolCall
from trunkline.stores.appending import Appending
from trunkline.stores.base import TurnLog
from trunkline.stores.held import Held
from trunkline.stores.journal import Journal, Place
from trunkline.stores.segment import Batch
from trunkline.telemetry import Fact, InternalError, StoreFailed

SAID = Delta("a", 0)


class Poisoned(Journal):
    """A journal that fails over the records of one turn."""

    turn = b""

    def append(self, batches: Sequence[Batch], *, last_words: bool = False) -> list[Place]:
        if any(batch.turn == self.turn for batch in batches):
            raise ValueError("words of a customer")
        return super().append(batches, last_words=last_words)


class Desk:
    """An end of a journal, and turns that have begun in it."""

    def __init__(self, folder: Path, *, syncs: bool = False) -> None:
        self.disk = FaultyDisk()
        self.journal = Poisoned(folder, self.disk, segment_bytes=SMALL)
        self.journal.begin()
        self.held = Held(lambda segment: None)
        self.told: list[Fact] = []
        self.appending = Appending(self.journal, self.held, clock=lambda: 7.0, tell=self.told.append, syncs=syncs)

    def begin(self, number: int) -> TurnLog:
        turn = TurnLog(turn_id(number))
        self.held.add(turn)
        turn.add([started(number)], 1)
        assert self.appending.write([turn]).written == [turn]
        turn.written = 1
        return turn

    def places(self, turn: TurnLog) -> int:
        return len(self.held.places(turn.id))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.disk.is_mended()
    desk.journal.end()


def test_a_tick_is_one_write(desk):
    turns = [desk.begin(1), desk.begin(2)]
    for turn in turns:
        turn.add([SAID, COMPLETED], 1)
    desk.disk.calls.clear()
    assert desk.appending.write(turns) == (turns, [], [])
    assert desk.disk.calls == ["write"]
    assert [desk.places(turn) for turn in turns] == [2, 2]


@pytest.mark.parametrize(
    ("events", "becomes"),
    [
        ([COMPLETED], "unkept"),
        ([Notice("x"), COMPLETED], "unkept"),
        ([SAID, COMPLETED], "lost"),
        ([ToolCall(0, 0), COMPLETED], "lost"),
        ([SAID], "lost"),
        ([Notice("x")], "lost"),
    ],
)
def test_on_a_dead_disk_an_end_without_text_is_shown_and_all_else_is_lost(
    desk: Desk, events: list[AnyEvent], becomes: str
):
    turn = desk.begin(1)
    turn.add(events, 1)
    desk.disk.is_dead()
    assert desk.appending.write([turn])._asdict() == {"written": [], "unkept": [], "lost": []} | {becomes: [turn]}
    held = desk.held.get(turn.id)
    assert held is not None
    assert held.is_unkept == (becomes == "unkept")
    assert (desk.appending.fault, desk.told) == ("store_error", [StoreFailed("store_error", "Input/output error")])


def test_a_fault_of_ours_is_met_by_one_turn_alone_and_lets_new_turns_in(desk):
    one, two, three = (desk.begin(n) for n in (1, 2, 3))
    one.add([SAID], 1)
    two.add([SAID], 1)
    three.add([COMPLETED], 1)
    desk.journal.turn = key(2)
    assert desk.appending.write([one, two, three]) == ([one, three], [], [two])
    desk.journal.turn = key(3)
    assert desk.appending.write([three]) == ([], [three], [])
    assert {(fact.where, fact.kind) for fact in desk.told if isinstance(fact, InternalError)} == {
        ("store.write", "ValueError")
    }
    assert desk.appending.fault == ""


@pytest.mark.parametrize(("syncs", "fault"), [(False, ""), (True, "store_error")])
def test_a_new_segment_mends_a_fault_unless_a_sync_must_show_that(tmp_path, syncs, fault):
    desk = Desk(tmp_path, syncs=syncs)
    turn = desk.begin(1)
    turn.add([SAID], 1)
    desk.disk.is_dead()
    desk.appending.write([turn])
    desk.disk.is_mended()
    assert desk.appending.begin()
    assert desk.appending.fault == fault
    assert desk.appending.begun_s == 7.0
    desk.journal.end()


def test_once_closed_it_begins_no_segment(desk):
    desk.appending.close()
    assert not desk.appending.begin()
    assert desk.journal.segments() == [1]
