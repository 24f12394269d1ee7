"""The memory store and the log of a turn: two phases, retention by age and number, what is left of the forgotten."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from trunkline.core.errors import TurnForgotten
from trunkline.core.events import AnyEvent, Delta, Ended, Started
from trunkline.core.turn import IllegalEvent
from trunkline.stores.base import Audience, Query, TurnLog
from trunkline.stores.memory import MemoryStore
from trunkline.stores.settings import StoreSettings

STARTED = Started(turn="t", principal="p", upstream="u", model="m", created_at="now", endpoint="native")
ENDED = Ended("completed", "stop", "stop")


def publish(turns: list[TurnLog]) -> None:
    for turn in turns:
        turn.visible = turn.safe


def lose(turns: list[TurnLog]) -> None:
    raise AssertionError("memory loses nothing")


EVERYTHING = Query()
SHOWN = Audience(publish, lose)


def store_of(**settings: float) -> MemoryStore:
    return MemoryStore(StoreSettings(**settings))


def add(store: MemoryStore, turn_id: str, *events: AnyEvent, at_ms: int = 0) -> TurnLog:
    turn = TurnLog(turn_id)
    store.add(turn)
    turn.add([replace(STARTED, turn=turn_id), *events], at_ms)
    store.write([turn], SHOWN)
    return turn


async def names(store: MemoryStore, query: Query = EVERYTHING) -> list[str]:
    return [record.started.turn for record in await store.list(query)]


# The log of one turn


def test_entries_have_growing_offsets_and_their_time():
    turn = TurnLog("a")
    turn.add([STARTED, Delta("Hel", 0)], at_ms=7)
    turn.add([Delta("lo", 0)], at_ms=9)
    assert [(entry.offset, entry.at_ms) for entry in turn.entries] == [(1, 7), (2, 7), (3, 9)]
    assert turn.started is STARTED


def test_nothing_is_added_where_one_of_the_events_is_illegal():
    turn = TurnLog("a")
    with pytest.raises(IllegalEvent):
        turn.add([STARTED, ENDED, Delta("Hel", 0)], at_ms=0)
    assert turn.entries == []
    turn.add([STARTED, ENDED], at_ms=0)
    with pytest.raises(IllegalEvent):
        turn.add([ENDED], at_ms=0)
    assert len(turn.entries) == 2


def test_a_turn_has_ended_for_its_readers_when_its_last_entry_is_shown():
    turn = TurnLog("a")
    turn.add([STARTED, ENDED], at_ms=0)
    assert (turn.tail, turn.ended) == (0, False)
    turn.visible = 1
    assert (turn.tail, turn.ended) == (1, False)
    turn.visible = 2
    assert (turn.tail, turn.ended) == (2, True)


def test_positions_count_entries_and_offsets_may_have_gaps():
    turn = TurnLog("a")
    turn.add([STARTED, Delta("a", 0), Delta("b", 0)], at_ms=0)
    turn.entries[2].offset = 1_048_578
    turn.add([ENDED], at_ms=0)
    assert turn.entries[3].offset == 1_048_579
    assert [turn.position(after) for after in (0, 1, 2, 3, 1_048_577, 1_048_578, 1_048_579)] == [0, 1, 2, 2, 2, 3, 4]


def test_what_is_rendered_is_shared_by_readers_at_the_same_place():
    turn = TurnLog("a")
    turn.add([STARTED, Delta("a", 0), Delta("b", 0)], at_ms=0)
    calls: list[tuple[str, int, int]] = []

    def one(log: TurnLog, a: int, b: int) -> bytes:
        calls.append(("one", a, b))
        return b"one %d %d" % (a, b)

    def other(log: TurnLog, a: int, b: int) -> bytes:
        calls.append(("other", a, b))
        return b"other %d %d" % (a, b)

    assert turn.render(one, 0, 2) == turn.render(one, 0, 2) == b"one 0 2"
    assert turn.render(other, 0, 2) == b"other 0 2"
    assert turn.render(one, 0, 2) == b"one 0 2"
    assert turn.render(one, 1, 2) == b"one 1 2"
    assert turn.render(one, 1, 3) == b"one 1 3"
    assert calls == [("one", 0, 2), ("other", 0, 2), ("one", 0, 2), ("one", 1, 2), ("one", 1, 3)]


# The store


def test_writing_counts_the_entries_and_publishes_once():
    store, turn, published = store_of(), TurnLog("a"), []
    store.add(turn)
    turn.add([STARTED], at_ms=0)
    assert (turn.written, turn.visible) == (0, 0)
    store.write([turn], Audience(published.append, lose))
    assert published == [[turn]]
    assert (turn.written, turn.visible) == (1, 0)


async def test_turns_are_found_and_listed_the_newest_first():
    store = store_of()
    a = add(store, "a")
    add(store, "b")
    assert await store.find("a") is a
    assert await names(store) == ["b", "a"]
    assert await store.find("c") is None


async def test_a_forgotten_turn_is_told_from_one_that_never_was():
    store = store_of()
    add(store, "a", ENDED)
    await store.forget([("a", "p")])
    await store.forget([("a", "p")])
    await store.forget([("never", "p")])
    with pytest.raises(TurnForgotten, match="turn a is gone"):
        await store.find("a")
    assert await store.find("never") is None
    assert await names(store) == []


async def test_an_open_turn_that_was_forgotten_stays_so_when_it_ends():
    store = store_of(retention=1)
    turn = add(store, "a")
    await store.forget([("a", "p")])
    turn.add([ENDED], at_ms=0)
    store.write([turn], SHOWN)
    store.sweep(now_ms=10_000)
    with pytest.raises(TurnForgotten):
        await store.find("a")


async def test_ended_turns_are_kept_for_the_retention_and_no_longer():
    store = store_of(retention=10)
    add(store, "a", ENDED, at_ms=1_000)
    add(store, "b", ENDED, at_ms=2_000)
    store.sweep(now_ms=11_000)
    assert await names(store) == ["b", "a"]
    store.sweep(now_ms=11_001)
    assert await names(store) == ["b"]
    with pytest.raises(TurnForgotten):
        await store.find("a")


async def test_the_oldest_to_end_go_first_where_there_are_too_many():
    store = store_of(max_turns=2)
    a, b = add(store, "a"), add(store, "b")
    b.add([ENDED], at_ms=1)
    store.write([b], SHOWN)
    a.add([ENDED], at_ms=2)
    store.write([a], SHOWN)
    add(store, "c", ENDED, at_ms=3)
    store.sweep(now_ms=4)
    assert await names(store) == ["c", "a"]


async def test_an_open_turn_is_never_swept():
    store = store_of(retention=1, max_turns=1)
    for name in "abc":
        add(store, name)
    store.sweep(now_ms=10**12)
    assert await names(store) == ["c", "b", "a"]


async def test_the_memory_of_the_forgotten_is_bounded():
    class Small(MemoryStore):
        MAX_FORGOTTEN = 2

    store = Small(StoreSettings())
    for name in "abc":
        add(store, name, ENDED)
        await store.forget([(name, "p")])
    assert await store.find("a") is None
    for name in "bc":
        with pytest.raises(TurnForgotten):
            await store.find(name)
