"""What is forgotten is in no byte of any file: of whatever age, whatever fails, and wherever the process is killed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from conftest import serving, settings_for
from planting import KEYS, PIECE, PLACES, UNDONE, found, plant, settings_of, traces_of
from trunkline import beside
from trunkline import storage as module
from trunkline.app import Relay
from trunkline.beside import Beside
from trunkline.config import parse
from trunkline.core.errors import Overloaded, TurnForgotten
from trunkline.records.sqlite import SqliteFile
from trunkline.stores.base import Query


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def read_on(folder: Path) -> sqlite3.Connection:
    """Begin to read the database in another connection, and stay in that state of the data."""
    reader = sqlite3.connect(folder / "trunkline.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM turns").fetchall()
    return reader


# Killed


async def dying(folder: Path, *words: str) -> list[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "planting", str(folder), *words]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    return told.decode().split()


@pytest.mark.parametrize("place", PLACES)
async def test_a_relay_that_is_killed_while_it_forgets_leaves_nothing_to_the_next_one(folder, place):
    *planted, kept = (told := await dying(folder, "relay", place))[:4]
    traces = [text.encode() for text in planted] + [bytes.fromhex(text) for text in told[4:]]
    assert bool(found(folder, traces)) is (place != "behind the wipe"), "otherwise this test could not fail"
    async with Relay(parse(settings_of(folder))) as relay:
        there = len(await relay.turns.list(Query(conversation_id="c-1")))
        if place != KEYS:  # They are written by a task of their own, which may be the first.
            assert there == (3 if place in UNDONE else 0)
        if there:
            assert await relay.turns.forget_conversation("c-1", None) == there
        # By itself. The keys of the conversation, which say nothing about words, go when they are asked for once more.
        while any(len(trace) != PIECE for _, trace in found(folder, traces)):
            await asyncio.sleep(0.05)
        assert await relay.turns.forget_conversation("c-1", "local") == 0
        assert found(folder, traces) == []
        assert await relay.turns.list(Query(conversation_id="c-1")) == []
        [other] = await relay.turns.list(Query(conversation_id="c-2"))
        assert kept in (await relay.find(other.started.turn)).record().text
    assert found(folder, traces) == []


@pytest.mark.parametrize("place", ["behind the archive", "in the wipe"])
async def test_a_command_that_is_killed_while_it_forgets_is_done_by_the_next_relay(folder, place, monkeypatch):
    monkeypatch.setattr("trunkline.forgetting.LOOK_EVERY_S", 0.01)
    told = await dying(folder, "plant")
    traces = [text.encode() for text in told[:3]] + [bytes.fromhex(text) for text in told[4:]]
    await dying(folder, "command", place)
    assert found(folder, traces) != [], "otherwise this test could not fail"
    async with Relay(parse(settings_of(folder))) as relay:
        durable = relay.storage.durable
        assert durable is not None
        while await asyncio.to_thread(durable.records.asked_to_forget):
            await asyncio.sleep(0.01)
        assert found(folder, traces) == []
        assert await relay.turns.list(Query(conversation_id="c-1")) == []


# In every channel


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("past_retention", [True, False])
async def test_no_word_of_any_channel_is_left_with_and_without_a_relay_that_runs(folder, runs, past_retention):
    settings = parse(settings_of(folder))
    async with Relay(settings) as relay:
        planted = [await plant(relay, "c-1"), await plant(relay, "c-1")]
        traces = [text.encode() for text in planted] + list(traces_of(folder, "c-1"))
        kept = await plant(relay, "c-2")
        if past_retention:
            store, later = relay.storage.store, module.wall_ms() + 10**9
            store._wall_ms = lambda: later
            store._expired_ms = 1 << 60
            assert await relay.turns.list(Query()) == []
        if runs:
            planted.append(await plant(relay, "c-1", ends=False))
            assert found(folder, traces) != [], "otherwise this test could not fail"
            log = Beside(settings.store)
            await log.forget("c-1", None)
            log.close()
            assert found(folder, traces) == []
    if not runs:
        brief = parse(settings_of(folder, retention=0.001)) if past_retention else settings
        assert found(folder, traces) != [], "otherwise this test could not fail"
        with closing(Beside(brief.store)) as log:
            await log.forget("c-1", None)
            assert found(folder, traces) == []
    assert found(folder, traces) == []
    assert found(folder, traces_of(folder, "c-2")) != [], kept


async def test_neither_what_was_asked_nor_a_digest_that_can_be_guessed_is_left(http, simulator, folder):
    words, key = "my PIN is 4711", "a key with a name in it"
    settings = settings_for(f"{simulator.url}/v1", store={"durability": "process", "data_dir": str(folder)})
    body = msgspec.json.encode({"input": f"sim:text=echo {words}", "conversation_id": "c-1", "terms": [words]})
    sent = msgspec.json.encode(["/v1/turns", "", "", ""]) + body
    question = ("local", "s", "c-1", words, "")
    texts = [sent, key.encode(), f"local\0{key}".encode(), repr(question).encode()]
    traces = [words.encode(), key.encode()]
    for text in texts:
        digest = hashlib.sha256(text)
        traces += [digest.digest(), digest.hexdigest().encode()]
    headers = {"Idempotency-Key": key, "content-type": "application/json"}
    async with serving(settings) as url:
        turn = (await http.post(f"{url}/v1/turns", content=body, headers=headers)).json()["id"]
        await http.get(f"{url}/v1/turns/{turn}/events")
        ticket = (await http.post(f"{url}/v1/tickets")).json()["ticket"]
        asked = {"session_id": "s", "dialog_id": "c-1", "input": words, "ticket": ticket}
        assert (await http.get(f"{url}/stream", params=asked)).status_code == 200
        assert found(folder, [turn.encode()]) != [], "what is looked for is where the claims are"
        assert found(folder, traces) == [], "not even before"
        answer = await http.delete(f"{url}/v1/conversations/c-1")
        assert answer.json() == {"conversation_id": "c-1", "forgotten": 2}
        assert found(folder, traces) == []
        assert (await http.post(f"{url}/v1/turns", content=body, headers=headers)).status_code == 410
    assert found(folder, traces) == []
    async with serving(settings) as url:
        assert (await http.post(f"{url}/v1/turns", content=body, headers=headers)).status_code == 410
        refused = await http.get(f"{url}/stream", params=asked)
        assert refused.status_code == 410, "a ticket that was used does not start another turn"
    assert len(simulator.ledger) == 2


# Something in the way


async def test_it_is_not_said_to_be_done_while_a_reader_keeps_the_old_state(folder, monkeypatch):
    monkeypatch.setattr(module, "WIPE_LIMIT_S", 0.1)
    async with Relay(parse(settings_of(folder))) as relay:
        await plant(relay, "c-1")
        traces = traces_of(folder, "c-1")
        [turn] = await relay.turns.list(Query())
        with closing(read_on(folder)):
            for _ in range(2):
                with pytest.raises(Overloaded, match=r"reading an old state.* The relay goes on trying") as raised:
                    await relay.turns.forget_conversation("c-1", "local")
                assert raised.value.code == "store_unavailable"
                with pytest.raises(TurnForgotten):
                    await relay.find(turn.started.turn)
            assert found(folder, traces) != []
        assert await relay.turns.forget_conversation("c-1", "local") == 0
        assert found(folder, traces) == []


async def test_a_wipe_that_fails_is_no_success_either(folder, monkeypatch):
    monkeypatch.setattr(module, "WIPE_LIMIT_S", 0)
    async with Relay(parse(settings_of(folder))) as relay:
        await plant(relay, "c-1")
        traces = traces_of(folder, "c-1")
        with monkeypatch.context() as broken:
            broken.setattr(SqliteFile, "wipe", _fail)
            with pytest.raises(Overloaded, match="the disk is full"):
                await relay.turns.forget_conversation("c-1", "local")
        while found(folder, traces):
            await asyncio.sleep(0.05)


def _fail(_: object) -> bool:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415 - for this alone

    full = sqlite3.OperationalError("full")
    full.sqlite_errorname = "SQLITE_FULL"
    raise OperationalError("x", {}, full)


@pytest.mark.parametrize("runs", [True, False])
async def test_the_command_says_what_is_in_the_way_and_that_it_will_be_finished(folder, monkeypatch, runs):
    monkeypatch.setattr(module, "WIPE_LIMIT_S", 0)
    monkeypatch.setattr(beside, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr("trunkline.forgetting.LOOK_EVERY_S", 0.01)
    settings = parse(settings_of(folder))
    async with Relay(settings) as relay:
        await plant(relay, "c-1")
        traces = traces_of(folder, "c-1")
        if runs:
            await _refused(folder, settings, monkeypatch, traces)
            durable = relay.storage.durable
            while await asyncio.to_thread(durable.records.asked_to_forget):
                await asyncio.sleep(0.01)
            assert found(folder, traces) == []
    if not runs:
        await _refused(folder, settings, monkeypatch, traces)
        async with Relay(settings) as relay:
            durable = relay.storage.durable
            while await asyncio.to_thread(durable.records.asked_to_forget):
                await asyncio.sleep(0.01)
            assert found(folder, traces) == []


async def _refused(folder, settings, monkeypatch, traces):
    monkeypatch.setattr(beside, "FORGET_LIMIT_S", 1.0)
    with closing(read_on(folder)), closing(Beside(settings.store)) as log:
        with pytest.raises(Overloaded, match=r"on record and will be met\. Something goes on reading an old state"):
            await log.forget("c-1", None)
        assert found(folder, traces) != []
