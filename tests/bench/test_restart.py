"""The start on a full folder: it is as full as it is said to be, and what a start leaves undone is found out."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from bench import __main__ as command_line
from bench import full_folder, proc, restart
from trunkline.core.events import Ended
from trunkline.records.records import Records
from trunkline.stores.base import Query
from trunkline.stores.files import Disk
from trunkline.stores.journal import Journal
from trunkline.stores.recovery import Recovered, recover, whole
from trunkline.stores.settings import StoreSettings


@pytest.fixture(name="full")
def _full(tmp_path):
    """Make a small folder that is full: its path, and what it holds."""
    data = tmp_path / "data"
    scale = full_folder.Scale(archived=5, segments=1, segment_bytes=1 << 20, at_once=7)
    return data, full_folder.fill(data, scale)


def archive_all(data, filled) -> Recovered:
    """Do what a relay does that starts in a folder."""
    records = Records.open(StoreSettings(data_dir=data))
    journal = Journal(data / "journal", Disk())
    try:
        found = recover(journal, records, now_ms=2_000_000_000_000)
        for turn_id, left in found.turns.items():
            records.keep(turn_id, whole(journal.read(left.places)))
    finally:
        journal.end()
        records.close()
    return found


def test_a_full_folder_holds_what_it_says(full):
    data, filled = full
    assert len(filled.open) == 7
    assert len(filled.unarchived) > 7
    assert filled.records > len(filled.unarchived) * full_folder.DELTAS
    assert 100 < (1 << 20) / filled.records < 140
    found = archive_all(data, filled)
    assert (found.damages, found.unreadable) == ([], [])
    assert set(found.turns) == {*filled.unarchived, *filled.open}
    assert set(found.ended) == set(filled.open)
    assert restart.check(data, filled) == []


def test_what_is_not_archived_is_found_out(full):
    data, filled = full
    some = {*filled.unarchived, *filled.open}
    faults = restart.check(data, filled)
    assert faults[0] == f"{len(some)} of {len(some)} turns are not in the archive"
    assert len(faults) == 1 + 2 * len(some)


def test_a_turn_with_another_text_or_another_end_is_found_out(full):
    data, filled = full
    archive_all(data, filled)
    one, other = list(filled.unarchived)[:2]
    chars = filled.unarchived[one]
    wrong = filled._replace(
        unarchived=filled.unarchived | {one: chars + 1}, open=filled.open | {other: filled.unarchived[other]}
    )
    assert restart.check(data, wrong) == [
        f"{one} has {chars} characters instead of {chars + 1}",
        f"{other} did not end with relay_restarted",
    ]


def test_archived_turns_are_whole(full):
    data, filled = full
    records = Records.open(StoreSettings(data_dir=data))
    try:
        turns = [records.find(turn.started.turn) for turn in records.list(Query(limit=100))]
    finally:
        records.close()
    assert len(turns) == filled.archived == 5
    for entries in turns:
        assert [entry.offset for entry in entries] == list(range(1, full_folder.DELTAS + 4))
        assert isinstance(entries[-1].event, Ended)


def test_a_start_on_a_full_folder_is_measured_and_nothing_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(restart, "QUICK", full_folder.Scale(3, segments=1, segment_bytes=256 << 10, at_once=3))
    history = tmp_path / "history.jsonl"
    asked = ["--restart", "--quick", "--history", str(history)]
    done = CliRunner().invoke(command_line.main, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "turns in the journal: 3 that have ended, 3 that have not" in done.stdout
    assert "NOT EXACT" not in done.stdout
    assert not history.exists()


@pytest.mark.parametrize(("faults", "code"), [([], 0), (["turn_1 is gone"], 1)])
def test_a_folder_that_is_not_archived_as_it_should_be_fails_and_is_told(monkeypatch, tmp_path, faults, code):
    found = restart.Restart(
        archived=10, unarchived=3, open=1, records=100, journal_mib=1.0, database_mib=1.0, empty_ready_s=1.0,
        ready_s=2.0, ready_cpu_s=1.0, archived_s=3.0, archived_cpu_s=1.5, slowest_ms=9.0, peak_rss_mib=99.0,
        faults=faults,
    )  # fmt: skip
    monkeypatch.setattr(restart, "measure", lambda cores, quick, tell: found)
    history = tmp_path / "history.jsonl"
    done = CliRunner().invoke(command_line.main, ["--restart", "--history", str(history)], catch_exceptions=False)
    assert done.exit_code == code
    assert done.stdout.count("NOT EXACT") == code
    assert "CPU for each turn that was archived: 125.00 ms" in done.stdout
    (line,) = history.read_text().splitlines()
    assert msgspec.json.decode(line)["restart"]["ready_s"] == 2


def test_a_folder_without_room_is_not_filled(monkeypatch):
    monkeypatch.setattr(restart, "ROOM_BYTES", 1 << 60)
    with pytest.raises(RuntimeError, match="has room for"):
        restart.measure(proc.Cores(None, None, None), quick=True, tell=print)
