"""What a relay makes of the journal it finds: one end for every turn, nothing archived twice, damage told."""

from __future__ import annotations

from zlib import crc32

import pytest

from stores.archives import DictArchive
from stores.disks import FaultyDisk
from stores.writing import (
    SMALL,
    beginning,
    end,
    is_anywhere,
    key,
    keys_in,
    more,
    path_of,
    plain,
    text_of,
    turn_id,
    whole_turn,
)
from trunkline.core.events import UNKNOWN, Ended, Notice, Usage
from trunkline.stores.files import Disk
from trunkline.stores.journal import PLACE_BITS, Journal
from trunkline.stores.recovery import JUMP, Recovered, recover, unbroken, whole
from trunkline.stores.segment import Batch

NOW_MS = 5_000


@pytest.fixture
def archive():
    return DictArchive()


def write(folder, *batches: Batch, disk: FaultyDisk | None = None) -> list[int]:
    """The journal of a relay that died after writing these; return where each is in its segment."""
    journal = Journal(folder, disk or Disk(), segment_bytes=SMALL)
    journal.begin()
    places = [journal.append([batch])[0] & (1 << PLACE_BITS) - 1 for batch in batches]
    journal.end()
    return places


def start(folder, archive, disk=None) -> tuple[Journal, Recovered]:
    journal = Journal(folder, disk or Disk(), segment_bytes=SMALL)
    try:
        return journal, recover(journal, archive, NOW_MS)
    finally:
        journal.end()


def ends(journal: Journal, found: Recovered) -> dict[str, list[tuple[int, str]]]:
    """By turn, the offset and the reason of every `Ended` that it has."""
    return {
        turn: [(e.offset, e.event.reason) for e in journal.read(left.places) if isinstance(e.event, Ended)]
        for turn, left in found.turns.items()
    }


def damage(folder, segment: int, at: int) -> None:
    data = bytearray(path_of(folder, segment).read_bytes())
    data[at] ^= 1
    path_of(folder, segment).write_bytes(data)


def test_an_empty_folder_becomes_a_journal_without_turns(tmp_path, archive):
    journal, found = start(tmp_path, archive)
    assert found == Recovered()
    assert journal.segments() == [1]


def test_an_open_turn_gets_one_end_behind_a_jump_and_its_tokens_are_counted(tmp_path, archive):
    write(tmp_path, beginning(1, "Hello", " there"), more(1, ", Anna", first=4))
    journal, found = start(tmp_path, archive)
    assert (found.ended, list(found.turns)) == ([turn_id(1)], [turn_id(1)])
    *said, usage, last = journal.read(found.turns[turn_id(1)].places)
    assert text_of(said) == "Hello there, Anna"
    assert [entry.offset for entry in said] == [1, 2, 3, 4]
    assert (usage.offset, last.offset) == (4 + JUMP, 5 + JUMP)
    assert isinstance(usage.event, Usage)
    assert (usage.event.prompt_tokens, usage.event.counted_by) == (3, "relay")
    assert usage.event.completion_tokens > 0
    assert usage.event.total_tokens == 3 + usage.event.completion_tokens
    assert last.event == Ended("failed", "relay_restarted", usage=usage.event)
    assert (usage.at_ms, last.at_ms) == (NOW_MS, NOW_MS)
    summary = found.turns[turn_id(1)].summary
    assert summary is not None
    assert (summary.ended, summary.tail, summary.ended_ms) == (last.event, last.offset, NOW_MS)


def test_turns_that_ended_keep_their_end_and_come_the_oldest_first(tmp_path, archive):
    write(tmp_path, beginning(2, "b"), whole_turn(1, "a"), end(2, first=3))
    journal, found = start(tmp_path, archive)
    assert list(found.turns) == [turn_id(2), turn_id(1)]
    assert found.ended == []
    assert ends(journal, found) == {turn_id(2): [(3, "stop")], turn_id(1): [(3, "stop")]}


def test_turns_that_are_archived_are_left_out(tmp_path, archive):
    archive.keep(turn_id(1), whole_turn(1, "a").entries)
    write(tmp_path, whole_turn(1, "a"), whole_turn(2, "b"))
    _, found = start(tmp_path, archive)
    assert list(found.turns) == [turn_id(2)]


def test_turns_that_were_to_be_forgotten_are_erased(tmp_path, archive):
    archive.forget([(turn_id(1), "anna")], 0)
    write(tmp_path, whole_turn(1, "secret"), whole_turn(2, "b"), beginning(1, "secret again"))
    _, found = start(tmp_path, archive)
    assert list(found.turns) == [turn_id(2)]
    assert not is_anywhere(tmp_path, "secret")


def test_many_turns_are_asked_for_in_portions(tmp_path, archive):
    for n in range(0, 1_200, 2):
        archive.keep(turn_id(n), whole_turn(n).entries)
    write(tmp_path, *(whole_turn(n) for n in range(1_200)))
    _, found = start(tmp_path, archive)
    assert list(found.turns) == [turn_id(n) for n in range(1, 1_200, 2)]
    assert archive.calls.count("known") == 3


def test_a_torn_tail_is_told_and_cut_off_once(tmp_path, archive):
    disk = FaultyDisk()
    journal = Journal(tmp_path, disk, segment_bytes=SMALL)
    journal.begin()
    journal.append([beginning(1, "whole")])
    disk.fails, disk.writes_before_failing = {"write": 5}, 60
    with pytest.raises(OSError, match="Input/output error"):
        journal.append([more(1, "torn", first=3)])
    journal.end()
    journal, found = start(tmp_path, archive)
    assert [damage.torn for damage in found.damages] == [True]
    assert text_of(journal.read(found.turns[turn_id(1)].places)) == "whole"
    journal, found = start(tmp_path, archive)
    assert found.damages == []
    assert [len(one) for one in ends(journal, found).values()] == [1]


def test_recovering_twice_comes_to_the_same(tmp_path, archive):
    write(tmp_path, beginning(1, "a"), whole_turn(2, "b"), beginning(3, "c"))
    journal, first = start(tmp_path, archive)
    before = {turn: plain(journal.read(left.places)) for turn, left in first.turns.items()}
    journal, second = start(tmp_path, archive)
    assert {turn: plain(journal.read(left.places)) for turn, left in second.turns.items()} == before
    assert second.ended == []


@pytest.mark.parametrize("left_behind", [0, 20, 70])
def test_a_relay_that_dies_at_any_step_of_its_recovery_leaves_it_to_the_next(tmp_path, archive, left_behind):
    archive.forget([(turn_id(4), "anna")], 0)
    batches = [
        beginning(1, "Hello"),
        whole_turn(2, "b"),
        beginning(3, "c"),
        whole_turn(4, "secret"),
        more(1, "!", first=3),
    ]
    survived = 0
    for step in range(40):
        folder = tmp_path / str(step)
        folder.mkdir()
        write(folder, *batches)
        data = path_of(folder, 1).read_bytes().rstrip(b"\0")
        path_of(folder, 1).write_bytes((data + b"torn").ljust(SMALL, b"\0"))
        disk = FaultyDisk()
        disk.fails_at, disk.writes_before_failing = step, left_behind
        try:
            start(folder, archive, disk)
        except OSError:
            assert disk.fails_at < 0
        else:
            survived += 1
        journal, found = start(folder, archive)
        assert set(found.turns) == {turn_id(1), turn_id(2), turn_id(3)}, step
        assert left_behind or not is_anywhere(folder, "secret"), step
        assert found.unreadable == []
        by_turn = ends(journal, found)
        assert {turn: [reason for _, reason in one] for turn, one in by_turn.items()} == {
            turn_id(1): ["relay_restarted"],
            turn_id(2): ["stop"],
            turn_id(3): ["relay_restarted"],
        }, step
        assert text_of(journal.read(found.turns[turn_id(1)].places)) == "Hello!"
    assert 0 < survived < 40


def test_erasing_that_broke_off_is_done_again_at_the_next_start(tmp_path, archive):
    archive.forget([(turn_id(1), "anna")], 0)
    write(tmp_path, whole_turn(1, "secret"), whole_turn(2, "b"))
    disk = FaultyDisk()
    disk.fails, disk.writes_before_failing = {"write": 5}, 20
    with pytest.raises(OSError, match="Input/output error"):
        start(tmp_path, archive, disk)
    _, found = start(tmp_path, archive)
    assert list(found.turns) == [turn_id(2)]
    assert not is_anywhere(tmp_path, "secret")


def test_a_turn_without_its_beginning_is_named_and_takes_no_other_along(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), more(1, "b", first=3), beginning(2, "c"), whole_turn(3, "d"))
    damage(tmp_path, 1, places[0] + 50)
    _, found = start(tmp_path, archive)
    assert found.unreadable == [turn_id(1)]
    assert list(found.turns) == [turn_id(2), turn_id(3)]
    assert [(one.at, one.torn) for one in found.damages] == [(places[0], False)]


def test_an_ended_turn_with_a_hole_is_read_up_to_it_and_ends_there(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), more(1, "lost", first=3), more(1, "c", first=4), end(1, first=5))
    damage(tmp_path, 1, places[1] + 50)
    journal, found = start(tmp_path, archive)
    entries = whole(journal.read(found.turns[turn_id(1)].places))
    assert text_of(entries) == "a"
    last = entries[-1]
    assert isinstance(last.event, Ended)
    assert (last.offset, last.event.outcome, last.event.reason) == (2 + JUMP, "failed", "store_error")


def test_an_open_turn_with_a_hole_is_read_up_to_it_and_has_one_end(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), more(1, "lost", first=3), more(1, "c", first=4))
    damage(tmp_path, 1, places[1] + 50)
    journal, found = start(tmp_path, archive)
    entries = whole(journal.read(found.turns[turn_id(1)].places))
    assert text_of(entries) == "a"
    assert [type(entry.event) for entry in entries].count(Ended) == 1
    assert isinstance(entries[-1].event, Ended)
    assert entries[-1].offset > JUMP


def test_a_turn_with_a_hole_is_listed_with_the_end_that_it_is_read_with(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), more(1, "lost", first=3), more(1, "c", first=4))
    damage(tmp_path, 1, places[1] + 50)
    journal, found = start(tmp_path, archive)
    left = found.turns[turn_id(1)]
    assert left.summary is not None
    assert left.summary.ended == whole(journal.read(left.places))[-1].event


def test_a_record_that_was_written_again_is_taken_once(tmp_path, archive):
    write(tmp_path, beginning(1, "a"), more(1, "nobody saw it", first=3), more(1, "b", first=3))
    journal, found = start(tmp_path, archive)
    assert text_of(journal.read(found.turns[turn_id(1)].places)) == "ab"
    assert [len(one) for one in ends(journal, found).values()] == [1]


def alter(folder, old: bytes, new: bytes, at: int) -> None:
    """Write a record as another version of trunkline might: its events differ, and its CRC is right."""
    data = path_of(folder, 1).read_bytes()
    length = int.from_bytes(data[at : at + 4], "little")
    covered = data[at + 8 : at + 8 + length]
    assert old in covered
    assert len(old) == len(new)
    changed = covered.replace(old, new)
    record = data[at : at + 4] + crc32(changed).to_bytes(4, "little") + changed
    path_of(folder, 1).write_bytes(data[:at] + record + data[at + 8 + length :])


def test_events_of_another_version_are_kept_as_they_are_and_a_notice_stands_for_them(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), more(1, "new", first=3), end(1, first=4))
    alter(tmp_path, b'"type":"delta"', b'"type":"image"', places[1])
    journal, found = start(tmp_path, archive)
    assert (found.unreadable, found.damages) == ([], [])
    entries = whole(journal.read(found.turns[turn_id(1)].places))
    assert [entry.offset for entry in entries] == [1, 2, 3, 4]
    assert [entry.is_known for entry in entries] == [True, True, False, True]
    assert entries[2].event == Notice(UNKNOWN, "This version of trunkline does not know this event: image.")
    assert entries[2].json == b'{"type":"image","text":"new","choice":0}'


def test_an_open_turn_with_events_of_another_version_gets_its_end_behind_them(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), more(1, "new", "newer", first=3))
    alter(tmp_path, b'"type":"delta"', b'"type":"image"', places[1])
    journal, found = start(tmp_path, archive)
    assert ends(journal, found) == {turn_id(1): [(5 + JUMP, "relay_restarted")]}


def test_a_turn_whose_end_is_of_another_version_is_over(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), end(1, first=3))
    alter(tmp_path, b'"outcome":"completed"', b'"outcome":"forwarded"', places[1])
    journal, found = start(tmp_path, archive)
    assert ends(journal, found) == {turn_id(1): [(3, "store_error")]}
    assert b'"outcome":"forwarded"' in whole(journal.read(found.turns[turn_id(1)].places))[-1].json


def test_a_turn_whose_beginning_is_of_another_version_is_left_to_that(tmp_path, archive):
    places = write(tmp_path, beginning(1, "a"), whole_turn(2, "b"))
    alter(tmp_path, b'"model":"sim-model"', b'"model":[123456789]', places[0])
    _, found = start(tmp_path, archive)
    assert found.unreadable == [turn_id(1)]
    assert [left.id for left in found.unknown] == [turn_id(1)]
    assert list(found.turns) == [turn_id(2)]


def test_a_damaged_length_costs_no_other_turn(tmp_path, archive):
    places = write(tmp_path, whole_turn(1, "a"), whole_turn(2, "b"), whole_turn(3, "c"))
    damage(tmp_path, 1, places[0] + 1)
    _, found = start(tmp_path, archive)
    assert list(found.turns) == [turn_id(2), turn_id(3)]
    assert keys_in(Journal(tmp_path, Disk()), 1) == [key(2), key(3)]


def test_a_turn_that_filled_a_segment_of_its_own_is_whole_after_a_crash(tmp_path, archive):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    journal.append([beginning(1, "x" * (SMALL * 6 // 10))])
    journal.prepare()
    journal.append([more(1, "y" * 2 * SMALL, first=3)])
    for n in range(4, 12):
        journal.append([more(1, "z" * (SMALL // 2), first=n)])
    journal.append([end(1, first=12)])
    journal.end()
    journal, found = start(tmp_path, archive)
    assert [entry.offset for entry in whole(journal.read(found.turns[turn_id(1)].places))] == list(range(1, 13))


def test_entries_behind_a_jump_belong_to_their_turn_and_those_behind_a_hole_do_not():
    entries = [*beginning(1, "a", "b").entries, *end(1, first=3 + JUMP).entries]
    assert unbroken(entries) == entries
    assert whole(entries) == entries
    del entries[1]
    assert unbroken(entries) == entries[:1]
    for none in ([], entries[1:]):
        with pytest.raises(ValueError, match="no beginning"):
            whole(none)


# A disk that is full


def test_segments_that_nobody_needs_go_before_a_new_one_is_begun(tmp_path, archive):
    archive.keep(turn_id(1), whole_turn(1, "a").entries)
    write(tmp_path, whole_turn(1, "a"))
    disk = FaultyDisk()
    start(tmp_path, archive, disk)
    assert [call for call in disk.calls if call in ("remove", "create")] == ["remove", "create"]


def test_on_a_disk_without_room_every_turn_has_its_end_in_memory_and_later_starts_give_the_same(tmp_path, archive):
    write(tmp_path, beginning(1, "Hello"), whole_turn(2, "b"))
    for _ in range(2):
        disk = FaultyDisk()
        disk.is_full()
        journal, found = start(tmp_path, archive, disk)
        assert found.full is not None
        assert (found.ended, list(found.turns)) == ([turn_id(1)], [turn_id(1), turn_id(2)])
        unkept = found.turns[turn_id(1)].unkept
        assert unkept is not None
        assert (text_of(unkept), [type(entry.event) for entry in unkept].count(Ended)) == ("Hello", 1)
        assert unkept[-1].offset == 3 + JUMP
        assert found.turns[turn_id(1)].summary.ended == unkept[-1].event
        assert found.turns[turn_id(2)].unkept is None
    journal, found = start(tmp_path, archive)
    assert ends(journal, found)[turn_id(1)] == [(3 + JUMP, "relay_restarted")]


def test_any_other_failure_of_the_disk_is_none_of_room(tmp_path, archive):
    write(tmp_path, beginning(1, "Hello"))
    disk = FaultyDisk()
    disk.fails = {"create": 5}
    with pytest.raises(OSError, match="Input/output error"):
        start(tmp_path, archive, disk)
