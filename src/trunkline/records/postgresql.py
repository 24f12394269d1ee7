"""The records in a PostgreSQL database, for those who run one anyway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, Table, bindparam, create_engine, delete, event, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from trunkline.core.errors import Fault, SettingsError
from trunkline.records.failing import code_of, meaning
from trunkline.records.tables import METADATA, TURN_LOGS

if TYPE_CHECKING:
    from trunkline.records.limited import LimitedConnection

_DRIVERS: Final = ("postgresql", "postgresql+psycopg")
_ACCEPTED: Final = "expected postgresql://user:password@host:port/name (or postgresql+psycopg://...)"
_TIMEOUTS: Final = "-c statement_timeout=10000 -c lock_timeout=5000"
_ARGUMENTS: Final = {
    "connect_timeout": 5,
    "application_name": "trunkline",
    # A link that died is noticed, whether something is on its way to the server or only expected from there.
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_MIGRATION_LOCK: Final = 0x7472756E6B6C696E  # "trunklin": any number that other programs hardly use

_ERASE: Final = delete(TURN_LOGS).where(TURN_LOGS.c.id.in_(bindparam("ids", expanding=True)))


class PostgresqlServer:
    """A database by its URL, through psycopg."""

    setting = "store.database"
    unseen = ""

    def __init__(self, url: URL) -> None:
        self._url = url
        options = " ".join([*url.normalized_query.get("options", ()), _TIMEOUTS])
        arguments = {name: value for name, value in _ARGUMENTS.items() if name not in url.query} | {"options": options}
        self._engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=arguments,
            pool_pre_ping=True,
            pool_size=4,
            max_overflow=4,
            pool_timeout=10,
            hide_parameters=True,
        )
        event.listen(self._engine, "do_connect", _connect)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def at(cls, text: str) -> PostgresqlServer:
        """Read a URL; does not connect yet. Raises `SettingsError`, with nothing of what may be a secret."""
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            raise SettingsError([Fault(cls.setting, f"this is no URL of a database; {_ACCEPTED}")]) from None
        if url.drivername not in _DRIVERS:
            detail = f"got {url.drivername[:40]}://, {_ACCEPTED}; without the setting, an SQLite file in store.data_dir"
            raise SettingsError([Fault(cls.setting, detail)])
        if not url.database:
            raise SettingsError([Fault(cls.setting, f"the URL names no database; {_ACCEPTED}")])
        try:
            return cls(url)
        except ImportError:
            detail = "PostgreSQL needs its driver: pip install trunkline[postgresql]"
            raise SettingsError([Fault(cls.setting, detail)]) from None

    def insert(self, table: Table) -> postgresql.Insert:
        """As PostgreSQL writes it."""
        return postgresql.insert(table)

    def reading(self) -> AbstractContextManager[Connection]:
        """Lend a connection; each statement sees one state of the data."""
        return self._engine.connect()

    def writing(self) -> AbstractContextManager[Connection]:
        """Lend a connection with a transaction."""
        return self._engine.begin()

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Hold a lock that every relay with this database asks for before it changes a table."""
        with self._engine.connect() as connection:
            _take_time(connection)
            with connection.begin():
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                yield connection

    def erase_logs(self, connection: Connection, turn_ids: Sequence[str]) -> None:
        """Delete the rows."""
        connection.execute(_ERASE, {"ids": turn_ids})

    def wipe(self) -> bool:
        """Leave it to the server, which overwrites deleted rows when autovacuum has come by."""
        return True

    def compact(self) -> None:
        """Make the room of deleted texts free for new ones; the server goes on meanwhile."""
        with self._autocommit.connect() as connection:
            _take_time(connection)
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql(f"VACUUM {TURN_LOGS.name}")

    def size(self) -> int:
        """Add up the tables with their indexes."""
        sizes = [func.pg_total_relation_size(name) for name in METADATA.tables]
        with self.reading() as connection:
            return sum(connection.execute(select(*sizes)).one())

    def defects(self) -> list[str]:
        """Trust the server: it has checksums for its pages."""
        return []

    def why_not(self, error: SQLAlchemyError) -> str:
        """Say which server was asked for what, and its answer."""
        url = self._url
        where = f"the database {url.database!r} at {url.host or url.query.get('host', 'the local socket')}"
        if url.port:
            where += f":{url.port}"
        if code_of(error) in {"42P07", "42710"}:
            return f"{where} has tables of another program. Give trunkline a database of its own."
        return f"{where} cannot be used: {self._words(error)} Check that it runs and that the URL is right."

    def _words(self, error: SQLAlchemyError) -> str:
        origin = error.orig if isinstance(error, DBAPIError) else None
        if origin is None or getattr(origin, "sqlstate", None) is not None:
            return f"{meaning(error)}."
        # What came in place of a connection has no code, but words of libpq: they say what was refused.
        words = " ".join(str(origin).split())
        if self._url.password:
            words = words.replace(str(self._url.password), "***")
        return f"{words[:300].rstrip('.')}."

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _connect(_dialect: object, _record: object, args: Sequence[Any], named: dict[str, Any]) -> LimitedConnection:
    from trunkline.records.limited import LimitedConnection  # noqa: PLC0415 - the driver may not be installed

    return LimitedConnection.connect(*args, **named)


def _take_time(connection: Connection) -> None:
    """Let what follows take as long as it takes; the connection goes with it, and not back to the others."""
    cast("LimitedConnection", connection.connection.driver_connection).limit_s = None
    connection.detach()
