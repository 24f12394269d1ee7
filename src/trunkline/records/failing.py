"""What the drivers of databases raise, as the one error that the rest of the relay knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from trunkline.core.errors import DatabaseError

_MEANINGS: Final = {
    # https://sqlite.org/rescode.html
    "SQLITE_BUSY": "another process holds it",
    "SQLITE_LOCKED": "another process holds it",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "its file cannot be read or written",
    "SQLITE_CANTOPEN": "its file cannot be opened",
    "SQLITE_READONLY": "it cannot be written",
    "SQLITE_CORRUPT": "its file is damaged",
    "SQLITE_NOTADB": "its file is no database",
    # https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": "the connection broke",
    "25006": "it cannot be written",
    "28": "it refused the user or the password",
    "40": "two transactions were in each other's way",
    "42501": "the user lacks a right",
    "53100": "the disk is full",
    "53300": "it has no connection left",
    "55P03": "another process holds it",
    "57014": "the answer took too long",
    "57P": "the server is going down or starting",
    # What the driver has no code for
    "ConnectionTimeout": "no connection in time",
    "NoAnswer": "the server does not answer",
}


@contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLAlchemy raises into `DatabaseError`."""
    try:
        yield
    except SQLAlchemyError as error:
        # Not `from error`: a driver's words may quote rows.
        raise DatabaseError(f"The database of the records failed: {meaning(error)}.") from None


def meaning(error: SQLAlchemyError) -> str:
    """Say in a few words what went wrong, with the database's own code for it."""
    if isinstance(error, PoolTimeout):
        return "no connection to it became free"
    code = code_of(error)
    for prefix, words in _MEANINGS.items():
        if code.startswith(prefix):
            return f"{words} ({code})"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return f"the connection broke ({code})"
    return code


def code_of(error: SQLAlchemyError) -> str:
    """Return the code of SQLite or the SQLSTATE of PostgreSQL; without one, the name of the exception."""
    origin = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(origin, "sqlite_errorname", None) or getattr(origin, "sqlstate", None)
    return str(code or type(origin or error).__name__)
