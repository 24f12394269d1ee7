"""Migration: the tables are those that the code means, made once, and never those of a newer version or of others."""

# ruff: noqa: S608 - the statements are made of words of this file

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from records.archived import plain, turn, turn_id
from trunkline.core.errors import SettingsError
from trunkline.records.migration import HEAD, REVISION_TABLE
from trunkline.records.records import Records
from trunkline.records.tables import METADATA
from trunkline.stores.archive import Claim
from trunkline.stores.settings import StoreSettings

BLANKS = r"\s+(?=[,)])"


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "trunkline.records:migrations")
    return ScriptDirectory.from_config(config)


def test_the_head_in_the_code_is_that_of_the_revisions():
    assert scripts().get_heads() == [HEAD]


def test_the_migrated_tables_are_those_of_the_code(place):
    place.open()
    with place.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": REVISION_TABLE, "compare_server_default": True}
        )
        assert compare_metadata(context, METADATA) == []


def test_the_indexes_are_those_of_the_code_also_in_which_rows_they_hold(place):
    place.open()
    made = statements_of(place)
    METADATA.drop_all(place.engine)
    METADATA.create_all(place.engine)
    assert statements_of(place) == made
    assert len(made) >= 8


def statements_of(place) -> list[str]:
    if place.engine.dialect.name == "sqlite":
        found = place.run("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    else:
        found = place.run(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL "
            "SELECT table_name || column_name, data_type || coalesce(collation_name, '') || is_nullable || is_identity "
            "|| coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'public'"
        )
    # SQLite writes down what `ALTER TABLE` adds with other blanks.
    lines = [
        f"{name}: {' '.join(re.sub(BLANKS, '', sql).split())}" for name, sql in found if REVISION_TABLE not in name
    ]
    return sorted(lines)


def test_what_is_there_is_kept_when_the_database_is_opened_again(place):
    with closing(Records.open(place.settings)) as records:
        records.keep(turn_id(1), turn(1, "Hello"))
    assert place.open().known([turn_id(1)]) == {turn_id(1): True}
    assert place.run(f"SELECT version_num FROM {REVISION_TABLE}") == [(HEAD,)]


def test_relays_that_start_together_migrate_once(place):
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: Records.open(place.settings), range(6)))
    for records in opened:
        assert records.known([turn_id(1)]) == {}
        records.close()
    assert place.run(f"SELECT version_num FROM {REVISION_TABLE}") == [(HEAD,)]


def test_the_tables_of_an_older_version_are_brought_up_to_date_with_what_is_in_them(place):
    with closing(place.open()) as records:
        records.keep(turn_id(1), turn(1, "Hello"))
        records.claim(
            [Claim(kind, "k", turn_id(1), 9, b"a digest without a key") for kind in ("idempotency", "ticket")]
        )
        records.ask_to_forget("c1", None, 5)
    place.run("DROP TABLE owner")
    place.run("DROP INDEX claims_by_turn")
    place.run("ALTER TABLE forget_requests DROP COLUMN why")
    place.run(f"UPDATE {REVISION_TABLE} SET version_num = '0001'")
    records = place.open()
    assert plain(records.find(turn_id(1))) == plain(turn(1, "Hello"))
    assert records.owner() is None
    assert records.claims("idempotency", 0, 9) == []
    assert records.claims("ticket", 0, 9) == [Claim("ticket", "k", turn_id(1), 9)], "a ticket that was used stays so"
    assert [request.conversation_id for request in records.asked_to_forget()] == ["c1"]
    assert place.run(f"SELECT version_num FROM {REVISION_TABLE}") == [(HEAD,)]


def test_relays_of_one_process_that_start_together_migrate_a_database_each(tmp_path):
    places = [StoreSettings(data_dir=tmp_path / str(number)) for number in range(6)]
    for place in places:
        place.data_dir.mkdir()
    with ThreadPoolExecutor(6) as pool:
        for records in pool.map(Records.open, places):
            assert records.known([turn_id(1)]) == {}
            records.close()


def test_a_migration_that_fails_leaves_nothing(place):
    records = place.open()
    METADATA.drop_all(place.engine)
    place.run(f"DROP TABLE {REVISION_TABLE}")
    place.run("CREATE TABLE forget_requests (somebody_elses INTEGER)")
    records.close()
    with pytest.raises(SettingsError):
        place.open()
    assert inspect(place.engine).get_table_names() == ["forget_requests"]


def test_the_database_of_a_newer_version_is_left_alone(place):
    place.open().close()
    place.run(f"UPDATE {REVISION_TABLE} SET version_num = '9999'")
    with pytest.raises(SettingsError) as raised:
        place.open()
    [fault] = raised.value.faults
    assert fault.pointer == ("store.database" if place.settings.database else "store.data_dir")
    assert "a newer version of trunkline (revision '9999'" in fault.detail
    assert "Install that version" in fault.detail
    assert place.run(f"SELECT version_num FROM {REVISION_TABLE}") == [("9999",)]


def test_a_database_that_is_up_to_date_is_opened_without_alembic(sqlite):
    sqlite.open().close()
    code = (
        "import sys; from pathlib import Path; from trunkline.records.records import Records; "
        "from trunkline.stores.settings import StoreSettings; "
        "Records.open(StoreSettings(data_dir=Path(sys.argv[1]))).close(); "
        "sys.exit('alembic' in sys.modules or 'psycopg' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, sqlite.settings.data_dir], check=True)  # noqa: S603 - it is ours
