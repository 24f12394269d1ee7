"""The fault matrix: every fault, several seeds, every preset, each turn compared with the platform's own ledger.

`make fault-matrix` runs it at length and writes docs/fault-matrix.md; a test runs a thousand turns of it. All turns
rest in the durable log. While a turn is open a second reader joins it at a random offset; when a relay has been closed,
another one opens its log and reads every turn back. All must have seen the same entries.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

from faults.laws import problem
from faults.page import page
from faults.rows import CONVERSATIONS, OAUTH, PRESETS, Line, Row, all_rows, timeouts
from platforms.asking import IDS
from tcp_proxy import SIDES, Proxy, Side, Strike, standing_before
from trunkline import Ended, Relay, TrunklineError, TurnRequest
from trunkline.core.events import Entry
from trunkline.simulators import Simulator
from trunkline.turns import Turn

TEXTS: Final = ("order", "unicode", "newlines", "german", "markdown")
TURN_LIMIT_S: Final = 60
READ_BACK_LIMIT_S: Final = 5
TURNS_OF_A_RELAY: Final = 60
Sizes = dict[tuple[str, str, Side], list[int]]
"""How many bytes a whole exchange takes toward one side, connection by connection, by preset and text."""


@dataclass
class Stage:
    """What one turn has for itself: a platform, so that its ledger holds nothing else, and an address for it."""

    row: Row
    seed: int
    simulator: Simulator
    platform: Simulator | Proxy
    entries: list[Entry] = field(default_factory=list)
    turn_id: str = ""
    end: str = "hanging"
    problem: str = ""


async def run(seeds: Iterable[int], at_once: int = 20, only: Sequence[Row] | None = None) -> list[Row]:
    """Run the matrix; a row's `wrong` names every turn that lost, doubled, hung or ended otherwise than it must."""
    matrix = all_rows() if only is None else list(only)
    turns = [(row, seed) for seed, row in product(seeds, matrix)]
    # Rows that wait stand side by side in the table, and are to wait beside others.
    random.Random(0).shuffle(turns)
    gate, relays = asyncio.Semaphore(at_once), asyncio.Semaphore(3)
    sizes: Sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        if any(row.line.strike for row, _ in turns):
            await _measure(sizes, Path(folder))
        async with asyncio.TaskGroup() as group:
            for begin in range(0, len(turns), TURNS_OF_A_RELAY):
                some = turns[begin : begin + TURNS_OF_A_RELAY]
                group.create_task(_one_relay(some, sizes, gate, relays, Path(folder) / str(begin)))
    return matrix


async def _one_relay(
    turns: Sequence[tuple[Row, int]], sizes: Sizes, gate: asyncio.Semaphore, relays: asyncio.Semaphore, folder: Path
) -> None:
    """Let one relay take some turns, each from an upstream of its own, and another one read them back."""
    async with relays, AsyncExitStack() as stack:
        stages = [await stack.enter_async_context(_stage(row, seed, sizes)) for row, seed in turns]
        settings = {
            "upstreams": {
                f"u{n}": _upstream(stage.row.line, stage.row.preset, stage.platform.url)
                for n, stage in enumerate(stages)
            },
            "store": {"durability": "process", "data_dir": folder},
        }
        async with Relay(settings) as relay, asyncio.TaskGroup() as group:
            for n, stage in enumerate(stages):
                group.create_task(_gated(gate, _turn(relay, f"u{n}", stage)))
        async with Relay(settings) as relay:
            for stage in stages:
                stage.problem = stage.problem or await _read_back(relay, stage)
    for stage in stages:
        stage.row.turns += 1
        stage.row.ends[stage.end] += 1
        stage.row.struck += stage.platform.struck if isinstance(stage.platform, Proxy) else 0
        if stage.problem:
            stage.row.wrong.append(f"{stage.row.preset} {stage.row.line.name} seed {stage.seed}: {stage.problem}")


async def _gated(gate: asyncio.Semaphore, turn: Awaitable[None]) -> None:
    async with gate:
        await turn


@asynccontextmanager
async def _stage(row: Row, seed: int, sizes: Sizes) -> AsyncIterator[Stage]:
    async with Simulator(seed=seed) as simulator:
        simulator.default_text = TEXTS[seed % len(TEXTS)]
        strikes = [] if row.line.strike is None else _strikes(row, simulator.default_text, seed, sizes)
        before = standing_before(simulator.url, strikes) if strikes else nullcontext(simulator)
        async with before as platform:
            yield Stage(row, seed, simulator, platform)


def _strikes(row: Row, text: str, seed: int, sizes: Sizes) -> list[Strike | None]:
    """Draw a byte of the whole exchange, and let it be struck there, on whichever connection that is."""
    if row.line.strike is None:
        return []
    how, toward = row.line.strike
    parts = sizes[row.preset, text, toward]
    if row.line.behind is not None:
        return [*[None] * (len(parts) - 1), Strike(how, row.line.behind, toward)]
    dice = random.Random(f"{row.preset} {how} {toward} {seed}")
    # By bytes, or by connections first: one that carries little, such as that of the token, is to have its share.
    (connection,) = dice.choices(range(len(parts)), weights=dice.choice([parts, None]))
    after = dice.randrange(parts[connection])
    return [*[None] * connection, Strike(how, after, toward)]


async def _measure(sizes: Sizes, folder: Path) -> None:
    """Let each preset say each text once through the proxy, undisturbed."""
    for n, (preset, text) in enumerate(product(PRESETS, TEXTS)):
        line = Line((), {}, strike=("trickle", "client"))
        async with Simulator(seed=n) as simulator, standing_before(simulator.url) as proxy:
            simulator.default_text = text
            settings = {"upstreams": {"u": _upstream(line, preset, proxy.url)}, "store": {"durability": "memory"}}
            async with Relay(settings) as relay:
                async for _ in relay.stream(_request(line, preset, "u")):
                    pass
            for toward in SIDES:
                sizes[preset, text, toward] = [passed[toward] for passed in proxy.passed]


def _upstream(line: Line, preset: str, url: str) -> dict[str, Any]:
    upstream: dict[str, Any] = {"preset": preset, "base_url": url, "model": "gpt-4-1106-preview", "guards": "none"}
    if preset == "openai":
        upstream["base_url"] = f"{url}/v1"
    if preset in OAUTH:
        upstream |= {"client_id": "me", "client_secret": "s3cret"}
    if preset == CONVERSATIONS:
        upstream["gap_s"] = 0.5
    return {**upstream, **line.settings, "timeouts": timeouts(line, preset)}


def _request(line: Line, preset: str, upstream: str) -> TurnRequest:
    words = [f"sim:fault={word}" for word in line.words] if line.times == 0 else []
    return TurnRequest(upstream=upstream, input=" ".join(["Hello", ";".join(words)]), **IDS.get(preset, {}))


async def _turn(relay: Relay, upstream: str, stage: Stage) -> None:
    """Ask, read to the end, and judge what came."""
    line, preset = stage.row.line, stage.row.preset
    dice = random.Random(stage.seed)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TURN_LIMIT_S):
            if line.twice:
                async for _ in relay.stream(_request(line, preset, upstream)):
                    pass
            if line.then:
                stage.simulator.line_up(*[line.words] * line.times, line.then, at=line.at)
            elif line.times:
                stage.simulator.set_faults(line.words, line.times, at=line.at)
            turn = relay.start(_request(line, preset, upstream))
            stage.turn_id = turn.id
            second = await _read_twice(turn, stage.entries, dice.randrange(40), dice.random())
    except TimeoutError:
        stage.problem = "hangs"
        return
    stage.end = next((entry.event.reason for entry in stage.entries if isinstance(entry.event, Ended)), "none")
    stage.problem = problem(line, preset, stage.entries, stage.simulator, time.monotonic() - began)
    if not stage.problem and not second:
        stage.problem = "a second reader saw other entries than the first"


async def _read_twice(turn: Turn, entries: list[Entry], joins_at: int, share: float) -> bool:
    """Read a turn; a second reader joins in the middle. Returns whether it sees the same from its offset on."""
    second: asyncio.Task[tuple[int, list[Entry]]] | None = None
    async with asyncio.TaskGroup() as group:
        with turn.follow() as follower:
            async for batch in follower.entries():
                entries += batch
                if second is None and len(entries) > joins_at:
                    second = group.create_task(_follow(turn, entries, share))
        second = second or group.create_task(_follow(turn, entries, share))
    at, seen = second.result()
    return _said(seen) == _said(entries[at:])


async def _follow(turn: Turn, known: Sequence[Entry], share: float) -> tuple[int, list[Entry]]:
    """Read a turn from one of its known offsets on; return its place among them, and what came."""
    at = int(share * (len(known) + 1))
    seen: list[Entry] = []
    with turn.follow(known[at - 1].offset if at else 0) as follower:
        async for batch in follower.entries():
            seen += batch
    return at, seen


def _said(entries: Iterable[Entry]) -> list[tuple[int, int, bytes]]:
    return [(entry.offset, entry.at_ms, entry.json) for entry in entries]


async def _read_back(relay: Relay, stage: Stage) -> str:
    """Read a turn from the log of a relay that is gone."""
    try:
        async with asyncio.timeout(READ_BACK_LIMIT_S):
            turn = await relay.find(stage.turn_id)
            at, seen = await _follow(turn, stage.entries, random.Random(stage.seed).random())
    except (TimeoutError, TrunklineError) as error:
        return f"cannot be read back from the log: {type(error).__name__} {error}"
    return "" if _said(seen) == _said(stage.entries[at:]) else "the log holds other entries than were shown"


def main() -> int:
    """Run as many seeds as asked for, print what went wrong, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/fault-matrix.md"))
    asked = parser.parse_args()
    logging.disable(logging.WARNING)  # turns that fail are the point
    began = time.monotonic()
    matrix = asyncio.run(run(range(asked.seeds)))
    asked.out.write_text(page(matrix), encoding="utf-8")
    wrong = [line for row in matrix for line in row.wrong]
    turns, took_s = sum(row.turns for row in matrix), time.monotonic() - began
    print("\n".join(wrong) or f"{turns} turns in {took_s:.0f} s, all as they must be; see {asked.out}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
