"""A steady load of short turns on every endpoint: readers that leave and come back, cancels, lists, and erasure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Final

import httpx

from kills.asking import KEYED, WAYS, Asked, begin
from kills.checks import ENDS, Fault, Platform, faults_of_reader, faults_of_turn
from kills.heard import Heard
from kills.looking import faults_of_forgotten, faults_of_list, look
from kills.readers import SWITCHED, Line, Manner
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import repeat

PLAIN: Final = ("order", "unicode", "markdown", "french")
SCREENED: Final = ("cards", "german")
TURN_LIMIT_S: Final = 30.0
MOST_FAULTS: Final = 50
READ, LEAVE, CANCEL, FORGET, LIST = "read", "leave and come back", "cancel", "forget", "list"
DOINGS: Final = {READ: 8, LEAVE: 6, CANCEL: 2, FORGET: 2, LIST: 2}
"""What is done with a turn, and how often."""


class Load:
    """Keeps so many turns open until it is told to stop; `references` are the screened texts as guards let them by."""

    def __init__(self, line: Line, seed: int, references: Mapping[str, str]) -> None:
        self._line = line
        self._seed = seed
        self._references = references
        self.stopping = False
        self.turns = 0
        self.ends: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.first_turn = ""

    async def run(self, streams: int) -> None:
        """Keep the turns open."""
        async with asyncio.TaskGroup() as group:
            for place in range(streams):
                group.create_task(self._work(place))

    async def _work(self, place: int) -> None:
        dice = Random(f"{self._seed}:{place}")
        number = 0
        await asyncio.sleep(dice.random())
        while not self.stopping and len(self.faults) < MOST_FAULTS:
            number += 1
            heard = Heard(f"soak-{self._seed}-{place}-{number}")
            try:
                async with asyncio.timeout(TURN_LIMIT_S):
                    self.faults += await self._turn(dice, heard)
            except TimeoutError:
                told = heard.events[-1].told() if heard.events else "nothing"
                came = f"{len(heard.events)} events over {heard.tries} connections before this one, the last {told}"
                self.faults.append(Fault(heard.turn, heard.name, f"hangs for {TURN_LIMIT_S:g} s", "an end", came))
            self.turns += 1

    async def _turn(self, dice: Random, heard: Heard) -> list[Fault]:
        """Live through one turn."""
        tag = heard.name
        screened = dice.random() < 0.3
        text, tokens = dice.choice(SCREENED if screened else PLAIN), 0 if screened else dice.randint(20, 90)
        directives = f"sim:text={text};sim:interval-ms={dice.uniform(2, 4) if screened else dice.uniform(8, 14):.1f}"
        prompt = f"{directives};sim:tokens={tokens} {tag}" if tokens else f"{directives} {tag}"
        way = dice.choice(list(WAYS))
        doing = dice.choices(list(DOINGS), list(DOINGS.values()))[0]
        # Whoever leaves a completion without a key has cancelled it.
        key = tag if way in KEYED and (way == "openai" or dice.random() < 0.3) else ""
        asked = Asked(way, prompt, "screened" if screened else "plain", tag, key)
        forms = (dice.choice(SWITCHED), dice.choice(SWITCHED))
        leaves_after = (dice.randint(0, 30),) if doing == LEAVE else ()
        manner = Manner(forms, leaves_after=leaves_after)
        heard.name = f"{tag} {way}, then {'/'.join(forms)}, {doing} {leaves_after} {asked.key}"
        cancelling = asyncio.ensure_future(self._cancel(heard, dice.uniform(0, 0.8))) if doing == CANCEL else None
        try:
            await begin(self._line, asked, heard, manner)
        finally:
            if cancelling is not None:
                cancelling.cancel()
        expected = self._references[text] if screened else repeat(TEXTS[text], tokens)
        return await self._judge(asked, heard, doing, expected)

    async def _cancel(self, heard: Heard, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if heard.turn:
            await self._line.http.post(f"{self._line.relay.url}/v1/turns/{heard.turn}/cancel")

    async def _judge(self, asked: Asked, heard: Heard, doing: str, expected: str) -> list[Fault]:
        looked = await look(self._line, heard.turn, in_sentences=False)
        if looked.faults:
            return list(looked.faults)
        self.first_turn = self.first_turn or heard.turn
        self.done[doing] += 1
        self.ends[f"{looked.truth.end.get('outcome')}/{looked.truth.end.get('reason')}"] += 1
        ends = (ENDS - {"failed relay_restarted"}) | ({"cancelled client_cancelled"} if doing == CANCEL else set())
        faults = [*faults_of_turn(looked.truth, looked.shown, Platform([expected], [expected]), ends)]
        faults += faults_of_reader(heard, looked.truth)
        if doing == LIST:
            faults += await faults_of_list(self._line, asked.conversation, {heard.turn: looked.truth})
        if doing == FORGET:
            answer = await self._line.http.delete(f"{self._line.relay.url}/v1/turns/{heard.turn}")
            if answer.status_code != httpx.codes.NO_CONTENT:
                faults.append(Fault(heard.turn, "DELETE", "cannot be erased", "204", f"{answer.status_code}"))
            faults += await faults_of_forgotten(self._line, heard.turn)
        return faults
