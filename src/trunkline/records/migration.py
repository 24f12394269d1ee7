"""Brings the tables of a database up to date, or says that a newer version of trunkline made them."""

from __future__ import annotations

import threading
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from trunkline.core.errors import Fault, SettingsError
from trunkline.records.base import Database

HEAD: Final = "0003"
"""The newest revision in `migrations/versions`."""

REVISION_TABLE: Final = "trunkline_revision"
"""Where Alembic writes the revision of the tables: not its default, which other programs use as well."""

# Alembic keeps what it is at in its modules: two relays of one process that start at once would meet there.
_alone = threading.Lock()

_REVISION: Final = Table(REVISION_TABLE, MetaData(), Column("version_num", String(32)))


def check_version(database: Database) -> None:
    """Raise `SettingsError` where the tables are not those of this version; change nothing.

    Raises what SQLAlchemy raises.
    """
    with database.reading() as connection:
        current = _revision(connection)
    if current != HEAD:
        detail = (
            f"its tables are not those of this version of trunkline (revision {str(current)[:32]}, expected {HEAD}). "
            "Use the command of the version that the relay runs; a newer relay brings them up to date when it starts."
        )
        raise SettingsError([Fault(database.setting, detail)])


def bring_up_to_date(database: Database) -> None:
    """Migrate to `HEAD` where the tables are older or none. Raises `SettingsError`, and what SQLAlchemy raises."""
    with database.reading() as connection:
        current = _revision(connection)
    if current != HEAD:
        with _alone, database.migrating() as connection:
            _upgrade(connection, database.setting)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(REVISION_TABLE):
        return None
    revision: str | None = connection.execute(select(_REVISION.c.version_num)).scalar_one_or_none()
    return revision


def _upgrade(connection: Connection, setting: str) -> None:
    # Alembic takes some tenths of a second to import, which a database that is up to date does not pay.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "trunkline.records:migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = _revision(connection)
    if current is not None and current not in known:
        detail = (
            f"this database was made by a newer version of trunkline (revision {current[:32]!r}, {HEAD!r} is known). "
            "Install that version, or name another database."
        )
        raise SettingsError([Fault(setting, detail)])
    command.upgrade(config, "head")
