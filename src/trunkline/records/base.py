"""The contract of a database of the records: what SQLite and PostgreSQL do in different ways."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

IN_ONE_STATEMENT: Final = 1_000
"""How many ids one statement names; SQLite takes 32,766 parameters."""

Insert = sqlite.Insert | postgresql.Insert
"""An `INSERT` that knows what to do `ON CONFLICT`."""


class Database(Protocol):
    """One open database. Raises what SQLAlchemy raises; may be used by several threads."""

    setting: str
    """The dotted name of the setting that says where it is."""

    unseen: str
    """What of it cannot be read, for people; empty where all of it can."""

    def insert(self, table: Table) -> Insert:
        """Begin an `INSERT` in the database's own dialect."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Lend a connection for reading, which sees one state of the data."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Lend a connection whose transaction is committed at the end, or undone where something is raised."""

    def migrating(self) -> AbstractContextManager[Connection]:
        """Lend a connection as `writing` does, to one process at a time, for work that may take long."""

    def erase_logs(self, connection: Connection, turn_ids: Sequence[str]) -> None:
        """Erase the logs of these turns, at most `IN_ONE_STATEMENT`; an empty one may be left where each was."""

    def wipe(self) -> bool:
        """Remove from the files what was erased; return False where that has to be tried again later."""

    def compact(self) -> None:
        """Give back the room of what was deleted, as far as the database can."""

    def size(self) -> int:
        """Return how many bytes the records take."""

    def defects(self) -> list[str]:
        """Return what the database itself finds broken."""

    def why_not(self, error: SQLAlchemyError) -> str:
        """Say for people why it could not be opened, and what to do; never a secret."""

    def close(self) -> None:
        """Let go of it."""
