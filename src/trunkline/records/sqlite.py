"""The records in one SQLite file: the database that needs no server."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, Table, bindparam, create_engine, event, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from trunkline.core.errors import Fault, SettingsError
from trunkline.records.failing import code_of, meaning
from trunkline.records.tables import TURN_LOGS

FILE: Final = "trunkline.sqlite"

_BUSY_MS: Final = 5_000  # how long a writer waits for that of another process
_LOOK_AGAIN_S: Final = 0.01
_WIPE_BUSY_MS: Final = 100  # while a checkpoint waits for readers, nobody can write
_VACUUM_PAGES: Final = 2_000  # 8 MB; the file shrinks in steps that do not keep writers waiting
_DISTANCE: Final = 512
"""So many empty logs are left before one that holds text: more than fit into the three pages that SQLite moves together
(`balance_nonroot` in btree.c), at 88 a page.
"""

_ERASE: Final = update(TURN_LOGS).where(TURN_LOGS.c.id.in_(bindparam("ids", expanding=True))).values(entries=b"")

# Turns come in the order of their ends and expire in it, so that the empty logs gather before all others.
_DROP_EMPTY_LOGS: Final = text(
    "DELETE FROM turn_logs WHERE length(entries) = 0 AND rowid < coalesce("
    "(SELECT rowid FROM turn_logs WHERE length(entries) > 0 ORDER BY rowid LIMIT 1), "
    "(SELECT max(rowid) + 1 FROM turn_logs)) - :distance"
)

_BEGIN: Final = "trunkline_begin"
"""The execution option with the statement that begins a transaction; empty where none is wanted."""


class SqliteFile:
    """`trunkline.sqlite` in a folder. One thread writes at a time; readers, here and elsewhere, are not in its way."""

    setting = "store.data_dir"

    def __init__(self, path: Path, *, survives_power_loss: bool) -> None:
        self._path = path
        self.unseen = ""
        """What of it cannot be read, for people."""
        self._synchronous = "FULL" if survives_power_loss else "NORMAL"
        self._writer = Lock()  # our own threads queue here and not in SQLite, where waiting is polling
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": _BUSY_MS / 1_000},
            pool_size=4,
            max_overflow=4,
            pool_timeout=10,
            hide_parameters=True,
        )
        event.listen(engine, "connect", self._prepare)
        self._use(engine)

    @classmethod
    def at(cls, folder: Path, *, survives_power_loss: bool) -> SqliteFile:
        """Make the folder and an empty file if there are none, for no other user. Raises `SettingsError`."""
        path = folder / FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before SQLite does it with the umask; the files beside it get the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            detail = f"{path} cannot be written: {error.strerror}. Name a folder that trunkline may write to."
            raise SettingsError([Fault(cls.setting, detail)]) from None
        return cls(path, survives_power_loss=survives_power_loss)

    @classmethod
    def read_only(cls, folder: Path) -> SqliteFile:
        """Open the file in a folder that cannot be written; `unseen` says what of it cannot be read so.

        SQLite reads a write-ahead log only where the index beside it can be opened, whatever that holds; and without
        being told that nobody writes it would make one (https://sqlite.org/wal.html#read_only_databases).
        """
        file = cls(folder / FILE, survives_power_loss=False)
        wal, index = (file._path.with_name(FILE + ending) for ending in ("-wal", "-shm"))
        has_wal = wal.exists() and wal.stat().st_size > 0
        if has_wal and not index.exists():
            file.unseen = f"{folder} cannot be written, and so {wal.name} in it is not read: newer turns are missing."
        how = "mode=ro&readonly_shm=1" if has_wal and index.exists() else "immutable=1"
        uri = f"file:{quote(str(file._path.absolute()))}?{how}"
        file._use(create_engine("sqlite://", creator=lambda: _connect(uri), poolclass=QueuePool, hide_parameters=True))
        return file

    def has_room(self) -> bool:
        """Tell whether the disk has room for the index of the write-ahead log, which a running relay has made."""
        try:
            with self.reading() as connection:
                connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
        except SQLAlchemyError as error:
            return not code_of(error).startswith(
                ("SQLITE_IOERR_SHM", "SQLITE_FULL")
            )  # Whatever else it is, it comes again.
        return True

    def _use(self, engine: Engine) -> None:
        event.listen(engine, "begin", _begin)
        self._engine = engine
        self._reading = engine.execution_options(**{_BEGIN: "BEGIN"})
        self._writing = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})

    def _prepare(self, connection: Any, _: Any) -> None:
        connection.isolation_level = None  # `_begin` begins transactions, not the driver
        # It has an effect on an empty file only, and there before all others.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
        _use_wal(connection)
        for pragma in (
            f"synchronous = {self._synchronous}",
            "secure_delete = ON",
            "journal_size_limit = 67108864",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    def insert(self, table: Table) -> sqlite.Insert:
        """As SQLite writes it."""
        return sqlite.insert(table)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read a snapshot; a writer does not wait for it, nor it for a writer."""
        with self._reading.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Take the one place of the writer at once, so that no transaction fails in its middle for want of it."""
        with self._writer, self._writing.begin() as connection:
            yield connection

    migrating = writing

    @contextmanager
    def _without_transaction(self) -> Iterator[Connection]:
        with self._writer, self._engine.connect() as connection:
            yield connection

    def erase_logs(self, connection: Connection, turn_ids: Sequence[str]) -> None:
        """Leave empty logs behind, for `wipe` to drop.

        `secure_delete` zeroes what is deleted, but not the copies that SQLite leaves in the gaps of pages when it moves
        the neighbours of a deleted row together; what shrinks does not make it move anything.
        """
        connection.execute(_ERASE, {"ids": turn_ids})

    def wipe(self) -> bool:
        """Shrink the file and empty the write-ahead log, where erased text still stands; a reader may prevent it.

        Of conversation ids and keys, and of keyed digests, traces may be left in the gaps of pages until `compact`.
        """
        with self.writing() as connection:
            connection.execute(_DROP_EMPTY_LOGS, {"distance": _DISTANCE})
        with self._without_transaction() as connection:
            driver: Any = connection.connection.driver_connection
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_WIPE_BUSY_MS}")
            try:
                # A script, because this statement wants to be stepped until it is done.
                driver.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                return self._checkpoint(connection)
            except sqlite3.OperationalError:
                return False
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MS}")

    def _checkpoint(self, connection: Connection) -> bool:
        busy: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
        return not busy

    def compact(self) -> None:
        """Write the file anew without gaps, which takes as much room again while it lasts."""
        with self.writing() as connection:
            connection.execute(_DROP_EMPTY_LOGS, {"distance": 0})
        with self._without_transaction() as connection:
            connection.exec_driver_sql("VACUUM")
            self._checkpoint(connection)

    def size(self) -> int:
        """Add up the file, its write-ahead log and the index of that."""
        files = (self._path, self._path.with_name(FILE + "-wal"), self._path.with_name(FILE + "-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    def defects(self) -> list[str]:
        """Ask SQLite to check every page and index."""
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [] if found == ["ok"] else [str(line) for line in found]

    def why_not(self, error: SQLAlchemyError) -> str:
        """Say what is wrong with the file."""
        if code_of(error).startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            remedy = "Move it away, or put a copy in its place."
        else:
            remedy = "Look for another process that holds it, and at the disk's room and rights."
        return f"{self._path} cannot be used: {meaning(error)}. {remedy}"

    def close(self) -> None:
        """Close all connections; the last one empties the write-ahead log."""
        self._engine.dispose()


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_MS / 1_000, isolation_level=None, check_same_thread=False)


def _use_wal(connection: Any) -> None:
    """Switch to the write-ahead log; where others open a new file at the same time, SQLite does not wait for them."""
    until = time.monotonic() + _BUSY_MS / 1_000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN)
    if statement:
        connection.exec_driver_sql(statement)
