"""What is measured: the cases, and in which order their runs follow each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec

from bench.load import Load, Platform, Way
from bench.peers import DIRECT, STORES, Store, relay


@dataclass(frozen=True)
class Case:
    """One way through the relay under one load, and what the baseline carries beside it, always over plain SSE."""

    name: str
    way: Way
    load: Load
    beside: Load | None
    """None where the baseline has nothing of the kind."""
    asks: Platform = "bench"
    """The relay's upstream; the baseline always has the event stream."""
    usual: bool = True
    """Measured where nobody names cases."""
    store: Store = "process"
    compared: bool = False
    """The same load goes through relays with the other stores, too: what does the journal cost?"""
    note: str = ""
    """Why there is less of it than was wanted."""


class Run(NamedTuple):
    """One load on one peer."""

    peer: str
    way: Way
    load: Load
    asks: Platform = "bench"


def _paced(streams: int) -> Load:
    return Load(streams, tokens=300, interval_us=20_000, ramp_s=2)


def _idle(streams: int, readers: int = 1) -> Load:
    return Load(streams, tokens=2, interval_us=4_000_000, ramp_s=2, readers=readers, hold=True, quiet_s=2)


_QUIET_S: Final = 17.0  # each stream is due for a keep-alive within it: 15 s, and up to two looks at the clock
_MANY: Final = msgspec.structs.replace(_idle(10_000), ramp_s=30, quiet_s=_QUIET_S)
_CROWD: Final = msgspec.structs.replace(_idle(1, readers=1_000), tokens=9, interval_us=400_000, quiet_s=_QUIET_S)
_AT_ONCE: Final = Load(200, tokens=100, interval_us=20_000)
_UNPACED: Final = Load(20, tokens=2_000)
CASES: Final = (
    Case("sse-50", "openai", _paced(50), _paced(50)),
    Case("sse-200", "openai", _paced(200), _paced(200), compared=True),
    Case("sse-200-at-once", "openai", _AT_ONCE, _AT_ONCE),
    Case("sse-unpaced", "openai", _UNPACED, _UNPACED),
    Case("ws-50", "proxy-ws", _paced(50), _paced(50)),
    Case("ws-200", "proxy-ws", _paced(200), _paced(200)),
    Case("ws-unpaced", "proxy-ws", _UNPACED, _UNPACED),
    Case("gateway-sse-200", "openai", _paced(200), _paced(200), "gateway"),
    Case("gateway-ws-200", "proxy-ws", _paced(200), _paced(200), "gateway"),
    Case("gateway-sse-unpaced", "openai", _UNPACED, _UNPACED, "gateway", usual=False),
    Case("cognigy-sse-200", "openai", _paced(200), _paced(200), "cognigy"),
    Case("cognigy-ws-200", "proxy-ws", _paced(200), _paced(200), "cognigy", usual=False),
    Case("conversations-sse-200", "openai", _paced(200), _paced(200), "conversations"),
    Case("conversations-ws-200", "proxy-ws", _paced(200), _paced(200), "conversations", usual=False),
    Case("readers-1", "turn", _paced(50), _paced(50)),
    # For nginx each reader is a stream of its own.
    Case("readers-10", "turn", msgspec.structs.replace(_paced(20), readers=10), _paced(200)),
    Case("idle-stream", "openai", _idle(1_000), _idle(1_000)),
    Case("idle-stream-10000", "openai", _MANY, None),
    Case("idle-reader", "turn", _CROWD, None),
)
WARM_UP: Final = Load(10, tokens=300)
_FLOORS: Final = frozenset({"sse-50", "sse-200"})
"""Cases whose floor, nobody in the middle, is measured too; once."""


def shortened(case: Case) -> Case:
    """Return the case as a quick look takes it: the same streams for a shorter time, a fifth of the idle ones."""
    return replace(case, load=_short(case.load), beside=None if case.beside is None else _short(case.beside))


def _short(load: Load) -> Load:
    if load.hold:
        streams, readers = max(1, load.streams // 5), max(1, load.readers // 5)
        return msgspec.structs.replace(
            load, streams=streams, readers=readers, ramp_s=load.ramp_s / 4, quiet_s=min(1, load.quiet_s)
        )
    if load.ramp_s:
        return msgspec.structs.replace(load, tokens=100, ramp_s=0.5)
    return msgspec.structs.replace(load, tokens=load.tokens // 2)


def within(case: Case, files: int) -> Case:
    """Return the case with no more idle streams than the limit on open files allows (a stream takes two)."""
    room = max(1, (files - 100) // 2)
    if not case.load.hold or case.load.delivered <= room:
        return case
    load = msgspec.structs.replace(
        case.load, streams=min(case.load.streams, room), readers=min(case.load.readers, room)
    )
    note = f"{load.delivered:,} of {case.load.delivered:,}: RLIMIT_NOFILE {files}"
    return replace(case, load=load, beside=None if case.beside is None else load, note=note)


def run_of(case: Case, store: Store) -> Run:
    """Return the run of a case through a relay with a store."""
    return Run(relay(store), case.way, case.load, case.asks)


def others_of(case: Case) -> dict[Store, Run]:
    """Return the runs of a case through relays with other stores than its own, for the cases that have them."""
    return {store: run_of(case, store) for store in STORES if case.compared and store != case.store}


def runs_of(case: Case, baseline: str) -> tuple[Run, Run | None]:
    """Return the relay's run of a case, and the baseline's."""
    beside = None if case.beside is None else Run(baseline, "openai", case.beside)
    return run_of(case, case.store), beside


def floor_of(case: Case) -> Run | None:
    """Return the run with nobody in the middle, for the cases that have one."""
    return Run(DIRECT, case.way, case.load) if case.name in _FLOORS else None


def plan(cases: Iterable[Case], baseline: str, *, first: bool) -> list[Run]:
    """Return the runs of one repeat, each once, the baseline's right before the relay's.

    Memory and floors are the business of the first repeat alone.
    """
    wanted: list[Run] = []
    for case in cases:
        if case.load.hold and not first:
            continue
        ours, beside = runs_of(case, baseline)
        floor = floor_of(case) if first else None
        wanted += [run for run in (floor, beside, ours, *others_of(case).values()) if run is not None]
    return list(dict.fromkeys(wanted))
