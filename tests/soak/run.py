"""The soak: a relay as a process under a steady load, and what it takes of its machine meanwhile."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kills.asking import Asked, begin
from kills.checks import Fault
from kills.heard import Heard
from kills.looking import faults_of_forgotten, get
from kills.readers import Line, Manner, line_to
from kills.relay import RelayProcess, free_port, settings_text
from soak.load import SCREENED, Load
from soak.watch import MIB, Level, Sample, levels, look
from trunkline.simulators import Simulator

RETENTION_S: Final = 10
EXPIRY_S: Final = 60
"""How often the relay lets go of what is past its retention."""
LOOK_EVERY_S: Final = 1.0
CLEAR_EVERY: Final = 20
"""Samples between two clearings of the platform's ledger, which would fill the memory of the harness."""
REST_LIMIT_S: Final = 20.0

Tell = Callable[[str], object]


@dataclass
class Soaked:
    """What a soak amounts to."""

    turns: int = 0
    seconds: float = 0
    ends: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def levels(self) -> list[Level]:
        """Return what has to stay level."""
        return levels(self.samples)

    @property
    def passed(self) -> bool:
        """Whether all is right and level."""
        return not self.faults and all(level.holds for level in self.levels())

    def verdict(self) -> str:
        """Return one line."""
        broken = [f"{level.what} {level.found} (bound {level.bound})" for level in self.levels() if not level.holds]
        broken += [f"{len(self.faults)} faults"] if self.faults else []
        load = f"{self.turns} turns in {self.seconds:.0f} s"
        return f"FAILED: {', '.join(broken)}; {load}" if broken else f"ok: {load}, all right, and nothing grows"


async def run(seconds: float, streams: int, durability: str, seed: int, tell: Tell = lambda _: None) -> Soaked:
    """Load a relay for so long."""
    soaked = Soaked()
    with tempfile.TemporaryDirectory(prefix="trunkline-soak-") as folder:
        data_dir, port = Path(folder) / "data", free_port()
        async with Simulator(seed=seed) as simulator:
            store = {"durability": durability, "data_dir": str(data_dir), "retention": f"{RETENTION_S}s"}
            settings = Path(folder) / "trunkline.toml"
            settings.write_text(settings_text(simulator.url, port, store), encoding="utf-8")
            relay = RelayProcess(settings, Path(folder) / "relay.log", port)
            async with relay, line_to(relay) as line:
                began_at = time.monotonic()
                load = Load(line, seed, {name: await _reference(line, name) for name in SCREENED})
                async with asyncio.TaskGroup() as group:
                    working = group.create_task(load.run(streams))
                    while (at_s := time.monotonic() - began_at) < seconds and not working.done():
                        open_turns = (await _numbers(line)).get("trunkline_turns_open", 0)
                        soaked.samples.append(look(relay.pid, data_dir, at_s, load.turns, int(open_turns)))
                        _say(soaked.samples, tell)
                        if len(soaked.samples) % CLEAR_EVERY == 0:
                            simulator.clear_ledger()
                        await asyncio.sleep(LOOK_EVERY_S)
                    load.stopping = True
                soaked.seconds = time.monotonic() - began_at
                soaked.turns, soaked.ends, soaked.done = load.turns, dict(load.ends), dict(load.done)
                soaked.faults += [*load.faults, *await _at_rest(line)]
                if soaked.seconds > EXPIRY_S + RETENTION_S / 2:
                    soaked.faults += await faults_of_forgotten(line, load.first_turn)
                soaked.faults += relay.complaints()
    return soaked


async def _reference(line: Line, text: str) -> str:
    heard = Heard(f"reference {text}")
    asked = Asked("create-stream", f"sim:text={text};sim:interval-ms=0", "screened", "reference")
    await begin(line, asked, heard, Manner())
    return heard.text


async def _numbers(line: Line) -> dict[str, float]:
    """Return the relay's own numbers, added up over their labels."""
    found: dict[str, float] = {}
    for name, value in re.findall(r"^(\w+)(?:\{.*\})? (\S+)$", (await get(line, "/metrics")).text, re.MULTILINE):
        found[name] = found.get(name, 0) + float(value)
    return found


async def _at_rest(line: Line) -> list[Fault]:
    """Wait until the relay has nothing left to do, as it must once nobody asks anything of it."""
    names = ("trunkline_turns_open", "trunkline_readers", "trunkline_store_turns_unarchived")
    until = time.monotonic() + REST_LIMIT_S
    while True:
        numbers = await _numbers(line)
        left = {name: numbers.get(name, -1.0) for name in names}
        if not any(left.values()):
            return []
        if time.monotonic() >= until:
            return [Fault("", "/metrics", "does not come to rest", "0 of each", str(left))]
        await asyncio.sleep(LOOK_EVERY_S / 4)


def _say(samples: list[Sample], tell: Tell) -> None:
    if len(samples) % 10 == 1:
        last = samples[-1]
        tell(
            f"{last.at_s:5.0f} s  {last.turns:7} turns  {last.open_turns:4} open  {last.rss / MIB:7.1f} MiB"
            f"  {last.files:5} files  journal {last.journal / MIB:5.0f} MiB  database {last.database / MIB:6.1f} MiB"
        )
