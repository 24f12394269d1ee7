"""What stays level is let pass, and each kind of leak is found out."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from soak.watch import KEPT_BYTES_PER_TURN, MIB, Sample, levels, look
from trunkline.core.events import Delta, Started
from trunkline.stores.base import TurnLog


def level(second: int) -> Sample:
    """A relay that works: some up and down, and no more."""
    return Sample(
        at_s=second,
        turns=second * 50,
        rss=160 * MIB + second % 7 * MIB,
        files=110 + second % 5 * 4,
        journal=64 * MIB,
        database=5 * MIB,
        open_turns=45,
    )


def test_ups_and_downs_are_level():
    assert all(each.holds for each in levels([level(second) for second in range(60)]))


def test_the_warm_up_may_grow():
    warming = [level(second)._replace(rss=(20 + second * 7) * MIB) for second in range(20)]
    assert all(each.holds for each in levels([*warming, *(level(second) for second in range(20, 60))]))


@pytest.mark.parametrize(
    ("what", "leak"),
    [
        ("memory", lambda sample: sample._replace(rss=sample.rss + sample.turns * 2 * KEPT_BYTES_PER_TURN)),
        ("open files", lambda sample: sample._replace(files=sample.files + sample.turns // 20)),
        ("journal", lambda sample: sample._replace(journal=int(sample.at_s) // 5 * 32 * MIB)),
        ("journal", lambda sample: sample._replace(journal=0)),
    ],
)
def test_a_leak_is_found_out(what, leak):
    found = levels([leak(level(second)) for second in range(60)])
    assert [each.what for each in found if not each.holds] == [what]


def test_what_is_needed_for_a_moment_is_no_leak():
    samples = [level(second) for second in range(60)]
    spikes = [
        sample._replace(rss=sample.rss + (32 * MIB if n >= 40 and n % 5 else 0)) for n, sample in enumerate(samples)
    ]
    assert all(each.holds for each in levels(spikes))


def test_too_few_samples_or_turns_prove_nothing():
    assert not levels([level(second) for second in range(10)])[0].holds
    assert not levels([level(second)._replace(turns=7) for second in range(60)])[0].holds


def test_the_log_of_a_turn_takes_several_times_what_may_be_kept_of_it():
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        logs = [_log(number) for number in range(100)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(logs) > 3 * KEPT_BYTES_PER_TURN


def _log(number: int) -> TurnLog:
    """The log of a turn as short as those of the load are on average, as its readers have left it."""
    log = TurnLog(f"turn_{number:032x}")
    created_at = "2026-01-01T10:00:00.000Z"
    started = Started(
        turn=log.id, principal="local", upstream="plain", model="m", created_at=created_at, endpoint="native"
    )
    log.add([started], 0)
    log.add([Delta(f" word{place}", 0) for place in range(55)], 0)
    assert all(entry.json for entry in log.entries)
    return log


def test_a_process_and_its_folder_are_looked_at(tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "1.journal").write_bytes(bytes(100))
    (tmp_path / "trunkline.sqlite-wal").write_bytes(bytes(30))
    seen = look(os.getpid(), tmp_path, 1.0, 2, 3)
    assert (seen.journal, seen.database, seen.turns, seen.open_turns) == (100, 30, 2, 3)
    assert seen.rss > MIB
    assert seen.files > 2
