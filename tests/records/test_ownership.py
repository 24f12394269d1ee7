"""A database belongs to one data folder: the relay of another is refused, until it is given the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from records.archived import turn, turn_id
from trunkline.app import Relay
from trunkline.cli import cli
from trunkline.config import load
from trunkline.core.errors import SettingsError
from trunkline.records.migration import HEAD, REVISION_TABLE
from trunkline.records.ownership import Owner

ONE, OTHER = Owner("1" * 16, "here:/data/one", 1_000), Owner("2" * 16, "there:/data/two", 2_000)


@pytest.fixture
def settings_file(tmp_path, postgresql):
    """Makes settings with a data folder of its own, and the one database."""

    def make(name: str, database: str | None = postgresql.settings.database.get_secret_value()) -> Path:
        file: Path = tmp_path / f"{name}.toml"
        line = f'database = "{database}"\n' if database else ""
        file.write_text(
            f'[store]\ndata_dir = "{tmp_path / name}"\ntake_over_s = 0\n{line}'
            '[upstreams.support]\npreset = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
        )
        return file

    return make


def run(file: Path, *words: str, **how: str) -> str:
    result = CliRunner().invoke(cli, [*words, "--config", str(file)], **how)
    if isinstance(result.exception, SettingsError):
        raise result.exception
    assert result.exit_code == 0, result
    return result.output


def test_the_first_folder_owns_a_database_and_another_only_once_it_is_given_to_it(records):
    assert records.owner() is None
    assert records.own(ONE) == ONE
    assert records.own(OTHER) == ONE
    assert records.own(ONE._replace(since_ms=9_000)) == ONE
    records.take_over(OTHER)
    assert records.owner() == OTHER
    assert records.own(ONE) == OTHER


async def test_a_second_relay_with_the_same_database_is_refused(settings_file, tmp_path):
    async with Relay(load(settings_file("one"))[0]):
        with pytest.raises(SettingsError) as raised:
            async with Relay(load(settings_file("two"))[0]):
                pass
    [fault] = raised.value.faults
    assert fault.pointer == "store.database"
    assert "another relay's data folder (" in fault.detail
    assert f"{tmp_path / 'one'}, since 20" in fault.detail
    assert "`trunkline store adopt`" in fault.detail
    async with Relay(load(settings_file("one"))[0]):
        """The first one starts again as ever."""


async def test_a_folder_that_is_gone_leaves_its_database_to_the_one_that_adopts_it(settings_file, tmp_path, postgresql):
    async with Relay(load(settings_file("one"))[0]):
        pass
    postgresql.open().keep(turn_id(1), turn(1, "Hello"))
    two = settings_file("two")
    with pytest.raises(SettingsError):
        run(two, "turns", "list")
    assert "Make the database the archive of" in run(two, "store", "adopt", input="y\n")
    async with Relay(load(two)[0]):
        pass
    assert turn_id(1) in run(two, "turns", "list", "--json")
    with pytest.raises(SettingsError, match="another relay's data folder"):
        run(settings_file("one"), "turns", "list")


def test_an_archive_in_the_folder_needs_no_adopting(settings_file):
    with pytest.raises(SettingsError, match=r"store\.database: is not set"):
        run(settings_file("one", None), "store", "adopt", "--yes")


async def test_commands_beside_the_relay_change_no_tables(settings_file, postgresql):
    one = settings_file("one")
    async with Relay(load(one)[0]):
        pass
    for revision in ("0001", "9999"):
        postgresql.run(f"UPDATE {REVISION_TABLE} SET version_num = '{revision}'")  # noqa: S608 - the words are ours
        with pytest.raises(SettingsError, match=rf"revision {revision}, expected {HEAD}"):
            run(one, "turns", "list")
        assert postgresql.run(f"SELECT version_num FROM {REVISION_TABLE}") == [(revision,)]  # noqa: S608
