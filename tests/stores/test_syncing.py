"""At level `disk`: who hears what when a sync fails or does not end, and what a recovery syncs."""

from __future__ import annotations

import asyncio
import errno

import pytest

from stores.houses import LOST, House, events_of, shown
from stores.writing import started, turn_id
from trunkline.core.events import Delta, Ended
from trunkline.core.turn import State
from trunkline.stores.syncing import LIMIT_S

A, B = Delta("a", 0), Delta("b", 0)


async def test_a_turn_that_was_written_while_a_sync_ran_that_failed_is_lost_as_well_and_ends(synced):
    one, other = synced.begin(1, "a"), synced.begin(2, "b")
    await synced.synced()
    synced.say(one, Delta("lost", 0))
    await synced.syncer.is_given()
    synced.say(other, Delta("lost as well", 0), Ended("completed", "stop", "stop"))
    synced.disk.fails = {"sync": errno.EIO}
    synced.syncer.step()
    synced.disk.is_mended()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    synced.tick()
    assert synced.journal.number == 2, "of the first segment it is not known what is on the disk"
    await synced.synced()
    assert (shown(one), shown(other)) == ([A, LOST], [B, LOST])
    assert one.ended
    assert other.ended


@pytest.mark.parametrize(("seconds", "is_given_up"), [(LIMIT_S - 1, False), (LIMIT_S + 1, True)])
async def test_a_sync_is_given_up_after_its_time_and_not_before(synced, monkeypatch, seconds, is_given_up):
    turn = synced.begin(1, "a")
    await synced.syncer.is_given()
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + seconds)
    synced.store.sweep(synced.now_ms)
    synced.tick()
    assert (turn.state is State.ENDED) is is_given_up


async def test_the_end_that_a_recovery_gives_is_on_the_disk_before_it_is_shown(synced):
    turn = synced.begin(1, "a")
    await synced.synced()
    synced.kill()
    async with House(synced.folder, synced.archive, durability="disk") as after:
        calls = after.disk.calls
        assert calls[::-1].index("sync") < calls[::-1].index("write")
        found = await after.store.find(turn_id(1))
        assert events_of(found.entries[:2]) == [started(1), A]
        assert found.ended
    assert not turn.ended
