"""The commands that only read, on a folder that cannot be written: mounted for reading, or on a full disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from test_log_commands import Place, ask, ids, lines, settled, stalled


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a folder over itself, for reading alone."""
    mount = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:  # noqa: S603 - it is ours
        pytest.skip("this user may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)  # noqa: S603, S607
        with pytest.raises(OSError, match="Read-only"):
            (folder / "new").touch()
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Move a folder to a small disk that has no room left."""
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.mkdir()
    size = 1 + sum(path.stat().st_size for path in kept.rglob("*")) // 1024 + 256
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:  # noqa: S603 - it is ours
        pytest.skip("this user may not mount")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        with suppress(OSError), (folder / "filling").open("wb", buffering=0) as filling:
            while filling.write(bytes(4096)):
                pass
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


@pytest.fixture
def place(simulator, tmp_path):
    return Place(tmp_path, simulator.url)


async def test_what_a_relay_left_that_stopped_is_read(place, simulator):
    async with place.relay() as relay:
        turn = await ask(relay)
    with read_only(place.data):
        assert ids(await place.command("turns", "list", "--json")) == [turn.id]
        [facts] = lines(await place.command("turns", "show", "--json", turn.id))
        assert facts["text"] == simulator.ledger[-1]["text"]
        verified = await place.command("store", "verify")
        assert (verified.out, verified.err) == ("1 turns checked: all is well\n", "")


async def test_what_a_relay_left_that_was_killed_is_read_with_its_write_ahead_log(place, simulator):
    async with place.relay() as relay:
        ended = await ask(relay)
        await settled(relay)
        async with stalled(relay, simulator) as (turn, _):
            killed = await place.as_after_a_kill(relay)
    assert (killed.data / "trunkline.sqlite-wal").stat().st_size
    with read_only(killed.data):
        assert ids(await killed.command("turns", "list", "--json")) == [turn.id, ended.id]
        verified = await killed.command("store", "verify")
        assert (verified.code, verified.err) == (0, "")
        assert (await killed.command("follow", "--wait", "0", turn.id)).out


async def test_a_write_ahead_log_that_cannot_be_read_is_told(place, simulator):
    async with place.relay() as relay:
        await ask(relay)
    async with place.relay() as relay:
        await ask(relay)
        await settled(relay)
        killed = await place.as_after_a_kill(relay)
    (killed.data / "trunkline.sqlite-shm").unlink()
    with read_only(killed.data):
        listed = await killed.command("turns", "list", "--json")
    assert listed.code == 0
    assert "trunkline.sqlite-wal in it is not read: newer turns are missing." in listed.err


@pytest.mark.parametrize("is_killed", [False, True])
async def test_on_a_full_disk_the_log_is_read(place, simulator, is_killed):
    async with place.relay() as relay:
        turn = await ask(relay)
        await settled(relay)
        killed = await place.as_after_a_kill(relay)
    left = killed if is_killed else place
    with full(left.data):
        assert ids(await left.command("turns", "list", "--json")) == [turn.id]
        assert (await left.command("turns", "show", turn.id)).code == 0
        assert (await left.command("store", "verify")).out == "1 turns checked: all is well\n"


async def test_what_would_write_says_that_it_cannot(place):
    async with place.relay() as relay:
        await ask(relay, conversation_id="c-1")
    with read_only(place.data):
        for words in (("forget", "--yes", "--conversation", "c-1"), ("store", "compact")):
            said = await place.command(*words)
            assert said.code
            assert "cannot be written" in str(said.error)
