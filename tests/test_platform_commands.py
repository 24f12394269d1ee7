"""`stream` and `check`, as they are seen on a terminal."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from platforms.asking import CONVERSATIONS, GATEWAY, IDS, PRESETS
from platforms.parrot import parrot
from test_server import process
from trunkline.cli import cli


def settings_file(
    folder: Path, upstreams: Mapping[str, Mapping[str, str]], store: str = "durability = 'memory'"
) -> Path:
    file = folder / "trunkline.toml"
    tables = [f"[store]\n{store}"]
    for name, fields in upstreams.items():
        tables.append(f"[upstreams.{name}]\nguards = 'none'\n" + "\n".join(f"{k} = '{v}'" for k, v in fields.items()))
    file.write_text("\n".join(tables), encoding="utf-8")
    return file


def oauth(preset: str, base_url: str) -> dict[str, str]:
    return {"preset": preset, "base_url": base_url, "client_id": "me", "client_secret": "s3cret", "model": "m"}


async def run(*words: str) -> tuple[int | None, str, str]:
    async with process(*words) as running:
        stdout, stderr = await running.communicate()
    return running.returncode, stdout.decode(), stderr.decode()


# check


def test_a_check_says_what_each_request_must_name_and_who_is_asked_with_what(tmp_path: Path):
    url = "http://127.0.0.1:9"
    upstreams = {preset: oauth(preset, url) for preset in PRESETS} | {
        "whole": {**oauth(GATEWAY, url), "prompt_id": "p-1"},
        "open": {"preset": "openai", "base_url": url, "model": "m"},
        "keyed": {"preset": "openai", "base_url": url, "model": "m", "api_key": "sk"},
    }
    told = CliRunner().invoke(cli, ["check", "--config", str(settings_file(tmp_path, upstreams))])
    said = {part.split(":")[0]: part for part in told.stdout.split("upstream ")[1:]}
    for preset in PRESETS:
        assert f"each request must name its {next(iter(IDS[preset]))}: the settings have none" in said[preset]
        assert "with an OAuth client" in said[preset]
    assert "must name" not in said["whole"] + said["open"] + said["keyed"]
    assert "without a key" in said["open"]
    assert "with a key" in said["keyed"]
    assert "turns kept 24 hours after their end" in told.stdout


async def test_a_live_check_that_cannot_tell_says_so_and_is_no_failure(tmp_path: Path):
    async with parrot(models=[(404, {})]) as platform:
        upstream = {"preset": "openai", "base_url": platform.url, "model": "m"}
        code, said, _ = await run("check", "--live", "--config", str(settings_file(tmp_path, {"a": upstream})))
    assert code == 0
    assert f"  unknown key: GET {platform.url}/models was answered 404" in said


async def test_a_live_check_fails_for_a_database_that_refuses(simulator, tmp_path: Path):
    upstream = {"preset": "openai", "base_url": f"{simulator.url}/v1", "model": "m"}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    store = f'data_dir = "{tmp_path / "data"}"\ndatabase = "postgresql://me:pw@127.0.0.1:{port}/x"'
    file = settings_file(tmp_path, {"a": upstream}, store)
    code, said, _ = await run("check", "--live", "--config", str(file))
    assert code == 1
    assert "  ok      key: accepted" in said
    assert "  ok      folder: " in said
    assert "  FAILED  database: the database 'x'" in said
    assert not (tmp_path / "data").exists()
    code, said, _ = await run("check", "--config", str(file))
    assert (code, "The settings are valid." in said) == (0, True)


# stream


async def test_a_turn_that_fails_is_said_once(simulator, tmp_path: Path):
    upstream = {"preset": "openai", "base_url": f"{simulator.url}/v1", "model": "m"}
    file = settings_file(tmp_path, {"a": upstream})
    code, _, said = await run("stream", "--config", str(file), "sim:fault=reset-after=3")
    assert code == 1
    assert said.count("upstream_interrupted") == 1
    assert "turn ended" not in said


@pytest.mark.parametrize("preset", PRESETS)
async def test_the_ids_of_a_request_are_options(simulator, tmp_path: Path, preset: str):
    file = settings_file(tmp_path, {"a": oauth(preset, simulator.url)})
    options = [word for name, value in IDS[preset].items() for word in (f"--{name.replace('_', '-')}", value)]
    code, said, told = await run("stream", "--config", str(file), *options, "sim:text=order")
    assert code == 0, told
    assert said.strip()
    code, _, told = await run("stream", "--config", str(file), "hello")
    assert code == 2
    assert f"needs a {next(iter(IDS[preset]))}" in told


def test_an_id_that_is_none_is_refused_with_what_one_is(tmp_path: Path):
    file = settings_file(tmp_path, {"a": oauth(CONVERSATIONS, "http://127.0.0.1:9")})
    told = CliRunner().invoke(cli, ["stream", "--config", str(file), "--conversation-id", "a b", "hello"])
    assert told.exit_code == 2
    assert "'--conversation-id': an id is 1 to 128 of A-Z a-z 0-9 . _ : -" in told.output


async def test_only_a_platform_that_has_the_prompt_already_needs_none(simulator, tmp_path: Path):
    file = settings_file(tmp_path, {"a": oauth(CONVERSATIONS, simulator.url)})
    code, said, told = await run("stream", "--config", str(file), "--conversation-id", "c-1")
    assert (code, "not_sent" in told) == (0, False), told
    assert said.strip()
    file = settings_file(tmp_path, {"a": {"preset": "openai", "base_url": f"{simulator.url}/v1", "model": "m"}})
    code, _, told = await run("stream", "--config", str(file))
    assert (code, "give a PROMPT, or pipe it in" in told) == (2, True)
