"""`check` looks at where turns will rest, and leaves everything as it is."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trunkline.cli import cli
from trunkline.core.errors import SettingsError
from trunkline.records.records import Records
from trunkline.rehearsal import Step
from trunkline.store_check import check_store, look_at_folder
from trunkline.stores.folder import Folder
from trunkline.stores.settings import StoreSettings


async def steps(**fields: Any) -> list[Step]:
    return [step async for step in check_store(StoreSettings(**fields))]


def below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


# The folder


def test_a_folder_that_can_be_made_or_is_there_is_well_and_nothing_is_made(tmp_path: Path):
    assert look_at_folder(tmp_path / "a" / "b").endswith("b will be made at the first start")
    assert below(tmp_path) == []
    folder = Folder(tmp_path / "a")
    folder.make()
    before = below(tmp_path)
    assert look_at_folder(folder.path) == f"{folder.path} is there"
    assert below(tmp_path) == before
    assert folder.take()
    assert look_at_folder(folder.path) == f"{folder.path} is there; a relay runs on it now"
    folder.leave()


@pytest.mark.parametrize("place", ["file", "file/data", "link", "a"])
def test_what_is_no_folder_is_named(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "journal").write_text("x")
    before = below(tmp_path)
    with pytest.raises(SettingsError) as raised:
        look_at_folder(tmp_path / place)
    assert below(tmp_path) == before
    ((pointer, detail),) = [(fault.pointer, fault.detail) for fault in raised.value.faults]
    assert pointer == "store.data_dir"
    wrong = {"file/data": "file", "a": "a/journal"}.get(place, place)
    assert f"{tmp_path / wrong} is no folder" in detail


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(SettingsError, match=f"{tmp_path} may not be written by this user"):
        look_at_folder(tmp_path / "new")


def test_a_check_says_that_the_folder_is_none_before_anything_else(tmp_path: Path):
    file = tmp_path / "trunkline.toml"
    upstream = '[upstreams.support]\npreset = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    for durability, refused in [("process", True), ("memory", False)]:
        file.write_text(f'[store]\ndata_dir = "{file}"\ndurability = "{durability}"\n{upstream}', encoding="utf-8")
        told = CliRunner().invoke(cli, ["check", "--config", str(file)])
        assert isinstance(told.exception, SettingsError) == refused
        assert ("upstream support" in told.output) != refused


# The database


async def test_a_log_in_memory_has_nothing_to_look_at():
    assert await steps(durability="memory", data_dir="/dev/null") == []


async def test_the_file_of_the_archive_is_looked_at_and_not_made(tmp_path: Path):
    (folder,) = await steps(data_dir=tmp_path)
    assert (folder.name, folder.ok) == ("folder", True)
    assert below(tmp_path) == []
    file = tmp_path / "trunkline.sqlite"
    Records.open(StoreSettings(data_dir=tmp_path)).close()
    assert [(step.name, step.ok) for step in await steps(data_dir=tmp_path)] == [("folder", True), ("database", True)]
    assert below(tmp_path) == [str(file)]
    file.write_bytes(b"This is no database at all.")
    assert (await steps(data_dir=tmp_path))[-1] == Step("database", ok=False, words=f"{file} is no SQLite database")
    file.unlink()
    file.mkdir()
    last = (await steps(data_dir=tmp_path))[-1]
    assert (last.ok, last.words) == (False, f"{file} cannot be read: Is a directory")


async def test_a_database_that_refuses_is_named_without_its_password(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    last = (await steps(data_dir=tmp_path / "a", database=f"postgresql://me:s3cr3t-p4ss@127.0.0.1:{port}/x"))[-1]
    assert (last.name, last.ok) == ("database", False)
    assert f"the database 'x' at 127.0.0.1:{port} cannot be used" in last.words
    assert "s3cr3t" not in last.words
    assert below(tmp_path) == []
