"""The log with its ticks driven by hand: what is shown when, to whom, and how readers wait, stall and leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from trunkline.core.errors import OffsetPastTail
from trunkline.core.events import AnyEvent, Delta, Ended, Entry, Started, ToolCall
from trunkline.core.turn import IllegalEvent
from trunkline.log import SLICE, Follower, Lane, Log, ReaderGone
from trunkline.stores.base import Audience, TurnLog
from trunkline.stores.memory import MemoryStore
from trunkline.stores.settings import StoreSettings

STARTED = Started(turn="t", principal="p", upstream="u", model="m", created_at="now", endpoint="native")
ENDED = Ended("completed", "stop", "stop")
LOST = Ended("failed", "store_error")
HEL, LO = Delta("Hel", 0), Delta("lo", 0)


class NotedStore(MemoryStore):
    """Notes which turns were written together."""

    def __init__(self) -> None:
        super().__init__(StoreSettings())
        self.writes: list[list[str]] = []

    def write(self, turns: list[TurnLog], audience: Audience) -> None:
        self.writes.append([turn.id for turn in turns])
        super().write(turns, audience)


class BreakingStore(NotedStore):
    """Raises so many times before it has written a turn of this name, or after it has written and shown it."""

    def __init__(self, at: str, times: int, *, after: bool = False) -> None:
        super().__init__()
        self.at, self.times, self.after = at, times, after

    def write(self, turns: list[TurnLog], audience: Audience) -> None:
        for turn in turns:
            breaks = turn.id == self.at and self.times > 0
            self.times -= breaks
            if not breaks or self.after:
                super().write([turn], audience)
            if breaks:
                raise KeyError(turn.id)


class House:
    """One log, the ticks it asked for, and one turn that has started."""

    def __init__(self, store: NotedStore | None = None) -> None:
        self.ticks: list[Callable[[], None]] = []
        self.now_ms = 1_000
        self.store = store or NotedStore()
        self.faults: list[Exception] = []
        self.log = Log(self.store, self.ticks.append, lambda: self.now_ms, self.faults.append)
        self.turn = self.begin("a")
        self.tick()
        self.store.writes.clear()

    def begin(self, name: str) -> TurnLog:
        turn = self.log.create(name)
        self.log.append(turn, [STARTED])
        return turn

    def append(self, *events: AnyEvent) -> None:
        self.log.append(self.turn, events)

    def tick(self) -> None:
        while self.ticks:
            self.ticks.pop(0)()

    def show(self, *events: AnyEvent) -> None:
        self.append(*events)
        self.tick()

    def follow(self, after: int = 0) -> Follower:
        return self.log.follow(self.turn, after)


@pytest.fixture
def house() -> House:
    return House()


def taken(follower: Follower) -> list[AnyEvent]:
    a, b = follower.take()
    return [entry.event for entry in follower.turn.entries[a:b]]


def events(turn: TurnLog) -> list[AnyEvent]:
    return [entry.event for entry in turn.entries]


def shown(turn: TurnLog) -> list[AnyEvent]:
    """What readers see of a turn, without its beginning."""
    return events(turn)[1 : turn.visible]


# Append and publish


def test_nothing_is_shown_before_the_tick(house: House):
    follower = house.follow(after=1)
    house.append(HEL)
    assert taken(follower) == []
    assert (house.turn.tail, len(house.turn.entries)) == (1, 2)
    house.tick()
    assert taken(follower) == [HEL]
    assert house.turn.tail == 2


def test_a_tick_is_asked_for_once_and_writes_all_turns_at_once(house: House):
    other = house.begin("b")
    house.append(HEL)
    house.append(LO)
    house.log.append(other, [HEL])
    assert len(house.ticks) == 1
    house.tick()
    assert house.store.writes == [["b", "a"]]
    house.append(ENDED)
    assert len(house.ticks) == 1
    house.tick()
    assert house.store.writes == [["b", "a"], ["a"]]


def test_entries_carry_the_time_of_their_append(house: House):
    house.now_ms = 2_000
    house.append(HEL)
    house.now_ms = 3_000
    house.show(LO)
    assert [entry.at_ms for entry in house.turn.entries] == [1_000, 2_000, 3_000]


def test_a_flush_shows_at_once_and_the_tick_that_waited_does_nothing(house: House):
    house.append(HEL)
    house.log.flush()
    assert house.turn.tail == 2
    house.tick()
    assert house.store.writes == [["a"]]
    house.show(LO)
    assert house.turn.tail == 3


def test_an_illegal_append_leaves_no_trace(house: House):
    house.show(ENDED)
    with pytest.raises(IllegalEvent):
        house.append(HEL)
    assert house.ticks == []
    assert len(house.turn.entries) == 2


@pytest.mark.parametrize(
    "odd", [Delta("\ud83d", 0), ToolCall(0, 0, "\ud83d"), Ended("failed", "upstream_error", detail="\ud83d")], ids=type
)
def test_events_of_which_one_cannot_be_encoded_leave_no_trace(house: House, odd: AnyEvent):
    with pytest.raises(UnicodeEncodeError):
        house.append(HEL, odd)
    assert (house.ticks, events(house.turn)) == ([], [STARTED])
    house.show(ENDED)
    assert events(house.turn) == [STARTED, ENDED]


# A store that breaks its promise


def breaking(store: BreakingStore, *names: str) -> tuple[House, list[TurnLog]]:
    """A house whose turns of these names have said something and hear of losses."""
    times, store.times = store.times, 0
    house = House(store)
    turns = [house.begin(name) for name in names]
    for turn in turns:
        turn.on_lost = lambda turn=turn: house.log.append(turn, [LOST])
        house.log.append(turn, [HEL])
    house.tick()
    store.times = times
    return house, turns


def test_a_store_that_raises_ends_the_turns_it_did_not_take_and_the_log_goes_on():
    house, (one, two, three) = breaking(BreakingStore("two", 1), "one", "two", "three")
    for turn in (one, two, three):
        house.log.append(turn, [LO])
    house.tick()
    assert [shown(turn) for turn in (one, two, three)] == [[HEL, LO], [HEL, LOST], [HEL, LOST]]
    assert [type(fault) for fault in house.faults] == [KeyError]
    house.log.append(one, [ENDED])
    house.tick()
    assert shown(one) == [HEL, LO, ENDED]


def test_what_a_store_had_kept_and_shown_before_it_raised_stays_as_it_is():
    house, (one, two) = breaking(BreakingStore("one", 1, after=True), "one", "two")
    house.log.append(one, [LO, ENDED])
    house.log.append(two, [LO])
    house.tick()
    assert (shown(one), shown(two)) == ([HEL, LO, ENDED], [HEL, LOST])


def test_what_a_store_had_kept_and_not_shown_before_it_raised_is_shown():
    class Mute(NotedStore):
        def write(self, turns: list[TurnLog], audience: Audience) -> None:
            for turn in turns:
                turn.written = turn.safe = len(turn.entries)
            raise KeyError

    house = House(Mute())
    follower = house.follow()
    house.show(HEL, ENDED)
    assert taken(follower) == [STARTED, HEL, ENDED]
    assert follower.done


@pytest.mark.parametrize("last", [[LO], [ENDED], [LO, ENDED]])
def test_with_a_store_that_raises_whatever_it_is_given_turns_still_end_once(last: list[AnyEvent]):
    house, (turn,) = breaking(BreakingStore("one", 1_000), "one")
    follower = house.log.follow(turn)
    house.log.append(turn, last)
    house.tick()
    assert shown(turn) == [HEL, ENDED if last == [ENDED] else LOST]
    assert (turn.ended, follower.take()) == (True, (0, 3))


def test_a_turn_that_was_only_begun_when_its_store_raised_has_its_beginning_and_its_end():
    house, _ = breaking(BreakingStore("new", 1_000))
    turn = house.begin("new")
    turn.on_lost = lambda: house.log.append(turn, [LOST])
    house.tick()
    assert (events(turn), turn.ended) == ([STARTED, LOST], True)


# Follow and take


def test_a_reader_may_begin_at_any_offset_up_to_the_tail(house: House):
    house.show(HEL, LO, ENDED)
    everything = [STARTED, HEL, LO, ENDED]
    for after in range(5):
        with house.follow(after) as follower:
            assert taken(follower) == everything[after:]
            assert follower.done


@pytest.mark.parametrize("after", [2, 3, 2**40])
def test_an_offset_past_what_is_shown_is_refused_with_the_tail(house: House, after: int):
    house.append(HEL)
    with pytest.raises(OffsetPastTail) as caught:
        house.follow(after)
    assert (caught.value.after, caught.value.tail) == (after, 1)
    assert not house.turn.followers
    assert not house.log.followers


def test_a_reader_goes_on_behind_a_gap_of_offsets(house: House):
    house.show(HEL)
    house.turn.entries[-1].offset = 1_000
    house.show(LO)
    for after, expected in [(0, [STARTED, HEL, LO]), (1, [HEL, LO]), (1_000, [LO]), (1_001, [])]:
        with house.follow(after) as follower:
            assert taken(follower) == expected


@pytest.mark.parametrize("after", [2, 999])
def test_whoever_holds_an_offset_out_of_a_gap_is_told_that_it_was_lost(house: House, after: int):
    house.show(HEL)
    house.turn.entries[-1].offset = 1_000
    house.show(LO)
    with pytest.raises(OffsetPastTail, match="lost when the relay crashed") as caught:
        house.follow(after)
    assert caught.value.tail == 1_001


def test_a_reader_that_is_far_behind_takes_slices(house: House):
    house.show(*[Delta(str(n), 0) for n in range(2 * SLICE)])
    follower = house.follow()
    slices = [follower.take() for _ in range(4)]
    assert slices == [(0, SLICE), (SLICE, 2 * SLICE), (2 * SLICE, 2 * SLICE + 1), (2 * SLICE + 1, 2 * SLICE + 1)]


def test_a_reader_is_done_when_the_end_is_shown_and_taken(house: House):
    follower = house.follow()
    assert taken(follower) == [STARTED]
    house.append(HEL, ENDED)
    assert not follower.done
    house.tick()
    assert not follower.done
    assert taken(follower) == [HEL, ENDED]
    assert follower.done
    assert taken(follower) == []


# Wait and wake


async def test_a_reader_that_waits_is_woken_by_the_tick_and_not_by_the_append(house: House):
    follower = house.follow(after=1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(follower.wait())
        await asyncio.sleep(0)
        house.append(HEL)
        await asyncio.sleep(0)
        assert not waiting.done()
        house.tick()
    assert waiting.result() is True
    assert taken(follower) == [HEL]


async def test_whoever_is_behind_or_at_the_end_does_not_wait(house: House):
    follower = house.follow()
    assert await follower.wait() is True
    follower.take()
    house.show(ENDED)
    assert await follower.wait() is True
    follower.take()
    assert await follower.wait() is True


async def test_a_reader_may_wait_for_more_than_it_has_taken(house: House):
    follower = house.follow()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(follower.wait(seen=1))
        await asyncio.sleep(0)
        assert not waiting.done()
        house.show(HEL)
    assert waiting.result() is True
    assert taken(follower) == [STARTED, HEL]


async def test_a_wait_that_is_cancelled_leaves_the_reader_usable(house: House):
    follower = house.follow(after=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await follower.wait()
    house.show(HEL)
    assert await follower.wait() is True
    assert taken(follower) == [HEL]


async def test_whoever_waits_when_the_client_leaves_is_told(house: House):
    follower = house.follow(after=1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(outcome_of(follower))
        await asyncio.sleep(0)
        follower.leave()
    assert waiting.result() == "gone"
    with pytest.raises(ReaderGone):
        follower.take()
    with pytest.raises(ReaderGone):
        await follower.wait()


async def outcome_of(follower: Follower) -> str:
    try:
        return "more" if await follower.wait() else "alive"
    except ReaderGone:
        return "gone"


async def test_entries_come_in_batches_until_the_end(house: House):
    house.show(HEL)
    batches: list[Sequence[Entry]] = []

    async def read() -> None:
        with house.follow() as follower:
            batches.extend([batch async for batch in follower.entries()])

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        await asyncio.sleep(0)
        house.show(LO)
        await asyncio.sleep(0)
        house.log.sweep(0, keep_alive_s=15)
        house.log.sweep(15, keep_alive_s=15)
        await asyncio.sleep(0)
        house.show(ENDED)
    assert [[entry.event for entry in batch] for batch in batches] == [[STARTED, HEL], [LO], [], [ENDED]]


# Sweeps


async def test_a_quiet_reader_is_woken_to_say_that_it_lives_each_keep_alive_time(house: House):
    follower = house.follow(after=1)
    follower.sweep(100, keep_alive_s=15)
    for last, due in [(114.9, 115), (129.9, 130), (144.9, 145)]:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(follower.wait())
            await asyncio.sleep(0)
            follower.sweep(last, keep_alive_s=15)
            await asyncio.sleep(0)
            assert not waiting.done()
            follower.sweep(due, keep_alive_s=15)
        assert waiting.result() is False
    assert not follower.gone


async def test_progress_puts_the_keep_alive_off(house: House):
    follower = house.follow()
    follower.sweep(100, keep_alive_s=15)
    assert taken(follower) == [STARTED]
    follower.spoke()
    follower.sweep(110, keep_alive_s=15)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(follower.wait())
        await asyncio.sleep(0)
        follower.sweep(124.9, keep_alive_s=15)
        await asyncio.sleep(0)
        assert not waiting.done()
        house.show(HEL)
    assert waiting.result() is True


def test_a_reader_that_pauses_is_kept(house: House):
    house.show(*[HEL] * (3 * SLICE))
    follower = house.follow()
    for now in (100, 159, 218, 277):
        follower.sweep(now, keep_alive_s=15)
        follower.take()
    assert not follower.gone


async def test_a_quiet_reader_is_not_a_stalled_one(house: House):
    follower = house.follow(after=1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(follower.wait())
        await asyncio.sleep(0)
        for now in (100, 200, 300, 400):
            follower.sweep(now, keep_alive_s=1_000)
        house.show(HEL)
    assert waiting.result() is True


# Leaving


def test_a_follower_closes_once_and_tells_once(house: House):
    closed: list[bool] = []
    follower = house.log.follow(house.turn, 0, lambda: closed.append(True))
    with follower:
        assert house.turn.followers == [follower]
        assert house.log.followers == {follower}
    follower.close()
    assert closed == [True]
    assert not house.turn.followers
    assert not house.log.followers


def test_a_closed_follower_is_not_woken_and_the_others_are(house: House):
    first, second = house.follow(), house.follow()
    first.close()
    house.show(HEL)
    assert taken(second) == [STARTED, HEL]


class Connection:
    """What a live lane writes to: it takes data until it is full."""

    def __init__(self) -> None:
        self.data = b""
        self.full = False

    def write(self, data: bytes) -> bool:
        if self.full:
            return False
        self.data += data
        return True


def text_form(turn: TurnLog, a: int, b: int) -> bytes:
    return b"".join(e.event.text.encode() for e in turn.entries[a:b] if isinstance(e.event, Delta))


async def waiting(house: House, follower: Follower, lane: Lane) -> asyncio.Future[bool]:
    """Let a reader take what there is, and wait on its lane."""
    follower.take()
    task = asyncio.ensure_future(follower.wait(lane=lane))
    await asyncio.sleep(0)
    return task


async def test_the_live_lane_writes_what_is_published_and_the_reader_sleeps_on():
    house, connection = House(), Connection()
    follower = house.log.follow(house.turn)
    task = await waiting(house, follower, Lane(text_form, connection.write))
    house.show(HEL)
    house.show(LO)
    await asyncio.sleep(0)
    assert connection.data == b"Hello"
    assert not task.done()
    assert follower.take() == (3, 3)
    house.show(ENDED)
    assert await task
    assert follower.take() == (3, 4), "the end is for the reader itself to send"


async def test_what_a_full_connection_did_not_take_is_there_to_take():
    house, connection = House(), Connection()
    follower = house.log.follow(house.turn)
    task = await waiting(house, follower, Lane(text_form, connection.write))
    house.show(HEL)
    connection.full = True
    house.show(LO)
    connection.full = False
    house.show(Delta("!", 0))
    assert await task
    assert connection.data == b"Hel", "once handed back, the lane writes no more"
    a, b = follower.take()
    assert text_form(house.turn, a, b) == b"lo!"


async def test_too_many_entries_at_once_are_for_the_reader_to_take_in_slices():
    house, connection = House(), Connection()
    follower = house.log.follow(house.turn)
    task = await waiting(house, follower, Lane(text_form, connection.write))
    house.show(*[Delta("x", 0)] * (SLICE + 1))
    assert await task
    assert connection.data == b""
    assert follower.take() == (1, 1 + SLICE)


async def test_a_form_that_fails_disturbs_nobody_else():
    house, connection = House(), Connection()

    def broken(turn: TurnLog, a: int, b: int) -> bytes:
        raise ValueError

    one, other = house.log.follow(house.turn), house.log.follow(house.turn)
    failing = await waiting(house, one, Lane(broken, connection.write))
    task = await waiting(house, other, Lane(text_form, connection.write))
    house.show(HEL)
    assert await failing
    assert connection.data == b"Hel"
    assert not task.done()
    other.leave()
    with pytest.raises(ReaderGone):
        await task


async def test_a_quiet_live_reader_is_woken_to_say_that_it_lives():
    house, connection = House(), Connection()
    follower = house.log.follow(house.turn)
    task = await waiting(house, follower, Lane(text_form, connection.write))
    house.log.sweep(0, 15)
    house.show(HEL)
    house.log.sweep(14, 15)
    house.log.sweep(28, 15)
    await asyncio.sleep(0)
    assert not task.done()
    house.log.sweep(30, 15)
    assert await task is False


async def test_entries_that_a_form_says_nothing_of_leave_the_connection_quiet():
    house, connection = House(), Connection()
    follower = house.log.follow(house.turn)
    task = await waiting(house, follower, Lane(lambda turn, a, b: b"", connection.write))
    house.log.sweep(0, 15)
    house.show(HEL)
    house.log.sweep(16, 15)
    assert await task is False
