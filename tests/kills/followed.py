"""A turn of a round with its readers, and what all rounds of a run share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from kills.asking import Asked, begin
from kills.checks import ENDS
from kills.figures import Figures
from kills.heard import Heard
from kills.looking import Kept
from kills.plans import ReaderPlan, StreamPlan
from kills.readers import LOST, Line, Manner, Reader
from trunkline.simulators import Simulator

LIMIT_S: Final = 30.0


@dataclass
class Scene:
    """What the rounds of a run share."""

    line: Line
    simulator: Simulator
    figures: Figures
    references: dict[str, str] = field(default_factory=dict)
    """By name, each text as the guards let it through."""
    kept: list[Kept] = field(default_factory=list)
    """Turns of earlier rounds."""
    forgotten: list[str] = field(default_factory=list)
    """Turns that were erased."""
    limit_s: float = LIMIT_S
    """How long after the last restart a reader may take to its end."""

    async def ask(self, asked: Asked, name: str) -> Heard:
        """Begin a turn, or find the one that the same request made, and read it; what takes too long is a fault."""
        heard = Heard(name)
        try:
            async with asyncio.timeout(self.limit_s):
                await begin(self.line, asked, heard, Manner())
        except TimeoutError:
            heard.fault = f"hangs after {heard.tries} tries; the last id is {heard.last_id()}"
        return heard


class Followed:
    """A turn and its readers; those that stall go on when `go_on` is set."""

    def __init__(self, scene: Scene, tag: str, plan: StreamPlan, go_on: asyncio.Event) -> None:
        self._scene = scene
        self._plan = plan
        self._go_on = go_on
        upstream = "screened" if plan.screened else "plain"
        self.asked = Asked(plan.way, f"{plan.directives} {tag}", upstream, tag, tag if plan.keyed else "")
        self.named = asyncio.Event()
        """Set when its id is known, or never will be."""
        self.spoke = asyncio.Event()
        """Set when a reader has some text."""
        self.first = Heard(f"{tag} {plan.way}, then {'/'.join(plan.first.forms)}")
        self.others = [Heard(f"{tag} joined over {'/'.join(other.forms)}") for other in plan.others]

    @property
    def text_name(self) -> str:
        """The screened text that it says; empty where nothing is screened."""
        return self._plan.text if self._plan.screened else ""

    @property
    def ends(self) -> frozenset[str]:
        """How it may end."""
        return ENDS | {"cancelled client_cancelled"} if self._plan.cancelled_after_s is not None else ENDS

    @property
    def heard(self) -> list[Heard]:
        """What its readers heard of it: none where it was never named."""
        return [heard for heard in (self.first, *self.others) if heard.turn]

    def doings(self) -> list[Awaitable[None]]:
        """Return what its maker and the others do."""
        joined = zip(self.others, self._plan.others, strict=True)
        return [self._begin(), self._cancel(), *(self._join(heard, plan) for heard, plan in joined)]

    async def _begin(self) -> None:
        manner = self._manner(self._plan.first)
        try:
            await asyncio.sleep(self._plan.begins_at_s)
            await begin(self._scene.line, self.asked, self.first, manner, lambda _: self.named.set())
        finally:
            self.named.set()

    async def _join(self, heard: Heard, plan: ReaderPlan) -> None:
        await self.named.wait()
        if self.first.turn:
            await asyncio.sleep(plan.joins_after_s)
            heard.turn = self.first.turn
            await Reader(self._scene.line, heard, self._manner(plan)).read()

    async def _cancel(self) -> None:
        """Ask for its end in the middle, if that is planned; where the relay is killed meanwhile, not again."""
        await self.named.wait()
        if self._plan.cancelled_after_s is not None and self.first.turn:
            await asyncio.sleep(self._plan.cancelled_after_s)
            with suppress(*LOST):
                await self._scene.line.http.post(f"{self._scene.line.relay.url}/v1/turns/{self.first.turn}/cancel")

    def _manner(self, plan: ReaderPlan) -> Manner:
        return Manner(plan.forms, plan.eager, plan.stalls_after, go_on=self._go_on, spoke=self.spoke)
