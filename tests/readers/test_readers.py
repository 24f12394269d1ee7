"""Clients that nobody here wrote, cut off by a TCP proxy, end with the uninterrupted text of one generation."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx
import pytest

from conftest import serving, settings_for
from readers.clients import EVENT_SOURCES, WEBSOCKETS, Heard, Read, chromium
from readers.scissors import Cut, scissors
from trunkline.simulators import Simulator

HEADERS = re.compile(rb"\r\n\r\n")
RETRY = re.compile(rb"\nretry: .*\n")
FIRST_ID = re.compile(rb"\nid: .*\n\n")
IN_DATA = re.compile(rb"\ndata: ")
AHEAD_OF_ID = re.compile(rb"\ndata: .*\n")
AHEAD_OF_BLANK_LINE = re.compile(rb"\ndata: .*\nid: .*\n")
FIRST_CHUNK = re.compile(rb'"chunk"')
FIRST_DELTA = re.compile(rb'"delta"')

TEXTS = ("newlines", "unicode", "german")
ENDS = {"stream": "done", "events": "ended", "ws": "completed", "proxy": "complete"}
KEY = "tk_readers"


@dataclass(frozen=True)
class Reader:
    """One reader: over which endpoint, where each of its connections is cut and how, and what it follows."""

    form: str
    cuts: tuple[Cut, ...]
    text: str = "newlines"
    interval_ms: int = 5
    reset: bool = True
    ticket: str = ""

    @property
    def prompt(self) -> str:
        """Its own, by which the platform's ledger tells what was generated for this reader."""
        return f"sim:text={self.text};sim:interval-ms={self.interval_ms} cut at {self.cuts}"

    async def follow(self, read: Read, http: httpx.AsyncClient, relay_url: str) -> Heard:
        async with scissors(relay_url, self.cuts, reset=self.reset) as proxy:
            heard = await read(self.form, await self._address(http, relay_url, proxy.url), self.prompt)
            assert proxy.connections > len(self.cuts), f"{self} came to its end before its last cut"
        return heard

    async def _address(self, http: httpx.AsyncClient, relay_url: str, proxy_url: str) -> str:
        if self.form == "stream":
            asked = {"session_id": "s-1", "dialog_id": "d-1", "input": self.prompt, "ticket": self.ticket}
            return f"{proxy_url}/stream?{urlencode(asked)}"
        if self.form == "proxy":
            return f"{proxy_url.replace('http', 'ws', 1)}/ws"
        made = await http.post(f"{relay_url}/v1/turns", json={"input": self.prompt}, headers={"x-api-key": KEY})
        link = made.json()["links"][self.form]
        return (proxy_url.replace("http", "ws", 1) if self.form == "ws" else proxy_url) + link

    def faults(self, heard: Heard, generations: list[str]) -> list[str]:
        """What is wrong with what it heard; `generations` are the texts that the platform made for its prompt."""
        text = generations[0] if generations else "?"
        if self.form == "stream":  # a server-sent event tells no kind of line end from another
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        right = {
            f"{len(generations)} generations": len(generations) == 1,
            "another text": heard.text == text,
            "another text at the end": heard.last == text or self.form != "stream",
            "ids out of order": heard.offsets == sorted(set(heard.offsets)),
            f"ids of {heard.turns}": len(heard.turns) == 1,
            f"the end {heard.ended!r}": heard.ended == ENDS[self.form],
        }
        return [words for words, holds in right.items() if not holds]


def at_random(form: str, count: int, within: int, first: tuple[Cut, ...] = ()) -> list[Reader]:
    """Readers that are cut off at random within so many bytes, after the cuts of `first`."""
    readers = []
    for seed, text in enumerate(TEXTS):
        dice = random.Random(seed)
        cuts = first + tuple(dice.randint(1, within) for _ in range(count))
        readers.append(Reader(form, cuts, text, reset=seed % 2 == 0))
    return readers


async def follow_all(
    readers: Iterable[Reader], read: Read, http: httpx.AsyncClient, simulator: Simulator, relay_url: str
) -> None:
    """All at the same time: most of it is the wait of an EventSource before it comes back."""
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        tasks = {reader: group.create_task(reader.follow(read, http, relay_url)) for reader in readers}
    ledger = await simulator.ended(len(simulator.ledger))
    wrong = []
    for reader, task in tasks.items():
        made = [record["text"] for record in ledger if record["body"]["messages"][-1]["content"] == reader.prompt]
        wrong += [f"{fault}: {reader}" for fault in reader.faults(task.result(), made)]
    assert not wrong, "\n".join(wrong)


@pytest.fixture(params=EVENT_SOURCES)
async def event_source(request) -> AsyncIterator[Read]:
    async with EVENT_SOURCES[request.param]() as read:
        yield read


@pytest.fixture(params=WEBSOCKETS)
async def websocket(request) -> AsyncIterator[Read]:
    async with WEBSOCKETS[request.param]() as read:
        yield read


async def test_an_event_source_that_is_cut_off_again_and_again_loses_and_repeats_nothing(
    event_source, http, simulator, relay_url
):
    places = [150, HEADERS, RETRY, FIRST_ID, IN_DATA, AHEAD_OF_ID, AHEAD_OF_BLANK_LINE]
    readers = [
        *at_random("stream", 4, 2_500, (700,)),
        *(Reader("stream", (place,), reset=n % 2 == 0) for n, place in enumerate(places)),
        # It comes back without an id: after six seconds; when all was generated; when all was sent.
        Reader("stream", (1, 1)),
        Reader("stream", (RETRY, IN_DATA, IN_DATA)),
        *(Reader("stream", (place,), "short", interval_ms=0) for place in (FIRST_ID, IN_DATA, AHEAD_OF_ID)),
        *(Reader("events", (place,), "unicode") for place in (HEADERS, AHEAD_OF_ID, 2_000)),
    ]
    await follow_all(readers, event_source, http, simulator, relay_url)


async def test_a_websocket_that_is_cut_off_again_and_again_loses_and_repeats_nothing(
    websocket, http, simulator, relay_url
):
    readers = [
        *at_random("ws", 6, 1_000, (1, HEADERS, FIRST_DELTA)),
        # Nobody can go on with a turn before having heard its id.
        *at_random("proxy", 6, 2_500, (1, HEADERS, FIRST_CHUNK, 1, HEADERS)),
    ]
    await follow_all(readers, websocket, http, simulator, relay_url)


@pytest.fixture
async def guarded_url(simulator) -> AsyncIterator[str]:
    """A relay that asks for keys."""
    keys = [{"name": "web", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]
    async with serving(settings_for(f"{simulator.url}/v1", keys=keys), insecure=False) as url:
        yield url


@pytest.fixture
async def ticket(http, guarded_url) -> str:
    return (await http.post(f"{guarded_url}/v1/tickets", headers={"x-api-key": KEY})).json()["ticket"]


async def test_a_browsers_ticket_is_good_for_its_turn_through_every_cut_and_for_no_other(
    http, simulator, guarded_url, ticket
):
    async with chromium() as read:
        readers = [Reader("stream", (FIRST_ID, 1_500), ticket=ticket), Reader("ws", (1, HEADERS, FIRST_DELTA, 1_500))]
        await follow_all(readers, read, http, simulator, guarded_url)
        other = await Reader("stream", (), "short", ticket=ticket).follow(read, http, guarded_url)
    assert len(simulator.ledger) == len(readers)
    assert (other.text, other.ended) == ("", ""), "the answer to another question"
