"""`check --live` tries a PostgreSQL server, and leaves it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from records.archived import Place
from trunkline.app import Relay
from trunkline.config import Settings
from trunkline.rehearsal import Step
from trunkline.store_check import check_store
from trunkline.stores.settings import StoreSettings
from trunkline.upstream_settings import UpstreamSettings


@pytest.fixture
def store(postgresql: Place, tmp_path: Path) -> StoreSettings:
    return StoreSettings(data_dir=tmp_path / "one", database=postgresql.settings.database, take_over_s=0)


async def last(settings: StoreSettings) -> Step:
    found = [step async for step in check_store(settings)]
    assert [step.name for step in found] == ["folder", "database"]
    return found[-1]


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def tables(postgresql: Place) -> list[str]:
    rows = postgresql.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [row[0] for row in rows]


async def test_an_empty_database_stays_empty(store: StoreSettings, postgresql: Place, tmp_path: Path):
    step = await last(store)
    assert (step.ok, step.words) == (True, "connected; its tables will be made at the first start")
    assert tables(postgresql) == []
    assert listing(tmp_path) == []


async def test_a_user_who_may_make_no_tables_is_told_what_is_missing(store: StoreSettings, postgresql: Place):
    assert store.database is not None
    weak = SecretStr(store.database.get_secret_value().replace("//postgres@", "//weak@"))
    postgresql.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    postgresql.run("CREATE ROLE weak LOGIN")
    try:
        step = await last(store.model_copy(update={"database": weak}))
    finally:
        postgresql.run("DROP ROLE weak")
    assert (step.ok, "grant CREATE on its schema" in step.words) == (False, True)


async def test_a_database_is_well_for_the_folder_that_it_belongs_to_and_for_no_other(
    store: StoreSettings, postgresql: Place, tmp_path: Path
):
    upstream = {"preset": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    async with Relay(Settings(upstreams={"support": UpstreamSettings.model_validate(upstream)}, store=store)):
        assert (await last(store)).ok
    owned = postgresql.run("SELECT folder, place FROM owner")
    assert (await last(store)) == Step("database", ok=True, words="connected; its tables are up to date")
    other = await last(store.model_copy(update={"data_dir": tmp_path / "other"}))
    assert (other.ok, "the archive of another relay's data folder" in other.words) == (False, True)
    assert str(tmp_path / "one") in other.words
    assert postgresql.run("SELECT folder, place FROM owner") == owned
    assert listing(tmp_path) == ["one"]


async def test_tables_of_another_version_are_not_said_to_be_well_and_stay_as_they_are(
    store: StoreSettings, postgresql: Place
):
    postgresql.open()
    postgresql.run("UPDATE trunkline_revision SET version_num = '0001'")
    step = await last(store)
    assert (step.ok, "revision 0001" in step.words) == (None, True)
    assert [tuple(row) for row in postgresql.run("SELECT version_num FROM trunkline_revision")] == [("0001",)]
