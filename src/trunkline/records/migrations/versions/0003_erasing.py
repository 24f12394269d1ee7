"""What claims say about words is keyed and erased with their turns; what delays a request to forget."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make what is new, and drop the digests without a key: nothing meets them any more, and words may be guessed."""
    op.create_index("claims_by_turn", "claims", ["turn"])
    op.add_column("forget_requests", sa.Column("why", sa.Text))
    claims = sa.table("claims", sa.column("kind", sa.Text), sa.column("about", sa.LargeBinary))
    op.execute(sa.update(claims).values(about=b""))
    op.execute(sa.delete(claims).where(claims.c.kind == "idempotency"))
