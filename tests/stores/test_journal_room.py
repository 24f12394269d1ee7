"""The journal's room on the disk: segments laid out ahead in a thread, and room that is given back."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stores.disks import FaultyDisk
from stores.writing import SMALL, beginning, key, keys_in, open_files, path_of, size_of
from trunkline.stores import journal as module
from trunkline.stores.files import Disk
from trunkline.stores.journal import BLOCK_BYTES, SEGMENT_BYTES, Journal
from trunkline.stores.segment import HEAD_BYTES, HEADER_BYTES, Batch


def test_a_segment_that_is_laid_out_is_gone_on_in_without_asking_the_disk(journal, disk):
    with pytest.raises(OSError, match="no segment is laid out"):
        journal.go_on()
    journal.prepare(at_once=True)
    disk.is_dead()
    journal.go_on()
    assert journal.number == 2


def test_the_next_segment_is_laid_out_at_once_where_asked_and_as_small_as_need_be(tmp_path, monkeypatch):
    disk = FaultyDisk()
    journal = Journal(tmp_path, disk)
    create = disk.create
    monkeypatch.setattr(disk, "create", lambda path, size: create(path, size) if size < 1 << 20 else no_room())

    def no_room() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        journal._lay_out(2 << 20)
    journal.prepare(at_once=True)
    journal.go_on()
    assert path_of(tmp_path, 1).stat().st_size == SEGMENT_BYTES // 64
    journal.append([beginning(1, "x" * 400_000)])
    with pytest.raises(OSError, match="No space"):
        journal.prepare()
    journal.end()


def test_a_thread_that_does_not_come_back_from_the_disk_is_waited_for_once(journal, disk, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    reached, go = threading.Event(), threading.Event()
    create = disk.create

    def hang(path: Path, size: int) -> int:
        reached.set()
        assert go.wait(10)
        return create(path, size)

    monkeypatch.setattr(disk, "create", hang)
    with ThreadPoolExecutor(1) as pool:
        laying_out = pool.submit(journal.prepare, at_once=True)
        assert reached.wait(10)
        began = time.monotonic()
        for _ in range(50):
            with pytest.raises(OSError, match="does not answer"):
                journal.begin()
        assert time.monotonic() - began < 50 * 0.2
        go.set()
        laying_out.result(10)
    journal.begin()
    assert journal.number == 2


def test_a_journal_that_ends_closes_what_it_can(tmp_path, monkeypatch):
    disk = FaultyDisk()
    before = open_files()
    journal = Journal(tmp_path, disk, syncs=True, segment_bytes=SMALL)
    journal.begin()
    journal.begin()
    journal.prepare(at_once=True)
    disk.fails = {"remove": errno.EROFS}
    with pytest.raises(OSError, match="Read-only"):
        journal.end()
    assert open_files() == before
    journal.end()


# Room


def kept_after_trimming(folder: Path, *batches: Batch) -> dict[str, int]:
    journal = Journal(folder, Disk(), segment_bytes=64 << 10)
    journal.begin()
    if batches:
        journal.append(batches)
    journal.prepare(at_once=True)
    journal._spare = None  # as for a process that is killed
    before = {segment: [key for _, _, key in journal.scan(segment).records] for segment in journal.segments()}
    Journal(folder, Disk()).trim()
    again = Journal(folder, Disk())
    for segment in again.segments():
        assert again.scan(segment) == ([*journal.scan(segment).records], [])
        assert keys_in(again, segment) == before[segment]
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def test_room_without_records_is_given_back(tmp_path):
    [(name, size)] = kept_after_trimming(tmp_path, beginning(1, "a"), beginning(2, "b" * 5_000)).items()
    assert (name, size) == (path_of(tmp_path, 1).name, 8_192)


def test_a_segment_without_a_record_is_removed(tmp_path):
    assert kept_after_trimming(tmp_path) == {}


@pytest.mark.parametrize("room", range(26))
def test_behind_what_is_kept_there_is_room_for_the_head_that_a_reader_looks_for(tmp_path, room):
    rest = BLOCK_BYTES - HEADER_BYTES - size_of(beginning(1, "")) - 2 * room
    [size] = kept_after_trimming(tmp_path, beginning(1, "x" * rest)).values()
    end = BLOCK_BYTES - 2 * room
    assert size >= end + HEAD_BYTES
    assert size % BLOCK_BYTES == 0


def test_zeros_of_a_record_that_was_erased_are_kept(tmp_path):
    journal = Journal(tmp_path, Disk(), segment_bytes=64 << 10)
    journal.begin()
    journal.append([beginning(1, "x" * 20_000)])
    journal.end()
    Journal(tmp_path, Disk()).erase({key(1): ()})
    Journal(tmp_path, Disk()).trim()
    assert Journal(tmp_path, Disk()).scan(1).damages == []
    assert path_of(tmp_path, 1).stat().st_size == 64 << 10
