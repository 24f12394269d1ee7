"""The durable store: turns at each stage of life, an archive that goes and comes, a disk that fails or is full."""

from __future__ import annotations

import asyncio
import errno

import pytest

from stores.houses import LOST, STOP, House, events_of, shown
from stores.writing import SMALL, is_anywhere, key, path_of, started, text_of, turn_id
from trunkline.core.errors import DatabaseError, Overloaded, TurnForgotten
from trunkline.core.events import Delta, Ended
from trunkline.stores import archiving, held, recent
from trunkline.stores import durable as module
from trunkline.stores.base import Query
from trunkline.stores.segment import Batch
from trunkline.telemetry import InternalError, StoreFailed

A, B = Delta("a", 0), Delta("b", 0)
EVERYTHING = Query()


@pytest.fixture
async def house(tmp_path):
    async with House(tmp_path) as house:
        yield house


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(archiving, "RETRY_S", (0.0,))


async def names(house: House, query: Query = EVERYTHING) -> list[int]:
    return [int(record.started.turn.removeprefix("turn_"), 16) for record in await house.store.list(query)]


async def reopened(house: House) -> House:
    """The same folder and archive after the process was killed."""
    house.kill()
    return House(house.folder, house.archive)


# A turn's life


async def test_what_is_written_is_shown_at_once(house):
    turn = house.begin(1, "a")
    assert shown(turn) == [A]
    house.say(turn, B, STOP)
    assert shown(turn) == [A, B, STOP]


async def test_an_open_turn_is_found_and_listed_as_it_stands(house):
    turn = house.begin(1, "a")
    assert await house.store.find(turn_id(1)) is turn
    [record] = await house.store.list(Query(state="open"))
    assert (record.started, record.tail, record.ended) == (started(1), 2, None)
    assert await names(house, Query(state="ended")) == []
    assert await house.store.find(turn_id(2)) is None


async def test_a_turn_that_ended_is_the_same_to_readers_before_and_after_it_is_archived(house):
    turn = house.whole(1, "a")
    assert (await house.store.find(turn_id(1)), house.store.owed) == (turn, 1)
    assert await names(house, Query(state="ended")) == [1]
    await house.store.settle()
    assert (house.store.owed, list(house.archive.turns)) == (0, [turn_id(1)])
    assert await house.store.find(turn_id(1)) is turn
    assert await names(house, Query(state="ended")) == [1]
    assert await names(house, Query(state="open")) == []


async def test_a_turn_that_left_the_memory_is_read_from_the_archive(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 1)
    one = house.whole(1, "a")
    house.whole(2, "b")
    await house.store.settle()
    found = await house.store.find(turn_id(1))
    assert found is not one
    assert (events_of(found.entries), found.ended, found.tail) == (events_of(one.entries), True, 3)
    assert await house.store.find(turn_id(1)) is found


async def test_a_turn_is_archived_once_it_has_ended_and_not_before(house):
    house.begin(1, "a")
    house.whole(2, "b")
    await house.store.settle()
    assert list(house.archive.turns) == [turn_id(2)]


async def test_the_archiver_runs_as_turns_end(house):
    task = asyncio.ensure_future(house.store.run())
    house.whole(1, "a")
    while not house.archive.turns:
        await asyncio.sleep(0)
    house.whole(2, "b")
    while len(house.archive.turns) < 2:
        await asyncio.sleep(0)
    task.cancel()
    assert list(house.archive.turns) == [turn_id(1), turn_id(2)]


async def test_lists_mix_what_is_open_owed_and_archived_the_newest_first(house):
    house.whole(1, "a")
    house.whole(4, "d", conversation="c2")
    await house.store.settle()
    house.begin(2, "b")
    house.whole(3, "c")
    assert await names(house) == [4, 3, 2, 1]
    assert await names(house, Query(limit=2)) == [4, 3]
    assert await names(house, Query(before=turn_id(3))) == [2, 1]
    assert await names(house, Query(conversation_id="c2")) == [4]
    assert await names(house, Query(principal="somebody else")) == []


async def test_a_turn_that_is_archived_while_a_list_is_read_is_on_it(house):
    house.whole(1, "a")
    house.readers.held = True
    listing = asyncio.ensure_future(names(house))
    await house.readers.is_given()
    job, call = house.readers.jobs.pop()
    result = call()  # The archive has answered, and the loop has not heard it yet.
    await house.store.settle()
    job.set_result(result)
    assert await listing == [1]


@pytest.mark.parametrize("query", [Query(), Query(state="ended")])
async def test_a_turn_that_is_archived_and_still_held_is_listed_once(house, query):
    turn = house.whole(1, "a")
    house.archive.keep(turn.id, turn.entries)
    assert await names(house, query) == [1]


# Segments


async def test_a_segment_goes_once_no_turn_in_it_is_held(house):
    long = house.begin(1, "x" * (SMALL * 3 // 4))
    house.whole(2, "y" * (SMALL * 3 // 4))
    await house.store.settle()
    assert house.journal.segments() == [1, 2]
    house.say(long, STOP)
    await house.store.settle()
    assert house.journal.segments() == [2]


async def test_a_segment_whose_turns_are_archived_already_goes_when_it_is_left_for_another(house):
    for n in range(1, 6):
        house.whole(n, "x" * (SMALL * 3 // 4))
        await house.store.settle()
    assert house.journal.segments() == [5]


async def test_an_old_segment_is_left_behind_and_one_that_is_not_used_is_not(house):
    house.now_ms += int(module.OLDEST_SEGMENT_S * 1_000)
    await house.sweep()
    assert house.journal.number == 1
    house.whole(1, "a")
    await house.store.settle()
    house.now_ms += int(module.OLDEST_SEGMENT_S * 1_000)
    await house.sweep()
    assert house.journal.segments() == [2]
    assert not is_anywhere(house.folder, turn_id(1))


async def test_the_next_segment_is_laid_out_by_the_sweep(house):
    house.begin(1, "x" * (SMALL // 2))
    await house.sweep()
    assert house.journal.segments() == [1, 2]


async def test_a_segment_is_changed_in_a_thread_so_that_a_slow_disk_stops_no_reader(house):
    turn = house.whole(1, "a")
    await house.store.settle()
    house.now_ms += int(module.OLDEST_SEGMENT_S * 1_000)
    house.syncer.held = True
    house.disk.calls.clear()
    house.store.sweep(house.now_ms)
    await house.syncer.is_given()
    assert (house.disk.calls, house.journal.number) == ([], 1)
    other = house.begin(2, "b")
    assert shown(other) == [B]
    house.syncer.release()
    await house.sweep()
    house.say(other, STOP)
    assert (house.journal.number, shown(other), shown(turn)) == (2, [B, STOP], [A, STOP])


async def test_a_segment_that_filled_up_while_the_next_was_laid_out_is_changed_once(house):
    house.begin(1, "x" * (SMALL // 2))
    house.now_ms += int(module.OLDEST_SEGMENT_S * 1_000)
    house.syncer.held = True
    house.store.sweep(house.now_ms)
    await house.syncer.is_given()
    house.syncer.step()
    house.begin(2, "y" * (SMALL // 2))
    await house.sweep()
    assert (house.journal.number, house.store.fault()) == (2, "")


# Recovered turns


async def test_turns_of_before_a_crash_are_found_listed_and_archived(house):
    house.begin(1, "open")
    house.whole(2, "done")
    async with await reopened(house) as after:
        assert [type(after.found), after.found.ended] == [type(after.found), [turn_id(1)]]
        assert await names(after) == [2, 1]
        found = await after.store.find(turn_id(1))
        assert text_of(found.entries) == "open"
        assert found.entries[-1].event.reason == "relay_restarted"
        await after.store.settle()
        assert list(after.archive.turns) == [turn_id(1), turn_id(2)]
        assert after.journal.segments() == [2]
        assert events_of(after.archive.turns[turn_id(1)]) == events_of(found.entries)
        assert await after.store.find(turn_id(1)) is found


# The archive goes and comes


async def test_while_the_archive_is_down_turns_are_owed_and_then_all_are_kept(house):
    house.archive.is_down()
    task = asyncio.ensure_future(house.store.run())
    for n in range(1, 8):
        house.whole(n, f"text {n}")
        await asyncio.sleep(0.001)
    assert house.store.owed == 7
    assert set(house.faults()) == {"archive"}
    assert await house.store.find(turn_id(3)) is not None
    house.archive.is_back()
    while house.store.owed:
        await asyncio.sleep(0.001)
    task.cancel()
    assert sorted(house.archive.turns) == [turn_id(n) for n in range(1, 8)]
    assert text_of(house.archive.turns[turn_id(7)]) == "text 7"


async def test_of_turns_that_are_owed_only_so_many_stay_in_memory(house, monkeypatch):
    monkeypatch.setattr(module, "MAX_OWED_IN_MEMORY", 2)
    turns = [house.whole(n, f"text {n}") for n in range(1, 6)]
    held = [house.store._held.get(turn.id) for turn in turns]
    assert [one.log is not None for one in held] == [True, True, False, False, False]
    found = await house.store.find(turn_id(5))
    assert (found is not turns[4], events_of(found.entries)) == (True, events_of(turns[4].entries))
    assert await names(house) == [5, 4, 3, 2, 1]
    await house.store.settle()
    assert [text_of(entries) for entries in house.archive.turns.values()] == [f"text {n}" for n in range(1, 6)]


async def test_of_turns_that_are_owed_only_so_much_stays_in_memory(house, monkeypatch):
    size = recent.weight(house.whole(1, "text 1"))
    await house.store.settle()
    monkeypatch.setattr(held, "MAX_OWED_BYTES", 2 * size)
    house.archive.is_down()

    def in_memory() -> list[bool]:
        turns = [house.whole(n, f"text {n}") for n in range(2, 6)]
        return [house.store._held.get(turn.id).log is not None for turn in turns]

    assert in_memory() == [True, True, False, False]
    house.archive.is_back()
    await house.store.settle()
    assert [text_of(entries) for entries in house.archive.turns.values()] == [f"text {n}" for n in range(1, 6)]
    assert house.store._held._owed_bytes == 0
    house.whole(6, "text 6")
    await house.store.forget([(turn_id(6), "anna")])
    assert house.store._held._owed_bytes == 0


async def test_no_turn_is_taken_while_too_many_are_owed(house, monkeypatch):
    monkeypatch.setattr(module, "MAX_OWED", 1)
    house.whole(1)
    assert house.store.fault() == ""
    house.whole(2)
    assert house.store.fault() == "archive_behind"
    await house.store.settle()
    assert house.store.fault() == ""


async def test_a_turn_that_cannot_be_archived_keeps_no_other_from_it(house):
    house.archive.poisonous = {turn_id(1)}
    house.whole(1, "a")
    house.whole(2, "b")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await house.store.settle()
    assert list(house.archive.turns) == [turn_id(2)]


async def test_a_turn_that_is_damaged_after_the_recovery_keeps_no_other_from_the_archive(house):
    house.whole(1, "a")
    house.whole(2, "b")
    async with await reopened(house) as after:
        data = bytearray(path_of(after.folder, 1).read_bytes())
        data[70] ^= 1
        path_of(after.folder, 1).write_bytes(data)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await after.store.settle()
        assert list(after.archive.turns) == [turn_id(2)]


async def test_an_archive_that_does_not_answer_is_told_and_waited_for(house, monkeypatch):
    monkeypatch.setattr(archiving, "ANSWER_LIMIT_S", 0.0)
    house.whole(1, "a")
    house.writer.held = True
    settling = asyncio.ensure_future(house.store.settle())
    while not house.told:
        await asyncio.sleep(0)
    assert house.told == [StoreFailed("archive", "no answer")]
    assert len(house.writer.jobs) == 1
    house.writer.release()
    await settling
    assert (house.archive.calls.count("keep"), house.store.owed) == (1, 0)


async def test_who_stops_waiting_for_the_archive_leaves_no_call_in_line(house):
    house.whole(1, "a")
    house.writer.held = True
    settling = asyncio.ensure_future(house.store.settle())
    await house.writer.is_given()
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    [(job, _)] = house.writer.jobs
    assert job.cancelled()
    house.writer.jobs.clear()


# Forgetting


@pytest.mark.parametrize("stage", ["open", "owed", "archived", "evicted", "recovered", "left memory"])
async def test_a_turn_is_forgotten_at_every_stage_and_its_text_is_in_no_file(tmp_path, monkeypatch, stage):
    if stage == "evicted":
        monkeypatch.setattr(recent, "MAX_TURNS", 0)
    if stage == "left memory":
        monkeypatch.setattr(module, "MAX_OWED_IN_MEMORY", 0)
    async with House(tmp_path) as house:
        turn = house.begin(1, "secret")
        house.begin(2, "neighbour")
        if stage != "open":
            house.say(turn, STOP)
        if stage in ("archived", "evicted"):
            await house.store.settle()
        if stage == "recovered":
            house = await reopened(house)  # noqa: PLW2901 - the same folder, a later process
            await house.store.open()
        await house.store.forget([(turn_id(1), "anna")])
        assert not is_anywhere(tmp_path, "secret")
        assert is_anywhere(tmp_path, "neighbour")
        with pytest.raises(TurnForgotten) as caught:
            await house.store.find(turn_id(1))
        assert caught.value.principal == "anna"
        assert await names(house) == [2]
        await house.store.settle()
        assert turn_id(1) not in house.archive.turns
        house.kill()
        async with House(tmp_path, house.archive) as after:
            assert await names(after) == [2]


async def test_what_an_open_turn_says_after_it_was_forgotten_is_shown_and_kept_nowhere(house):
    turn = house.begin(1, "a")
    await house.store.forget([(turn_id(1), "anna")])
    house.say(turn, Delta("secret", 0), STOP)
    assert shown(turn) == [A, Delta("secret", 0), STOP]
    await house.store.settle()
    assert house.archive.turns == {}
    assert not is_anywhere(house.folder, "secret")


async def test_a_turn_is_gone_from_the_moment_it_is_to_be_forgotten(house):
    house.whole(1, "secret")
    house.writer.held = True
    forgetting = asyncio.ensure_future(house.store.forget([(turn_id(1), "anna")]))
    await house.writer.is_given()
    with pytest.raises(TurnForgotten):
        await house.store.find(turn_id(1))
    assert await names(house) == []
    house.writer.release()
    await forgetting


async def test_forgetting_wins_over_a_load_that_is_under_way(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 1)
    house.whole(1, "secret")
    house.whole(2, "b")
    await house.store.settle()
    house.readers.held = True
    looking = asyncio.ensure_future(house.store.find(turn_id(1)))
    await house.readers.is_given()
    job, call = house.readers.jobs.pop()
    result = call()  # It is read, and the reader was not told yet.
    await house.store.forget([(turn_id(1), "anna")])
    job.set_result(result)
    await looking
    house.readers.release()
    with pytest.raises(TurnForgotten):
        await house.store.find(turn_id(1))


async def test_who_loads_a_turn_while_it_is_erased_is_told_that_it_is_gone(house, monkeypatch):
    monkeypatch.setattr(module, "MAX_OWED_IN_MEMORY", 0)
    house.whole(1, "secret")
    house.begin(2, "neighbour")
    house.readers.held = True
    looking = asyncio.ensure_future(house.store.find(turn_id(1)))
    await house.readers.is_given()
    await house.store.forget([(turn_id(1), "anna")])
    house.readers.release()
    with pytest.raises(TurnForgotten):
        await looking


async def test_forgetting_wins_over_an_archiver_that_has_begun(house):
    house.whole(1, "secret")
    house.writer.held = True
    settling = asyncio.ensure_future(house.store.settle())
    await house.writer.is_given()
    forgetting = asyncio.ensure_future(house.store.forget([(turn_id(1), "anna")]))
    await asyncio.sleep(0)
    house.writer.release()
    await asyncio.gather(settling, forgetting)
    assert (house.archive.turns, turn_id(1) in house.store._shelf) == ({}, False)
    assert not is_anywhere(house.folder, "secret")


STEPS_THAT_FAIL = ("archive", "archive, done all the same", "words", "sync", "heads", "last sync")


async def test_who_asks_to_forget_is_told_in_time_that_the_archive_does_not_answer(house, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_LIMIT_S", 0.01)
    house.whole(1, "secret")
    house.writer.held = True
    with pytest.raises(Overloaded) as caught:
        await house.store.forget([(turn_id(1), "anna")])
    assert (caught.value.code, house.faults()) == ("store_unavailable", ["forget"])
    with pytest.raises(TurnForgotten):
        await house.store.find(turn_id(1))
    monkeypatch.undo()
    house.writer.jobs.clear()
    house.writer.held = False
    await house.store.forget([(turn_id(1), "anna")])
    assert not is_anywhere(house.folder, "secret")


async def test_who_asks_to_forget_is_told_in_time_that_the_disk_does_not_answer(house, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_LIMIT_S", 0.01)
    house.whole(1, "secret")
    forget = house.archive.forget

    def then_hangs(*turns):
        forget(*turns)
        house.writer.held = True

    monkeypatch.setattr(house.archive, "forget", then_hangs)
    with pytest.raises(Overloaded):
        await house.store.forget([(turn_id(1), "anna")])
    assert house.faults() == ["erase"]
    monkeypatch.undo()
    house.writer.jobs.clear()
    house.writer.held = False
    await house.sweep()
    assert not is_anywhere(house.folder, "secret")


def fail_at(house: House, step: str) -> None:
    """Let the forgetting of a turn with one record fail at a step."""
    calls = {"words": 0, "sync": 1, "heads": 2, "last sync": 3}
    if step == "archive":
        house.archive.is_down()
    elif step in calls:
        house.disk.fails_at = calls[step]
    else:
        house.archive.before_returning = lambda call: house.archive.is_down() if call == "forget" else None


@pytest.mark.parametrize("then", ["asked again", "asked for nothing", "swept", "killed"])
@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("step", STEPS_THAT_FAIL)
async def test_forgetting_that_failed_at_any_step_goes_on_and_nobody_reads_the_turn_meanwhile(
    tmp_path, step, archived, then
):
    async with House(tmp_path) as house:
        house.whole(1, "secret")
        house.begin(2, "neighbour")
        if archived:
            await house.store.settle()
        forgotten = [(turn_id(1), "anna")]
        fail_at(house, step)
        with pytest.raises(Overloaded):
            await house.store.forget(forgotten)
        with pytest.raises(TurnForgotten):
            await house.store.find(turn_id(1))
        house.archive.before_returning = lambda call: None
        house.archive.is_back()
        house.disk.is_mended()
        assert await names(house) == [2]
        await house.store.settle()
        if then == "killed":
            house.kill()
            async with House(tmp_path, house.archive) as after:
                if step == "archive":
                    assert await names(after) == [2, 1]
                    await after.store.forget(forgotten)
                assert await names(after) == [2]
                await after.store.settle()
        elif then == "swept":
            await house.sweep()
        else:
            await house.store.forget(forgotten if then == "asked again" else [])
        assert (house.store._forgetting == {}) is (then != "killed")
        assert not is_anywhere(tmp_path, "secret")
        assert turn_id(1) not in house.archive.turns
        assert house.archive.forgotten == {turn_id(1): "anna"}


async def test_what_a_write_that_failed_left_in_the_current_segment_is_erased(house):
    turn = house.begin(1, "first")
    other = house.begin(2, "neighbour")
    house.disk.fails, house.disk.writes_before_failing = {"write": errno.EIO, "create": errno.EIO}, 150

    def lost() -> None:
        house.disk.writes_before_failing = 0
        house.log.append(turn, [LOST])

    turn.on_lost = lost
    house.say(turn, Delta("secret" * 9, 0))
    assert is_anywhere(house.folder, "secret"), "otherwise this test could not fail"
    with pytest.raises(Overloaded):
        await house.store.forget([(turn_id(1), "anna")])
    house.disk.is_mended()
    await house.store.forget([(turn_id(1), "anna")])
    assert not is_anywhere(house.folder, "secret")
    house.say(other, STOP)
    await house.store.settle()
    assert [entry.event for entry in house.archive.turns[turn_id(2)]][1:] == [Delta("neighbour", 0), STOP]


async def test_what_cannot_be_forgotten_yet_is_tried_at_every_sweep_and_keeps_the_disk_looked_after(house):
    house.whole(1, "secret")
    house.archive.is_down()
    with pytest.raises(DatabaseError):
        await house.store.forget([(turn_id(1), "anna")])
    for _ in range(2):
        house.archive.calls.clear()
        await house.sweep()
        assert "forget" in house.archive.calls
    house.archive.is_back()
    await house.sweep()
    assert not is_anywhere(house.folder, "secret")


async def test_turns_past_their_retention_are_there_for_those_who_forget_them(house):
    house.whole(1, "secret")
    house.whole(2, "other", conversation="c2")
    await house.store.settle()
    house.whole(3, "secret")
    house.now_ms += int(house.store._retention_ms) + 1
    assert await names(house) == []
    assert await names(house, Query(conversation_id="c1", of_any_age=True)) == [3, 1]


# A disk that is full


async def test_on_a_full_disk_running_turns_end_and_new_ones_are_refused_until_there_is_room(house):
    turns = [house.begin(n, "said") for n in range(1, 4)]
    house.disk.is_full()
    said = 0
    while not house.store.fault():
        for turn in turns:
            house.log.append(turn, [Delta("x" * 100, 0)])
        house.tick()
        said += 1
        assert said < 100
    assert house.store.fault() == "store_full"
    assert house.faults() == ["store_full"]
    for turn in turns:
        assert shown(turn)[-1] == LOST
        assert len(shown(turn)) < said + 2
        assert turn.ended
    await house.store.settle()
    assert len(house.archive.turns) == 3
    await house.sweep()
    assert house.store.fault() == "store_full"
    house.disk.is_mended()
    await house.sweep()
    assert house.store.fault() == ""
    assert house.journal.segments() == [2]
    assert shown(house.whole(9, "a")) == [A, STOP]


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_store_starts_on_a_full_disk_shows_its_turns_and_takes_new_ones_once_there_is_room(
    tmp_path, durability
):
    async with House(tmp_path) as before:
        before.begin(1, "open")
        before.whole(2, "done")
    full = House(tmp_path, before.archive, durability=durability)
    full.disk.is_full()
    async with full as house:
        assert (house.store.fault(), house.faults()) == ("store_full", ["store_full"])
        found = await house.store.find(turn_id(1))
        assert (text_of(found.entries), found.entries[-1].event.reason) == ("open", "relay_restarted")
        assert await names(house) == [2, 1]
        await house.sweep()
        assert house.store.fault() == "store_full"
        await house.store.settle()
        assert events_of(house.archive.turns[turn_id(1)]) == events_of(found.entries)
        assert house.journal.segments() == []
        house.disk.is_mended()
        await house.sweep()
        assert house.store.fault() == ""
        turn = house.whole(3, "a")
        while not turn.ended:
            await asyncio.sleep(0)
        await house.close()
        assert sorted(house.archive.turns) == [turn_id(n) for n in (1, 2, 3)]


async def test_a_store_that_has_no_segment_closes(tmp_path):
    house = House(tmp_path, durability="disk")
    house.disk.is_full()
    async with house:
        await house.close()
        assert house.faults() == ["store_full"]


async def test_the_ends_that_the_reserve_took_survive_a_crash(house):
    turn = house.begin(1, "said")
    house.disk.is_full()
    while not turn.ended:
        house.say(turn, Delta("x" * 100, 0))
    seen = events_of(turn.entries)
    house.disk.is_mended()
    async with await reopened(house) as after:
        assert after.found.ended == []
        assert events_of((await after.store.find(turn_id(1))).entries) == seen


async def test_a_disk_that_fills_up_ahead_of_the_journal_is_a_fault_before_a_turn_is_lost(house):
    turn = house.begin(1, "x" * (SMALL // 2))
    house.disk.is_full()
    await house.sweep()
    assert house.store.fault() == "store_full"
    house.say(turn, A, STOP)
    assert shown(turn)[-2:] == [A, STOP]


async def test_a_write_that_failed_is_done_again_in_another_segment_and_nobody_notices(house):
    turn = house.begin(1, "a")
    house.disk.fails, house.disk.writes_before_failing = {"write": errno.EIO}, 50
    meet = house.disk._meet

    def once(call: str) -> None:
        try:
            meet(call)
        finally:
            house.disk.is_mended()

    house.disk._meet = once
    house.say(turn, B, STOP)
    assert shown(turn) == [A, B, STOP]
    assert (house.store.fault(), house.journal.number) == ("", 2)
    async with await reopened(house) as after:
        assert events_of((await after.store.find(turn_id(1))).entries) == events_of(turn.entries)


async def test_on_a_dead_disk_every_turn_still_gets_its_end_and_the_archive_keeps_it(house):
    said, quiet = house.begin(1, "a"), house.begin(2, "b")
    house.disk.is_dead()
    house.log.append(said, [Delta("lost", 0)])
    house.log.append(quiet, [STOP])
    house.tick()
    assert shown(said) == [A, LOST]
    assert shown(quiet) == [B, STOP]
    assert house.store.fault() == "store_error"
    await house.store.settle()
    assert [events_of(entries) for entries in house.archive.turns.values()] == [
        events_of(quiet.entries), events_of(said.entries),
    ]  # fmt: skip


async def test_an_end_that_only_the_memory_has_stays_there_until_the_archive_has_it(house, monkeypatch):
    monkeypatch.setattr(module, "MAX_OWED_IN_MEMORY", 0)
    turn = house.begin(1, "a")
    house.disk.is_dead()
    house.say(turn, STOP)
    house.disk.is_mended()
    assert events_of((await house.store.find(turn_id(1))).entries) == [started(1), A, STOP]
    await house.store.settle()
    assert events_of(house.archive.turns[turn_id(1)]) == [started(1), A, STOP]


async def test_a_turn_that_fails_to_hear_of_its_loss_takes_no_other_along(house):
    one, two = house.begin(1, "a"), house.begin(2, "b")

    def fail() -> None:
        raise RuntimeError

    one.on_lost = fail
    house.disk.is_dead()
    house.log.append(one, [B])
    house.log.append(two, [B])
    house.tick()
    assert two.ended


# Faults of ours


def told_of(house: House) -> list[tuple[str, str]]:
    return [(fact.where, fact.kind) for fact in house.told if isinstance(fact, InternalError)]


def poison(house: House, number: int) -> None:
    """Let the journal fail over every record of one turn."""
    append = house.journal.append

    def poisoned(batches: list[Batch], *, last_words: bool = False) -> list[int]:
        if any(batch.turn == key(number) for batch in batches):
            raise ValueError("words of a customer")
        return append(batches, last_words=last_words)

    house.journal.append = poisoned  # type: ignore[method-assign, assignment]


async def test_a_fault_that_one_turn_meets_when_it_is_written_ends_that_turn_and_no_other(house):
    one, two, three = (house.begin(n, "a") for n in (1, 2, 3))
    poison(house, 2)
    for turn in (one, two, three):
        house.log.append(turn, [B])
    house.tick()
    assert [shown(turn) for turn in (one, two, three)] == [[A, B], [A, LOST], [A, B]]
    assert (set(told_of(house)), house.faults(), house.store.fault()) == ({("store.write", "ValueError")}, [], "")
    assert "customer" not in repr(house.told)
    await house.store.settle()
    assert [events_of(entries) for entries in house.archive.turns.values()] == [events_of(two.entries)]
    async with await reopened(house) as after:
        assert text_of((await after.store.find(turn_id(3))).entries) == "ab"


async def test_a_fault_that_a_turn_meets_on_a_failing_disk_is_told_as_well(house):
    one, two = house.begin(1, "a"), house.begin(2, "b")
    house.disk.is_dead()
    poison(house, 1)
    house.log.append(two, [STOP])
    house.log.append(one, [STOP])
    house.tick()
    assert (shown(one), shown(two)) == ([A, STOP], [B, STOP])
    assert set(told_of(house)) == {("store.write", "ValueError")}
    assert house.faults() == ["store_error"]


async def test_a_fault_in_what_the_sweep_prepares_is_told_and_does_not_end_it(house):
    def fail(*, at_once: bool) -> None:
        raise ValueError("words of a customer")

    prepare, house.journal.prepare = house.journal.prepare, fail
    await house.sweep()
    assert (told_of(house), house.store.fault()) == ([("store.prepare", "ValueError")], "")
    assert "customer" not in repr(house.told)
    house.journal.prepare = prepare
    house.begin(1, "x" * (SMALL // 2))
    await house.sweep()
    assert house.journal.segments() == [1, 2]


# Level disk


async def test_nothing_is_shown_before_it_is_on_the_disk(synced):
    turn = synced.begin(1, "a")
    assert turn.visible == 0
    assert await names(synced) == []
    await synced.syncer.is_given()
    assert turn.visible == 0
    await synced.synced()
    assert shown(turn) == [A]
    assert await names(synced) == [1]


async def test_many_ticks_share_a_sync_and_what_comes_during_one_waits_for_the_next(synced):
    turn = synced.begin(1, "a")
    for _ in range(20):
        synced.say(turn, A)
    await synced.syncer.is_given()
    assert len(synced.syncer.jobs) == 1
    synced.say(turn, B)
    synced.disk.calls.clear()
    await synced.synced()
    assert synced.disk.calls.count("sync") == 1
    assert (turn.visible, turn.tail) == (22, 22)
    await synced.synced()
    assert shown(turn)[-1] == B


async def test_a_sync_covers_segments_that_were_left_meanwhile(synced):
    turn = synced.begin(1, "a")
    for _ in range(30):
        synced.say(turn, Delta("x" * 300, 0))
    number = synced.journal.number
    assert number > 2
    await synced.syncer.is_given()
    synced.disk.calls.clear()
    await synced.synced()
    assert synced.disk.calls.count("sync") == number
    assert turn.visible == 32


async def test_a_sync_that_fails_loses_what_nobody_saw_and_nothing_else(synced):
    turn, other = synced.begin(1, "a"), synced.begin(2, "b")
    await synced.synced()
    synced.say(turn, Delta("lost", 0))
    await synced.syncer.is_given()
    synced.say(turn, Delta("lost as well", 0))
    synced.disk.fails = {"sync": errno.EIO}
    synced.syncer.step()
    synced.disk.is_mended()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    synced.tick()
    assert shown(turn) == [A]
    await synced.synced()
    assert (shown(turn), shown(other)) == ([A, LOST], [B])
    assert synced.faults() == ["store_error"]
    synced.syncer.release()
    synced.say(other, STOP)
    await asyncio.sleep(0.02)
    assert shown(other) == [B, STOP]


async def test_a_turn_that_was_lost_before_anybody_saw_it_has_its_beginning_and_its_end(synced):
    turn = synced.begin(1, "lost")
    await synced.syncer.is_given()
    synced.disk.fails = {"sync": errno.EIO}
    synced.syncer.step()
    synced.disk.is_mended()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    synced.tick()
    await synced.synced()
    assert events_of(turn.entries[: turn.visible]) == [started(1), LOST]
    after = await reopened(synced)
    async with after:
        assert after.found.ended == []
        assert events_of((await after.store.find(turn_id(1))).entries) == [started(1), LOST]


async def test_a_sync_that_never_ends_is_given_up(synced, monkeypatch):
    monkeypatch.setattr("trunkline.stores.syncing.LIMIT_S", -1.0)
    turn = synced.begin(1, "a")
    await synced.syncer.is_given()
    [hung] = synced.syncer.jobs
    synced.syncer.jobs.clear()
    synced.store.sweep(synced.now_ms)
    await asyncio.sleep(0)
    synced.syncer.step()  # the next segment, which is laid out there too
    synced.tick()
    assert turn.state.value == "ended"
    while not shown(turn):  # Whether the disk syncs again is asked as well, before the sync or together with it.
        await synced.synced()
    assert shown(turn) == [LOST]
    hung[0].set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert shown(turn) == [LOST]


@pytest.mark.parametrize("is_laid_out", [False, True])
async def test_after_a_sync_that_never_ends_the_loop_asks_nothing_of_the_disk(synced, monkeypatch, is_laid_out):
    synced.begin(1, "a")
    await synced.syncer.is_given()
    synced.syncer.jobs.clear()
    if is_laid_out:
        synced.journal.prepare(at_once=True)
    synced.disk.calls.clear()
    monkeypatch.setattr("trunkline.stores.syncing.LIMIT_S", -1.0)
    synced.store.sweep(synced.now_ms)
    assert (synced.disk.calls, synced.store.fault()) == ([], "store_error")
    assert synced.journal.number == (2 if is_laid_out else 1)
    assert [(fact.what, fact.detail) for fact in synced.told] == [("store_error", "TimeoutError")]


async def test_asking_whether_the_disk_syncs_leaves_older_segments_to_the_sync_that_waits_for_them(synced, monkeypatch):
    monkeypatch.setattr("trunkline.stores.syncing.EVERY_S", 3_600.0)
    turn = synced.begin(1, "a")
    await synced.synced()
    synced.say(turn, B)  # The sync for it is due in an hour.
    synced.store._appending.fault = "store_error"
    synced.store.sweep(synced.now_ms)
    synced.syncer.held = False
    synced.syncer.step()
    while synced.store._preparing is not None:
        await asyncio.sleep(0)
    assert (synced.store.fault(), synced.journal.number) == ("", 2)
    assert len(synced.journal.unsynced()) == 2


async def test_on_a_disk_that_died_no_turn_ends_twice(synced):
    turn = synced.begin(1, "a")
    await synced.synced()
    synced.say(turn, B)
    await synced.syncer.is_given()
    synced.disk.is_dead()
    synced.say(turn, STOP)
    assert shown(turn)[-1] == STOP
    synced.syncer.step()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    synced.tick()
    assert [type(event) for event in shown(turn)].count(Ended) == 1


# Retention


async def test_turns_past_their_retention_are_let_go_in_memory_and_in_the_archive(tmp_path):
    async with House(tmp_path, retention=10) as house:
        house.whole(1, "a")
        await house.store.settle()
        house.now_ms += 10_000
        house.store.sweep(house.now_ms)
        assert await house.store.find(turn_id(1)) is not None
        house.now_ms += int(module.EXPIRE_EVERY_S * 1_000)
        house.store.sweep(house.now_ms)
        with pytest.raises(TurnForgotten):
            await house.store.find(turn_id(1))
        assert not is_anywhere(tmp_path, turn_id(1))


async def test_an_archive_that_cannot_expire_is_told_and_asked_again_a_minute_later(house):
    house.archive.is_down()
    house.store.sweep(house.now_ms)
    house.now_ms += 1_000
    house.store.sweep(house.now_ms)
    assert house.faults() == ["expire"]
    house.now_ms += int(module.EXPIRE_EVERY_S * 1_000)
    house.store.sweep(house.now_ms)
    assert house.faults() == ["expire", "expire"]


async def test_an_archive_that_does_not_answer_is_asked_to_expire_once(house):
    house.writer.held = True
    for _ in range(3):
        house.store.sweep(house.now_ms)
        house.now_ms += int(module.EXPIRE_EVERY_S * 1_000)
    assert len(house.writer.jobs) == 1
    house.writer.release()
    house.store.sweep(house.now_ms)
    assert house.archive.calls.count("expire") == 2


async def test_a_clock_that_is_set_back_keeps_no_turn_longer(tmp_path):
    async with House(tmp_path, retention=10) as house:
        house.set_time(36 * 3_600_000)
        await house.sweep()
        house.whole(1, "first")
        house.set_time(-36 * 3_600_000)
        house.whole(2, "secret")
        await house.store.settle()
        house.now_ms += int(module.EXPIRE_EVERY_S * 1_000)
        await house.sweep()
        assert list(house.archive.turns) == [turn_id(1)], "its time has not come by the clock that it ended by"
        assert not is_anywhere(tmp_path, "secret")


# Closing


async def test_closing_archives_what_has_ended_and_leaves_an_empty_journal(house):
    house.whole(1, "a")
    house.whole(2, "x" * SMALL)
    await house.close()
    assert sorted(house.archive.turns) == [turn_id(1), turn_id(2)]
    assert list(house.folder.iterdir()) == []


async def test_closing_takes_the_segment_along_that_was_laid_out_ahead(house):
    house.whole(1, "x" * (SMALL // 2))
    await house.sweep()
    await house.close()
    assert list(house.folder.iterdir()) == []


async def test_closing_twice_is_harmless_and_afterwards_nothing_is_read(house, monkeypatch):
    monkeypatch.setattr(recent, "MAX_TURNS", 0)
    house.whole(1, "a")
    await house.close()
    await house.store.close()
    house.store.sweep(house.now_ms)
    for asking in (house.store.find(turn_id(1)), house.store.list(Query()), house.store.forget([(turn_id(1), "anna")])):
        with pytest.raises(Overloaded) as caught:
            await asking
        assert caught.value.code == "shutting_down"


async def test_what_could_not_be_archived_in_time_is_left_to_the_next(house, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_LIMIT_S", 0.01)
    house.whole(1, "a")
    house.archive.is_down()
    await house.close()
    house.archive.is_back()
    async with House(house.folder, house.archive) as after:
        await after.store.settle()
        assert list(after.archive.turns) == [turn_id(1)]


@pytest.mark.parametrize("call", ["remove", "close"])
async def test_a_disk_that_fails_while_the_store_is_closed_is_told_and_stops_nothing(house, monkeypatch, call):
    house.whole(1, "x" * (SMALL // 2))
    await house.sweep()
    if call == "remove":
        house.disk.fails = {"remove": errno.EROFS}
    else:

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(house.disk, "close", fail)
    await house.close()
    assert house.faults() == ["close"]
    assert list(house.archive.turns) == [turn_id(1)]


async def test_an_archive_that_does_not_answer_does_not_keep_the_store_from_closing(house, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_LIMIT_S", 0.01)
    house.whole(1, "a")
    house.writer.held = True
    await house.close()
    [told] = [fact for fact in house.told if isinstance(fact, StoreFailed)]
    assert told == StoreFailed("close", "1 turns wait in the journal for the next start; nothing is lost")
    async with House(house.folder, house.archive) as after:
        await after.store.settle()
        assert list(after.archive.turns) == [turn_id(1)]


async def test_closing_waits_for_the_sync(tmp_path):
    async with House(tmp_path, durability="disk") as house:
        turn = house.whole(1, "a")
        assert turn.visible == 0
        await house.close()
        assert turn.ended
        assert list(house.archive.turns) == [turn_id(1)]


async def test_a_store_that_is_closed_makes_no_more_files(house):
    turn = house.begin(1, "a")
    await house.close()
    before = house.journal.segments()
    house.say(turn, B)
    house.journal.end()
    assert house.journal.segments() == before
