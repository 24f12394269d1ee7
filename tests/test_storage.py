"""A relay that is stopped and started again on the same folder: what it said, who may read it, what is forgotten."""

from __future__ import annotations

import asyncio
import stat
from types import SimpleNamespace

import httpx
import pytest

from conformance.readers import native_events
from conftest import serving, settings_for
from stores.disks import FaultyDisk
from stores.writing import is_anywhere
from trunkline.app import Relay
from trunkline.config import parse
from trunkline.core.errors import SettingsError
from trunkline.endpoints.operations import ready
from trunkline.stores.folder import Folder

WORDS = "waiting"  # of the text that is streamed


@pytest.fixture(params=["process", "disk"])
def settings(request, simulator, tmp_path):
    store = {"durability": request.param, "data_dir": str(tmp_path / "data"), "take_over_s": 0.2}
    return settings_for(f"{simulator.url}/v1", store=store)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


async def create(http: httpx.AsyncClient, url: str, prompt: str = "sim:text=order", **more: object) -> str:
    headers = more.pop("headers", None)
    response = await http.post(f"{url}/v1/turns", json={"input": prompt, **more}, headers=headers)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def read(http: httpx.AsyncClient, url: str, turn: str, after: int = 0) -> list[dict]:
    return native_events((await http.get(f"{url}/v1/turns/{turn}/events?after={after}")).text)


async def test_turns_of_before_are_found_listed_and_resumed_at_every_offset(http, settings):
    async with serving(settings) as url:
        turn = await create(http, url, "sim:text=short", conversation_id="c-1")
        whole = await read(http, url, turn)
        shown = (await http.get(f"{url}/v1/turns/{turn}")).json()
    async with serving(settings) as url:
        assert (await http.get(f"{url}/v1/turns/{turn}")).json() == shown
        assert [one["id"] for one in (await http.get(f"{url}/v1/turns")).json()["turns"]] == [turn]
        for after in range(len(whole)):
            assert await read(http, url, turn, after) == whole[after:]


async def test_a_turn_that_was_open_when_the_relay_stopped_has_its_end(http, settings):
    async with serving(settings) as url:
        turn = await create(http, url, "sim:text=long;sim:interval-ms=20")
    async with serving(settings) as url:
        last = (await read(http, url, turn))[-1]
        assert (last["type"], last["outcome"], last["reason"]) == ("ended", "cancelled", "shutdown")


async def test_a_relay_starts_on_a_full_disk_to_be_read_from_and_says_that_it_takes_no_turns(
    http, settings, monkeypatch
):
    async with serving(settings) as url:
        turn = await create(http, url, "sim:text=short")
        whole = await read(http, url, turn)
    disk = FaultyDisk()
    disk.is_full()
    monkeypatch.setattr("trunkline.storage.Disk", lambda: disk)
    async with serving(settings) as url:
        assert await read(http, url, turn) == whole
        answer = await http.get(f"{url}/ready")
        assert (answer.status_code, "store_full" in answer.text) == (503, True)
        assert (await http.post(f"{url}/v1/turns", json={"input": "another"})).status_code == 503
        disk.is_mended()
        while (await http.get(f"{url}/ready")).status_code != 200:
            await asyncio.sleep(0.05)
        await read(http, url, await create(http, url, "sim:text=short"))


async def test_an_idempotency_key_is_good_after_a_restart(http, settings, simulator):
    key = {"Idempotency-Key": "k-1"}
    async with serving(settings) as url:
        turn = await create(http, url, headers=key)
        await read(http, url, turn)
    async with serving(settings) as url:
        assert await create(http, url, headers=key) == turn
        other = await http.post(f"{url}/v1/turns", json={"input": "another"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(simulator.ledger) == 1


async def test_tickets_are_good_after_a_restart_and_a_used_one_follows_its_turn_alone(http, settings, simulator):
    asked = {"session_id": "s", "dialog_id": "d", "input": "sim:text=short"}
    async with serving(settings) as url:
        unused, used = [(await http.post(f"{url}/v1/tickets")).json()["ticket"] for _ in range(2)]
        first = (await http.get(f"{url}/stream", params=asked | {"ticket": used})).text
    async with serving(settings) as url:
        again = (await http.get(f"{url}/stream", params=asked | {"ticket": used})).text
        assert again == first
        refused = await http.get(f"{url}/stream", params=asked | {"ticket": used, "input": "something else"})
        assert refused.status_code == 401
        fresh = await http.get(f"{url}/stream", params=asked | {"ticket": unused, "dialog_id": "d-2"})
        assert fresh.status_code == 200
    assert len(simulator.ledger) == 2


@pytest.mark.parametrize("whole_conversation", [False, True])
async def test_what_is_forgotten_leaves_no_byte_in_any_file(http, settings, folder, whole_conversation):
    async with serving(settings) as url:
        old = await create(http, url, conversation_id="c-1")
        await read(http, url, old)
    async with serving(settings) as url:
        new = await create(http, url, conversation_id="c-1")
        await read(http, url, new)
        if whole_conversation:
            answer = await http.delete(f"{url}/v1/conversations/c-1")
            assert answer.json() == {"conversation_id": "c-1", "forgotten": 2}
        else:
            for turn in (old, new):
                assert (await http.delete(f"{url}/v1/turns/{turn}")).status_code == 204
        assert not is_anywhere(folder, WORDS)
        for turn in (old, new):
            assert (await http.get(f"{url}/v1/turns/{turn}")).status_code == 410
    async with serving(settings) as url:
        assert (await http.get(f"{url}/v1/turns/{old}")).status_code == 410
    assert not is_anywhere(folder, WORDS)


async def test_what_is_open_is_in_the_journal_so_that_the_tests_of_forgetting_can_fail(http, settings, folder):
    async with serving(settings) as url:
        turn = await create(http, url, "sim:text=order;sim:interval-ms=5")
        await read(http, url, turn)
        assert is_anywhere(folder, WORDS)


async def test_everything_in_the_folder_is_for_the_owner_alone(http, settings, folder):
    async with serving(settings) as url:
        turn = await create(http, url)
        await read(http, url, turn)
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert {path.name for path in found} >= {"data", "journal", "lock", "key", "trunkline.sqlite"}
    assert {mode for path, mode in found.items() if path.suffix != ".sqlite-shm" and path.name == "data"} == {0o700}
    assert {mode for path, mode in found.items() if path.name not in ("data", "journal")} == {0o600}
    assert found[folder / "journal"] == 0o700


async def test_a_relay_that_stopped_leaves_an_empty_journal(http, settings, folder):
    async with serving(settings) as url:
        await read(http, url, await create(http, url))
    assert list((folder / "journal").glob("*.journal")) == []


async def test_a_folder_in_use_is_refused_with_what_to_do(settings):
    async with Relay(settings):
        with pytest.raises(SettingsError, match="in use by another relay") as caught:
            async with Relay(settings):
                pass
    assert caught.value.faults[0].pointer == "store.data_dir"


async def test_a_folder_is_taken_over_as_soon_as_it_is_left(settings, folder):
    folder.mkdir(parents=True)
    holder = Folder(folder)
    assert holder.take()
    assert holder.is_held
    assert not Folder(folder).take()
    holder.leave()
    holder.leave()
    assert not holder.is_held
    async with Relay(settings):
        assert Folder(folder).is_held
    assert not Folder(folder).is_held


def test_the_key_of_a_folder_stays_the_same(tmp_path):
    folder = Folder(tmp_path / "data")
    folder.make()
    made = folder.secret()
    assert (len(made), folder.secret(), Folder(tmp_path / "data").secret()) == (32, made, made)


@pytest.mark.parametrize(
    ("value", "words"), [("1 week", "expected a time such as"), ("7x", "expected"), (0, "greater")]
)
def test_a_wrong_retention_is_explained(value, words):
    with pytest.raises(SettingsError, match=words) as caught:
        parse(settings_for("http://127.0.0.1:9/v1", store={"retention": value}))
    assert [fault.pointer for fault in caught.value.faults] == ["store.retention"]


def test_an_endless_retention_is_refused():
    with pytest.raises(SettingsError):
        parse(settings_for("http://127.0.0.1:9/v1", store={"retention": float("inf")}))


async def test_a_relay_that_takes_no_turns_because_of_its_disk_is_not_ready():
    store = SimpleNamespace(fault=lambda: "store_full")
    house = SimpleNamespace(log=SimpleNamespace(store=store))
    turns = SimpleNamespace(draining=False, open_count=0, limits=SimpleNamespace(max_open_turns=1), house=house)
    request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(desk=SimpleNamespace(turns=turns))))
    answer = await ready(request)  # type: ignore[arg-type]
    assert (answer.status_code, b"store_full" in bytes(answer.body)) == (503, True)
