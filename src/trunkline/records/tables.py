"""The tables of the records, the same in SQLite and PostgreSQL; `migrations/` makes them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA: Final = MetaData()

# Ids are compared byte by byte, as Python does, whatever the language of a PostgreSQL server is.
_ID: Final = Text().with_variant(String(collation="C"), "postgresql")
_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by themselves in an INTEGER only

TURNS: Final = Table(
    "turns",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("conversation_id", Text),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("outcome", Text),
    Column("reason", Text),
    Column("upstream", Text),
    Column("model", Text),
    Column("tail", BigInteger),
    Column("started", Text),
    Column("ended", Text),
    Column("forgotten_ms", BigInteger),
)
"""Ended turns without their texts; `started` and `ended` are those events in native JSON. Of a forgotten turn only
`id`, `principal` and `forgotten_ms` are left.
"""

TURN_LOGS: Final = Table(
    "turn_logs",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("entries", LargeBinary, nullable=False),
)
"""The entries of kept turns as `packing.pack` writes them: the only place of texts. In SQLite an empty
one stands for a while where one was erased.
"""

CLAIMS: Final = Table(
    "claims",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("turn", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("about", LargeBinary, nullable=False),
)
"""What stands for a turn until a time. `about`, a keyed digest of words, is empty once the turn is forgotten."""

CONVERSATION_KEYS: Final = Table(
    "conversation_keys",
    METADATA,
    Column("principal", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("names", LargeBinary, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
)
"""What the digests and pseudonyms of a conversation are made with."""

FORGET_REQUESTS: Final = Table(
    "forget_requests",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("conversation_id", Text, nullable=False),
    Column("principal", Text),
    Column("asked_ms", BigInteger, nullable=False),
    Column("why", Text),
    sqlite_autoincrement=True,  # a number means one request, also after its row is gone
)
"""What another process asks the relay to erase, and why that has to wait."""

OWNER: Final = Table(
    "owner",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("folder", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)
"""The data folder whose journal this archive goes with: one row, where the database is not in that folder."""


def _only(condition: ColumnElement[bool]) -> dict[str, Any]:
    return {"sqlite_where": condition, "postgresql_where": condition}


# A turn is read for a day, say, and known as forgotten for 30 more: lists must not walk through the forgotten.
_KEPT: Final = _only(TURNS.c.forgotten_ms.is_(None))
_FORGOTTEN: Final = _only(TURNS.c.forgotten_ms.is_not(None))

Index("turns_by_id", TURNS.c.id, **_KEPT)
Index("turns_by_principal", TURNS.c.principal, TURNS.c.id, **_KEPT)
Index("turns_by_principal_conversation", TURNS.c.principal, TURNS.c.conversation_id, TURNS.c.id, **_KEPT)
Index("turns_by_conversation", TURNS.c.conversation_id, TURNS.c.id, **_KEPT)
Index("turns_by_end", TURNS.c.ended_ms, **_KEPT)
Index("turns_by_forgetting", TURNS.c.forgotten_ms, **_FORGOTTEN)
Index("claims_by_time", CLAIMS.c.until_ms)
Index("claims_by_turn", CLAIMS.c.turn)
Index("conversation_keys_by_use", CONVERSATION_KEYS.c.used_ms)
