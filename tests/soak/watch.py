"""What a relay takes of its machine while it works, second by second, and whether that stays level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.proc import rss_of

MIB: Final = 1 << 20
KEPT_BYTES_PER_TURN: Final = 4 << 10
"""So much may stay in memory for each turn that has ended, for its keys and tickets: a quarter of a short turn's log.

A relay that leaves behind the log of one turn in three or four is found out, and certainly one that leaves all.
"""
KEPT_FILES: Final = 30
"""So many more open files at the end than at the beginning are the load's ups and downs; a leak has thousands."""
JOURNAL_LIMIT: Final = 256 * MIB
"""Eight segments. A journal that drops none takes one more each quarter of the retention."""
WARM_UP_SHARE: Final = 1 / 3
FEWEST_SAMPLES: Final = 20


class Sample(NamedTuple):
    """A look at the relay: when, how many turns had ended by then, and what it took."""

    at_s: float
    turns: int
    rss: int
    files: int
    journal: int
    database: int
    open_turns: int


def look(pid: int, data_dir: Path, at_s: float, turns: int, open_turns: int) -> Sample:
    """Look at a process and its folder. Raises `OSError` where it is gone."""
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    journal = _bytes(data_dir, lambda path: path.suffix == ".journal")
    database = _bytes(data_dir, lambda path: ".sqlite" in path.name)
    return Sample(at_s, turns, rss_of([pid]), files, journal, database, open_turns)


def _bytes(folder: Path, chosen: Callable[[Path], bool]) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if chosen(path) else 0
        except FileNotFoundError:  # It was dropped meanwhile.
            continue
    return total


class Level(NamedTuple):
    """One thing that has to stay level: what it is, what was found, what bounds it, and whether it does."""

    what: str
    found: str
    bound: str
    holds: bool


def levels(samples: Sequence[Sample]) -> list[Level]:
    """Judge the samples after the warm-up, in which caches and pools fill."""
    watched = samples[int(len(samples) * WARM_UP_SHARE) :]
    if len(watched) < FEWEST_SAMPLES or watched[-1].turns == watched[0].turns:
        return [Level("samples", f"{len(watched)}", f"at least {FEWEST_SAMPLES}, with turns", holds=False)]
    minutes = (watched[-1].at_s - watched[0].at_s) / 60
    turns = watched[-1].turns - watched[0].turns
    memory = _growth(watched, lambda sample: sample.rss)
    allowed = KEPT_BYTES_PER_TURN * turns
    files = _growth(watched, lambda sample: sample.files)
    journal = max(sample.journal for sample in watched)
    return [
        Level(
            "memory",
            f"{memory / MIB / minutes:+.1f} MiB/min, {memory / turns:+,.0f} bytes a turn",
            f"{allowed / MIB / minutes:.1f} MiB/min, {KEPT_BYTES_PER_TURN:,} bytes a turn",
            holds=memory <= allowed,
        ),
        Level("open files", f"{files:+.0f}", f"+{KEPT_FILES}", holds=files <= KEPT_FILES),
        Level(
            "journal",
            f"{journal / MIB:.0f} MiB at most",
            f"{JOURNAL_LIMIT / MIB:.0f} MiB",
            holds=0 < journal <= JOURNAL_LIMIT,
        ),
    ]


def _growth(samples: Sequence[Sample], value: Callable[[Sample], int]) -> float:
    """Return how much stayed that was not there before: from the lowest of the first third to that of the last.

    Where something grows steadily, a third is lowest where it begins: so it was two thirds of the growth. What is taken
    for a moment and given back, such as a segment of the journal in which something is erased, does not count.
    """
    third = len(samples) // 3
    first, last = (min(map(value, part)) for part in (samples[:third], samples[-third:]))
    return (last - first) * 3 / 2
