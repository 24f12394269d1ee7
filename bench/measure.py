"""Carries out runs: starts platform and peers, and has a load measure them, one run after another."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from bench.cases import WARM_UP, Run
from bench.load import Job, Load, Outcome, Platform, Way
from bench.peers import DIRECT, ROOT, Peer, peer, upstream
from bench.proc import Cores, calibrate, cpu_of, pinned

SPARE_S: Final = 20.0  # beyond what a load takes by itself
SPARE_FOR_EACH_S: Final = 0.01  # ten thousand that end in the same moment take their time
SETTLE_LIMIT_S: Final = 10.0
SETTLE_LOOK_S: Final = 0.2
SETTLED: Final = 0.05  # of a core


class Measured(msgspec.Struct):
    """One run's outcome, and how fast the relay's core was just before it."""

    outcome: Outcome
    calibration_ms: float


Told = Callable[[Run, Measured], None]
Results = Mapping[Run, list[Measured]]


def measure(repeats: Iterable[list[Run]], cores: Cores, tell: Told) -> Results:
    """Carry out the runs of each repeat on fresh processes, and tell of each."""
    results: defaultdict[Run, list[Measured]] = defaultdict(list)
    for runs in repeats:
        flowing = [run for run in runs if not run.load.hold]
        with contextlib.ExitStack() as stack:
            platform = stack.enter_context(upstream(cores))
            peers = {name: stack.enter_context(peer(name, platform, cores)) for name in {run.peer for run in flowing}}
            for at in peers.values():
                warm_up(at, platform, cores)
            for run in flowing:
                results[run].append(one(run, peers[run.peer], platform, cores))
                tell(run, results[run][-1])
        for run in runs:
            if run.load.hold:  # on a process that has done nothing else
                with upstream(cores) as platform, peer(run.peer, platform, cores) as at:
                    warm_up(at, platform, cores)
                    results[run].append(one(run, at, platform, cores))
                tell(run, results[run][-1])
    return results


def warm_up(at: Peer, platform: Peer, cores: Cores) -> None:
    """Let a peer import, cache and connect what it does only once. Raises `RuntimeError` where it serves nothing."""
    outcome = carry("openai", WARM_UP, at, platform, cores)
    if outcome.exact != outcome.answers:
        raise RuntimeError(f"the warm-up failed: {outcome.faults}")


def one(run: Run, at: Peer, platform: Peer, cores: Cores) -> Measured:
    """Carry out one run."""
    calibration_ms = 0.0 if run.peer == DIRECT else calibrate(cores.middle)
    measured = Measured(carry(run.way, run.load, at, platform, cores, run.asks), calibration_ms)
    settle(at)
    return measured


def settle(at: Peer) -> None:
    """Wait until a peer has done what it does after the answers, so that nobody else's run has it on its core."""
    until = time.monotonic() + SETTLE_LIMIT_S
    pids, before = at.pids, cpu_of(at.pids)
    while time.monotonic() < until:
        time.sleep(SETTLE_LOOK_S)
        now = cpu_of(pids)
        if now.since(before).total_s < SETTLED * SETTLE_LOOK_S:
            break
        before = now


def carry(way: Way, load: Load, at: Peer, platform: Peer, cores: Cores, asks: Platform = "bench") -> Outcome:
    """Put a load on a peer, from a process of its own."""
    limit_s = load.length_s + SPARE_S + load.delivered * SPARE_FOR_EACH_S
    job = Job(load, way, at.port, at.pids, platform.pids, limit_s, platform.port, asks)
    with pinned(cores.load):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    with process:
        try:
            output, _ = process.communicate(msgspec.json.encode(job), timeout=limit_s + SPARE_S)
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the load ended with code {process.returncode}")
    return msgspec.json.decode(output, type=Outcome)
