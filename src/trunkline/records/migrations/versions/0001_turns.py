"""Turns and their logs, claims, conversation keys, requests to forget."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    _turns()
    op.create_table(
        "claims",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("turn", sa.Text, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("about", sa.LargeBinary, nullable=False),
    )
    op.create_index("claims_by_time", "claims", ["until_ms"])
    op.create_table(
        "conversation_keys",
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("names", sa.LargeBinary, nullable=False),
        sa.Column("used_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("conversation_keys_by_use", "conversation_keys", ["used_ms"])
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "forget_requests",
        sa.Column("number", number, primary_key=True, autoincrement=True),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("principal", sa.Text),
        sa.Column("asked_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )


def _turns() -> None:
    turn_id = sa.Text().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "turns",
        sa.Column("id", turn_id, primary_key=True),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("upstream", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("tail", sa.BigInteger),
        sa.Column("started", sa.Text),
        sa.Column("ended", sa.Text),
        sa.Column("forgotten_ms", sa.BigInteger),
    )
    kept, forgotten = _only("forgotten_ms IS NULL"), _only("forgotten_ms IS NOT NULL")
    op.create_index("turns_by_id", "turns", ["id"], **kept)
    op.create_index("turns_by_principal", "turns", ["principal", "id"], **kept)
    op.create_index("turns_by_principal_conversation", "turns", ["principal", "conversation_id", "id"], **kept)
    op.create_index("turns_by_conversation", "turns", ["conversation_id", "id"], **kept)
    op.create_index("turns_by_end", "turns", ["ended_ms"], **kept)
    op.create_index("turns_by_forgetting", "turns", ["forgotten_ms"], **forgotten)
    op.create_table(
        "turn_logs",
        sa.Column("id", turn_id, primary_key=True),
        sa.Column("entries", sa.LargeBinary, nullable=False),
    )
    if op.get_context().dialect.name == "postgresql":
        # They are compressed already; the server need not try.
        op.execute("ALTER TABLE turn_logs ALTER COLUMN entries SET STORAGE EXTERNAL")


def _only(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
