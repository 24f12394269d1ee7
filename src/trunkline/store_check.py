"""`trunkline check`: looks at the folder and the database of the log as they are, and makes and changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from trunkline.core.errors import DatabaseError, Fault, SettingsError
from trunkline.records.migration import REVISION_TABLE, check_version
from trunkline.records.postgresql import PostgresqlServer
from trunkline.records.records import Records
from trunkline.records.sqlite import FILE
from trunkline.rehearsal import Step
from trunkline.stores.folder import Folder
from trunkline.stores.settings import StoreSettings

_MAGIC: Final = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html section 1.3
_MAY_MAKE: Final = select(func.has_schema_privilege(func.current_schema(), "CREATE"))


def look_at_folder(path: Path) -> str:
    """Say how it is with a data folder. Raises `SettingsError` where a relay could not use it."""
    folder = Folder(path)
    for wanted in (folder.path, folder.journal):
        there = next(place for place in (wanted, *wanted.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise SettingsError([Fault("store.data_dir", f"{there} is no folder, and {wanted} has to be one")])
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            raise SettingsError([Fault("store.data_dir", f"{there} may not be written by this user")])
    if not folder.path.is_dir():
        return f"{path} will be made at the first start"
    return f"{path} is there" + ("; a relay runs on it now" if folder.is_held else "")


async def check_store(settings: StoreSettings) -> AsyncGenerator[Step, None]:
    """Try the folder and the database, if turns are to outlive the process at all."""
    if settings.durability == "memory":
        return
    try:
        step = Step("folder", ok=True, words=look_at_folder(settings.data_dir))
    except SettingsError as error:
        step = Step("folder", ok=False, words=error.faults[0].detail)
    yield step
    if settings.database is not None:
        yield await asyncio.to_thread(_try_server, settings.database, Folder(settings.data_dir))
    elif (file := settings.data_dir / FILE).exists():
        yield _look_at_file(file)


def _look_at_file(file: Path) -> Step:
    # Not opened as a database: that alone would write the files beside it.
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_MAGIC))
    except OSError as error:
        return Step("database", ok=False, words=f"{file} cannot be read: {error.strerror}")
    if head not in (b"", _MAGIC):
        return Step("database", ok=False, words=f"{file} is no SQLite database")
    return Step("database", ok=True, words=f"{file} is there")


def _try_server(address: SecretStr, folder: Folder) -> Step:
    server = PostgresqlServer.at(address.get_secret_value())
    with closing(server):
        try:
            with server.reading() as connection:
                if not inspect(connection).has_table(REVISION_TABLE):
                    return _try_empty(connection)
            check_version(server)
            return _compare(Records(server), folder)
        except SQLAlchemyError as error:
            return Step("database", ok=False, words=server.why_not(error))
        except DatabaseError as error:
            return Step("database", ok=False, words=error.detail)
        except SettingsError as error:  # Tables of another version: one that is newer than them migrates them.
            return Step("database", ok=None, words=error.faults[0].detail)


def _try_empty(connection: Connection) -> Step:
    if connection.execute(_MAY_MAKE).scalar():
        return Step("database", ok=True, words="connected; its tables will be made at the first start")
    return Step("database", ok=False, words="connected; the user may not make tables in it: grant CREATE on its schema")


def _compare(records: Records, folder: Folder) -> Step:
    """See whether a database belongs to a data folder, or to none yet."""
    owner = records.owner()
    has_mark = (folder.path / "key").exists()  # who asks a folder without one for its mark makes it
    if owner is not None and not (has_mark and owner.folder == folder.mark()):
        words = f"it is the archive of another relay's data folder ({owner.place})"
        return Step("database", ok=False, words=words)
    return Step("database", ok=True, words="connected; its tables are up to date")
