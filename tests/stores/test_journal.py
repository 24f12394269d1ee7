"""The journal on real files: what is written is read back, whatever breaks off, is damaged, fails or is erased."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stores.disks import FaultyDisk, ShortWrites
from stores.writing import (
    SMALL,
    beginning,
    end,
    entries,
    is_anywhere,
    key,
    keys_in,
    more,
    open_files,
    path_of,
    plain,
    size_of,
    started,
    text_of,
    whole_turn,
)
from trunkline.core.events import Delta, Guarded, Notice, ToolCall, Usage
from trunkline.stores import journal as module
from trunkline.stores.files import Disk
from trunkline.stores.journal import PLACE_BITS, Journal, segment_of
from trunkline.stores.segment import ERASED, LAST, Batch, Damage

HEADER = 16
HEAD = 45


class NoRoom(Disk):
    """A disk that has room for files of so many bytes and no more."""

    def __init__(self, most: int) -> None:
        self._most = most

    def create(self, path: Path, size: int) -> int:
        if size > self._most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path, size)


def again(journal: Journal) -> Journal:
    """The same folder as another process finds it."""
    return Journal(journal._folder, Disk(), segment_bytes=SMALL)


# What is written is read back


def test_every_kind_of_event_is_read_back_with_its_offset_and_time(journal):
    events = [
        started(1), Delta('Grüße 🎉 "\\ \0 \u2028', 0), Delta("because", 1, "reasoning"),
        ToolCall(0, 0, "call_1", "look_up", '{"a":'), Guarded("iban", "mask", 1, 2, 3, 4, "abc"),
        Notice("answer_not_json", "why"), Usage(1, 2, 3, "relay"),
    ]  # fmt: skip
    batch = Batch(key(1), entries(*events, first=7, at_ms=123_456_789_012), last=False)
    places = journal.append([batch])
    assert plain(journal.read(places)) == plain(batch.entries)


def test_the_records_of_one_write_are_read_back_each_by_its_place(journal):
    batches = [beginning(1, "one"), beginning(2, "two"), end(1, first=3)]
    places = journal.append(batches)
    assert [plain(journal.read([place])) for place in places] == [plain(batch.entries) for batch in batches]
    assert plain(journal.read([places[0], places[2]])) == plain([*batches[0].entries, *batches[2].entries])
    scan = again(journal).scan(1)
    assert [(kind, turn) for _, kind, turn in scan.records] == [(1, key(1)), (1, key(2)), (LAST, key(1))]
    assert [at for at, _, _ in scan.records] == [place & (1 << PLACE_BITS) - 1 for place in places]
    assert scan.damages == []


def test_one_append_is_one_write(journal, disk):
    disk.calls.clear()
    journal.append([beginning(1, "one"), beginning(2, "two")])
    assert disk.calls == ["write"]


def test_a_record_that_begins_at_an_offset_once_more_supersedes_what_stood_there(journal):
    first = journal.append([beginning(1, "a", "b", "c")])
    second = journal.append([more(1, "B", first=3)])
    found = journal.read([*first, *second])
    assert [entry.offset for entry in found] == [1, 2, 3]
    assert text_of(found) == "aB"


def test_a_full_segment_is_followed_by_another_and_all_of_both_is_read(journal, tmp_path):
    places = [journal.append([more(1, f"{n:0100}", first=n)])[0] for n in range(1, 101)]
    assert sorted({segment_of(place) for place in places}) == journal.segments() == list(range(1, journal.number + 1))
    assert journal.number > 2
    assert text_of(journal.read(places)) == "".join(f"{n:0100}" for n in range(1, 101))
    for segment in journal.segments():
        assert path_of(tmp_path, segment).stat().st_size == SMALL
        assert again(journal).scan(segment).damages == []


def test_a_batch_that_is_bigger_than_a_segment_gets_one_of_its_own_size(journal):
    small = journal.append([beginning(1, "a")])
    big = journal.append([more(1, "x" * 3 * SMALL, first=3)])
    after = journal.append([end(1, first=4)])
    assert [segment_of(place) for place in (*small, *big, *after)] == [1, 2, 2]
    assert text_of(journal.read([*small, *big, *after])) == "a" + "x" * 3 * SMALL
    assert keys_in(again(journal), 2) == [key(1)] * 2


def test_segments_are_written_in_the_order_of_their_numbers_also_around_a_big_batch(journal):
    journal.append([beginning(1, "x" * (SMALL * 6 // 10))])
    journal.prepare()
    numbers = [segment_of(journal.append([more(1, "y" * 2 * SMALL, first=3)])[0])]
    numbers += [segment_of(journal.append([more(1, "z" * (SMALL // 2), first=n)])[0]) for n in range(4, 12)]
    assert numbers == sorted(numbers)


def test_an_append_that_the_kernel_takes_in_pieces_is_whole(tmp_path, monkeypatch):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    monkeypatch.setattr(os, "pwrite", ShortWrites(7))
    batch = beginning(1, "some words that are longer than seven bytes")
    assert plain(journal.read(journal.append([batch]))) == plain(batch.entries)
    journal.end()


def test_segments_are_for_the_owner_alone(journal, tmp_path):
    old = os.umask(0)
    try:
        journal.append([more(1, "x" * 10 * SMALL, first=1)])
        journal.begin()
    finally:
        os.umask(old)
    assert len(journal.segments()) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_room_of_all_segments_is_told(journal):
    assert journal.bytes_used() == SMALL
    journal.begin()
    assert journal.bytes_used() == 2 * SMALL


def test_a_place_without_a_record_is_a_value_error(journal):
    journal.append([beginning(1, "a")])
    for at in (HEADER + 4, SMALL - 1, 2 * SMALL):
        with pytest.raises(ValueError, match="no record"):
            journal.read([(1 << PLACE_BITS) + at])
    with pytest.raises(FileNotFoundError):
        journal.read([(9 << PLACE_BITS) + HEADER])


def test_a_place_of_zeros_is_a_value_error(journal):
    with pytest.raises(ValueError, match="no record"):
        journal.read([(1 << PLACE_BITS) + HEADER])


def test_writes_are_numbered_anew_in_each_segment(journal, tmp_path):
    for n in (1, 2):
        journal.append([beginning(n, "a")])
        journal.begin()
    heads = [path_of(tmp_path, n).read_bytes()[16:] for n in (1, 2)]
    assert heads[0][9:13] == heads[1][9:13] == (1).to_bytes(4, "little")


# The header


def test_a_segment_under_the_number_of_another_is_damaged(journal, tmp_path):
    journal.append([beginning(1, "a")])
    path_of(tmp_path, 1).rename(path_of(tmp_path, 5))
    scan = again(journal).scan(5)
    assert [turn for _, _, turn in scan.records] == [key(1)], "its records are whole all the same"
    assert scan.damages == [Damage(5, 0, 16, torn=False)]


def test_an_empty_segment_and_one_that_was_just_laid_out_are_in_order(journal, tmp_path):
    path_of(tmp_path, 7).write_bytes(b"")
    path_of(tmp_path, 8).write_bytes(bytes(SMALL))
    for segment in (1, 7, 8):
        assert journal.scan(segment) == ([], [])


# A write that broke off


def test_a_write_that_broke_off_at_any_byte_leaves_the_records_before_it_and_is_cut_off(tmp_path):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    journal.append([beginning(1, "whole"), beginning(2, "whole too")])
    done = journal._at
    last = [more(1, "Torn apart", first=3), end(2, first=3)]
    journal.append(last)
    journal.end()
    path, middle = path_of(tmp_path, 1), done + size_of(last[0])
    data = path.read_bytes()
    for at in range(done, done + sum(map(size_of, last))):
        path.write_bytes(data[:at] + bytes(SMALL - at))
        scan = journal.scan(1)
        kept = 2 if at < middle else 3
        assert [turn for _, _, turn in scan.records] == [key(1), key(2), key(1)][:kept], at
        begun = done if at < middle else middle
        if data[begun:at].strip(b"\0"):
            assert [(damage.torn, damage.at) for damage in scan.damages] == [(True, begun)], at
            assert scan.damages[0].size <= at - begun
            journal.cut(scan.damages[0])
        again_scanned = journal.scan(1)
        assert (again_scanned.records, again_scanned.damages) == (scan.records, []), at


def test_a_file_that_is_cut_off_at_any_byte_reads_as_far_as_it_goes(tmp_path):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    journal.append([beginning(1, "whole")])
    done = journal._at
    journal.append([end(1, first=3)])
    journal.end()
    data = path_of(tmp_path, 1).read_bytes()
    for at in range(HEADER, journal._at):
        path_of(tmp_path, 1).write_bytes(data[:at])
        assert len(journal.scan(1).records) == (1 if at >= done else 0)


# Damage


def three_records(folder):
    """Three records; return the file's bytes, and where the one in the middle begins and ends."""
    journal = Journal(folder, Disk(), segment_bytes=SMALL)
    journal.begin()
    places = [journal.append([batch])[0] for batch in (beginning(1, "first"), beginning(2, "second"), end(1, first=3))]
    journal.end()
    _, two, three = (place & (1 << PLACE_BITS) - 1 for place in places)
    return journal, two, three


def test_a_flipped_byte_in_the_middle_costs_one_record_and_none_behind_it(tmp_path):
    journal, begin, until = three_records(tmp_path)
    path = path_of(tmp_path, 1)
    data = path.read_bytes()
    for at in range(begin + 4, until):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        scan = journal.scan(1)
        assert [turn for _, _, turn in scan.records] == [key(1), key(1)], at
        assert [damage[:4] for damage in scan.damages] == [(1, begin, until - begin, False)], at


@pytest.mark.parametrize("byte", range(4))
def test_a_flipped_byte_of_a_length_costs_one_record_and_none_behind_it(tmp_path, byte):
    journal, begin, _ = three_records(tmp_path)
    path, at = path_of(tmp_path, 1), begin + byte
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
    scan = journal.scan(1)
    assert [turn for _, _, turn in scan.records] == [key(1), key(1)]
    assert [damage.torn for damage in scan.damages] == [False]


def test_a_flipped_byte_of_the_header_costs_no_record(tmp_path):
    journal, _, _ = three_records(tmp_path)
    path = path_of(tmp_path, 1)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert len(journal.scan(1).records) == 3


def test_two_damaged_records_apart_are_told_apart(tmp_path):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    places = [journal.append([beginning(n, "some words")])[0] & (1 << PLACE_BITS) - 1 for n in range(5)]
    journal.end()
    data = bytearray(path_of(tmp_path, 1).read_bytes())
    for n in (1, 3):
        data[places[n] + HEAD] ^= 1
    path_of(tmp_path, 1).write_bytes(data)
    scan = journal.scan(1)
    assert [turn for _, _, turn in scan.records] == [key(0), key(2), key(4)]
    assert [(damage.at, damage.torn) for damage in scan.damages] == [(places[1], False), (places[3], False)]


# A disk that fails


def test_a_write_that_failed_leaves_no_record_and_the_next_one_takes_its_place(journal, disk):
    journal.append([beginning(1, "kept")])
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, 60
    with pytest.raises(OSError, match="Input/output error"):
        journal.append([beginning(2, "lost")])
    disk.is_mended()
    places = journal.append([beginning(3, "kept as well, and longer than what broke off")])
    assert text_of(journal.read(places)) == "kept as well, and longer than what broke off"
    scan = again(journal).scan(1)
    assert [turn for _, _, turn in scan.records] == [key(1), key(3)]
    assert scan.damages == []


def test_what_a_failed_write_left_behind_a_shorter_one_is_no_record(journal, disk):
    stale = [beginning(n, "stale") for n in range(2, 6)]
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, sum(map(size_of, stale)) - 1
    with pytest.raises(OSError, match="Input/output error"):
        journal.append(stale)
    disk.is_mended()
    journal.append([beginning(1, "much shorter, and not of the same length")])
    scan = again(journal).scan(1)
    assert [turn for _, _, turn in scan.records] == [key(1)]
    assert scan.damages == [], "it was overwritten to its last byte"


def test_what_a_failed_write_left_is_no_record_also_where_the_next_write_ends_where_one_began(journal, disk):
    stale = [beginning(n, "stale") for n in range(2, 6)]
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, sum(map(size_of, stale)) - 1
    with pytest.raises(OSError, match="Input/output error"):
        journal.append(stale)
    disk.is_mended()
    journal.append([beginning(1, "stale")])
    assert keys_in(again(journal), 1) == [key(1)]


def test_what_a_failed_write_left_is_no_record_also_where_the_next_write_breaks_off_before_it(journal, disk):
    stale = [beginning(n, "stale") for n in range(2, 6)]
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, sum(map(size_of, stale))
    with pytest.raises(OSError, match="Input/output error"):
        journal.append(stale)
    last = [beginning(1, "stale")]
    disk.writes_before_failing = sum(map(size_of, last))
    with pytest.raises(OSError, match="Input/output error"):
        journal.append(last)
    assert keys_in(again(journal), 1) == [key(1)], "a record of an older write stands behind one of a newer"


def test_where_there_is_no_room_for_a_segment_nothing_has_changed(journal, disk, tmp_path):
    journal.append([beginning(1, "a")])
    for call in ("create", "write", "sync_folder"):
        disk.fails = {call: errno.ENOSPC}
        with pytest.raises(OSError, match="No space left"):
            journal.begin()
        assert (journal.number, journal.segments()) == (1, [1])
    disk.is_mended()
    assert text_of(journal.read(journal.append([more(1, "b", first=3)]))) == "b"
    assert journal.number == 1


def test_only_last_words_get_the_reserve_of_a_segment_without_a_successor(journal, disk):
    disk.is_full()
    n = 0
    with pytest.raises(OSError, match="No space left"):
        while True:
            n += 1
            journal.append([more(1, "word", first=n)])
    assert SMALL - SMALL // 16 - 200 < journal._at <= SMALL - SMALL // 16
    places = journal.append([end(1, first=n)], last_words=True)
    assert journal.read(places)[0].offset == n
    with pytest.raises(OSError, match="No space left"):
        journal.append([more(2, "x" * 100, first=1)])


def test_a_segment_that_had_to_be_smaller_keeps_its_reserve_for_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST_SEGMENT_BYTES", SMALL // module.SHRINK)
    journal = Journal(tmp_path, NoRoom(SMALL // module.SHRINK), segment_bytes=SMALL)
    journal.begin()
    at = HEADER
    words = SMALL // module.SHRINK - HEADER - size_of(more(1, "", first=1))
    with pytest.raises(OSError, match="no room for a segment that is large enough"):
        journal.append([more(1, "x" * words, first=1)])
    assert journal._at == at
    assert journal.read(journal.append([end(1, first=1)], last_words=True))[0].offset == 1
    journal.end()


def test_the_reserve_ends_where_its_segment_does(journal, disk):
    disk.is_full()
    written = 0
    with pytest.raises(OSError, match="No space left"):
        while True:
            journal.append([end(written + 1, first=2)], last_words=True)
            written += 1
    assert journal._at <= SMALL
    assert keys_in(again(journal), 1) == [key(n + 1) for n in range(written)]


def test_last_words_do_not_touch_the_reserve_while_there_is_room_for_a_segment(journal):
    for n in range(100):
        journal.append([end(n, first=2)], last_words=True)
    assert journal.number > 1
    for segment in journal.segments():
        last, *_ = again(journal).scan(segment).records[-1]
        assert last < SMALL - SMALL // 16


def test_a_disk_without_room_leaves_no_file_behind(tmp_path, monkeypatch):
    def full(fd: int, at: int, size: int) -> None:
        os.truncate(fd, 100)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = open_files()
    with pytest.raises(OSError, match="No space left"):
        Disk().create(tmp_path / "x", SMALL)
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


# Laying out ahead


def test_a_segment_is_laid_out_once_the_current_one_is_half_full_and_then_used(journal, disk):
    journal.prepare()
    assert journal.segments() == [1]
    journal.append([beginning(1, "x" * (SMALL // 2))])
    journal.prepare()
    journal.prepare()
    assert journal.segments() == [1, 2]
    disk.is_full()
    assert segment_of(journal.append([more(1, "y" * (SMALL // 2), first=3)])[0]) == 2


def test_segments_may_be_laid_out_in_one_thread_while_another_begins_them(tmp_path):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    with ThreadPoolExecutor(1) as pool:
        preparing = [pool.submit(lambda: [journal.prepare() for _ in range(300)])]
        places = [journal.append([more(1, f"{n:0300}", first=n)])[0] for n in range(1, 301)]
        preparing[0].result()
    assert text_of(journal.read(places)) == "".join(f"{n:0300}" for n in range(1, 301))
    numbers = [segment_of(place) for place in places]
    assert numbers == sorted(numbers)
    journal.end()


# Syncing


def test_a_sync_covers_the_segments_that_are_written_no_more_and_closes_them(tmp_path):
    disk = FaultyDisk()
    journal = Journal(tmp_path, disk, segment_bytes=SMALL, syncs=True)
    journal.begin()
    open_before = len(open_files())
    for n in range(1, 31):
        journal.append([more(1, f"{n:0300}", first=n)])
    fds = journal.unsynced()
    assert len(fds) == journal.number
    disk.calls.clear()
    journal.sync(fds)
    assert disk.calls == ["sync"] * len(fds)
    assert len(open_files()) == open_before
    assert journal.unsynced() == fds[-1:]
    journal.end()
    assert len(open_files()) == open_before - 1


def test_a_sync_that_fails_says_so_and_leaks_nothing(tmp_path):
    disk = FaultyDisk()
    journal = Journal(tmp_path, disk, segment_bytes=SMALL, syncs=True)
    journal.begin()
    open_before = len(open_files())
    journal.begin()
    disk.fails = {"sync": errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        journal.sync(journal.unsynced())
    assert len(open_files()) == open_before
    journal.end()


def test_a_journal_that_ends_leaves_no_file_open(tmp_path):
    before = len(open_files())
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL, syncs=True)
    journal.begin()
    journal.append([beginning(1, "x" * (SMALL // 2))])
    journal.prepare()
    journal.begin()
    journal.append([beginning(1, "x" * (SMALL // 2))])
    journal.prepare()
    journal.end()
    journal.end()
    assert len(open_files()) == before


# Erasing and dropping


def test_what_is_erased_is_in_no_file_and_its_neighbours_are_read(journal, tmp_path):
    places = []
    for n in range(1, 60):
        places += journal.append([more(1, f"secret-{n}" * 3, first=n), more(2, f"neighbour-{n}", first=n)])
    assert journal.number > 1
    again(journal).erase({key(1): ()})
    assert not is_anywhere(tmp_path, "secret")
    assert text_of(journal.read(places[1::2])) == "".join(f"neighbour-{n}" for n in range(1, 60))
    for place in places[::2]:
        with pytest.raises(ValueError, match="no record"):
            journal.read([place])
    for segment in journal.segments():
        scan = again(journal).scan(segment)
        assert scan.damages == []
        assert {(kind, turn) for _, kind, turn in scan.records} == {(ERASED, key(1)), (1, key(2))}


def test_erasing_is_on_the_disk_when_it_is_done_and_touches_no_other_segment(journal, disk):
    places = journal.append([beginning(1, "secret")])
    journal.begin()
    journal.append([beginning(2, "other")])
    disk.calls.clear()
    journal.erase({key(1): places})
    assert disk.calls == ["write", "sync", "write", "sync"], "the words first, then that they are erased"
    disk.calls.clear()
    journal.erase({key(1): places})
    assert disk.calls == []


def test_what_a_write_that_failed_left_in_a_segment_is_erased_with_the_turn(journal, disk, tmp_path):
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, 150
    with pytest.raises(OSError, match="Input/output error"):
        journal.append([beginning(1, "secret")])
    disk.is_mended()
    journal.begin()
    places = journal.append([beginning(1, "secret")])
    journal.append([beginning(2, "other")])
    journal.erase({key(1): places})
    assert not is_anywhere(tmp_path, "secret")
    assert is_anywhere(tmp_path, "other")


def test_what_a_write_that_failed_left_of_a_turn_is_erased_where_none_of_its_records_is(journal, disk, tmp_path):
    journal.append([beginning(2, "other")])
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, 10_000
    with pytest.raises(OSError, match="Input/output error"):
        journal.append([beginning(3, "x"), beginning(1, "secret")])
    disk.is_mended()
    journal.begin()
    places = journal.append([beginning(1, "secret")])
    journal.erase({key(1): places})
    assert not is_anywhere(tmp_path, "secret")


def test_the_journal_is_written_on_behind_what_was_erased(journal):
    journal.append([whole_turn(1, "secret")])
    again(journal).erase({key(1): ()})
    places = journal.append([beginning(2, "more")])
    assert text_of(journal.read(places)) == "more"
    assert keys_in(again(journal), 1) == [key(1), key(2)]


def test_what_a_failed_write_left_is_erased_too(journal, disk, tmp_path):
    stale = [beginning(1, "a" * 300, "secret"), beginning(1, "secret")]
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, sum(map(size_of, stale))
    with pytest.raises(OSError, match="Input/output error"):
        journal.append(stale)
    disk.is_mended()
    journal.append([end(1, first=1)], last_words=True)
    again(journal).erase({key(1): ()})
    assert not is_anywhere(tmp_path, "secret")


def test_what_a_failed_write_left_in_the_current_segment_is_overwritten_at_its_place_and_on_the_disk(
    journal, disk, tmp_path
):
    [place] = journal.append([beginning(1, "first")])
    disk.fails, disk.writes_before_failing = {"write": errno.EIO}, 150
    with pytest.raises(OSError, match="Input/output error"):
        journal.append([more(1, "secret" * 9, first=3)])
    assert is_anywhere(tmp_path, "secret")
    with pytest.raises(OSError, match="Input/output error"):
        journal.clear_broken_write()
    disk.is_mended()
    journal.clear_broken_write()
    assert not is_anywhere(tmp_path, "secret")
    assert text_of(journal.read([place])) == "first"
    disk.calls.clear()
    journal.erase({key(9): ()})
    assert disk.calls == ["sync"]
    assert text_of(journal.read(journal.append([more(1, "behind", first=3)]))) == "behind"
    disk.calls.clear()
    journal.clear_broken_write()
    assert disk.calls == [], "nothing broke off since"


def test_a_segment_that_could_not_be_removed_is_searched(journal, disk, tmp_path):
    journal.append([whole_turn(1, "secret")])
    journal.begin()
    disk.fails = {"remove": errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        journal.drop(1)
    journal.erase({key(1): ()})
    assert not is_anywhere(tmp_path, "secret")


def test_what_stands_behind_a_damaged_length_is_erased_too(tmp_path):
    journal = Journal(tmp_path, Disk(), segment_bytes=SMALL)
    journal.begin()
    journal.append([beginning(1, "other")])
    journal.append([beginning(2, "secret")])
    with path_of(tmp_path, 1).open("r+b") as file:
        file.seek(HEADER)
        file.write(b"\xff\xff")
    again(journal).erase({key(2): ()})
    journal.end()
    assert not is_anywhere(tmp_path, "secret")


def test_a_segment_is_dropped_and_dropping_it_again_is_harmless(journal):
    journal.begin()
    journal.drop(1)
    journal.drop(1)
    assert journal.segments() == [2]
