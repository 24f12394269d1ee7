"""What a database's failure says to people: what happened, and nothing of a statement, a row or a password."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, NoSuchTableError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from records.archived import turn, turn_id
from trunkline.core.errors import DatabaseError, Overloaded
from trunkline.records.failing import meaning, translated
from trunkline.stores.base import Query


def failure(*, invalidated: bool = False, **code: str) -> DBAPIError:
    origin = type("DriverError", (Exception,), code)("SELECT secret")
    return OperationalError("SELECT secret", {"id": "secret"}, origin, connection_invalidated=invalidated)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failure(sqlite_errorname="SQLITE_BUSY"), "another process holds it (SQLITE_BUSY)"),
        (failure(sqlite_errorname="SQLITE_BUSY_SNAPSHOT"), "another process holds it (SQLITE_BUSY_SNAPSHOT)"),
        (failure(sqlite_errorname="SQLITE_FULL"), "the disk is full (SQLITE_FULL)"),
        (failure(sqlite_errorname="SQLITE_ERROR"), "SQLITE_ERROR"),
        (failure(sqlstate="57014"), "the answer took too long (57014)"),
        (failure(sqlstate="57P01"), "the server is going down or starting (57P01)"),
        (failure(sqlstate="42P01"), "42P01"),
        (failure(invalidated=True), "the connection broke (DriverError)"),
        (failure(), "DriverError"),
        (PoolTimeout("QueuePool limit"), "no connection to it became free"),
        (NoSuchTableError("secret"), "NoSuchTableError"),
    ],
)
def test_a_failure_is_told_in_words_and_with_the_databases_code(error, words):
    assert meaning(error) == words
    with pytest.raises(DatabaseError) as raised, translated():
        raise error
    assert raised.value.detail == f"The database of the records failed: {words}."
    assert raised.value.__cause__ is None


def test_what_fails_may_be_asked_again_later():
    error = DatabaseError("x")
    assert isinstance(error, Overloaded)
    assert (error.code, error.status, error.retryable, error.detail) == ("store_unavailable", 503, True, "x")


def test_what_is_ours_passes_unchanged():
    with pytest.raises(KeyError), translated():
        raise KeyError("x")


def test_every_method_fails_in_the_same_way(place):
    records = place.open()
    for table in ("turns", "turn_logs", "claims", "conversation_keys", "forget_requests"):
        place.run(f"DROP TABLE {table}")
    calls = [
        lambda: records.keep(turn_id(1), turn(1, "a secret")),
        lambda: records.find(turn_id(1)),
        lambda: records.known([turn_id(1)]),
        lambda: records.list(Query("a secret")),
        lambda: records.forget([(turn_id(1), "a secret")], 5),
        lambda: records.expire(1, 2, 3),
        lambda: records.claims("a secret", 1, 2),
        lambda: records.release([("kind", "a secret")]),
        lambda: records.conversations(1),
        lambda: records.forget_conversations([("anna", "a secret")]),
        lambda: records.ask_to_forget("a secret", None, 1),
        records.asked_to_forget,
        lambda: records.has_forgotten(1),
        lambda: records.forget_request(1),
    ]
    for call in calls:
        with pytest.raises(DatabaseError) as raised:
            call()
        assert raised.value.code == "store_unavailable"
        assert raised.value.detail in (
            "The database of the records failed: SQLITE_ERROR.",
            "The database of the records failed: 42P01.",
        )


def test_the_names_of_sqlites_codes_are_those_of_the_driver():
    with pytest.raises(sqlite3.Error) as raised:
        sqlite3.connect("/nowhere/at/all")
    error = OperationalError("x", {}, raised.value)
    assert meaning(error) == "its file cannot be opened (SQLITE_CANTOPEN)"
