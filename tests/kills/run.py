"""The whole run: a platform, a relay on one folder for all rounds, and the turns of earlier rounds read again."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from kills.asking import Asked, begin
from kills.checks import Fault, faults_of_reader
from kills.figures import Figures
from kills.followed import LIMIT_S, Scene
from kills.heard import Heard
from kills.looking import Kept, faults_of_forgotten, faults_of_reread
from kills.plans import FRAMES, SCREENED_TEXTS, draw
from kills.readers import Manner, line_to
from kills.relay import RelayDied, RelayProcess, free_port, settings_text
from kills.rounds import Round
from trunkline.simulators import Simulator

MOST_KEPT: Final = 400
"""So many old turns are read again at the end; which ones is drawn by lot as they come."""
REPEATED_AT_END: Final = 20

Tell = Callable[[str], object]


async def run(figures: Figures, rounds: int, tell: Tell = lambda _: None, limit_s: float = LIMIT_S) -> Figures:
    """Play so many rounds; the figures hold what was wrong. Ends early where the relay dies by itself."""
    async with _scene(figures) as scene:
        scene.limit_s = limit_s
        for number in range(rounds):
            try:
                faults = await _round(scene, number)
            except RelayDied as died:
                faults = [Fault("", "the relay", "died by itself", came=str(died))]
            figures.faults += [(number, fault) for fault in faults]
            tell(_progress(figures, number, faults))
            if faults and faults[-1].what == "died by itself":
                return figures
        faults = await _at_the_end(scene)
        figures.faults += [(rounds - 1, fault) for fault in faults]
        told = _told(figures, rounds - 1, faults)
        tell(f"read {figures.rereads} turns of earlier rounds again, {len(faults)} faults{told}")
    return figures


@asynccontextmanager
async def _scene(figures: Figures) -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="trunkline-kills-") as folder:
        port = free_port()
        async with Simulator(seed=figures.seed, texts={"frames": FRAMES}) as simulator:
            store: dict[str, Any] = {"durability": figures.durability}
            if figures.durability != "memory":
                store["data_dir"] = f"{folder}/data"
            settings = Path(folder) / "trunkline.toml"
            settings.write_text(settings_text(simulator.url, port, store), encoding="utf-8")
            async with RelayProcess(settings, Path(folder) / "relay.log", port) as relay, line_to(relay) as line:
                scene = Scene(line, simulator, figures)
                for name in SCREENED_TEXTS:
                    scene.references[name] = await _reference(scene, name)
                yield scene
                figures.resumed, figures.waited, figures.busy = line.resumed, line.waited, line.busy
                figures.starts = relay.start_times


async def _reference(scene: Scene, text: str) -> str:
    """Return what the guards make of a text when nothing interrupts it."""
    asked = Asked("create-stream", f"sim:text={text};sim:interval-ms=0", "screened", "reference")
    heard = Heard(f"reference {text}")
    await begin(scene.line, asked, heard, Manner())
    if heard.fault or heard.events[-1].words != "completed stop":
        raise RuntimeError(f"the reference turn of {text} went wrong: {heard.fault or heard.events[-1].told()}")
    return heard.text


async def _round(scene: Scene, number: int) -> list[Fault]:
    known = len(scene.kept)
    faults = await Round(scene, number, draw(scene.figures.seed, number, scene.figures.streams)).play()
    faults += scene.line.relay.complaints()
    dice = Random(f"{scene.figures.seed}:{number}:kept")
    fresh, scene.kept[known:] = scene.kept[known:], []
    for kept in fresh:
        _keep(scene.kept, kept, dice)
    return faults


def _keep(kept: list[Kept], fresh: Kept, dice: Random) -> None:
    """Keep a turn; where there are enough, in place of another, so that old ones stay among them."""
    if len(kept) < MOST_KEPT:
        kept.append(fresh)
    elif dice.random() < 1 / 2:
        kept[dice.randrange(MOST_KEPT)] = fresh


async def _at_the_end(scene: Scene) -> list[Fault]:
    """Read all turns that were kept once more, repeat some of the requests that made them, look for erased ones."""
    faults: list[Fault] = []
    for turn in scene.forgotten:
        faults += await faults_of_forgotten(scene.line, turn)
    for kept in scene.kept:
        faults += await faults_of_reread(scene.line, kept)
        scene.figures.rereads += 1
    keyed = [(kept, kept.asked) for kept in scene.kept if kept.asked is not None]
    for kept, asked in keyed[:REPEATED_AT_END]:
        faults += await _found_by_key(scene, kept, asked)
    return faults


async def _found_by_key(scene: Scene, kept: Kept, asked: Asked) -> list[Fault]:
    heard = await scene.ask(asked, "repeated at the end")
    if heard.turn == kept.turn:
        scene.figures.repeats_found += 1
        return list(faults_of_reader(heard, kept.truth()))
    return [Fault(kept.turn, heard.name, "the key found the wrong turn", kept.turn, heard.turn or heard.fault)]


def _progress(figures: Figures, number: int, faults: list[Fault]) -> str:
    kills = figures.kills.total()
    line = f"round {number}: {figures.turns} turns, {figures.readers} readers, {kills} kills so far"
    return f"{line}, {len(faults)} faults{_told(figures, number, faults)}" if faults else line


def _told(figures: Figures, number: int, faults: list[Fault]) -> str:
    return "".join(f"\n  round {number}, seed {figures.seed}: {fault.told()}" for fault in faults)
