"""Clients that nobody here wrote. Each is opened, and gives a function that follows one turn to its end."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Start
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPStatusError
from playwright.async_api import async_playwright

from npm import node_for

HERE = Path(__file__).parent
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


PAGE = """<!doctype html><link rel="icon" href="data:,"><script type="module">
{}
globalThis.read = {{ readEvents, readSocket }};
</script>"""


@dataclass
class Heard:
    """What a client made of a turn; `ended` is the kind of its last event, and `last` that event's data."""

    text: str = ""
    ids: list[Any] = field(default_factory=list)
    ended: str = ""
    last: str = ""
    connections: int = 0

    @property
    def offsets(self) -> list[int]:
        return [int(str(id_).rpartition(".")[2]) for id_ in self.ids]

    @property
    def turns(self) -> set[str]:
        """The turns that the ids name; an id that is an offset alone names none."""
        return {str(id_).rpartition(".")[0] for id_ in self.ids}


Read = Callable[[str, str, str], Awaitable[Heard]]
"""Takes the form (`stream`, `events`, `ws`, `proxy`), the address, and the prompt, which `proxy` has to send."""


# Python: LaunchDarkly's EventSource, and websockets


@asynccontextmanager
async def launchdarkly() -> AsyncIterator[Read]:
    over = threading.Event()

    async def read(form: str, address: str, prompt: str) -> Heard:
        return await asyncio.to_thread(_read_events, address, over)

    try:
        yield read
    finally:
        over.set()  # the thread of a reader that came to no end


def _read_events(address: str, over: threading.Event) -> Heard:
    heard = Heard()
    client = SSEClient(
        ConnectStrategy.http(address),
        # As EventSource has it: a status stops it, a connection that breaks does not.
        error_strategy=ErrorStrategy.from_lambda(lambda error: (isinstance(error, HTTPStatusError), None)),
        initial_retry_delay=0.01,
        retry_delay_strategy=RetryDelayStrategy.default(backoff_multiplier=1),
    )
    with closing(client), pytest.raises(HTTPStatusError, match="204"):
        for action in client.all:
            if over.is_set():
                return heard
            if isinstance(action, Start):
                heard.connections += 1
            if isinstance(action, Event):
                _take(action, heard)
    return heard


def _take(event: Event, heard: Heard) -> None:
    if event.event in {"token", "delta", "done", "error", "ended", "started", "guarded", "usage", "notice"}:
        heard.ids.append(event.last_event_id)
    if event.event == "token":
        heard.text += event.data
    elif event.event == "delta":
        heard.text += json.loads(event.data)["text"]
    elif event.event in {"done", "error", "ended"}:
        heard.ended, heard.last = event.event, event.data


@asynccontextmanager
async def python_websockets() -> AsyncIterator[Read]:
    yield _read_socket


async def _read_socket(form: str, address: str, prompt: str) -> Heard:
    talk = _Follow(address) if form == "ws" else _Ask(address, prompt)
    heard = talk.heard
    while not heard.ended:
        try:
            async with websockets.connect(talk.address()) as socket:
                heard.connections += 1
                if hello := talk.hello():
                    await socket.send(json.dumps(hello))
                while not heard.ended:
                    talk.hear(json.loads(await socket.recv()))
        except (OSError, EOFError, websockets.InvalidHandshake, websockets.ConnectionClosed):
            pass
    return heard


class _Follow:
    """A turn's own WebSocket: the address says from where."""

    def __init__(self, address: str) -> None:
        self.heard = Heard()
        self._address = address

    def address(self) -> str:
        return f"{self._address}&after={(self.heard.ids or [0])[-1]}"

    def hello(self) -> dict[str, Any] | None:
        return None

    def hear(self, message: dict[str, Any]) -> None:
        self.heard.ids.append(message["id"])
        if message["type"] == "delta":
            self.heard.text += message["text"]
        if message["type"] == "ended":
            self.heard.ended = message["outcome"]


class _Ask:
    """`/ws`: the first socket asks, the others say what they go on with."""

    def __init__(self, address: str, prompt: str) -> None:
        self.heard = Heard()
        self._address = address
        self._prompt = prompt
        self._turn = ""

    def address(self) -> str:
        return self._address

    def hello(self) -> dict[str, Any] | None:
        if not self._turn:
            return {"type": "init", "payload": {"messages": [{"role": "user", "content": self._prompt}]}}
        return {"type": "resume", "turnId": self._turn, "after": (self.heard.ids or [0])[-1]}

    def hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "handshake_ack":
            self._turn = message["turnId"]
        elif message["type"] != "chunk":
            self.heard.ended = message["type"]
        elif "id" in message:
            self.heard.ids.append(message["id"])
            self.heard.text += "".join(choice["delta"].get("content") or "" for choice in message["data"]["choices"])


# Node: npm's eventsource and ws


@asynccontextmanager
async def node() -> AsyncIterator[Read]:
    program = node_for(HERE, "npm's clients are")
    running = await asyncio.create_subprocess_exec(
        program, str(HERE / "read.mjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert running.stdin is not None
    assert running.stdout is not None
    to_node, from_node = running.stdin, running.stdout
    readers: list[asyncio.Future[Heard]] = []

    async def listen() -> None:
        async for line in from_node:
            number, heard = json.loads(line)
            readers[number].set_result(Heard(**heard))

    async def read(form: str, address: str, prompt: str) -> Heard:
        reader = asyncio.get_running_loop().create_future()
        readers.append(reader)
        to_node.write(json.dumps([len(readers) - 1, form, address, prompt]).encode() + b"\n")
        return await reader

    listening = asyncio.ensure_future(listen())
    try:
        yield read
    finally:
        running.kill()
        await running.wait()
        await asyncio.gather(listening, return_exceptions=True)


# Chromium: its own EventSource and WebSocket


@asynccontextmanager
async def chromium() -> AsyncIterator[Read]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    source = (HERE / "reading.mjs").read_text(encoding="utf-8")
    page_text = PAGE.format(source)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        # A page that came by no connection may otherwise open no WebSocket to this machine.
        context = await browser.new_context(permissions=["local-network-access"])

        async def read(form: str, address: str, prompt: str) -> Heard:
            function = "readSocket(WebSocket" if form in {"ws", "proxy"} else "readEvents(EventSource"
            page = await context.new_page()
            # A page of the relay's own origin, but not by a connection that could be cut.
            await page.route("**/page", lambda route: route.fulfill(body=page_text, content_type="text/html"))
            await page.goto(f"http://{urlsplit(address).netloc}/page")
            await page.unroute_all()
            heard = await page.evaluate(f"(given) => read.{function}, ...given)", [form, address, prompt])
            await page.close()
            return Heard(**heard)

        try:
            yield read
        finally:
            await browser.close()


EVENT_SOURCES = {"launchdarkly": launchdarkly, "node": node, "chromium": chromium}
WEBSOCKETS = {"websockets": python_websockets, "node": node, "chromium": chromium}
