"""What Alembic runs to migrate: in the transaction of a connection that `trunkline.records.migration` gives it."""

from __future__ import annotations

from alembic import context

from trunkline.records.migration import REVISION_TABLE
from trunkline.records.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=REVISION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
