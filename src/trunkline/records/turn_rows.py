"""Turns in their two tables: what is listed in `turns`, what was said in `turn_logs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import BindParameter, Connection, RowMapping, bindparam, func, null, select, update

from trunkline.core import events
from trunkline.core.errors import DatabaseError, TurnForgotten
from trunkline.core.events import AnyEvent, Ended, Entry, Started
from trunkline.core.record import TurnRecord
from trunkline.records.base import IN_ONE_STATEMENT, Database
from trunkline.records.packing import pack, unpack
from trunkline.records.tables import TURN_LOGS, TURNS
from trunkline.stores.base import Query

TOMBSTONE: Final = frozenset({"id", "principal", "forgotten_ms"})
"""What is left of a forgotten turn."""

_KEPT: Final = TURNS.c.forgotten_ms.is_(None)
_ERASED: Final = {column.name: null() for column in TURNS.c if column.name not in TOMBSTONE}
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)

_FIND: Final = (
    select(TURNS.c.principal, TURNS.c.forgotten_ms, TURN_LOGS.c.entries)
    .select_from(TURNS.outerjoin(TURN_LOGS, TURNS.c.id == TURN_LOGS.c.id))
    .where(TURNS.c.id == bindparam("turn_id"))
)
_KNOWN: Final = select(TURNS.c.id, _KEPT.label("kept")).where(TURNS.c.id.in_(_IDS))
_SUMMARY: Final = select(
    TURNS.c.id, TURNS.c.started, TURNS.c.ended, TURNS.c.tail, TURNS.c.started_ms, TURNS.c.ended_ms
).where(_KEPT)
_EXPIRED: Final = (
    select(TURNS.c.id)
    .where(_KEPT, TURNS.c.ended_ms < bindparam("before_ms"))
    .order_by(TURNS.c.ended_ms)
    .limit(bindparam("at_most"))
)
_ERASE: Final = update(TURNS).where(TURNS.c.id.in_(_IDS)).values(_ERASED | {"forgotten_ms": bindparam("now_ms")})


class TurnRows:
    """Reads and writes turns with a connection of the caller's, who holds the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        row = database.insert(TURNS)
        kept_already = row.on_conflict_do_nothing(index_elements=[TURNS.c.id])
        self._add = kept_already.execution_options(preserve_rowcount=True)
        self._add_log = database.insert(TURN_LOGS)
        first_time = func.coalesce(TURNS.c.forgotten_ms, row.excluded.forgotten_ms)
        self._forget = row.on_conflict_do_update(
            index_elements=[TURNS.c.id], set_=_ERASED | {"forgotten_ms": first_time}
        )

    def add(self, connection: Connection, turn_id: str, entries: Sequence[Entry]) -> bool:
        """Add an ended turn; return False, having done nothing, where it is known already.

        Raises `ValueError` where the entries are not those of an ended turn.
        """
        if connection.execute(self._add, row_of(turn_id, entries)).rowcount == 0:
            return False
        connection.execute(self._add_log, {"id": turn_id, "entries": pack(entries)})
        return True

    def find(self, connection: Connection, turn_id: str) -> list[Entry] | None:
        """Return the entries of a turn. Raises `TurnForgotten`, and `DatabaseError` where they cannot be read."""
        row = connection.execute(_FIND, {"turn_id": turn_id}).one_or_none()
        if row is None:
            return None
        if row.forgotten_ms is not None:
            raise TurnForgotten(turn_id, row.principal)
        try:
            return unpack(row.entries or b"")
        except ValueError as error:
            raise DatabaseError(f"The log of turn {turn_id} is damaged: {error}.") from None

    def known(self, connection: Connection, turn_ids: Sequence[str]) -> dict[str, bool]:
        """Tell which turns are here: True where kept, False where forgotten."""
        found: dict[str, bool] = {}
        for start in range(0, len(turn_ids), IN_ONE_STATEMENT):
            some = turn_ids[start : start + IN_ONE_STATEMENT]
            found.update((row.id, bool(row.kept)) for row in connection.execute(_KNOWN, {"ids": some}))
        return found

    def forget(self, connection: Connection, turns: Sequence[tuple[str, str]], now_ms: int) -> None:
        """Erase turns, given as (id, principal), and know them as forgotten; one forgotten before stays as it is."""
        rows = [{"id": turn_id, "principal": principal, "forgotten_ms": now_ms} for turn_id, principal in turns]
        connection.execute(self._forget, rows)
        self._erase_logs(connection, [turn_id for turn_id, _ in turns])

    def expire(self, connection: Connection, before_ms: int, now_ms: int, limit: int) -> int:
        """Erase up to `limit` turns that ended before a time, the oldest first; return how many."""
        found = connection.execute(_EXPIRED, {"before_ms": before_ms, "at_most": limit}).scalars().all()
        for start in range(0, len(found), IN_ONE_STATEMENT):
            connection.execute(_ERASE, {"ids": found[start : start + IN_ONE_STATEMENT], "now_ms": now_ms})
        self._erase_logs(connection, found)
        return len(found)

    def _erase_logs(self, connection: Connection, turn_ids: Sequence[str]) -> None:
        for start in range(0, len(turn_ids), IN_ONE_STATEMENT):
            self._database.erase_logs(connection, turn_ids[start : start + IN_ONE_STATEMENT])

    def list(self, connection: Connection, query: Query) -> list[TurnRecord]:
        """Return what is known of kept turns without their texts, the newest first."""
        if query.state == "open":
            return []
        statement = _SUMMARY.order_by(TURNS.c.id.desc()).limit(query.limit)
        if query.principal is not None:
            statement = statement.where(TURNS.c.principal == query.principal)
        if query.conversation_id is not None:
            statement = statement.where(TURNS.c.conversation_id == query.conversation_id)
        if query.before is not None:
            statement = statement.where(TURNS.c.id < query.before)
        return [_record(row) for row in connection.execute(statement).mappings()]


def row_of(turn_id: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the row that `turns` has of an ended turn. Raises `ValueError` where the entries are those of none."""
    first, last = (entries[0], entries[-1]) if entries else (None, None)
    if first is None or last is None or not isinstance(first.event, Started) or not isinstance(last.event, Ended):
        raise ValueError("the entries of an ended turn begin with Started and end with Ended")
    started, ended = first.event, last.event
    return {
        "id": turn_id,
        "principal": started.principal,
        "conversation_id": started.conversation_id,
        "started_ms": first.at_ms,
        "ended_ms": last.at_ms,
        "outcome": ended.outcome,
        "reason": ended.reason,
        "upstream": started.upstream,
        # A client may ask for any model, and PostgreSQL has no place for U+0000 in a text.
        "model": started.model.replace("\0", "\ufffd"),
        "tail": last.offset,
        "started": first.json.decode(),
        "ended": last.json.decode(),
    }


def read_event(text: str | None) -> AnyEvent | None:
    """Read the event of a column; None where it holds none."""
    try:
        return events.read_event((text or "").encode())[0]
    except msgspec.DecodeError:
        return None


def _record(row: RowMapping) -> TurnRecord:
    started, ended = read_event(row["started"]), read_event(row["ended"])
    if not isinstance(started, Started) or not isinstance(ended, Ended):
        raise DatabaseError(f"The row of turn {row['id']} is damaged.")
    record = TurnRecord(started, tail=row["tail"], usage=ended.usage, ended=ended)
    record.started_ms, record.ended_ms = row["started_ms"], row["ended_ms"]
    return record
