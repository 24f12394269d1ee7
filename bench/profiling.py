"""Where the relay's microseconds go: samples of its stack in the measured windows, by area and by function."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.cases import Case
from bench.load import Outcome
from bench.measure import carry, warm_up
from bench.peers import SAMPLES, peer, relay, upstream
from bench.proc import Cores
from bench.sampler import Sample

# The innermost function that is in one of these places decides; the first line that fits.
AREAS: Final = (
    ("read", ("trunkline/sources/", "trunkline/connect/", "aiohttp/", "aiofastnet/")),
    ("encode", ("trunkline/core/sse.py:encode", "trunkline/core/events.py", "trunkline/stores/base.py:TurnLog.render")),
    ("dialect", ("trunkline/dialects/", "trunkline/core/sse.py", "trunkline/core/foreign_json.py")),
    ("dialect", ("trunkline/core/reorder.py",)),
    ("screen", ("trunkline/guards/",)),
    ("pump", ("trunkline/pump.py", "trunkline/upstreams.py", "trunkline/core/turn.py")),
    ("log", ("trunkline/log.py", "trunkline/stores/")),
    ("write", ("trunkline/endpoints/streams.py", "trunkline/protocols.py", "uvicorn/", "websockets/")),
    ("encode", ("trunkline/endpoints/",)),
    ("open and end turns", ("trunkline/", "starlette/", "fastapi/", "pydantic/")),
    ("loop, sockets", ("asyncio/", "uvloop/")),
)
TOP: Final = 25


def area_of(stack: Sequence[str]) -> str:
    """Return the area of a stack, innermost function first."""
    for function in stack:
        for area, places in AREAS:
            if any(f"/{place}" in function for place in places):
                return area
    return "other"


def profile(case: Case, repeats: int, cores: Cores) -> str:
    """Run a case on a relay that is looked at, and return the report."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        with upstream(cores) as platform, peer(relay(case.store, sampled=True), platform, cores, Path(folder)) as at:
            warm_up(at, platform, cores)
            outcomes += [carry(case.way, case.load, at, platform, cores, case.asks) for _ in range(repeats)]
        samples = msgspec.json.decode((Path(folder) / SAMPLES).read_bytes(), type=list[Sample])
    windows = [(outcome.begin_us, outcome.end_us) for outcome in outcomes]
    measured = [sample.stack for sample in samples if any(begin <= sample.at_us < end for begin, end in windows)]
    return report(case.name, outcomes, measured)


def report(name: str, outcomes: Sequence[Outcome], stacks: Sequence[Sequence[str]]) -> str:
    """Divide the CPU time of the outcomes among the functions that were seen at work."""
    tokens = sum(outcome.tokens for outcome in outcomes)
    total_us = sum(outcome.cpu_s for outcome in outcomes) / max(1, tokens) * 1e6
    kernel = sum(outcome.kernel_share * outcome.cpu_s for outcome in outcomes) / max(
        1e-9, sum(outcome.cpu_s for outcome in outcomes)
    )
    head = f"{name}: {total_us:.1f} us per token, of it {kernel:.0%} in the kernel; {len(stacks)} samples"
    areas = _shares(map(area_of, stacks), len(stacks), total_us)
    functions = _shares((_short(stack[0]) for stack in stacks), len(stacks), total_us)
    return "\n".join([head, "", *areas, "", *functions[:TOP], ""])


def _shares(names: Iterable[str], count: int, total_us: float) -> list[str]:
    found = Counter(names)
    return [f"  {n / count * total_us:6.1f} us  {n / count:5.1%}  {name}" for name, n in found.most_common()]


def _short(function: str) -> str:
    """Return a function's name with the last two parts of its path."""
    path, _, name = function.rpartition(":")
    return f"{'/'.join(path.split('/')[-2:])} {name}"
