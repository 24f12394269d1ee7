"""One round: turns stream to their readers, the relay is killed and started again, and everything is compared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import httpx

from kills.checks import Fault
from kills.comparing import Comparison
from kills.followed import Followed, Scene
from kills.heard import Heard
from kills.looking import Kept
from kills.plans import JUST_ANSWERED, JUST_READY, JUST_SPOKEN, LIFE_S, WHILE_STREAMING, KillPlan, RoundPlan
from kills.readers import LOST, Manner, Reader

READY_S: Final = 0.3
"""How long the moment right after it is ready lasts."""


class Round:
    """A round of a run."""

    def __init__(self, scene: Scene, number: int, plan: RoundPlan) -> None:
        self._scene = scene
        self._plan = plan
        self._go_on = asyncio.Event()
        tag = f"s{scene.figures.seed}-r{number}"
        self._turns = [Followed(scene, f"{tag}-{n}", turn, self._go_on) for n, turn in enumerate(plan.streams)]
        self._visits: list[tuple[Kept, Heard]] = []
        self._refusals: list[Fault] = []

    async def play(self) -> list[Fault]:
        """Play it, and return what was wrong."""
        scene = self._scene
        scene.simulator.clear_ledger()
        doings = [*chain(*(turn.doings() for turn in self._turns)), *self._forgets(), *self._visitors()]
        tasks = [asyncio.ensure_future(doing) for doing in doings]
        try:
            for kill in self._plan.kills:
                await self._strike(kill)
            await scene.line.relay.until_ready()
            self._go_on.set()
            _, late = await asyncio.wait(tasks, timeout=scene.limit_s)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        broken = [result for result in results if isinstance(result, Exception)]
        if broken:
            raise ExceptionGroup("readers of the harness failed", broken)
        compared = Comparison(scene, self._turns, self._visits)
        return [*self._refusals, *self._hanging(late), *await compared.faults()]

    # What happens beside the turns

    def _forgets(self) -> Iterable[Awaitable[None]]:
        kept = self._scene.kept
        for plan in self._plan.forgets:
            if kept:
                yield self._forget(kept.pop(int(plan.which * len(kept))).turn, plan.at_s)

    async def _forget(self, turn: str, at_s: float) -> None:
        """Erase a turn; where the relay is killed meanwhile, once more, as whoever has to be sure does."""
        line = self._scene.line
        await asyncio.sleep(at_s)
        status: int = httpx.codes.SERVICE_UNAVAILABLE
        while status == httpx.codes.SERVICE_UNAVAILABLE:
            await line.relay.up.wait()
            with suppress(*LOST):
                status = (await line.http.delete(f"{line.relay.url}/v1/turns/{turn}")).status_code
        if status not in {httpx.codes.NO_CONTENT, httpx.codes.GONE}:
            self._refusals.append(Fault(turn, "DELETE", "cannot be erased", "status 204 or 410", str(status)))
        self._scene.forgotten.append(turn)

    def _visitors(self) -> Iterable[Awaitable[None]]:
        for plan in self._plan.visits if self._scene.kept else ():
            kept = self._scene.kept[int(plan.which * len(self._scene.kept))]
            offsets = [0, *(event.offset or 0 for event in kept.truth().events[:-1])]
            after = 0 if plan.form == "sentences" else offsets[int(plan.start * len(offsets))]
            heard = Heard(f"visit after {after} over {plan.form}", kept.turn, after)
            self._visits.append((kept, heard))
            yield self._visit(heard, plan.form, plan.begins_at_s)

    async def _visit(self, heard: Heard, form: str, begins_at_s: float) -> None:
        await asyncio.sleep(begins_at_s)
        await Reader(self._scene.line, heard, Manner((form,))).read()

    # The kills

    async def _strike(self, kill: KillPlan) -> None:
        """Wait for the moment, kill the relay, and start it again."""
        relay = self._scene.line.relay
        if kill.moment == WHILE_STREAMING:
            await asyncio.sleep(kill.where * LIFE_S)
        elif kill.moment == JUST_ANSWERED:
            await _share_of([turn.named for turn in self._turns], kill.where)
        elif kill.moment == JUST_SPOKEN:
            await _share_of([turn.spoke for turn in self._turns], kill.where)
        elif kill.moment == JUST_READY:
            await relay.until_ready()
            await asyncio.sleep(kill.where * READY_S)
        else:
            await asyncio.sleep(kill.where * relay.start_times[-1])
        await relay.kill()
        self._scene.figures.kills[kill.moment] += 1
        await relay.spawn()

    def _hanging(self, late: Iterable[Any]) -> list[Fault]:
        """Say who did not come to an end in time."""
        if not list(late):
            return []
        everybody = chain(*((turn.first, *turn.others) for turn in self._turns), (heard for _, heard in self._visits))
        for heard in everybody:
            if heard.turn and not heard.ended and not heard.fault:
                heard.fault = f"hangs after {heard.tries} tries; the last id is {heard.last_id()}"
        came = f"nothing in {self._scene.limit_s:g} s"
        unnamed = [turn.first.name for turn in self._turns if not turn.first.turn and not turn.first.fault]
        return [Fault("", name, "was never answered", came=came) for name in unnamed]


async def _share_of(happened: list[asyncio.Event], share: float) -> None:
    """Wait until a share of these has happened, at least one, and no longer than turns last."""
    enough = asyncio.Semaphore(0)

    async def tell(event: asyncio.Event) -> None:
        await event.wait()
        enough.release()

    waiting = [asyncio.ensure_future(tell(event)) for event in happened]
    try:
        async with asyncio.timeout(LIFE_S):
            for _ in range(1 + int(share * (len(happened) - 1))):
                await enough.acquire()
    except TimeoutError:
        pass
    finally:
        for task in waiting:
            task.cancel()
