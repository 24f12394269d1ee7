"""The commands about the log, on the folder of a relay that runs, has stopped, or was killed."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest
from click.testing import CliRunner

from stores.writing import is_anywhere, path_of
from trunkline import beside
from trunkline.app import Relay
from trunkline.cli import cli
from trunkline.config import load
from trunkline.core.errors import (
    DatabaseError,
    FolderInUse,
    OffsetPastTail,
    Overloaded,
    SettingsError,
    TurnForgotten,
    TurnNotFound,
)
from trunkline.core.events import Delta
from trunkline.core.request import TurnRequest
from trunkline.records.records import Records
from trunkline.simulators import Simulator
from trunkline.stores.folder import Folder
from trunkline.stores.segment import header, scan
from trunkline.turns import Turn

WORDS = "waiting"  # of the text `order`
PIECES = 20
STALLED = f"sim:text=order;sim:interval-ms=0;sim:fault=stall-after={PIECES}"
NOBODY = "turn_" + 32 * "0"


@dataclass(frozen=True)
class Said:
    """What a command said, and the error that the command line makes a sentence of."""

    code: int
    out: str
    err: str
    error: BaseException | None


class Place:
    """A settings file and its data folder."""

    def __init__(self, folder: Path, platform: str, store: str = "") -> None:
        self.data = folder / "data"
        self.config = folder / "trunkline.toml"
        folder.mkdir(exist_ok=True)
        self.config.write_text(
            f'[store]\ndata_dir = "{self.data}"\ntake_over_s = 0\n{store}\n'
            f'[upstreams.support]\npreset = "openai"\nbase_url = "{platform}/v1"\nmodel = "m"\nguards = "none"\n'
        )

    def relay(self) -> Relay:
        return Relay(load(self.config)[0])

    async def command(self, *words: str) -> Said:
        """Run a command as another process would: beside the event loop of the relay."""
        arguments = [*words, "--config", str(self.config)]
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
        error = None if isinstance(result.exception, SystemExit) else result.exception
        return Said(result.exit_code, result.stdout, result.stderr, error)

    async def refused(self, kind: type[Exception], *words: str) -> str:
        """Run a command that fails with an error of ours; return its words."""
        said = await self.command(*words)
        assert type(said.error) is kind, said
        return str(said.error)

    async def as_after_a_kill(self, relay: Relay, name: str = "killed") -> Place:
        """Copy the folder while its relay runs: as it would be found after `kill -9`."""
        durable = relay.storage.durable
        assert durable is not None
        await durable.recorder.flush()
        copy = Place(self.config.parent / name, "http://127.0.0.1:9")
        await asyncio.to_thread(shutil.copytree, self.data, copy.data)
        return copy


@pytest.fixture
def place(simulator, tmp_path):
    return Place(tmp_path, simulator.url)


async def ask(relay: Relay, prompt: str = "sim:text=order;sim:interval-ms=0", **more: str) -> Turn:
    """Start a turn and wait for its end."""
    principal = more.pop("principal", "local")
    turn = relay.start(TurnRequest.model_validate({"input": prompt, **more}), principal=principal)
    with turn.follow() as follower:
        async for _ in follower.entries():
            pass
    return turn


async def settled(relay: Relay) -> None:
    """Wait until all that has ended is archived."""
    durable = relay.storage.durable
    assert durable is not None
    await durable.store.settle()
    await durable.store._in(durable.store._writer, lambda: None)  # What drops segments stands in line before it.


@asynccontextmanager
async def stalled(relay: Relay, simulator: Simulator, **more: str) -> AsyncIterator[tuple[Turn, str]]:
    """Start a turn whose platform falls silent in the middle; yields it and its text so far."""
    turn = relay.start(TurnRequest.model_validate({"input": STALLED, **more}))
    with turn.follow() as follower:
        async for _ in follower.entries():
            if sum(isinstance(entry.event, Delta) for entry in turn.log.entries[: turn.log.visible]) == PIECES:
                break
        assert turn.record().text == simulator.ledger[-1]["text"]
        yield turn, turn.record().text


def lines(said: Said) -> list[dict]:
    return [json.loads(line) for line in said.out.splitlines()]


def ids(said: Said) -> list[str]:
    assert said.code == 0, said
    return [line["id"] for line in lines(said)]


# follow


async def test_follow_reads_a_turn_of_a_relay_that_has_stopped(place, simulator):
    async with place.relay() as relay:
        turn = await ask(relay)
    said = await place.command("follow", turn.id)
    assert said.code == 0
    assert said.out == simulator.ledger[-1]["text"] + "\n"
    assert "support (m) for local" in said.err
    assert "completed (stop): The platform ended the answer." in said.err


async def test_follow_begins_behind_the_offset_that_is_given(place):
    async with place.relay() as relay:
        turn = await ask(relay)
    whole = [json.loads(b'{"id":%d,%b' % (entry.offset, entry.json[1:])) for entry in turn.log.entries]
    assert lines(await place.command("follow", "--json", turn.id)) == whole
    assert lines(await place.command("follow", "--json", "--after", "7", turn.id)) == whole[7:]
    at_the_end = await place.command("follow", "--after", str(turn.log.tail), turn.id)
    assert (at_the_end.code, at_the_end.out.strip()) == (0, "")
    assert "completed (stop)" in at_the_end.err
    assert f"no offset {turn.log.tail + 1}" in await place.refused(
        OffsetPastTail, "follow", "--after", str(turn.log.tail + 1), turn.id
    )


async def test_follow_of_a_turn_that_failed_says_why_and_exits_with_1(place):
    async with place.relay() as relay:
        turn = await ask(relay, "sim:fault=reset-after=3")
        said = await place.command("follow", turn.id)
    assert said.code == 1
    assert "failed (upstream_interrupted)" in said.err


async def test_follow_reads_an_open_turn_as_it_comes_and_until_its_end(place, simulator):
    async with place.relay() as relay:
        turn = relay.start(TurnRequest(input="sim:text=long;sim:interval-ms=10"))
        with turn.follow() as follower:
            async for _ in follower.entries():
                if turn.log.visible > 20:
                    break
        command = [sys.executable, "-m", "trunkline", "follow", turn.id, "--config", str(place.config)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        first = await process.stdout.read(1)
        assert not turn.log.ended, "what is there is told before there is more"
        turn.cancel()
        rest, errors = await process.communicate()
        assert (first + rest).decode() == turn.record().text + "\n"
    assert process.returncode == 1
    assert "cancelled (client_cancelled)" in errors.decode()


async def test_follow_tells_what_a_killed_relay_left_and_that_nobody_goes_on_with_it(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, text):
        killed = await place.as_after_a_kill(relay)
    said = await killed.command("follow", "--wait", "0", turn.id)
    assert said.out == text
    assert isinstance(said.error, Overloaded)
    assert "no relay runs" in str(said.error)
    async with killed.relay():
        ended = await killed.command("follow", turn.id)
    assert (ended.code, ended.out) == (1, text + "\n")
    assert "failed (relay_restarted)" in ended.err


async def test_follow_waits_for_a_relay_that_is_started_again_and_tells_the_end_that_it_gives(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, text):
        killed = await place.as_after_a_kill(relay)
    log = beside.Beside(load(killed.config)[0].store)
    followed = log.follow(turn.id, 0)
    told = [entry for entries in [await anext(followed)] for entry in entries]
    assert not log.is_held
    async with killed.relay():
        told += [entry async for entries in followed for entry in entries]
    log.close()
    assert "".join(entry.event.text for entry in told if isinstance(entry.event, Delta)) == text
    assert told[-1].event.reason == "relay_restarted"


async def test_follow_leaves_thoughts_to_json(place, simulator):
    async with place.relay() as relay:
        turn = await ask(relay, "sim:fault=reasoning;sim:text=short;sim:interval-ms=0")
    thoughts = {e.event.text for e in turn.log.entries if isinstance(e.event, Delta) and e.event.channel == "reasoning"}
    assert thoughts
    assert (await place.command("follow", turn.id)).out == simulator.ledger[-1]["text"] + "\n"
    told = {line.get("text") for line in lines(await place.command("follow", "--json", turn.id))}
    assert thoughts <= told


@pytest.mark.parametrize("command", [("follow",), ("turns", "show")], ids=" ".join)
async def test_a_turn_that_is_not_there_is_told_from_one_that_is_gone(place, command):
    async with place.relay() as relay:
        turn = await ask(relay)
        await relay.turns.forget([turn.started])
    assert NOBODY in await place.refused(TurnNotFound, *command, NOBODY)
    assert "'../etc'" in await place.refused(TurnNotFound, *command, "../etc")
    assert "forgotten or is past its retention" in await place.refused(TurnForgotten, *command, turn.id)


async def test_an_error_is_one_sentence_and_exit_code_2(place):
    async with place.relay():
        command = [sys.executable, "-m", "trunkline", "follow", NOBODY, "--config", str(place.config)]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert len(errors.decode().splitlines()) == 1
    assert errors.startswith(b"trunkline: There is no turn")


EVERY_COMMAND = {
    "follow": ("follow", NOBODY),
    "turns list": ("turns", "list"),
    "turns show": ("turns", "show", NOBODY),
    "store verify": ("store", "verify"),
    "store compact": ("store", "compact"),
    "forget": ("forget", "--yes", "--conversation", "c-1"),
}


@pytest.mark.parametrize("words", EVERY_COMMAND.values(), ids=EVERY_COMMAND)
async def test_without_a_log_every_command_says_so_and_makes_none(place, words):
    told = await place.refused(SettingsError, *words)
    assert f"there is no log in {place.data}" in told
    assert not place.data.exists()


@pytest.mark.parametrize("words", EVERY_COMMAND.values(), ids=EVERY_COMMAND)
async def test_a_log_in_memory_cannot_be_looked_at_from_beside(simulator, tmp_path, words):
    place = Place(tmp_path, simulator.url, 'durability = "memory"')
    assert "store.durability: is `memory`" in await place.refused(SettingsError, *words)


# turns


async def test_list_shows_what_is_open_and_what_has_ended_and_goes_on_where_it_stopped(place, simulator):
    async with place.relay() as relay:
        first = await ask(relay, conversation_id="c-1")
        second = await ask(relay, conversation_id="c-2", principal="anna")
        await settled(relay)
        async with stalled(relay, simulator, conversation_id="c-1") as (third, _):
            assert ids(await place.command("turns", "list", "--json")) == [third.id, second.id, first.id]
            assert ids(await place.command("turns", "list", "--json", "--state", "open")) == [third.id]
            assert ids(await place.command("turns", "list", "--json", "--state", "ended")) == [second.id, first.id]
            assert ids(await place.command("turns", "list", "--json", "--conversation", "c-1")) == [third.id, first.id]
            assert ids(await place.command("turns", "list", "--json", "--principal", "anna")) == [second.id]
            page = ids(await place.command("turns", "list", "--json", "--limit", "1"))
            assert page == [third.id]
            assert ids(await place.command("turns", "list", "--json", "--before", *page)) == [second.id, first.id]
    stopped = await place.command("turns", "list")
    assert [line.split()[0] for line in stopped.out.splitlines()] == [third.id, second.id, first.id]
    assert "cancelled/shutdown" in stopped.out
    assert "anna  support  c-2" in stopped.out
    assert WORDS not in stopped.out


async def test_list_of_a_killed_relay_shows_what_it_left_open(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, _):
        killed = await place.as_after_a_kill(relay)
    assert ids(await killed.command("turns", "list", "--json", "--state", "open")) == [turn.id]


async def test_a_turn_of_which_the_journal_has_only_the_end_left_is_listed_and_checked_as_archived(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, _):
        killed = await place.as_after_a_kill(relay)
    async with killed.relay() as restarted:
        await settled(restarted)
        [segment] = (killed.data / "journal").iterdir()
        assert turn.id.removeprefix("turn_") in segment.read_bytes().hex(), "otherwise this test could not fail"
        assert ids(await killed.command("turns", "list", "--json")) == [turn.id]
        assert ids(await killed.command("turns", "list", "--json", "--state", "open")) == []
        assert (await killed.command("store", "verify")).out == "1 turns checked: all is well\n"


async def test_a_turn_over_a_change_of_segment_is_listed_and_checked_while_it_is_open_and_afterwards(place, simulator):
    async with place.relay() as relay:
        durable = relay.storage.durable
        assert durable is not None
        async with stalled(relay, simulator) as (turn, text):
            first = durable.store._journal.number
            assert durable.store._appending.begin()
            assert ids(await place.command("turns", "list", "--json", "--state", "open")) == [turn.id]
            turn.cancel()
            with turn.follow() as follower:
                async for _ in follower.entries():
                    pass
        await settled(relay)
        assert durable.store._journal.segments() == [first + 1]
        assert ids(await place.command("turns", "list", "--json")) == [turn.id]
        assert (await place.command("store", "verify")).out == "1 turns checked: all is well\n"
        [facts] = lines(await place.command("turns", "show", "--json", turn.id))
        assert (facts["reason"], facts["text"]) == ("client_cancelled", text)


async def test_a_turn_whose_beginning_is_damaged_is_told_and_keeps_no_other_from_being_listed(place, simulator):
    async with place.relay() as relay:
        well = await ask(relay)
        await settled(relay)
        async with stalled(relay, simulator) as (turn, _):
            killed = await place.as_after_a_kill(relay)
    [path] = (killed.data / "journal").iterdir()
    data = bytearray(path.read_bytes())
    data[data.index(bytes.fromhex(turn.id.removeprefix("turn_"))) + 60] ^= 1
    path.write_bytes(data)
    assert ids(await killed.command("turns", "list", "--json")) == [well.id]
    assert f"{turn.id}: entries are missing in the journal" in (await killed.command("store", "verify")).out
    for command in (("follow",), ("turns", "show")):
        assert "cannot be read; `trunkline store verify`" in await killed.refused(Overloaded, *command, turn.id)


async def test_show_tells_all_that_is_known_and_the_text(place, simulator):
    async with place.relay() as relay:
        turn = await ask(relay, conversation_id="c-1", session_id="s-1")
        running = await place.command("turns", "show", "--json", turn.id)
    stopped = await place.command("turns", "show", "--json", turn.id)
    assert stopped == running
    [facts] = lines(stopped)
    assert facts["text"] == simulator.ledger[-1]["text"]
    expected = {"id": turn.id, "state": "ended", "outcome": "completed", "reason": "stop", "tail": turn.log.tail}
    expected |= {"principal": "local", "upstream": "support", "conversation_id": "c-1", "session_id": "s-1"}
    assert expected.items() <= facts.items()
    plain = await place.command("turns", "show", turn.id)
    assert plain.out.endswith(f"\n\n{facts['text']}\n")
    assert "conversation_id  c-1" in plain.out
    assert "heard_upto" not in plain.out, "what nobody knows is left out"


async def test_show_has_the_text_of_an_open_turn_so_far_and_how_much_a_caller_heard_of_one_that_was_cancelled(
    place, simulator
):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, text):
        [facts] = lines(await place.command("turns", "show", "--json", turn.id))
        assert (facts["state"], facts["outcome"], facts["text"]) == ("open", None, text)
        turn.cancel(heard_upto=12)
    [facts] = lines(await place.command("turns", "show", "--json", turn.id))
    assert (facts["reason"], facts["heard_upto"], facts["text"]) == ("client_cancelled", 12, text)


# store verify


async def test_verify_finds_nothing_wrong_with_a_relay_that_runs_has_stopped_or_was_killed(place, simulator):
    async with place.relay() as relay:
        await ask(relay)
        await settled(relay)
        async with stalled(relay, simulator):
            running = await place.command("store", "verify")
            killed = await place.as_after_a_kill(relay)
    for said in (running, await killed.command("store", "verify"), await place.command("store", "verify")):
        assert said.code == 0, said
        assert said.out.endswith("turns checked: all is well\n")


async def damage(place: Place, relay: Relay, at: int) -> Place:
    """Turn a bit of the newest segment around in a copy of the folder."""
    killed = await place.as_after_a_kill(relay)
    path = max((killed.data / "journal").iterdir())
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return killed


async def test_verify_names_what_is_damaged_in_the_journal_and_exits_with_1(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, _):
        killed = await damage(place, relay, 100)
    said = await killed.command("store", "verify")
    assert said.code == 1
    [segment] = (killed.data / "journal").iterdir()
    first, second, last = said.out.splitlines()
    assert first.startswith(f"journal segment {int(segment.stem)}: ")
    assert first.endswith(" bytes at 16 cannot be read")
    assert second == f"{turn.id}: entries are missing in the journal"
    assert last.endswith("2 faults")


async def test_verify_finds_a_torn_end_only_where_no_relay_is_writing_it(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator):
        killed = await place.as_after_a_kill(relay)
        durable = relay.storage.durable
        assert durable is not None
        newest = max(durable.store._journal.segments())
    path = path_of(killed.data / "journal", newest)
    data = path.read_bytes()
    torn = data.rstrip(b"\0")[:-3]
    path.write_bytes(torn.ljust(len(data), b"\0"))
    said = await killed.command("store", "verify")
    assert said.code == 1
    assert f"journal segment {newest}: " in said.out
    holder = Folder(killed.data)
    assert holder.take()
    assert (await killed.command("store", "verify")).code == 0
    holder.leave()


async def test_verify_takes_the_end_of_the_written_segment_for_no_damage_while_a_spare_one_is_laid_out(
    place, simulator
):
    async with place.relay() as relay, stalled(relay, simulator):
        durable = relay.storage.durable
        assert durable is not None
        killed = await place.as_after_a_kill(relay)
        number = durable.store._journal.number
    path = path_of(killed.data / "journal", number)
    data = path.read_bytes()
    path.write_bytes(data.rstrip(b"\0")[:-3].ljust(len(data), b"\0"))
    path_of(killed.data / "journal", number + 1).write_bytes(header(number + 1).ljust(len(data), b"\0"))
    path_of(killed.data / "journal", number + 2).touch()
    holder = Folder(killed.data)
    assert holder.take()
    assert (await killed.command("store", "verify")).code == 0
    holder.leave()
    assert (await killed.command("store", "verify")).code == 1


async def test_verify_names_a_turn_that_is_damaged_in_the_archive(place):
    async with place.relay() as relay:
        turn = await ask(relay)
    path = place.data / "trunkline.sqlite"
    damaged = path.read_bytes().replace(turn.id.encode(), turn.id[:-1].encode() + b"?")
    path.write_bytes(damaged)
    said = await place.command("store", "verify")
    assert said.code == 1
    assert turn.id[:-1] in said.out
    assert "faults" in said.out


async def test_a_turn_with_events_of_another_version_is_told_and_archived_as_it_is(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, text):
        killed = await place.as_after_a_kill(relay)
    [path] = (killed.data / "journal").iterdir()
    rewrite(path, b'"type":"delta"', b'"type":"image"')
    finding = f"{turn.id}: {PIECES} of its events are of another version of trunkline"
    assert finding in (await killed.command("store", "verify")).out
    assert (await killed.command("store", "compact")).code == 0
    assert finding in (await killed.command("store", "verify")).out
    told = lines(await killed.command("follow", "--json", turn.id))
    assert "".join(line["text"] for line in told if line["type"] == "image") == text
    assert told[-1]["reason"] == "relay_restarted"


async def test_a_turn_that_began_with_another_version_stays_in_the_journal_for_that(place, simulator):
    async with place.relay() as relay, stalled(relay, simulator) as (turn, _):
        killed = await place.as_after_a_kill(relay)
    [path] = (killed.data / "journal").iterdir()
    rewrite(path, b'"model":"m"', b'"model":[1]')
    assert (await killed.command("store", "compact")).code == 0
    assert path.exists()
    assert f"{turn.id}: it began with another version" in (await killed.command("store", "verify")).out


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Write the events of a segment as another version of trunkline might, each CRC with them."""
    data = bytearray(path.read_bytes())
    assert old in data
    for at, _, _ in scan(bytes(data), int(path.stem)).records:
        length = int.from_bytes(data[at : at + 4], "little")
        changed = data[at + 8 : at + 8 + length].replace(old, new)
        data[at + 4 : at + 8 + length] = crc32(changed).to_bytes(4, "little") + changed
    path.write_bytes(data)


# store compact


async def test_compact_goes_on_as_long_as_the_archive_takes_turns_and_tells_what_is_left(place, simulator, monkeypatch):
    async with place.relay() as relay, stalled(relay, simulator):
        killed = await place.as_after_a_kill(relay)
    monkeypatch.setattr("trunkline.stores.durable.CLOSE_LIMIT_S", 0.0)
    monkeypatch.setattr(Records, "keep", refuse)
    compacted = await beside.compact(load(killed.config)[0].store, settle_limit_s=0.05)
    assert compacted.owed == 1


def refuse(*_: object) -> None:
    raise DatabaseError("The database does not answer.")


async def test_compact_wants_the_folder_for_itself(place):
    async with place.relay():
        told = await place.refused(FolderInUse, "store", "compact")
    assert "a relay runs on it, which archives and expires by itself" in told
    assert told.startswith("The log cannot be used now:")


async def test_compact_ends_and_archives_what_a_killed_relay_left_and_gives_the_room_back(place, simulator):
    async with place.relay() as relay:
        gone = [await ask(relay) for _ in range(3)]
        await settled(relay)
        async with stalled(relay, simulator) as (turn, text):
            killed = await place.as_after_a_kill(relay)
    said = await killed.command("store", "compact")
    assert said.code == 0, said
    before, now = (float(part.split()[0]) for part in said.out.split(" before, "))
    assert before > 32 > now, "a segment has gone"
    assert list((killed.data / "journal").iterdir()) == []
    [facts] = lines(await killed.command("turns", "show", "--json", turn.id))
    assert (facts["reason"], facts["text"]) == ("relay_restarted", text)
    assert {turn.id for turn in gone} < set(ids(await killed.command("turns", "list", "--json")))


async def test_compact_drops_what_is_past_its_retention(place, simulator, tmp_path):
    async with place.relay() as relay:
        turn = await ask(relay)
    brief = Place(tmp_path, simulator.url, "retention = 0.001")
    assert (await brief.command("store", "compact")).code == 0
    await brief.refused(TurnForgotten, "turns", "show", turn.id)
    assert not is_anywhere(brief.data, WORDS)


# forget


async def test_forget_does_it_itself_where_no_relay_runs(place, simulator):
    async with place.relay() as relay:
        old = await ask(relay, conversation_id="c-1")
        kept = await ask(relay, "sim:text=short;sim:interval-ms=0", conversation_id="c-2")
        await settled(relay)
        async with stalled(relay, simulator, conversation_id="c-1") as (cut_off, _):
            killed = await place.as_after_a_kill(relay)
    assert is_anywhere(killed.data, WORDS), "otherwise this test could not fail"
    said = await killed.command("forget", "--yes", "--conversation", "c-1")
    assert (said.code, said.out) == (0, "Conversation c-1 is forgotten.\n")
    assert not is_anywhere(killed.data, WORDS)
    assert ids(await killed.command("turns", "list", "--json")) == [kept.id]
    for turn in (old, cut_off):
        await killed.refused(TurnForgotten, "turns", "show", turn.id)
    async with killed.relay():
        pass
    assert not is_anywhere(killed.data, WORDS)


async def test_forget_asks_the_relay_that_runs_and_waits_until_it_has_done_it(place, simulator):
    async with place.relay() as relay:
        old = await ask(relay, conversation_id="c-1")
        async with stalled(relay, simulator, conversation_id="c-1") as (open_turn, _):
            assert is_anywhere(place.data, WORDS), "otherwise this test could not fail"
            said = await place.command("forget", "--yes", "--conversation", "c-1")
            assert (said.code, said.out) == (0, "Conversation c-1 is forgotten.\n")
            assert not is_anywhere(place.data, WORDS)
            for turn in (old, open_turn):
                with pytest.raises(TurnForgotten):
                    await relay.find(turn.id)
    assert (await simulator.ended(2))[-1]["ended"] == "client_gone", "nobody generates what is forgotten"


@pytest.mark.parametrize("is_running", [True, False])
async def test_forget_of_one_principal_leaves_what_belongs_to_others(place, is_running):
    words = ("forget", "--yes", "--conversation", "c-1", "--principal", "anna")
    async with place.relay() as relay:
        hers = await ask(relay, conversation_id="c-1", principal="anna")
        his = await ask(relay, conversation_id="c-1", principal="ben")
        if is_running:
            assert (await place.command(*words)).code == 0
    if not is_running:
        assert (await place.command(*words)).code == 0
    await place.refused(TurnForgotten, "turns", "show", hers.id)
    assert ids(await place.command("turns", "list", "--json")) == [his.id]


async def test_forget_does_nothing_unless_it_is_meant(place):
    async with place.relay() as relay:
        turn = await ask(relay, conversation_id="c-1")
    said = await place.command("forget", "--conversation", "c-1", "--principal", "local")
    assert said.code == 1
    assert "Erase the conversation c-1 of local for good?" in said.out
    assert ids(await place.command("turns", "list", "--json")) == [turn.id]


async def test_forget_wants_an_id(place):
    said = await place.command("forget", "--yes", "--conversation", "a b")
    assert said.code == 2
    assert "an id is 1 to 128 of" in said.err
