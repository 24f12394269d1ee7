"""A PostgreSQL server that hangs: every call ends in its time, and archiving goes on by itself when it is back."""

from __future__ import annotations

import asyncio
import time

import pytest

from records.archived import Place, turn, turn_id
from records.conftest import Server
from trunkline.core.errors import DatabaseError
from trunkline.log import Log
from trunkline.records.limited import LimitedConnection
from trunkline.records.records import Records
from trunkline.stores.durable import DurableStore
from trunkline.stores.files import Disk
from trunkline.stores.journal import Journal

LIMIT_S = 0.3


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(LimitedConnection, "limit_s", LIMIT_S)


@pytest.fixture
def records(postgresql: Place, impatient) -> Records:
    return postgresql.open()


def test_who_asks_a_server_that_hangs_is_told_in_time_and_finds_it_again(running: Server, records: Records):
    records.keep(turn_id(1), turn(1, "Hello"))
    with running.hanging():
        began = time.monotonic()
        with pytest.raises(DatabaseError, match=r"the server does not answer|no connection in time"):
            records.known([turn_id(1)])
        assert time.monotonic() - began < 20
    assert records.known([turn_id(1)]) == {turn_id(1): True}


def test_a_server_that_hangs_in_a_transaction_keeps_nothing_of_it(running: Server, records: Records):
    with records._database.writing() as connection:
        connection.exec_driver_sql("SELECT 1")
    with pytest.raises(DatabaseError, match="the server does not answer"), records._writing() as connection:
        connection.exec_driver_sql("CREATE TABLE unfinished (n int)")
        with running.hanging():
            connection.exec_driver_sql("SELECT 1")
    with records._reading() as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('unfinished')").scalar_one() is None


def test_what_may_take_its_time_is_waited_for(records: Records):
    with records._database.migrating() as connection:
        connection.exec_driver_sql(f"SELECT pg_sleep({2 * LIMIT_S})")
    with pytest.raises(DatabaseError, match="the server does not answer"), records._reading() as connection:
        connection.exec_driver_sql(f"SELECT pg_sleep({20 * LIMIT_S})")


def test_a_link_that_died_is_noticed(postgresql: Place):
    records = postgresql.open()
    with records._database.reading() as connection:
        info = connection.connection.driver_connection.info.get_parameters()
    assert {name: info[name] for name in info if "keepalives" in name or name == "tcp_user_timeout"} == {
        "keepalives_idle": "10",
        "keepalives_interval": "3",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
    }


async def test_archiving_goes_on_by_itself_when_the_server_is_back(running: Server, records, postgresql, tmp_path):
    told = []
    store = DurableStore(postgresql.settings, Journal(tmp_path, Disk()), records, wall_ms=lambda: 5, tell=told.append)
    await store.open()
    archiving = asyncio.ensure_future(store.run())
    log = Log(store, lambda tick: tick(), lambda: 5)
    with running.hanging():
        log.append(log.create(turn_id(1)), [entry.event for entry in turn(1, "Hello")])
        while not told:
            await asyncio.sleep(0.01)
        assert (told[0].what, store.owed) == ("archive", 1)
    async with asyncio.timeout(60):
        while store.owed:
            await asyncio.sleep(0.01)
    assert records.known([turn_id(1)]) == {turn_id(1): True}
    archiving.cancel()
    await store.close()


async def test_a_store_whose_archive_hangs_closes_and_the_next_one_archives(
    running: Server, records, postgresql, tmp_path, monkeypatch
):
    monkeypatch.setattr("trunkline.stores.durable.CLOSE_LIMIT_S", 0.1)
    told = []
    journal = Journal(tmp_path, Disk())
    store = DurableStore(postgresql.settings, journal, records, wall_ms=lambda: 5, tell=told.append)
    await store.open()
    log = Log(store, lambda tick: tick(), lambda: 5)
    with running.hanging():
        log.append(log.create(turn_id(1)), [entry.event for entry in turn(1, "Hello")])
        async with asyncio.timeout(10):
            await store.close()
    assert [fact.detail for fact in told if fact.what == "close"] == [
        "1 turns wait in the journal for the next start; nothing is lost"
    ]
    after = DurableStore(postgresql.settings, Journal(tmp_path, Disk()), records, wall_ms=lambda: 5, tell=told.append)
    await after.open()
    await after.settle()
    assert records.known([turn_id(1)]) == {turn_id(1): True}
    await after.close()
