"""A second process on the folder of the first: it takes over at once, however that one ends, and loses no reader."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.readers import native_events
from conftest import serving, settings_for

WAITS = b"waiting for another relay to leave its folder"
TAKEN_OVER_S = 5.0
"""The time from the first one's end until the second one serves, on a busy machine; it is some tenths of a second."""


class Serving:
    """`trunkline serve` on a port of its own and a folder that it shares with others."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[bytes] = []
        self.pid = process.pid

    async def says(self, words: bytes) -> str:
        """Wait for a line with these words."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._lines.append(line)
            if words in line:
                return line.decode()
        raise AssertionError(b"".join(self._lines).decode())

    async def address(self) -> str:
        return (await self.says(b" on http")).split()[-1]

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def gone(self) -> tuple[int, str]:
        """Wait for its end; return the exit code, and what it said that nobody read."""
        assert self._process.stderr is not None
        words = await self._process.stderr.read()
        return await self._process.wait(), words.decode()


class House:
    """Starts relays on one folder."""

    def __init__(self, folder: Path, platform: str) -> None:
        self._folder = folder
        self._platform = platform

    @asynccontextmanager
    async def relay(self, *, take_over_s: float = 30, drain_s: float = 10) -> AsyncIterator[Serving]:
        path = self._folder / f"{len(list(self._folder.glob('*.toml')))}.toml"
        path.write_text(
            f"[server]\nport = 0\ndrain_s = {drain_s}\n"
            f'[store]\ndata_dir = "{self._folder / "data"}"\ntake_over_s = {take_over_s}\n'
            f'[upstreams.support]\npreset = "openai"\nbase_url = "{self._platform}/v1"\nmodel = "m"\nguards = "none"\n'
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline", "serve", "--insecure", "--config", str(path),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield Serving(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
def house(simulator, tmp_path):
    return House(tmp_path, simulator.url)


async def create(http: httpx.AsyncClient, url: str, prompt: str, **more: object) -> str:
    response = await http.post(f"{url}/v1/turns", json={"input": prompt, **more})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def read(http: httpx.AsyncClient, url: str, turn: str, after: int = 0) -> list[dict[str, Any]]:
    return native_events((await http.get(f"{url}/v1/turns/{turn}/events?after={after}")).text)


async def read_some(http: httpx.AsyncClient, url: str, turn: str, count: int) -> list[dict[str, Any]]:
    """Read the first events of an open turn, and leave."""
    text = ""
    async with http.stream("GET", f"{url}/v1/turns/{turn}/events") as response:
        async for piece in response.aiter_text():
            text += piece
            if text.count("\n\n") >= count:
                break
    return native_events(text[: text.rindex("\n\n")])


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "delta")


@asynccontextmanager
async def pair(house: House) -> AsyncIterator[tuple[str, Serving, Serving]]:
    """A relay that serves at an address, and one that waits for its folder."""
    async with house.relay() as first:
        address = await first.address()
        async with house.relay() as second:
            await second.says(WAITS)
            yield address, first, second


async def test_it_takes_over_at_once_when_the_first_one_was_told_to_stop(house, http):
    async with pair(house) as (old, first, second):
        turn = await create(http, old, "sim:text=order;sim:interval-ms=0")
        whole = await read(http, old, turn)
        first.send(signal.SIGTERM)
        assert (await first.gone())[0] == 0
        left_at = time.monotonic()
        new = await second.address()
        assert time.monotonic() - left_at < TAKEN_OVER_S
        for after in (0, 1, len(whole) // 2):
            assert await read(http, new, turn, after) == [event for event in whole if event["id"] > after]


def slow_connection(address: str) -> socket.socket:
    """Connect with so small a window and segments that the kernels hold next to nothing of an answer."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.connect((host, int(port)))
    connection.settimeout(0)
    return connection


async def test_the_folder_changes_hands_while_readers_of_the_first_one_take_their_last_bytes(house, http, simulator):
    async with pair(house) as (old, first, second):
        turn = await create(http, old, "sim:text=long;sim:tokens=10000;sim:interval-ms=0")
        await read(http, old, turn)
        reader, writer = await asyncio.open_connection(sock=slow_connection(old), limit=4_096)
        writer.write(b"GET /v1/turns/%b/events HTTP/1.1\r\nhost: localhost\r\n\r\n" % turn.encode())
        body = await reader.read(4_096)
        first.send(signal.SIGTERM)
        resumed = await read(http, await second.address(), turn)
        assert text_of(resumed) == simulator.ledger[-1]["text"]
        assert first.is_running, "it still has bytes of its reader"
        while piece := await reader.read(1 << 16):
            body += piece
        writer.close()
        assert body.count(b"\nid: ") == len(resumed)
        assert body.endswith(b"0\r\n\r\n"), "the body is whole"
        assert (await first.gone())[0] == 0


async def test_an_open_turn_is_drained_by_the_first_one_before_the_second_one_has_the_folder(house, http, simulator):
    async with pair(house) as (old, first, second):
        turn = await create(http, old, "sim:text=order;sim:interval-ms=10")
        seen = await read_some(http, old, turn, 5)
        first.send(signal.SIGTERM)
        rest = await read(http, await second.address(), turn, seen[-1]["id"])
    assert rest[-1]["outcome"] == "completed"
    assert text_of(seen + rest) == simulator.ledger[-1]["text"]


async def test_it_gets_the_folder_at_once_when_the_first_one_is_killed(house, http, simulator):
    async with pair(house) as (old, first, second):
        done = await create(http, old, "sim:text=short;sim:interval-ms=0")
        whole = await read(http, old, done)
        turn = await create(http, old, "sim:text=long;sim:interval-ms=10")
        seen = await read_some(http, old, turn, 10)
        first.send(signal.SIGKILL)
        killed_at = time.monotonic()
        new = await second.address()
        assert time.monotonic() - killed_at < TAKEN_OVER_S
        rest = await read(http, new, turn, seen[-1]["id"])
        assert (rest[-1]["outcome"], rest[-1]["reason"]) == ("failed", "relay_restarted")
        assert simulator.ledger[-1]["text"].startswith(text_of(seen + rest))
        assert await read(http, new, done) == whole
        lost = await http.get(f"{new}/v1/turns/{turn}/events?after={rest[-2]['id'] - 1}")
        assert (lost.status_code, lost.json()["code"]) == (409, "offset_past_tail")


async def test_one_that_waits_longer_than_it_may_says_who_holds_the_folder_and_gives_up(house):
    async with house.relay() as first:
        await first.address()
        async with house.relay(take_over_s=0.2) as third, asyncio.timeout(20):
            code, words = await third.gone()
    assert code == 2
    sentence = words[words.index("trunkline: ") :]
    assert sentence.startswith("trunkline: The log cannot be used now:\n  store.data_dir: the folder ")
    assert f"is in use by another relay (process {first.pid}). Stop that one, or" in sentence
    assert len(sentence.splitlines()) == 2
    assert "Traceback" not in words


# Policies, over the durable log


@pytest.fixture
def durable(simulator, tmp_path):
    return settings_for(f"{simulator.url}/v1", store={"durability": "process", "data_dir": str(tmp_path / "data")})


@pytest.mark.parametrize(
    ("policy", "outcome", "reason"),
    [
        ({"on_last_reader_gone": "cancel"}, "cancelled", "client_left"),
        ({"on_last_reader_gone": "cancel_after", "cancel_after_s": 0.1}, "cancelled", "client_left"),
        ({"on_last_reader_gone": "finish"}, "completed", "stop"),
    ],
    ids=["cancel", "cancel_after", "finish"],
)
async def test_what_becomes_of_a_turn_without_readers_is_the_same_after_a_restart(
    durable, http, simulator, policy, outcome, reason
):
    async with serving(durable) as url:
        turn = await create(http, url, "sim:text=order;sim:interval-ms=10", **policy)
        seen = await read_some(http, url, turn, 5)
        async with asyncio.timeout(10):
            while (await http.get(f"{url}/v1/turns/{turn}")).json()["state"] == "open":
                await asyncio.sleep(0.02)
        before = await read(http, url, turn)
    async with serving(durable) as url:
        after = await read(http, url, turn, seen[-1]["id"])
    assert seen + after == before
    assert (after[-1]["outcome"], after[-1]["reason"]) == (outcome, reason)
    sent = (await simulator.ended(1))[-1]
    assert (sent["ended"] == "client_gone") == (outcome == "cancelled"), "the platform stops with the turn"


async def test_how_much_a_caller_heard_is_known_after_a_restart(durable, http):
    async with serving(durable) as url:
        turn = await create(http, url, "sim:text=long;sim:interval-ms=10")
        await read_some(http, url, turn, 5)
        answer = await http.post(f"{url}/v1/turns/{turn}/cancel", json={"heard_upto": 7})
        assert answer.status_code == 202
    async with serving(durable) as url:
        ended = (await read(http, url, turn))[-1]
    assert (ended["reason"], ended["heard_upto"]) == ("client_cancelled", 7)


async def test_a_reader_that_comes_back_in_time_keeps_its_turn_alive(durable, http, simulator):
    async with serving(durable) as url:
        turn = await create(http, url, "sim:text=order;sim:interval-ms=5", cancel_after_s=10)
        seen = await read_some(http, url, turn, 5)
        rest = await read(http, url, turn, seen[-1]["id"])
    assert rest[-1]["outcome"] == "completed"
    assert text_of(seen + rest) == simulator.ledger[-1]["text"]
