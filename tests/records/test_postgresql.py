"""A PostgreSQL server: which URLs are taken, and what is said, without any secret, where it cannot be used."""

from __future__ import annotations

import socket
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from records.archived import Place, turn, turn_id
from trunkline.cli import cli
from trunkline.core.errors import DatabaseError, SettingsError
from trunkline.records.postgresql import PostgresqlServer
from trunkline.records.records import Records
from trunkline.stores.settings import StoreSettings

PASSWORD = "s3cr3t-p4ss"


def fault_of(url: str) -> str:
    with pytest.raises(SettingsError) as raised:
        Records.open(StoreSettings(database=url))
    [fault] = raised.value.faults
    assert fault.pointer == "store.database"
    assert PASSWORD not in fault.detail
    assert url not in fault.detail
    return fault.detail


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"mysql://anna:{PASSWORD}@db/name", "got mysql://, expected postgresql://user:password@host:port/name"),
        (f"postgres://anna:{PASSWORD}@db/name", "got postgres://, expected postgresql://"),
        (f"postgresql+asyncpg://anna:{PASSWORD}@db/name", "got postgresql+asyncpg://, expected postgresql://"),
        ("sqlite:///records.sqlite", "without the setting, an SQLite file in store.data_dir"),
        (PASSWORD, "this is no URL of a database; expected postgresql://"),
        (f"postgresql://anna:{PASSWORD}@db:port/name", "this is no URL of a database"),
        (f"postgresql://anna:{PASSWORD}@db", "the URL names no database"),
    ],
)
def test_an_address_that_is_not_taken_is_refused_with_what_is(url, words):
    assert words in fault_of(url)


def test_checking_the_settings_looks_at_the_address_without_connecting(tmp_path):
    file = tmp_path / "trunkline.toml"
    upstream = '[upstreams.support]\npreset = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    for scheme, refused in [("mysql", True), ("postgresql", False)]:
        file.write_text(f'[store]\ndatabase = "{scheme}://anna:{PASSWORD}@db/calls"\n{upstream}', encoding="utf-8")
        told = CliRunner().invoke(cli, ["check", "--config", str(file)])
        assert isinstance(told.exception, SettingsError) == refused
        assert PASSWORD not in told.output + str(told.exception)


def test_a_server_that_is_not_there_is_named():
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        detail = fault_of(f"postgresql://anna:{PASSWORD}@127.0.0.1:{port}/calls")
    assert detail.startswith(f"the database 'calls' at 127.0.0.1:{port} cannot be used: ")
    assert "Connection refused" in detail
    assert detail.endswith("Check that it runs and that the URL is right.")


def test_a_server_that_does_not_answer_is_given_up_after_its_time():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        assert "timeout" in fault_of(f"postgresql://anna:{PASSWORD}@127.0.0.1:{port}/calls?connect_timeout=2")


def test_a_database_that_does_not_exist_is_named(server):
    assert 'database "nowhere" does not exist' in fault_of(server.format(name="nowhere"))


def test_a_user_that_the_server_does_not_know_is_named(server):
    url = server.format(name="postgres").replace("postgres@", f"anna:{PASSWORD}@")
    assert 'role "anna" does not exist' in fault_of(url)


def test_a_password_that_the_driver_repeats_is_covered():
    with closing(PostgresqlServer.at(f"postgresql://anna:{PASSWORD}@db/calls")) as database:
        error = OperationalError("SELECT 1", {}, Exception(f"no: {PASSWORD}\n\tas this."))
        assert "cannot be used: no: *** as this. Check" in database.why_not(error)


def test_without_the_driver_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert fault_of(f"postgresql://anna:{PASSWORD}@db/name").endswith("pip install trunkline[postgresql]")


def test_the_other_spelling_of_the_same_is_taken(postgresql: Place):
    url = postgresql.settings.database.get_secret_value().replace("postgresql:", "postgresql+psycopg:")
    Records.open(StoreSettings(database=url)).close()
    assert postgresql.open().known([]) == {}


def test_tables_of_another_program_are_left_alone(postgresql: Place):
    postgresql.run("CREATE TABLE turns (somebody_elses INTEGER)")
    detail = fault_of(postgresql.settings.database.get_secret_value())
    assert "has tables of another program. Give trunkline a database of its own" in detail
    assert postgresql.run("SELECT * FROM turns") == []


def test_a_connection_waits_no_longer_than_it_should_and_keeps_the_urls_own_options(postgresql: Place):
    postgresql.run("CREATE SCHEMA calls")
    url = f"{postgresql.settings.database.get_secret_value()}&options=-csearch_path%3Dcalls&application_name=relay-1"
    with closing(Records.open(StoreSettings(database=url))) as records, records._database.reading() as connection:
        names = ("statement_timeout", "lock_timeout", "search_path", "application_name")
        shown = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]
    assert shown == ["10s", "5s", "calls", "relay-1"]
    assert postgresql.run("SELECT table_schema FROM information_schema.tables WHERE table_name = 'turns'") == [
        ("calls",)
    ]


def test_a_table_that_somebody_holds_is_an_error_after_the_time_for_locks(postgresql: Place):
    records = postgresql.open()
    with records._database._engine.connect() as pooled:
        pooled.exec_driver_sql("SET lock_timeout = 50")
        pooled.commit()
    with postgresql.engine.begin() as connection:
        connection.execute(text("LOCK TABLE turns"))
        with pytest.raises(DatabaseError, match=r"another process holds it \(55P03\)"):
            records.keep(turn_id(1), turn(1, "Hello"))


def test_a_server_that_was_away_is_found_again(postgresql: Place):
    records = postgresql.open()
    records.keep(turn_id(1), turn(1, "Hello"))
    postgresql.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'records' AND pid <> pg_backend_pid()"
    )
    assert records.known([turn_id(1)]) == {turn_id(1): True}


def test_compressed_logs_are_not_compressed_again(postgresql: Place):
    postgresql.open()
    found = postgresql.run(
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'turn_logs'\\:\\:regclass AND attname = 'entries'"
    )
    assert found in ([("e",)], [(b"e",)])
