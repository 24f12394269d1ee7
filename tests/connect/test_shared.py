"""Shared answers: one call for many who ask, for as long as its answer is fresh, and never a bad one for later."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.connect import shared
from trunkline.connect.http import Answer
from trunkline.connect.rate_limit import LimitedError
from trunkline.connect.shared import SharedAnswers

KEY = ("PUT", "/config", "d-1")


def patient(wait_s: float) -> None:
    """Waits as long as it takes."""


class Platform:
    """Answers calls, each one second after the last, and counts them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.status = 200
        self.answers = SharedAnswers(lambda: self.now)

    def call(self, name: str) -> shared.Make:
        async def call(told: shared.OnWait) -> Answer:
            self.calls.append(name)
            status = self.status
            await asyncio.sleep(0)
            self.now += 1
            return Answer(status, {}, name.encode())

        return call

    async def get(self, name: str, body: bytes = b"a", fresh_s: float = 10, key: shared.Key = KEY) -> str:
        return (await self.answers.get(key, body, fresh_s, self.call(name), patient)).body.decode()


async def test_of_those_who_ask_at_once_one_calls():
    platform = Platform()
    assert await asyncio.gather(*(platform.get(f"{n}") for n in range(5))) == ["0"] * 5
    assert platform.calls == ["0"]


async def test_an_answer_does_as_long_as_it_is_fresh():
    platform = Platform()
    await platform.get("first")
    platform.now += 10
    assert await platform.get("second") == "first"
    platform.now += 0.1
    assert await platform.get("third") == "third"


async def test_another_body_under_the_same_topic_takes_the_place_of_the_first():
    platform = Platform()
    said = [await platform.get(name, body) for name, body in [("1", b"a"), ("2", b"b"), ("3", b"a"), ("4", b"a")]]
    assert said == ["1", "2", "3", "3"]


async def test_topics_do_not_wait_for_each_other():
    platform = Platform()
    keys = [("PUT", "/config", f"d-{n}") for n in range(3)]
    assert await asyncio.gather(*(platform.get(key[2], key=key) for key in keys)) == ["d-0", "d-1", "d-2"]


async def test_a_bad_answer_is_for_those_who_waited_for_it_and_for_nobody_later():
    platform = Platform()
    platform.status = 503
    assert await asyncio.gather(platform.get("1"), platform.get("2")) == ["1", "1"]
    platform.status = 200
    assert await platform.get("3") == "3"


async def test_a_call_that_raises_leaves_room_for_the_next():
    platform = Platform()

    async def fail(told: shared.OnWait) -> Answer:
        raise ValueError("no token")

    with pytest.raises(ValueError, match="no token"):
        await platform.answers.get(KEY, b"a", 10, fail, patient)
    assert await platform.get("1") == "1"


async def test_ever_new_topics_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "MAX_KEPT", 3)
    platform = Platform()
    for n in range(5):
        await platform.get(f"{n}", key=("PUT", "/config", f"d-{n}"))
    assert [key[2] for key in platform.answers._kept] == ["d-2", "d-3", "d-4"]


class Held:
    """Calls that land when the test says; `log` holds what begins, lands and is stopped, in its order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = 0.0
        self.answers = SharedAnswers(lambda: self.now)
        self._gates: dict[str, asyncio.Event] = {}

    def ask(self, name: str, body: bytes = b"a") -> asyncio.Task[Answer]:
        async def call(told: shared.OnWait) -> Answer:
            self.log.append(f"{name} begins")
            try:
                await self._gates[name].wait()
            except asyncio.CancelledError:
                self.log.append(f"{name} is stopped")
                raise
            self.log.append(f"{name} lands")
            self.now += 1
            return Answer(200, {}, name.encode())

        self._gates[name] = asyncio.Event()
        return asyncio.ensure_future(self.answers.get(KEY, body, 10, call, patient))

    async def land(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def said(task: asyncio.Task[Answer]) -> bytes:
    assert task.done()
    return task.result().body


async def cancel(*tasks: asyncio.Task[Answer]) -> None:
    for task in tasks:
        task.cancel()
    await settle()
    assert all(task.cancelled() for task in tasks)


async def test_who_is_cancelled_in_the_queue_gives_the_place_up_and_nothing_is_sent_for_it():
    held = Held()
    first, second, third = (held.ask(name, name.encode()) for name in ("1", "2", "3"))
    await settle()
    await cancel(second)
    assert held.log == ["1 begins"]
    await held.land("1", "3")
    assert held.log == ["1 begins", "1 lands", "3 begins", "3 lands"]
    assert [said(task) for task in (first, third)] == [b"1", b"3"]


async def test_a_whole_queue_that_is_cancelled_sends_nothing_more():
    held = Held()
    tasks = [held.ask(f"{n}", f"{n}".encode()) for n in range(30)]
    await settle()
    await cancel(*tasks)
    assert held.log == ["0 begins", "0 is stopped"]
    later = held.ask("later", b"x")
    await held.land("later")
    assert said(later) == b"later"


@pytest.mark.parametrize("begun", [True, False])
async def test_who_makes_a_call_that_others_wait_for_may_leave(begun):
    held = Held()
    before = held.ask("before", b"other")
    await settle()
    if begun:
        await held.land("before")
    first, second, third = (held.ask(name) for name in ("1", "2", "3"))
    await settle()
    await cancel(first)
    await cancel(third)
    await held.land("before", "1")
    assert said(second) == b"1"
    assert held.log == ["before begins", "before lands", "1 begins", "1 lands"]
    assert said(before) == b"before"


async def test_a_call_that_nobody_waits_for_any_more_is_stopped_and_the_next_one_goes_at_once():
    held = Held()
    first, second = held.ask("1"), held.ask("2")
    other = held.ask("other", b"other")
    await settle()
    await cancel(first, second)
    assert held.log == ["1 begins", "1 is stopped", "other begins"]
    await held.land("other")
    assert said(other) == b"other"


async def test_who_asks_for_what_has_just_been_stopped_has_a_call_of_its_own():
    held = Held()
    first = held.ask("1")
    await settle()
    first.cancel()
    second = held.ask("2")
    await settle()
    await held.land("2")
    assert said(second) == b"2"
    assert held.log == ["1 begins", "1 is stopped", "2 begins", "2 lands"]


async def test_of_a_call_that_failed_all_who_waited_for_it_hear_and_nobody_later():
    platform = Platform()

    async def fail(told: shared.OnWait) -> Answer:
        await asyncio.sleep(0)
        raise ValueError("no token")

    asked = [platform.answers.get(KEY, b"a", 10, fail, patient) for _ in range(3)]
    heard = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(error) for error in heard] == ["no token"] * 3
    assert await platform.get("1") == "1"


async def test_topics_that_are_waited_for_are_not_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "MAX_KEPT", 1)
    held, platform = Held(), Platform()
    platform.answers = held.answers
    first = held.ask("1")
    await settle()
    await platform.get("elsewhere", key=("PUT", "/config", "d-2"))
    second = held.ask("2")
    await settle()
    assert held.log == ["1 begins"]
    await held.land("1")
    assert [said(task) for task in (first, second)] == [b"1", b"1"]


async def test_all_who_wait_for_a_call_are_told_of_its_wait_and_each_gives_up_for_itself():
    answers, heard = SharedAnswers(lambda: 0.0), []
    gate = asyncio.Event()

    async def call(told: shared.OnWait) -> Answer:
        told(7.0)
        await gate.wait()
        return Answer(200, {}, b"late")

    def asks(name: str, most_s: float) -> asyncio.Task[Answer]:
        def on_wait(wait_s: float) -> None:
            heard.append((name, wait_s))
            if wait_s > most_s:
                raise LimitedError(wait_s)

        return asyncio.ensure_future(answers.get(KEY, b"a", 10, call, on_wait))

    hasty, patient_one = asks("hasty", 5), asks("patient", 9)
    await settle()
    with pytest.raises(LimitedError):
        await hasty
    late = asks("late", 5)
    with pytest.raises(LimitedError):
        await late
    gate.set()
    assert (await patient_one).body == b"late"
    assert heard == [("hasty", 7.0), ("patient", 7.0), ("late", 7.0)]


async def test_a_call_that_is_too_late_for_everybody_is_not_made():
    answers, made = SharedAnswers(lambda: 0.0), []

    async def call(told: shared.OnWait) -> Answer:
        told(7.0)
        made.append(1)
        return Answer(200, {}, b"")

    def on_wait(wait_s: float) -> None:
        raise LimitedError(wait_s)

    asked = [asyncio.ensure_future(answers.get(KEY, b"a", 10, call, on_wait)) for _ in range(2)]
    assert all(isinstance(error, LimitedError) for error in await asyncio.gather(*asked, return_exceptions=True))
    assert made == []
