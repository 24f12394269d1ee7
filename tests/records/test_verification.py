"""Verifying: whole records have no findings, and each kind of damage is found and named."""

# ruff: noqa: S608 - the statements are made of words of this file

from __future__ import annotations

import pytest

from records.archived import turn, turn_id
from trunkline.core.events import Ended, Entry
from trunkline.records import verification
from trunkline.records.packing import pack
from trunkline.records.verification import Finding


@pytest.fixture
def damaged(place):
    """Keeps three turns and forgets one; returns what is found after a statement has done its damage."""
    records = place.open()
    for number in (1, 2, 3):
        records.keep(turn_id(number), turn(number, "Hello"))
    records.forget([(turn_id(3), "anna")], 5)

    def run(statement: str, **values) -> list[Finding]:
        place.run(statement, turn=turn_id(2), gone=turn_id(3), **values)
        return [finding for progress in records.verify() for finding in progress.findings]

    return run


def log_of(*entries: Entry) -> bytes:
    return pack(entries)


def test_whole_records_have_no_findings(damaged):
    assert damaged("SELECT 1") == []


def test_it_goes_on_in_steps_and_tells_how_far_it_is(place, monkeypatch):
    monkeypatch.setattr(verification, "_TURNS_AFTER", verification._TURNS_AFTER.limit(2))
    records = place.open()
    for number in range(5):
        records.keep(turn_id(number), turn(number, "Hello"))
    assert [progress.checked for progress in records.verify()] == [0, 2, 4, 5, 5]


A, B, C = turn(2, "Hello")[:3]
END = turn(2, "Hello")[3]
LOGS = {
    "no log": (b"\x01nonsense", ["its log is damaged: it cannot be decompressed"]),
    "another format": (b"\x07", [r"its log is damaged: it begins with b'\x07', expected the format b'\x01'"]),
    "no beginning": (
        log_of(B, C, END),
        ["its log is damaged: the entries of an ended turn begin with Started and end with Ended"],
    ),
    "no end": (
        log_of(A, B, C),
        ["its log is damaged: the entries of an ended turn begin with Started and end with Ended"],
    ),
    "nothing": (log_of(), ["its log is damaged: the entries of an ended turn begin with Started and end with Ended"]),
    "two ends": (log_of(A, B, Entry(3, 2_003, Ended("failed", "store_error")), END), ["its log ends 2 times"]),
    "an offset twice": (log_of(A, B, Entry(2, 2_003, C.event), END), ["the offsets of its log do not grow"]),
    "another turn's": (
        pack(turn(7, "Hello")),
        [
            "its log is that of another turn",
            "its column started is not the event of its log",
            "its column started_ms disagrees with its log",
            "its column ended_ms disagrees with its log",
        ],
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_damaged_log_is_found(damaged, name):
    log, expected = LOGS[name]
    findings = damaged("UPDATE turn_logs SET entries = :log WHERE id = :turn", log=log)
    assert findings == [Finding(turn_id(2), detail) for detail in expected]


COLUMNS = {
    "principal": "'bert'",
    "conversation_id": "'c9'",
    "started_ms": "1",
    "ended_ms": "NULL",
    "outcome": "'failed'",
    "reason": "'guard_rule'",
    "upstream": "'sales'",
    "model": "'m'",
    "tail": "99",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_that_disagrees_with_the_log_is_found(damaged, column):
    findings = damaged(f"UPDATE turns SET {column} = {COLUMNS[column]} WHERE id = :turn")
    assert findings == [Finding(turn_id(2), f"its column {column} disagrees with its log")]


@pytest.mark.parametrize("column", ["started", "ended"])
@pytest.mark.parametrize("damage", ["NULL", "'{'", """'{"type":"notice","kind":"x"}'"""])
def test_an_event_that_disagrees_with_the_log_is_found(damaged, column, damage):
    damage = damage.replace(":", r"\:")
    findings = damaged(f"UPDATE turns SET {column} = {damage} WHERE id = :turn")
    assert findings == [Finding(turn_id(2), f"its column {column} is not the event of its log")]


def test_a_log_that_is_missing_is_found(damaged):
    findings = damaged("DELETE FROM turn_logs WHERE id = :turn")
    assert findings == [Finding(turn_id(2), "it has no log")]


def test_a_row_that_is_missing_is_found(damaged):
    findings = damaged("DELETE FROM turns WHERE id = :turn")
    assert findings == [Finding(turn_id(2), "it has a log and no row")]


def test_what_is_left_of_a_forgotten_turn_is_found(damaged):
    findings = damaged("UPDATE turns SET ended = 'words', tail = 3 WHERE id = :gone")
    assert findings == [Finding(turn_id(3), "it was forgotten and still has tail, ended")]


def test_the_log_that_is_left_of_a_forgotten_turn_is_found(damaged):
    insert = "INSERT INTO turn_logs (id, entries) VALUES (:gone, :log) "
    findings = damaged(insert + "ON CONFLICT (id) DO UPDATE SET entries = excluded.entries", log=log_of(A, END))
    assert findings == [Finding(turn_id(3), "it was forgotten and still has entries")]
