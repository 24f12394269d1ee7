"""After a round: reads every turn again, and compares with it what all of its readers, its maker and the routes say."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from kills.checks import Fault, Platform, faults_of_reader, faults_of_turn
from kills.followed import Followed, Scene
from kills.heard import Heard, Truth
from kills.looking import Kept, Looked, faults_of_edges, faults_of_list, look

AT_ONCE: Final = 8
"""So many turns are looked at together."""
EDGES: Final = 3
"""Of so many turns it is asked what lies behind their ends."""

Groups = dict[str, tuple[Followed, list[Heard]]]
"""By turn: what it was to be, and what its readers heard."""


class Comparison:
    """Of one round: its turns, and the visits to turns of earlier rounds."""

    def __init__(self, scene: Scene, turns: Sequence[Followed], visits: Sequence[tuple[Kept, Heard]]) -> None:
        self._scene = scene
        self._turns = turns
        self._visits = visits

    async def faults(self) -> list[Fault]:
        """Compare, count, keep the turns for later rounds, and return what was wrong."""
        groups: Groups = {turn.first.turn: (turn, turn.heard) for turn in self._turns if turn.first.turn}
        looked = await self._look({turn: heard for turn, (_, heard) in groups.items()})
        faults, made = await self._repeat(looked)
        groups |= {heard.turn: (followed, [heard]) for followed, heard in made}
        looked |= await self._look({heard.turn: [heard] for _, heard in made})
        faults += [_gave_up(turn.first) for turn in self._turns if turn.first.fault and not turn.first.turn]
        generated = self._generated()
        for turn, (followed, heard) in groups.items():
            faults += self._judge(followed, heard, looked[turn], generated)
        faults += await self._judge_routes(groups, looked)
        faults += chain(*(_faults_of_visit(kept, heard) for kept, heard in self._visits))
        self._count(groups, looked)
        return faults

    async def _look(self, turns: Mapping[str, Sequence[Heard]]) -> dict[str, Looked]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(turn: str, readers: Sequence[Heard]) -> Looked:
            in_sentences = any(event.form == "sentences" for heard in readers for event in heard.events)
            async with gate:
                return await look(self._scene.line, turn, in_sentences=in_sentences)

        found = await asyncio.gather(*(one(turn, readers) for turn, readers in turns.items()))
        return {each.truth.turn: each for each in found}

    async def _repeat(self, looked: Mapping[str, Looked]) -> tuple[list[Fault], list[tuple[Followed, Heard]]]:
        """Send each request with a key once more; return what was wrong, and those that made another turn.

        The same turn is found, unless it failed before it said anything: then, whoever asks again wants an answer.
        """
        faults: list[Fault] = []
        made: list[tuple[Followed, Heard]] = []
        keyed = [turn for turn in self._turns if turn.asked.key and turn.first.turn]
        asking = (self._scene.ask(turn.asked, f"{turn.asked.key} {turn.asked.way} repeated") for turn in keyed)
        for turn, heard in zip(keyed, await asyncio.gather(*asking), strict=True):
            before = looked[turn.first.turn].truth
            same = heard.turn == before.turn
            if heard.turn and same == before.unheard:
                expected = "another turn: this one failed unheard" if same else before.turn
                faults.append(Fault(before.turn, heard.name, "the key found the wrong turn", expected, heard.turn))
            self._scene.figures.repeats_found += same
            self._scene.figures.repeats_new += not same
            if heard.turn and not same:
                made.append((turn, heard))
            else:
                faults += faults_of_reader(heard, before)
        return faults, made

    def _generated(self) -> dict[str, Platform]:
        """Return what the platform's ledger says, by prompt."""
        begun: dict[str, list[str]] = {}
        whole: dict[str, list[str]] = {}
        for record in self._scene.simulator.ledger:
            prompt = record["body"]["messages"][-1]["content"]
            begun.setdefault(prompt, []).append(record["text"])
            if record["ended"] == "completed":
                whole.setdefault(prompt, []).append(record["text"])
        return {prompt: Platform(texts, whole.get(prompt, ())) for prompt, texts in begun.items()}

    def _judge(
        self, followed: Followed, readers: Sequence[Heard], looked: Looked, generated: Mapping[str, Platform]
    ) -> list[Fault]:
        if looked.faults:
            return [*looked.faults, *(_gave_up(heard) for heard in readers if heard.fault)]
        if followed.text_name:
            platform = Platform([], [self._scene.references[followed.text_name]])
        else:
            # A relay that was killed before it asked the platform has nothing to tell.
            platform = generated.get(followed.asked.prompt, Platform([""]))
        faults = [*faults_of_turn(looked.truth, looked.shown, platform, followed.ends)]
        return [*faults, *chain(*(faults_of_reader(heard, looked.truth) for heard in readers))]

    async def _judge_routes(self, groups: Groups, looked: Mapping[str, Looked]) -> list[Fault]:
        line = self._scene.line
        faults: list[Fault] = []
        for followed in self._turns:
            truths = {turn: looked[turn].truth for turn, (by, _) in groups.items() if by is followed}
            faults += await faults_of_list(line, followed.asked.conversation, truths)
        cut = [each.truth for each in looked.values() if each.truth.end.get("outcome") == "failed"]
        for truth in cut[:EDGES]:
            faults += await faults_of_edges(line, truth)
        return faults

    def _count(self, groups: Groups, looked: Mapping[str, Looked]) -> None:
        figures = self._scene.figures
        figures.rounds += 1
        figures.visits += len(self._visits)
        figures.forgotten = len(self._scene.forgotten)
        for turn, (followed, _) in groups.items():
            found = looked[turn]
            figures.ends[f"{found.truth.end.get('outcome')}/{found.truth.end.get('reason')}"] += 1
            if not found.faults:
                asked = followed.asked if followed.asked.key and not found.truth.unheard else None
                self._scene.kept.append(Kept(turn, zlib.compress(found.body), asked))
        readers = chain(*(heard for _, heard in groups.values()), (heard for _, heard in self._visits))
        for heard in readers:
            figures.readers += 1
            figures.events += len(heard.events)
            figures.changes += len({event.form for event in heard.events}) > 1


def _gave_up(heard: Heard) -> Fault:
    return Fault(heard.turn, heard.name, "gave up", came=heard.fault)


def _faults_of_visit(kept: Kept, heard: Heard) -> list[Fault]:
    """Compare what a visitor heard with the turn as it was told in its own round."""
    truth = kept.truth()
    if any(event.form == "sentences" for event in heard.events):
        # Nobody kept its sentences: all there is to say is that they are the same text, in order, with one end.
        truth = Truth(truth.turn, truth.events, heard.events)
    return list(faults_of_reader(heard, truth))
