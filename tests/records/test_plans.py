"""How the databases answer at 100,000 turns: every statement that the relay repeats goes by an index."""

# ruff: noqa: S608 - the statements are made of words of this file

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from records.archived import Place, turn, turn_id
from trunkline.core.errors import TurnForgotten
from trunkline.records.records import Records
from trunkline.stores.archive import Claim, ConversationKey
from trunkline.stores.base import Query

COUNT = 100_000
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COUNT}) "
# Of 33 turns one is kept, as with a retention of a day; the others are known as forgotten.
FILL = (
    (
        "INSERT INTO turns (id, principal, conversation_id, ended_ms, started, ended) "
        "SELECT 'turn_k' || i, 'p' || i % 10, 'c' || i % 1000, i, :started, :ended FROM n WHERE i % 33 = 0"
    ),
    "INSERT INTO turns (id, principal, forgotten_ms) SELECT 'turn_f' || i, 'p' || i % 10, i FROM n WHERE i % 33 > 0",
    "INSERT INTO turn_logs (id, entries) SELECT 'turn_k' || i, 'x' FROM n WHERE i % 33 = 0",
    "INSERT INTO claims SELECT 'key', 'k' || i, 't', i, 'x' FROM n",
    "INSERT INTO conversation_keys SELECT 'p' || i % 10, 'c' || i, 'x', 'x', i FROM n",
)
EVENTS = {"started": turn(1)[0].json.decode(), "ended": turn(1)[-1].json.decode()}
IN_ORDER = (
    r"SCAN (turns USING INDEX turns_by_id|conversation_keys USING INDEX conversation_keys_by_use)|"
    r"SCALAR SUBQUERY \d+\nSCAN turn_logs"
)
"""The newest of all, and the oldest log that is not empty, are read off the end of an index."""


@pytest.fixture
def full(place: Place) -> Records:
    records = place.open()
    for statement in FILL:
        head, select = statement.split(" SELECT ", 1)
        text = f"{head} {NUMBERS} SELECT {select}"
        if place.engine.dialect.name == "postgresql":
            text = text.replace("'x'", r"'x'\:\:bytea")
        place.run(text, **(EVENTS if ":started" in text else {}))
    place.run("ANALYZE")
    return records


def statements(records: Records) -> Iterator[tuple[str, Any]]:
    """What each method sends."""
    sent: list[tuple[str, Any]] = []

    def note(connection, cursor, statement, parameters, context, many) -> None:
        sent.append((statement, parameters[0] if many else parameters))

    engine = records._database._engine
    event.listen(engine, "before_cursor_execute", note)
    for query in (Query(), Query("p7"), Query(None, "c7"), Query("p7", "c7")):
        for before in (None, "turn_k5"):
            records.list(query._replace(before=before))
    records.find(turn_id(1))
    with pytest.raises(TurnForgotten):
        records.find("turn_f1")
    records.known([turn_id(1), "turn_k33"])
    records.keep(turn_id(1), turn(1, "Hello"))
    records.forget([(turn_id(1), "anna")], 5)
    records.claim([Claim("key", "a", "t", 5)])
    records.claims("key", COUNT - 100, 100)
    records.release([("key", "a")])
    records.keep_conversations([ConversationKey("p1", "c1", b"k", b"n", 5)])
    records.conversations(100)
    records.forget_conversations([("p1", "c1")])
    records.expire(40, 40, limit=100)
    event.remove(engine, "before_cursor_execute", note)
    return (each for each in sent if re.match(r"(SELECT|INSERT|UPDATE|DELETE)\b", each[0]))


def test_no_statement_goes_through_a_whole_table(full):
    seen = 0
    for statement, parameters in list(statements(full)):
        plan = plan_of(full, statement, parameters)
        assert not re.search(r"Seq Scan|SCAN (?!\(subquery)", re.sub(IN_ORDER, "", plan)), f"{statement}\n{plan}"
        seen += 1
    assert seen >= 25


def plan_of(records: Records, statement: str, parameters: Any) -> str:
    database = records._database
    explain = "EXPLAIN QUERY PLAN " if database.setting == "store.data_dir" else "EXPLAIN "
    with database.writing() as connection:
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
