"""Looks at turns that have ended: the full reads that readers are compared with, and what the routes say of them."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import httpx

from kills.asking import Asked
from kills.checks import Fault
from kills.heard import Event, Truth
from kills.readers import Line
from kills.wires import EventStream, native, sentence

LOOK_LIMIT_S: Final = 20.0
FULL: Final = "full read"


@dataclass(frozen=True)
class Kept:
    """A turn to read again later: the bytes of its native stream, packed, and what made it."""

    turn: str
    packed: bytes
    asked: Asked | None = None
    """Where its maker was answered, and may repeat the request with its key."""

    def truth(self) -> Truth:
        """Read it as it was told then."""
        return Truth(self.turn, EventStream(native).feed(zlib.decompress(self.packed)))


@dataclass(frozen=True)
class Looked:
    """A turn as it is told now; the faults are those that kept it from being read."""

    truth: Truth
    body: bytes
    shown: dict[str, Any]
    faults: tuple[Fault, ...] = ()


async def get(line: Line, address: str, **headers: str) -> httpx.Response:
    """Ask for something that does not take long. Raises `TimeoutError`, and one of `LOST`."""
    async with asyncio.timeout(LOOK_LIMIT_S):
        return await line.http.get(line.relay.url + address, headers=headers)


async def look(line: Line, turn: str, *, in_sentences: bool) -> Looked:
    """Read a turn from its beginning, once as it is and once in sentences, and what `GET /v1/turns/{id}` says."""
    faults: list[Fault] = []
    bodies: list[bytes] = []
    addresses = [f"/v1/turns/{turn}", f"/v1/turns/{turn}/events"]
    for address in [*addresses, f"/v1/turns/{turn}/events?unit=sentence"] if in_sentences else addresses:
        try:
            answer = await get(line, address)
        except TimeoutError:
            faults.append(Fault(turn, address, "hangs", "an answer", f"nothing in {LOOK_LIMIT_S:g} s"))
            bodies.append(b"")
            continue
        if answer.status_code != httpx.codes.OK:
            faults.append(Fault(turn, address, "cannot be read", "status 200", _words(answer)))
        bodies.append(answer.content if answer.status_code == httpx.codes.OK else b"")
    shown, body = json.loads(bodies[0] or b"{}"), bodies[1]
    sentences = EventStream(sentence).feed(bodies[2]) if in_sentences else []
    return Looked(Truth(turn, EventStream(native).feed(body), sentences), body, shown, tuple(faults))


async def faults_of_list(line: Line, conversation: str, truths: dict[str, Truth]) -> list[Fault]:
    """Look for these turns in the list of their conversation: they are there, and all in it have ended."""
    answer = await get(line, f"/v1/turns?conversation_id={conversation}&limit=200")
    where = f"GET /v1/turns?conversation_id={conversation}"
    if answer.status_code != httpx.codes.OK:
        return [Fault("", where, "cannot be listed", "status 200", _words(answer))]
    rows = {row["id"]: row for row in answer.json()["turns"]}
    faults = [Fault(turn, where, "is not in the list") for turn in truths if turn not in rows]
    for turn, row in rows.items():
        if row["state"] != "ended":
            faults.append(Fault(turn, where, "is open after a restart", "ended", row["state"]))
        elif turn in truths and any(row[name] != truths[turn].end.get(name) for name in ("outcome", "reason")):
            faults.append(Fault(turn, where, "is listed otherwise", str(truths[turn].end), str(row)))
    return faults


async def faults_of_edges(line: Line, truth: Truth) -> list[Fault]:
    """Ask from where there is nothing: after the end, behind it, and out of the gap that a restart leaves."""
    tail = truth.events[-1].offset or 0
    asked = {tail: httpx.codes.NO_CONTENT, tail + 1: httpx.codes.CONFLICT}
    asked |= dict.fromkeys(_in_the_gap(truth.events), httpx.codes.CONFLICT)
    faults = []
    for offset, status in asked.items():
        address = f"/v1/turns/{truth.turn}/events"
        answer = await get(line, address, **{"last-event-id": str(offset)})
        if answer.status_code != status:
            faults.append(
                Fault(truth.turn, f"{address} after {offset}", "answers otherwise", str(status), _words(answer))
            )
        elif status == httpx.codes.CONFLICT and answer.json().get("tail") != tail:
            faults.append(Fault(truth.turn, f"{address} after {offset}", "names another tail", str(tail), answer.text))
    return faults


def _in_the_gap(events: Sequence[Event]) -> Iterator[int]:
    """Give the first offset of each gap, which no entry has."""
    for before, event in pairwise(events):
        if before.offset is not None and event.offset is not None and event.offset - before.offset > 1:
            yield before.offset + 1


async def faults_of_forgotten(line: Line, turn: str) -> list[Fault]:
    """Ask for a turn that was erased: it is known to be gone, on every route."""
    faults = []
    for address in (f"/v1/turns/{turn}", f"/v1/turns/{turn}/events", f"/v1/turns/{turn}/events?unit=sentence&after=1"):
        answer = await get(line, address)
        if answer.status_code != httpx.codes.GONE:
            faults.append(Fault(turn, address, "was erased", "status 410", _words(answer)))
    return faults


async def faults_of_reread(line: Line, kept: Kept) -> list[Fault]:
    """Read an old turn once more: the bytes are the same."""
    then = zlib.decompress(kept.packed)
    looked = await look(line, kept.turn, in_sentences=False)
    faults = list(looked.faults)
    if not faults and looked.body != then:
        at = next((n for n, (a, b) in enumerate(zip(then, looked.body, strict=False)) if a != b), -1)
        words = f"{len(then)} bytes, from byte {at} on {then[at : at + 160]!r}"
        came = f"{len(looked.body)} bytes, {looked.body[at : at + 160]!r}"
        faults.append(Fault(kept.turn, FULL, "reads otherwise than it did", words, came))
    return faults


def _words(answer: httpx.Response) -> str:
    return f"status {answer.status_code} {answer.text[:300]!r}"
