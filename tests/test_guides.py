"""What the README and the guides tell a reader to do works: each settings file, command and dialogue is tried."""

from __future__ import annotations

import argparse
import asyncio
import doctest
import json
import re
import shlex
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from click.testing import CliRunner

from conftest import serving
from trunkline.cli import cli
from trunkline.endpoints.websocket_proxy import Cancel, Payload, Resume
from trunkline.simulators import Simulator

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(toml|sh|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SIMULATOR, RELAY = "9000", "8080"
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DIALOGUE = ("> ", "< ")
ANYTHING = "…"

CURL = argparse.ArgumentParser("curl", exit_on_error=False)
CURL.add_argument("-N", action="store_true")
CURL.add_argument("-X", dest="method", default="GET")
CURL.add_argument("-H", dest="headers", action="append", default=[])
CURL.add_argument("-d", dest="body")
CURL.add_argument("url")


class Reader:
    """Does what a page says, from its first line to its last, in a folder of its own."""

    def __init__(self, simulator: Simulator, stack: AsyncExitStack, patch: pytest.MonkeyPatch) -> None:
        self._simulator = simulator
        self._stack = stack
        self._patch = patch
        self._relay = "http://127.0.0.1:1"
        self._turn = ""
        self._said = ""

    async def follow(self, page: str) -> None:
        for kind, text in BLOCK.findall(page):
            if kind == "toml":
                await self._settings(text)
            elif kind == "sh":
                self._said = "".join([await self._do(line) for line in text.splitlines()])
            elif text.startswith(DIALOGUE):
                await self._talk(text.splitlines())
            else:
                told = self._here(text)
                assert doctest.OutputChecker().check_output(told, self._said, LOOSELY), f"{told}\n--\n{self._said}"

    def _here(self, text: str) -> str:
        """Put the ports of this test in place of those that the page names."""
        simulator, relay = (url.rpartition(":")[2] for url in (self._simulator.url, self._relay))
        return re.sub(rf":{RELAY}\b", f":{relay}", re.sub(rf":{SIMULATOR}\b", f":{simulator}", text))

    async def _settings(self, text: str) -> None:
        for name in re.findall(r'"env:(\w+)"', text):
            self._patch.setenv(name, "some-value")
        named = re.match(r"# (\S+\.toml)\n", text)
        name = named[1] if named else "sample.toml"
        write(name, self._here(text))
        assert "The settings are valid." in await self._trunkline("check", "--config", name)

    async def _do(self, line: str) -> str:
        words = [word.replace("TURN", self._turn) for word in shlex.split(self._here(line), comments=True)]
        code = re.search(r"# exit code (\d+)", line)
        match words:
            case []:
                return ""
            case ["export", *variables]:
                for variable in variables:
                    self._patch.setenv(*variable.split("=", 1))
            case ["trunkline", "simulate", *options]:
                cli.commands["simulate"].make_context("simulate", options)  # It runs already.
            case ["trunkline", "serve", *options]:
                config = cli.commands["serve"].make_context("serve", options).params["config"]
                table = {**read(config or "trunkline.toml"), "server": {"port": 0, "drain_s": 0.1}}
                self._relay = await self._stack.enter_async_context(serving(table))
            case ["trunkline", *rest]:
                return await self._trunkline(*rest, code=int(code[1]) if code else 0)
            case ["curl", *options]:
                return await self._curl(options)
            case _:
                raise AssertionError(f"nobody knows how to do {line!r}")
        return ""

    async def _trunkline(self, *words: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, cli, words)
        assert result.exit_code == code, f"{words}: {result.output}{result.exception}"
        return str(result.output)

    async def _curl(self, options: list[str]) -> str:
        asked = CURL.parse_args(options)
        headers = dict(header.split(": ", 1) for header in asked.headers)
        async with httpx.AsyncClient(timeout=10) as http:
            url = asked.url.replace("localhost", "http://127.0.0.1", 1)
            answer = await http.request(asked.method, url, headers=headers, content=asked.body)
        assert answer.is_success, answer.text
        self._turn = answer.headers.get("x-turn-id", self._turn)
        return f"{answer.text}\n"

    # Dialogues over a WebSocket

    async def _talk(self, lines: list[str]) -> None:
        address = self._relay.replace("http", "ws", 1) + "/ws"
        socket = await self._stack.enter_async_context(websockets.connect(address))
        skips = False
        for line in lines:
            who, _, said = line.partition(" ")
            if who == "-":
                socket.transport.abort()
                socket = await self._stack.enter_async_context(websockets.connect(address))
            elif who == ">":
                await socket.send(said.replace("TURN", self._turn))
            elif said == ANYTHING:
                skips = True
            else:
                got = json.loads(await asyncio.wait_for(socket.recv(), 10))
                while skips and got["type"] == "chunk":
                    got = json.loads(await asyncio.wait_for(socket.recv(), 10))
                skips = False
                if got["type"] == "handshake_ack":
                    self._turn = got["turnId"]
                wanted = json.loads(said.replace("TURN", self._turn))
                assert wanted == like(wanted, got)


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def read(name: str | Path) -> dict[str, Any]:
    return tomllib.loads(Path(name).read_text(encoding="utf-8"))


def like(wanted: Any, got: Any) -> Any:
    """Return what was got, with nothing said in place of each value that the page leaves open."""
    if wanted == ANYTHING:
        return ANYTHING
    if isinstance(wanted, dict) and isinstance(got, dict):
        return {name: like(wanted.get(name), value) for name, value in got.items()}
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        return [like(one, other) for one, other in zip(wanted, got, strict=True)]
    return got


@pytest.fixture
async def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.chdir(tmp_path)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(seed=7, interval_ms=1))
        yield Reader(simulator, stack, monkeypatch)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
async def test_what_a_guide_says_can_be_done(reader, page):
    await reader.follow(page.read_text(encoding="utf-8"))


def test_the_readme_leads_to_every_guide():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"(docs/guides/{page.name})" in readme for page in GUIDES[1:])


def test_every_field_of_a_message_to_the_websocket_proxy_is_told():
    page = (ROOT / "docs" / "guides" / "readers.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([\w.]+)`", page.partition("### What a client sends")[2].partition("\n### ")[0]))
    assert told >= {f"payload.{name}" for name in Payload.model_fields} | {"payload"}
    assert told >= (Resume.model_fields.keys() | Cancel.model_fields.keys()) - {"type"}
