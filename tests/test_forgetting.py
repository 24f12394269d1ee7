"""Requests of the command line to forget: met once each, and tried again where they could not be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from trunkline import forgetting as module
from trunkline.core.errors import Overloaded
from trunkline.forgetting import forget_as_asked
from trunkline.records.standing import ForgetRequest
from trunkline.telemetry import StoreFailed


class Asked:
    """Requests, and turns that forget: what `fails` names cannot be met."""

    def __init__(self, *conversations: str) -> None:
        self.requests = [ForgetRequest(n, name, None) for n, name in enumerate(conversations)]
        self.fails: set[str] = set()
        self.why: dict[int, str] = {}
        self.forgotten: list[str] = []
        self.looked = self.wiped = 0
        self.told: list[object] = []
        self.house = SimpleNamespace(telemetry=SimpleNamespace(tell=self.told.append))

    async def forget_conversation(self, conversation_id, principal):
        if conversation_id in self.fails:
            raise Overloaded("store_unavailable", "not now")
        self.forgotten.append(conversation_id)
        return 1

    def wipe(self):
        self.wiped += 1
        return False

    def asked_to_forget(self):
        self.looked += 1
        return list(self.requests)

    def has_forgotten(self, number):
        self.requests = [request for request in self.requests if request.number != number]

    def cannot_forget(self, number, why):
        self.why[number] = why

    async def look(self, times: int) -> None:
        """Let it look so many times, and once more begin to."""
        durable = SimpleNamespace(records=self)
        task = asyncio.ensure_future(forget_as_asked(self, durable))  # type: ignore[arg-type]
        try:
            while self.looked <= times and not task.done():
                await asyncio.sleep(0)
        finally:
            task.cancel()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0)


async def test_each_request_is_met_once_and_in_order():
    asked = Asked("c1", "c2")
    await asked.look(3)
    assert (asked.forgotten, asked.requests) == (["c1", "c2"], [])
    assert asked.wiped >= 3, "what is owed of others is tried at every look"


async def test_a_request_that_cannot_be_met_now_is_tried_again():
    asked = Asked("c1")
    asked.fails = {"c1"}
    await asked.look(2)
    assert [request.conversation_id for request in asked.requests] == ["c1"]
    asked.fails, asked.looked = set(), 0
    await asked.look(2)
    assert (asked.forgotten, asked.requests) == (["c1"], [])


async def test_who_asked_is_told_what_is_in_the_way(monkeypatch):
    asked = Asked("c1")
    asked.fails = {"c1"}
    await asked.look(2)
    assert asked.why == {0: "not now"}
    assert asked.told[0] == StoreFailed("forget", "not now")
    asked.cannot_forget = Mock(side_effect=Overloaded("store_unavailable", "not even that"))
    asked.looked = 0
    await asked.look(2)
    assert asked.cannot_forget.call_count >= 2, "and where that fails, it is tried again all the same"


async def test_a_fault_of_ours_is_told_without_its_words():
    asked = Asked("c1")
    asked.forget_conversation = Mock(side_effect=ValueError("a secret"))
    await asked.look(1)
    [fact, *_] = asked.told
    assert (fact.where, fact.kind, asked.why) == ("forget", "ValueError", {})
    assert [request.conversation_id for request in asked.requests] == ["c1"]


async def test_a_request_that_cannot_be_met_keeps_no_other_waiting():
    asked = Asked("c1", "c2")
    asked.fails = {"c1"}
    await asked.look(3)
    assert asked.forgotten[:1] == ["c2"]
