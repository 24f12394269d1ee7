"""Shared answers: one call for many who ask, for as long as its answer is fresh, and never a bad one for later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from trunkline.connect import shared
from trunkline.connect.http import Answer
from trunkline.connect.shared import SharedAnswers

KEY = ("PUT", "/config", "d-1")


class Platform:
    """Answers calls, each one second after the last, and counts them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.status = 200
        self.answers = SharedAnswers(lambda: self.now)

    def call(self, name: str) -> Callable[[], Awaitable[Answer]]:
        async def call() -> Answer:
            self.calls.append(name)
            status = self.status
            await asyncio.sleep(0)
            self.now += 1
            return Answer(status, {}, name.encode())

        return call

    async def get(self, name: str, body: bytes = b"a", fresh_s: float = 10, key: shared.Key = KEY) -> str:
        return (await self.answers.get(key, body, fresh_s, self.call(name))).body.decode()


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

    async def fail() -> Answer:
        raise ValueError("no token")

    with pytest.raises(ValueError, match="no token"):
        await platform.answers.get(KEY, b"a", 10, fail)
    assert await platform.get("1") == "1"


async def test_ever_new_topics_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "MAX_KEPT", 3)
    platform = Platform()
    for n in range(5):
        await platform.get(f"{n}", key=("PUT", "/config", f"d-{n}"))
    assert [key[2] for key in platform.answers._kept] == ["d-2", "d-3", "d-4"]
