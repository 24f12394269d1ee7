"""Which data folder a database belongs to: a journal and its archive are one log, and two relays cannot share half."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from trunkline.records.base import Database
from trunkline.records.tables import OWNER

_NUMBER: Final = 1
_OWNER: Final = select(OWNER.c.folder, OWNER.c.place, OWNER.c.since_ms).where(OWNER.c.number == _NUMBER)


class Owner(NamedTuple):
    """A data folder: what tells it from all others, where it is for people, and since when the database is its own."""

    folder: str
    place: str
    since_ms: int


class OwnerRow:
    """`owner`; the caller holds the transaction."""

    def __init__(self, database: Database) -> None:
        self._add = database.insert(OWNER).on_conflict_do_nothing(index_elements=["number"])
        replacing = database.insert(OWNER)
        columns = {name: replacing.excluded[name] for name in Owner._fields}
        self._replace = replacing.on_conflict_do_update(index_elements=["number"], set_=columns)

    def read(self, connection: Connection) -> Owner | None:
        """Return the owner; None where there is none yet."""
        row = connection.execute(_OWNER).one_or_none()
        return None if row is None else Owner(*row)

    def add(self, connection: Connection, owner: Owner) -> None:
        """Write an owner down where there is none."""
        connection.execute(self._add, {"number": _NUMBER, **owner._asdict()})

    def replace(self, connection: Connection, owner: Owner) -> None:
        """Write an owner down in the place of any other."""
        connection.execute(self._replace, {"number": _NUMBER, **owner._asdict()})
