"""Checks that everything in the records can be read and that its parts agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, bindparam, func, select
from sqlalchemy.exc import DatabaseError as DriverError

from trunkline.core.events import Ended, Entry
from trunkline.records.base import Database
from trunkline.records.failing import meaning
from trunkline.records.packing import unpack
from trunkline.records.tables import TURN_LOGS, TURNS
from trunkline.records.turn_rows import TOMBSTONE, read_event, row_of

_BATCH: Final = 200

_TURNS_AFTER: Final = (
    select(TURNS, TURN_LOGS.c.entries)
    .select_from(TURNS.outerjoin(TURN_LOGS, TURNS.c.id == TURN_LOGS.c.id))
    .where(TURNS.c.id > bindparam("after"))
    .order_by(TURNS.c.id)
    .limit(_BATCH)
)
_LOGS_AFTER: Final = (
    select(TURN_LOGS.c.id, TURNS.c.id.label("turn"), (func.length(TURN_LOGS.c.entries) > 0).label("holds"))
    .select_from(TURN_LOGS.outerjoin(TURNS, TURNS.c.id == TURN_LOGS.c.id))
    .where(TURN_LOGS.c.id > bindparam("after"))
    .order_by(TURN_LOGS.c.id)
    .limit(_BATCH)
)


class Finding(NamedTuple):
    """Something that is wrong: with a turn, or, where `turn` is empty, with the database."""

    turn: str
    detail: str


class Progress(NamedTuple):
    """How many turns have been checked so far, and what was found in the last step."""

    checked: int
    findings: tuple[Finding, ...]


def verify(database: Database) -> Iterator[Progress]:
    """Check the database itself, then every turn, then for logs without one; in steps, so that nobody has to wait."""
    checked = 0
    try:
        yield Progress(checked, tuple(Finding("", detail) for detail in database.defects()))
        for rows in _batches(database, _TURNS_AFTER):
            checked += len(rows)
            yield Progress(checked, tuple(Finding(row["id"], detail) for row in rows for detail in _check(row)))
        for rows in _batches(database, _LOGS_AFTER):
            orphans = [
                Finding(row["id"], "it has a log and no row") for row in rows if row["turn"] is None and row["holds"]
            ]
            yield Progress(checked, tuple(orphans))
    except DriverError as error:
        yield Progress(checked, (Finding("", f"the rest cannot be read: {meaning(error)}"),))


def _batches(database: Database, statement: Any) -> Iterator[Sequence[RowMapping]]:
    after = ""
    while True:
        with database.reading() as connection:
            rows = connection.execute(statement, {"after": after}).mappings().all()
        if not rows:
            return
        yield rows
        after = rows[-1]["id"]


def _check(row: RowMapping) -> list[str]:
    if row["forgotten_ms"] is not None:
        left = [name for name, value in row.items() if value not in (None, b"") and name not in TOMBSTONE]
        return [f"it was forgotten and still has {', '.join(left)}"] if left else []
    if row["entries"] is None:
        return ["it has no log"]
    try:
        entries = unpack(row["entries"])
        expected = row_of(row["id"], entries)
    except ValueError as error:
        return [f"its log is damaged: {error}"]
    return [*_check_entries(row["id"], entries), *_check_columns(row, entries, expected)]


def _check_entries(turn_id: str, entries: list[Entry]) -> Iterator[str]:
    if getattr(entries[0].event, "turn", None) != turn_id:
        yield "its log is that of another turn"
    if any(entry.offset >= following.offset for entry, following in pairwise(entries)):
        yield "the offsets of its log do not grow"
    unknown = sum(not entry.is_known for entry in entries)
    if unknown:
        yield f"{unknown} of its events are of another version of trunkline"
    ends = sum(isinstance(entry.event, Ended) for entry in entries)
    if ends != 1:
        yield f"its log ends {ends} times"


def _check_columns(row: RowMapping, entries: list[Entry], expected: dict[str, Any]) -> Iterator[str]:
    for name, entry in (("started", entries[0]), ("ended", entries[-1])):
        del expected[name]  # the same event may be written in two ways
        if read_event(row[name]) != entry.event:
            yield f"its column {name} is not the event of its log"
    for name, value in expected.items():
        if row[name] != value:
            yield f"its column {name} disagrees with its log"
