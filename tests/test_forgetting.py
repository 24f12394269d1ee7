"""Requests of the command line to forget: met once each, and tried again where they could not be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from trunkline import forgetting as module
from trunkline.core.errors import Overloaded
from trunkline.forgetting import forget_as_asked
from trunkline.records.standing import ForgetRequest


class Asked:
    """Requests, and turns that forget: what `fails` names cannot be met."""

    def __init__(self, *conversations: str) -> None:
        self.requests = [ForgetRequest(n, name, None) for n, name in enumerate(conversations)]
        self.fails: set[str] = set()
        self.flushes = True
        self.forgotten: list[str] = []
        self.looked = 0
        self.told: list[object] = []
        self.house = SimpleNamespace(telemetry=SimpleNamespace(tell=self.told.append))

    async def forget_conversation(self, conversation_id, principal):
        if conversation_id in self.fails:
            raise Overloaded("store_unavailable", "not now")
        self.forgotten.append(conversation_id)
        return 1

    def asked_to_forget(self):
        self.looked += 1
        return list(self.requests)

    def has_forgotten(self, number):
        self.requests = [request for request in self.requests if request.number != number]

    async def flush(self):
        return self.flushes

    async def look(self, times: int) -> None:
        """Let it look so many times, and once more begin to."""
        durable = SimpleNamespace(records=self, recorder=self)
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


async def test_a_request_that_cannot_be_met_now_is_tried_again():
    asked = Asked("c1")
    asked.fails = {"c1"}
    await asked.look(2)
    assert [request.conversation_id for request in asked.requests] == ["c1"]
    asked.fails, asked.looked = set(), 0
    await asked.look(2)
    assert (asked.forgotten, asked.requests) == (["c1"], [])


async def test_a_request_is_done_only_when_the_keys_are_gone_too():
    asked = Asked("c1")
    asked.flushes = False
    await asked.look(2)
    assert [request.conversation_id for request in asked.requests] == ["c1"]


async def test_a_request_that_cannot_be_met_keeps_no_other_waiting():
    asked = Asked("c1", "c2")
    asked.fails = {"c1"}
    await asked.look(3)
    assert asked.forgotten[:1] == ["c2"]
