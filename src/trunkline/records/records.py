"""The archive in a database: every method is one transaction, and every failure one `DatabaseError`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from sqlalchemy import Connection, Delete
from sqlalchemy.exc import SQLAlchemyError

from trunkline.core.errors import Fault, LogUnusable, SettingsError
from trunkline.core.events import Entry
from trunkline.core.record import TurnRecord
from trunkline.records.base import Database
from trunkline.records.expiry import CLAIMS_OVER, FORGOTTEN_FOR_MS, FORGOTTEN_LONG_AGO, KEYS_UNUSED
from trunkline.records.failing import translated
from trunkline.records.migration import bring_up_to_date, check_version
from trunkline.records.ownership import Owner, OwnerRow
from trunkline.records.postgresql import PostgresqlServer
from trunkline.records.sqlite import SqliteFile
from trunkline.records.standing import ClaimRows, ConversationRows, ForgetRequest, ForgetRequestRows
from trunkline.records.turn_rows import TurnRows
from trunkline.records.verification import Progress, verify
from trunkline.stores.archive import Claim, ConversationKey
from trunkline.stores.base import Query
from trunkline.stores.settings import StoreSettings


class Records:
    """What outlives the relay: an `Archive`, and claims, conversation keys and requests to forget.

    Its methods block and may be called from several threads. Each raises `DatabaseError` where the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = TurnRows(database)
        self._claims = ClaimRows(database)
        self._conversations = ConversationRows(database)
        self._requests = ForgetRequestRows()
        self._owner = OwnerRow(database)
        self._claiming, self._wiping = Lock(), Lock()
        self._erasures = 1  # how often something was erased: whether an earlier process wiped is not known
        self._wiped = 0  # up to which of them

    @classmethod
    def open(cls, settings: StoreSettings, *, migrate: bool = True) -> Records:
        """Open the database, made or brought up to date where needed. Raises `SettingsError` with what to do.

        Without `migrate` its tables stay as they are: those of another version are refused. A file in a folder that
        cannot be written, or on a disk without any room, is only read then.
        """
        prepare = bring_up_to_date if migrate else check_version
        if settings.database is not None:
            return cls._prepared(PostgresqlServer.at(settings.database.get_secret_value()), prepare)
        if not migrate and not os.access(settings.data_dir, os.W_OK):
            return cls._prepared(SqliteFile.read_only(settings.data_dir), prepare)
        file = SqliteFile.at(settings.data_dir, survives_power_loss=settings.durability == "disk")
        if not migrate and not file.has_room():
            file.close()
            file = SqliteFile.read_only(settings.data_dir)
        return cls._prepared(file, prepare)

    @classmethod
    def _prepared(cls, database: Database, prepare: Callable[[Database], None]) -> Records:
        try:
            prepare(database)
        except SettingsError:
            database.close()
            raise
        except SQLAlchemyError as error:
            database.close()
            raise LogUnusable([Fault(database.setting, database.why_not(error))]) from None
        return cls(database)

    @property
    def unseen(self) -> str:
        """What of the database cannot be read, for people; empty where all of it can."""
        return self._database.unseen

    def close(self) -> None:
        """Let go of the database."""
        with translated():
            self._database.close()

    def keep(self, turn_id: str, entries: Sequence[Entry]) -> None:
        """Keep an ended turn, in one transaction with all that its end sets in motion; see `Archive`."""
        with self._writing() as connection:
            self._turns.add(connection, turn_id, entries)

    def find(self, turn_id: str) -> list[Entry] | None:
        """Return the entries of a turn. Raises `TurnForgotten`."""
        with self._reading() as connection:
            return self._turns.find(connection, turn_id)

    def known(self, turn_ids: Sequence[str]) -> dict[str, bool]:
        """Tell which of these turns it has heard of: True where it keeps them, False where it forgot them."""
        with self._reading() as connection:
            return self._turns.known(connection, turn_ids)

    def forget(self, turns: Sequence[tuple[str, str]], now_ms: int) -> None:
        """Erase turns, given as (id, principal); also of one that was never kept it is known from now on.

        Of what they were asked with, their claims keep nothing. What the files still hold of all this, `wipe` removes.
        """
        if turns:
            with self._claiming, self._erasing() as connection:
                self._turns.forget(connection, turns, now_ms)
                self._claims.erase(connection, [turn_id for turn_id, _ in turns])

    def expire(self, ended_before_ms: int, now_ms: int, limit: int) -> int:
        """Erase up to `limit` turns that ended before a time, and what else is past its time; return how many turns.

        Claims go at their own time, keys of conversations with turns of the same age, and what is left of forgotten
        turns after `FORGOTTEN_FOR_MS`. What could not be wiped before is tried again.
        """
        with self._writing() as connection:
            erased = self._turns.expire(connection, ended_before_ms, now_ms, limit)
        dropped = self._drop(CLAIMS_OVER, now_ms, limit)
        dropped += self._drop(KEYS_UNUSED, ended_before_ms, limit)
        dropped += self._drop(FORGOTTEN_LONG_AGO, now_ms - FORGOTTEN_FOR_MS, limit)
        if erased or dropped:
            self._has_erased()
        self.wipe()
        return erased

    def _drop(self, statement: Delete, time_ms: int, limit: int) -> int:
        """Delete all that is over in transactions of `limit` rows, so that none is long."""
        dropped = 0
        while count := self._drop_some(statement, time_ms, limit):
            dropped += count
        return dropped

    def _drop_some(self, statement: Delete, time_ms: int, limit: int) -> int:
        with self._writing() as connection:
            return connection.execute(statement, {"time_ms": time_ms, "at_most": limit}).rowcount

    def claim(self, claims: Sequence[Claim]) -> None:
        """Keep claims; a later one replaces that of the same kind and key.

        One that stands for a forgotten turn does not say what it was used for, however late it comes.
        """
        if claims:
            with self._claiming, self._writing() as connection:
                known = self._turns.known(connection, list({claim.turn for claim in claims}))
                self._claims.keep(
                    connection,
                    [claim if known.get(claim.turn, True) else claim._replace(about=b"") for claim in claims],
                )

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        """Drop claims, given as (kind, key)."""
        if claims:
            with self._writing() as connection:
                self._claims.release(connection, claims)

    def claims(self, kind: str, now_ms: int, limit: int) -> list[Claim]:
        """Return the claims of a kind that stand at a time: the `limit` that stand longest, the longest last."""
        with self._reading() as connection:
            return self._claims.of(connection, kind, now_ms, limit)

    def keep_conversations(self, rows: Sequence[ConversationKey]) -> None:
        """Keep the keys of conversations; a later one replaces that of the same conversation."""
        if rows:
            with self._writing() as connection:
                self._conversations.keep(connection, rows)

    def conversations(self, limit: int) -> list[ConversationKey]:
        """Return the keys of the `limit` conversations that were used last, the last one last."""
        with self._reading() as connection:
            return self._conversations.newest(connection, limit)

    def forget_conversations(self, rows: Sequence[tuple[str, str]]) -> None:
        """Erase the keys of conversations, given as (principal, conversation id); `wipe` is to follow."""
        if rows:
            with self._erasing() as connection:
                self._conversations.forget(connection, rows)

    def wipe(self) -> bool:
        """Remove from the files what was erased, also by an earlier process; False where something is in the way.

        Then it is still owed, and tried again by the next `wipe` or `expire`.
        """
        with self._wiping:
            erasures = self._erasures
            if self._wiped < erasures:
                with translated():
                    if not self._database.wipe():
                        return False
                self._wiped = erasures
            return True

    def ask_to_forget(self, conversation_id: str, principal: str | None, now_ms: int) -> int:
        """Ask the relay, from another process, to erase a conversation; return the number of the request."""
        with self._writing() as connection:
            return self._requests.add(connection, conversation_id, principal, now_ms)

    def asked_to_forget(self) -> list[ForgetRequest]:
        """Return the requests that are not done, the oldest first."""
        with self._reading() as connection:
            return self._requests.all(connection)

    def has_forgotten(self, number: int) -> None:
        """Note that a request is done."""
        with self._erasing() as connection:
            self._requests.done(connection, number)

    def cannot_forget(self, number: int, why: str) -> None:
        """Note, for whoever asked, what is in the way of a request."""
        with self._writing() as connection:
            self._requests.delay(connection, number, why)

    def forget_request(self, number: int) -> ForgetRequest | None:
        """Return a request, or None once it is done."""
        with self._reading() as connection:
            return self._requests.get(connection, number)

    def owner(self) -> Owner | None:
        """Return the data folder that the database belongs to; None where it belongs to none yet."""
        with self._reading() as connection:
            return self._owner.read(connection)

    def own(self, owner: Owner) -> Owner:
        """Give the database to a data folder if it belongs to none; return the one that it belongs to."""
        with self._writing() as connection:
            self._owner.add(connection, owner)
            return self._owner.read(connection) or owner

    def take_over(self, owner: Owner) -> None:
        """Give the database to a data folder, whichever it belonged to."""
        with self._writing() as connection:
            self._owner.replace(connection, owner)

    def verify(self) -> Iterator[Progress]:
        """Check everything that is kept, step by step."""
        with translated():
            yield from verify(self._database)

    def compact(self) -> tuple[int, int]:
        """Give back the room of what was erased; return the bytes in use before and after."""
        with translated():
            before = self._database.size()
            self._database.compact()
            return before, self._database.size()

    def size(self) -> int:
        """Return how many bytes the database takes."""
        with translated():
            return self._database.size()

    @contextmanager
    def _erasing(self) -> Iterator[Connection]:
        """Write, and owe a wipe afterwards; also where nobody knows whether it was done, as for a broken link."""
        try:
            with self._writing() as connection:
                yield connection
        finally:
            self._has_erased()

    def _has_erased(self) -> None:
        with self._wiping:
            self._erasures += 1

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with translated(), self._database.writing() as connection:
            yield connection

    def list(self, query: Query) -> list[TurnRecord]:
        """Return ended turns without their texts, the newest first."""
        with self._reading() as connection:
            return self._turns.list(connection, query)
