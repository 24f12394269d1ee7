"""The SQLite file: whose it is, what is left in it of what was erased, and what is said where it cannot be used."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from records.archived import Place, turn, turn_id
from trunkline.core.errors import DatabaseError, SettingsError
from trunkline.records.records import Records
from trunkline.records.sqlite import FILE, SqliteFile
from trunkline.stores.archive import ConversationKey
from trunkline.stores.settings import StoreSettings


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def long_turn(number: int, **more):
    """A turn whose log does not fit into a few pages."""
    return turn(number, *(f"{(index + 7) ** (number + 5):x}" for index in range(6_000)), **more)


@pytest.fixture
def folder(sqlite: Place) -> Path:
    return sqlite.settings.data_dir


def test_the_folder_and_its_files_are_the_users_alone(sqlite, folder):
    before = os.umask(0)
    try:
        sqlite.open().keep(turn_id(1), turn(1, "Hello"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == dict.fromkeys(
        [FILE, FILE + "-wal", FILE + "-shm"], 0o600
    )


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("disk", 2)])
def test_a_connection_is_as_safe_as_the_setting_says(sqlite, folder, durability, level):
    sqlite.open()
    database = SqliteFile.at(folder, survives_power_loss=durability == "disk")
    with closing(database), database.reading() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("synchronous", "journal_mode", "secure_delete", "auto_vacuum", "busy_timeout")
        }
    assert pragmas == {
        "synchronous": level,
        "journal_mode": "wal",
        "secure_delete": 1,
        "auto_vacuum": 2,
        "busy_timeout": 5_000,
    }


def test_the_setting_reaches_the_connections(tmp_path):
    for durability, level in (("process", 1), ("disk", 2)):
        records = Records.open(StoreSettings(data_dir=tmp_path, durability=durability))
        with closing(records), records._database.reading() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == level


# What was erased is gone


@pytest.fixture
def kept(sqlite: Place, folder: Path):
    """Records with a long turn and a conversation's key, and what must be nowhere when they are erased."""
    records = sqlite.open()
    for number in (1, 2, 3):
        records.keep(
            turn_id(number),
            long_turn(number, conversation=f"conversation-{number}", detail=f"the words about {number}"),
        )
    records.keep_conversations([ConversationKey("anna", "conversation-2", b"key of 32 bytes", b"names", 5)])
    [(log,)] = sqlite.run("SELECT entries FROM turn_logs WHERE id = :turn", turn=turn_id(2))
    assert len(log) > 20_000
    traces = [log[start : start + 64] for start in range(100, len(log) - 200, 5_000)]
    # A page's end may cut one of them.
    traces = [trace for trace in traces if trace in bytes_of(folder)]
    assert len(traces) > 2
    return records, [*traces, b"the words about 2", b"conversation-2", b"key of 32 bytes"]


def still_there(folder: Path, traces: list[bytes]) -> list[bytes]:
    held = bytes_of(folder)
    return [trace for trace in traces if trace in held]


def test_of_a_forgotten_turn_no_byte_is_left_in_any_file(kept, folder):
    records, traces = kept
    records.forget_conversations([("anna", "conversation-2")])
    records.forget([(turn_id(2), "anna")], 5)
    assert still_there(folder, traces) != [], "otherwise this test could not fail"
    assert records.wipe()
    assert still_there(folder, traces) == []
    assert records.known([turn_id(1), turn_id(2), turn_id(3)]) == {
        turn_id(1): True,
        turn_id(2): False,
        turn_id(3): True,
    }


def test_no_copy_of_a_forgotten_log_is_left_in_the_gaps_of_pages(sqlite, folder):
    """Logs that share pages: with a plain `DELETE`, pieces of some survive where SQLite moved them from."""
    records, rng = sqlite.open(), random.Random(1)
    logs = {turn_id(number): rng.randbytes(rng.randrange(100, 600)) for number in range(3_000)}
    with sqlite.engine.begin() as connection:
        insert = text("INSERT INTO turn_logs (id, entries) VALUES (:id, :entries)")
        connection.execute(insert, [{"id": name, "entries": log} for name, log in logs.items()])
    gone = rng.sample(sorted(logs), 2_250)
    for start in range(0, len(gone), 25):
        records.forget([(name, "anna") for name in gone[start : start + 25]], 5)
        assert records.wipe()
    pieces = {logs[name][at : at + 16] for name in gone for at in range(0, len(logs[name]) - 16, 16)}
    held = bytes_of(folder)
    assert sum(logs[name] in held for name in logs) == 750
    assert [at for at in range(len(held)) if held[at : at + 16] in pieces] == []


def test_what_is_left_of_empty_logs_goes_when_older_ones_are_gone(sqlite):
    records = sqlite.open()
    for number in range(600):
        records.keep(turn_id(number), turn(number, "Hello"))
    records.forget([(turn_id(number), "anna") for number in range(1, 600)], 5)
    assert records.wipe()
    assert sqlite.run("SELECT count(*) FROM turn_logs") == [(600,)]
    records.forget([(turn_id(0), "anna")], 5)
    assert records.wipe()
    assert sqlite.run("SELECT count(*) FROM turn_logs") == [(512,)]
    records.compact()
    assert sqlite.run("SELECT count(*) FROM turn_logs") == [(0,)]


def test_of_an_expired_turn_no_byte_is_left_in_any_file(kept, folder):
    records, traces = kept
    assert records.expire(ended_before_ms=9_000, now_ms=9_500, limit=2) == 2
    assert still_there(folder, traces) == []


def read_on(folder: Path) -> sqlite3.Connection:
    """Begin to read in another connection, and stay in that state of the data."""
    reader = sqlite3.connect(folder / FILE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM turns").fetchall()
    return reader


@pytest.mark.parametrize("again", ["wipe", "expire"])
def test_a_reader_that_is_in_the_way_delays_the_wiping_to_the_next_time(kept, folder, again):
    records, traces = kept
    with closing(read_on(folder)):
        records.forget([(turn_id(2), "anna")], 5)
        records.forget_conversations([("anna", "conversation-2")])
        assert not records.wipe()
        assert still_there(folder, traces) != []
        assert records.known([turn_id(2)]) == {turn_id(2): False}
    assert records.wipe() if again == "wipe" else records.expire(0, 0, limit=1) == 0
    assert still_there(folder, traces) == []


def test_what_an_earlier_process_could_not_wipe_is_owed_by_the_next_one(kept, sqlite, folder):
    records, traces = kept
    with closing(read_on(folder)):
        records.forget([(turn_id(2), "anna")], 5)
        records.forget_conversations([("anna", "conversation-2")])
        records.close()
        assert still_there(folder, traces) != []
    after = sqlite.open()
    assert after.expire(0, 0, limit=1) == 0
    assert still_there(folder, traces) == []


def test_what_is_erased_while_a_wipe_is_under_way_is_owed_still(kept, folder, monkeypatch):
    records, traces = kept
    with ThreadPoolExecutor(1) as pool:

        def wipe_and_erase(database: SqliteFile) -> bool:
            monkeypatch.undo()
            assert database.wipe()
            others.append(pool.submit(records.forget, [(turn_id(2), "anna")], 5))
            while records.known([turn_id(2)]) != {turn_id(2): False}:
                pass
            return True

        others: list[Future[None]] = []
        records.forget_conversations([("anna", "conversation-2")])
        monkeypatch.setattr(SqliteFile, "wipe", wipe_and_erase)
        assert records.wipe()
        others[0].result()
    assert still_there(folder, traces) != []
    assert records.wipe()
    assert still_there(folder, traces) == []


def test_a_wipe_that_failed_is_owed_still(kept, folder, monkeypatch):
    records, traces = kept
    records.forget([(turn_id(2), "anna")], 5)
    records.forget_conversations([("anna", "conversation-2")])
    with monkeypatch.context() as broken, pytest.raises(DatabaseError, match="the disk is full"):
        full = sqlite3.OperationalError("full")
        full.sqlite_errorname = "SQLITE_FULL"
        broken.setattr(SqliteFile, "wipe", Mock(side_effect=OperationalError("x", {}, full)))
        records.wipe()
    assert still_there(folder, traces) != []
    assert records.wipe()
    assert still_there(folder, traces) == []


def test_the_file_shrinks_when_turns_expire(sqlite, folder):
    records = sqlite.open()
    for number in range(30):
        records.keep(turn_id(number), long_turn(number))
    full = records.size()
    assert full > 1_000_000
    assert records.expire(1 << 60, 1 << 60, limit=100) == 30
    assert records.size() < full / 5
    assert records.size() == len(bytes_of(folder))


def test_compacting_gives_back_the_room(sqlite):
    records = sqlite.open()
    for number in range(30):
        records.keep(turn_id(number), long_turn(number))
    sqlite.run("DELETE FROM turn_logs")
    before, after = records.compact()
    assert before > 1_000_000
    assert after < before / 5
    assert [progress.findings[0].detail for progress in records.verify() if progress.findings] == ["it has no log"]


# What is in the way


def fault_of(folder: Path) -> str:
    with pytest.raises(SettingsError) as raised:
        Records.open(StoreSettings(data_dir=folder))
    [fault] = raised.value.faults
    assert fault.pointer == "store.data_dir"
    assert str(folder) in fault.detail
    return fault.detail


def test_a_file_that_is_no_database_is_left_alone(folder):
    folder.mkdir()
    (folder / FILE).write_bytes(b"a text, and no database" * 100)
    assert "its file is no database (SQLITE_NOTADB). Move it away" in fault_of(folder)
    assert (folder / FILE).read_bytes() == b"a text, and no database" * 100


def test_a_damaged_file_is_not_opened(sqlite, folder):
    sqlite.open().close()
    with (folder / FILE).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3_900)
    assert "its file is damaged (SQLITE_CORRUPT). Move it away" in fault_of(folder)


def test_damage_deeper_in_the_file_is_found_by_verifying(sqlite, folder):
    with closing(Records.open(sqlite.settings)) as records:
        for number in range(100):
            records.keep(turn_id(number), turn(number, "Hello", detail="words " * 20))
    with (folder / FILE).open("r+b") as file:
        for page in range(12, 60):
            file.seek(4_096 * page)
            file.write(b"\xff" * 200)
    details = [finding.detail for progress in sqlite.open().verify() for finding in progress.findings]
    assert details


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written: " in fault_of(tmp_path / "file" / "data")


def test_a_folder_in_the_place_of_the_file_is_named(folder):
    (folder / FILE).mkdir(parents=True)
    assert "cannot be written: Is a directory" in fault_of(folder)


def test_a_writer_in_another_process_is_waited_for_and_then_named(sqlite, folder, monkeypatch):
    monkeypatch.setattr("trunkline.records.sqlite._BUSY_MS", 50)
    records = sqlite.open()
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match=r"another process holds it \(SQLITE_BUSY\)"):
            records.keep(turn_id(1), turn(1, "Hello"))
        assert records.known([turn_id(1)]) == {}
    records.keep(turn_id(1), turn(1, "Hello"))
    assert records.known([turn_id(1)]) == {turn_id(1): True}
