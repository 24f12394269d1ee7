"""Ended turns in memory: the newest, so many and so much of them at most."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from stores.writing import COMPLETED, entries, started, turn_id
from trunkline.core.events import AnyEvent, Delta, ToolCall
from trunkline.stores import recent as module
from trunkline.stores.base import TurnLog
from trunkline.stores.recent import Recent, weight


def turn(number: int, *texts: str, at_ms: int = 1_000) -> TurnLog:
    found = entries(started(number), *(Delta(text, 0) for text in texts), COMPLETED, at_ms=at_ms)
    return TurnLog.of(turn_id(number), found)


def kept(recent: Recent) -> list[int]:
    return [number for number in range(1, 10) if recent.get(turn_id(number)) is not None]


def test_the_turns_that_nobody_asked_for_longest_go_first(monkeypatch):
    monkeypatch.setattr(module, "MAX_TURNS", 2)
    recent = Recent()
    for number in (1, 2):
        recent.add(turn(number))
    assert recent.get(turn_id(1)) is not None
    recent.add(turn(3))
    assert kept(recent) == [1, 3]


def test_there_is_only_so_much_of_them_however_often_they_come(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 2 * weight(turn(1, "x" * 1_000)))
    recent = Recent()
    for number in (1, 2, 2, 2, 1):
        recent.add(turn(number, "x" * 1_000))
    assert kept(recent) == [1, 2]
    recent.add(turn(3, "y"))
    assert kept(recent) == [2, 3]
    recent.add(turn(4, "x" * 5_000))
    assert len(recent) == 0
    recent.add(turn(5, "x" * 1_000))
    recent.add(turn(6, "x" * 1_000))
    assert kept(recent) == [5, 6]


def test_those_that_ended_before_a_time_go(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 2 * weight(turn(1)))
    recent = Recent()
    recent.add(turn(1, at_ms=1_000))
    recent.add(turn(2, at_ms=2_000))
    recent.drop_before(2_000)
    assert kept(recent) == [2]
    recent.add(turn(3))
    assert kept(recent) == [2, 3]


@pytest.mark.parametrize(
    "events",
    [
        [Delta(f"tok{n} ", 0) for n in range(5_000)],
        [Delta("x" * 100_000, 0)],
        [Delta("世" * 100_000, 0)],
        [ToolCall(0, 0, "call", "name", "y" * 100_000)],
    ],
    ids=["tokens", "one long text", "a text in Chinese", "a tool call"],
)
def test_what_a_turn_weighs_is_about_what_it_takes(events):
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        copies = msgspec.json.decode(msgspec.json.encode(events), type=list[AnyEvent])
        held = TurnLog.of(turn_id(1), entries(started(1), *copies, COMPLETED))
        assert sum(len(entry.json) for entry in held.entries)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.5 < weight(held) / taken < 2
