"""The shelf behind the durable store: which ended turns stay in memory, and loads that several readers share."""

from __future__ import annotations

import asyncio

import pytest

from stores.archives import DictArchive
from stores.houses import House
from stores.writing import COMPLETED, entries, started, text_of, turn_id
from trunkline.core.errors import Overloaded
from trunkline.stores import durable, recent
from trunkline.stores.base import TurnLog
from trunkline.stores.journal import Journal
from trunkline.stores.shelf import Load, Shelf


@pytest.fixture
async def house(tmp_path):
    async with House(tmp_path) as house:
        yield house


def shelf_of(journal: Journal) -> Shelf:
    """A shelf whose archive is empty, and whose loads are done at once."""

    async def read(load: Load) -> TurnLog | None:
        return load()

    return Shelf(journal, DictArchive(), read)


def ended(number: int, at_ms: int) -> TurnLog:
    return TurnLog.of(turn_id(number), entries(started(number), COMPLETED, at_ms=at_ms))


def test_the_turn_that_nobody_looked_for_longest_makes_room(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 2)
    kept = shelf_of(house.journal)
    for number in (1, 2):
        kept.put(ended(number, 1_000))
    kept.put(ended(1, 1_000))
    kept.put(ended(3, 1_000))
    assert [turn_id(number) in kept for number in (1, 2, 3)] == [True, False, True]


async def test_to_be_looked_for_is_to_stay(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 2)
    kept = shelf_of(house.journal)
    one = ended(1, 1_000)
    kept.put(one)
    kept.put(ended(2, 1_000))
    assert await kept.find(turn_id(1), None) is one
    kept.put(ended(3, 1_000))
    assert [turn_id(number) in kept for number in (1, 2, 3)] == [True, False, True]


async def test_what_ended_before_a_time_goes_and_what_is_nowhere_is_not_found(house):
    kept = shelf_of(house.journal)
    for number in (1, 2):
        kept.put(ended(number, number * 1_000))
    kept.expire(2_000)
    assert [turn_id(number) in kept for number in (1, 2)] == [False, True]
    kept.remove(turn_id(2))
    assert await kept.find(turn_id(2), None) is None


async def test_those_who_look_for_a_turn_at_once_share_one_load(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 0)
    house.whole(1, "a")
    await house.store.settle()
    house.readers.held = True
    house.archive.calls.clear()
    looking = [asyncio.ensure_future(house.store.find(turn_id(1))) for _ in range(5)]
    await house.readers.is_given()
    house.readers.release()
    found = await asyncio.gather(*looking)
    assert house.archive.calls == ["find"]
    assert len(set(map(id, found))) == 1


async def test_who_leaves_does_not_take_the_load_from_the_others(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 0)
    house.whole(1, "a")
    await house.store.settle()
    house.readers.held = True
    first, second = (asyncio.ensure_future(house.store.find(turn_id(1))) for _ in range(2))
    await house.readers.is_given()
    first.cancel()
    await asyncio.sleep(0)
    house.readers.release()
    assert text_of((await second).entries) == "a"


async def test_a_load_that_failed_is_tried_again_by_the_next_who_looks(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 0)
    house.whole(1, "a")
    await house.store.settle()
    house.archive.is_down()
    with pytest.raises(Overloaded):
        await house.store.find(turn_id(1))
    house.archive.is_back()
    assert text_of((await house.store.find(turn_id(1))).entries) == "a"


async def test_a_turn_whose_segment_goes_while_it_is_loaded_is_found_in_the_archive(house, monkeypatch):
    monkeypatch.setattr(durable, "MAX_OWED_IN_MEMORY", 0)
    house.whole(1, "a")
    house.readers.held = True
    looking = asyncio.ensure_future(house.store.find(turn_id(1)))
    await house.readers.is_given()
    await house.store.settle()
    house.now_ms += int(durable.OLDEST_SEGMENT_S * 1_000)
    await house.sweep()
    assert house.journal.segments() == [2]
    house.readers.release()
    assert text_of((await looking).entries) == "a"
