"""What readers in other processes may see of a journal: what its relay has shown, and nothing before."""

from __future__ import annotations

import asyncio
import errno

import pytest

from stores.houses import STOP, House
from stores.writing import key, text_of, turn_id
from trunkline.core.events import Delta
from trunkline.stores.files import Disk
from trunkline.stores.journal import Journal
from trunkline.stores.recovery import left_in
from trunkline.stores.shown import EVERYTHING, NOTHING, Mark
from trunkline.stores.tail import Tail


class Neighbour:
    """Another process that reads the folder of a house."""

    def __init__(self, house: House) -> None:
        self.journal = Journal(house.folder, Disk())
        self.tail = Tail(self.journal, key(1))

    def text(self) -> str:
        return text_of(self.journal.read(self.tail.places()))

    def turns(self) -> list[str]:
        turns, _ = left_in(self.journal, self.journal.segments(), self.journal.shown_until())
        return [left.id for left in turns.values()]


@pytest.fixture
async def house(tmp_path):
    async with House(tmp_path, durability="disk") as house:
        yield house


async def test_what_waits_for_its_sync_is_not_seen_by_a_neighbour_either(house):
    neighbour = Neighbour(house)
    house.syncer.held = True
    turn = house.begin(1, "first")
    assert (neighbour.text(), neighbour.turns()) == ("", [])
    await house.synced()
    assert (neighbour.text(), neighbour.turns()) == ("first", [turn_id(1)])
    house.say(turn, Delta(" second", 0))
    assert neighbour.text() == "first"
    await house.synced()
    assert neighbour.text() == "first second"


async def test_what_is_written_during_a_sync_waits_for_the_next_one(house):
    neighbour = Neighbour(house)
    house.syncer.held = True
    turn = house.begin(1, "first")
    await house.syncer.is_given()
    house.say(turn, Delta(" second", 0))
    await house.synced()
    assert neighbour.text() == "first"
    await house.synced()
    assert neighbour.text() == "first second"


async def test_what_is_taken_back_since_its_sync_failed_is_never_seen(house):
    neighbour = Neighbour(house)
    house.syncer.held = True
    turn = house.begin(1, "first")
    await house.synced()
    house.say(turn, Delta(" never shown", 0))
    house.disk.fails = {"sync": errno.EIO}
    await house.synced()
    house.disk.is_mended()
    assert neighbour.text() == "first"
    await house.synced()
    assert turn.ended
    entries = neighbour.journal.read(neighbour.tail.places())
    assert [(e.offset, e.event) for e in entries] == [(e.offset, e.event) for e in turn.entries]
    assert text_of(entries) == "first"


async def test_a_sync_that_ends_after_it_was_given_up_shows_nothing(house, monkeypatch):
    neighbour = Neighbour(house)
    house.syncer.held = True
    turn = house.begin(1, "first")
    await house.synced()
    house.say(turn, Delta(" never shown", 0))
    await house.syncer.is_given()
    [(late, _)], house.syncer.jobs = house.syncer.jobs, []
    monkeypatch.setattr("trunkline.stores.syncing.LIMIT_S", -1.0)
    house.store.sweep(house.now_ms)
    late.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert neighbour.text() == "first"


async def test_a_neighbour_of_a_relay_that_died_sees_what_that_had_shown_and_the_next_one_shows_the_rest(tmp_path):
    async with House(tmp_path, durability="disk") as house:
        house.syncer.held = True
        turn = house.begin(1, "first")
        await house.synced()
        house.say(turn, Delta(" second", 0))
        assert Neighbour(house).text() == "first"
    async with House(tmp_path, durability="disk", archive=house.archive) as house:
        assert Neighbour(house).text() == "first second"


@pytest.mark.parametrize("then", ["process", "disk"])
async def test_the_next_relay_shows_by_its_own_level(tmp_path, then):
    async with House(tmp_path, durability="disk") as house:
        house.say(house.begin(1, "a"), STOP)
    async with House(tmp_path, durability=then, archive=house.archive) as house:
        house.syncer.held = True
        house.begin(2, "b")
        assert (turn_id(2) in Neighbour(house).turns()) == (then == "process")


def test_without_a_mark_everything_is_shown_and_with_one_that_is_damaged_nothing(tmp_path):
    mark = Mark(tmp_path)
    assert mark.read() == EVERYTHING
    mark.make(7)
    assert Mark(tmp_path).read() == 7
    mark.move(2**40)
    assert Mark(tmp_path).read() == 2**40
    mark.close()
    mark.move(9)
    assert mark.read() == 2**40, "a mark that cannot be moved stays"
    whole = (tmp_path / "shown").read_bytes()
    for damaged in (b"", whole[:8], bytes([whole[0] ^ 1]) + whole[1:]):
        (tmp_path / "shown").write_bytes(damaged)
        assert mark.read() == NOTHING
    mark.remove()
    assert mark.read() == EVERYTHING
    mark.remove()
    assert list(tmp_path.iterdir()) == []
