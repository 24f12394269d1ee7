"""Readers that come back: each follows one turn over any endpoint that resumes, from what it has to its end."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx
import websockets

from kills.heard import Event, Heard
from kills.relay import RelayProcess
from kills.wires import Block, EventStream, FrontEnd, native, proxy_message, sentence, socket_message

LOST: Final = (httpx.TransportError, OSError, EOFError, websockets.ConnectionClosed, websockets.InvalidMessage)
"""What a connection ends with that the relay did not close properly, or never took."""

BUSY: Final = frozenset({"shutting_down", "store_unavailable", "archive_behind"})
"""What `/ws` says where other endpoints answer 503; what else it says has no status."""

EAGER_S: Final = 0.1
TINY_BUFFER: Final = 4_096


class Refused(Exception):
    """The relay answered, and not with the turn."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status {status} {body[:300]}")
        self.status = status


FAILED: Final = (Refused, *LOST, ValueError, KeyError, TypeError)
"""What reading may end with: nothing a relay sends may raise anything else, nor the last three."""


@dataclass
class Line:
    """How to reach the relay, and what it took to go on: for each form the seconds to the first byte."""

    relay: RelayProcess
    http: httpx.AsyncClient
    slow_http: httpx.AsyncClient
    """Its connections hold next to nothing, so that a reader that stalls is felt by the relay."""
    resumed: dict[str, list[float]] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)
    """The same, where the relay was still starting when it was asked."""
    busy: int = 0
    """How often it said that it could not just then: 503."""

    def note(self, form: str, asked_at: float) -> None:
        """The first byte of a resumed stream is here."""
        took = time.monotonic() - asked_at
        if self.relay.up.is_set() and self.relay.ready_at <= asked_at:
            self.resumed.setdefault(form, []).append(took)
        else:
            self.waited.append(took)


@asynccontextmanager
async def line_to(relay: RelayProcess) -> AsyncIterator[Line]:
    """Make a line whose connections are all new: what failed on one never was another request's fault."""
    tiny = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY_BUFFER)])
    once = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=None, limits=once) as http,  # noqa: S113 - rounds have a limit
        httpx.AsyncClient(trust_env=False, timeout=None, transport=tiny) as slow,  # noqa: S113
    ):
        yield Line(relay, http, slow)


@dataclass
class Manner:
    """How a reader behaves. The forms are those of its connections one after another, the last for all that follow."""

    forms: tuple[str, ...] = ("events",)
    eager: bool = False
    """It asks again at once, whether anybody listens or not; others wait until the relay is ready."""
    stalls_after: int | None = None
    """So many events, and then it takes nothing more until `go_on` is set."""
    leaves_after: tuple[int, ...] = ()
    """Having so many events it leaves, and comes back."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    spoke: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has some text."""

    @property
    def is_slow(self) -> bool:
        """Whether it will stall."""
        return self.stalls_after is not None


class Reader:
    """One reader of one turn."""

    def __init__(self, line: Line, heard: Heard, manner: Manner) -> None:
        self._line = line
        self._manner = manner
        self._forms: Iterator[str] = iter(manner.forms)
        self._form = ""
        self.heard = heard

    async def read(self) -> None:
        """Read to the end, over as many connections as it takes; what cannot be right ends it as a fault."""
        while not self.heard.ended and not self.heard.fault:
            self._form = next(self._forms, self._form)
            asked_at = time.monotonic()
            begun = partial(self._line.note, self._form, asked_at) if self.heard.tries else _nothing
            await self._take(FOLLOW[self._form](self._line, self.heard, slow=self._manner.is_slow), begun)
            if not self.heard.ended and not self.heard.fault:
                await self.wait()

    async def _take(self, connection: AsyncGenerator[list[Event], None], begun: Callable[[], None]) -> None:
        """Take all of one connection. What it yields first, be it nothing, is its first byte."""
        try:
            async with aclosing(connection):
                async for events in connection:
                    begun()
                    begun = _nothing
                    self.hear(events)
                    await self._stall()
                    if self.leaves:
                        break
        except FAILED as error:
            self.failed(self._form, error)
        self.heard.tries += 1

    @property
    def leaves(self) -> bool:
        """Whether it leaves now; it does so once for each number that its manner names."""
        left = self._manner.leaves_after
        if not left or len(self.heard.events) < left[0] or self.heard.ended:
            return False
        self._manner.leaves_after = left[1:]
        return True

    def hear(self, events: list[Event]) -> None:
        """Take events as they came."""
        self.heard.events += events
        if any(event.text for event in events):
            self._manner.spoke.set()

    def failed(self, where: str, error: BaseException) -> None:
        """A connection ended with an error: one that a reader may meet, or a fault of the relay."""
        if isinstance(error, Refused) and error.status == httpx.codes.SERVICE_UNAVAILABLE:
            self._line.busy += 1
        elif not isinstance(error, LOST):
            self.heard.fault = f"{where} after {self.heard.last_id()}: {error!r}"

    async def wait(self) -> None:
        """Wait before coming back."""
        if self._manner.eager:
            await asyncio.sleep(EAGER_S)
        else:
            await self._line.relay.up.wait()
            await asyncio.sleep(0)

    async def _stall(self) -> None:
        after = self._manner.stalls_after
        if after is not None and len(self.heard.events) >= after:
            self._manner.stalls_after = None
            await self._manner.go_on.wait()


def _nothing() -> None:
    """Do nothing."""


# How to follow a turn over each endpoint


async def events(line: Line, heard: Heard, *, slow: bool) -> AsyncGenerator[list[Event], None]:
    """Follow `GET /v1/turns/{id}/events`."""
    address = f"/v1/turns/{heard.turn}/events"
    headers = {"last-event-id": heard.last_id()}
    async with aclosing(stream(line, "GET", address, native, slow=slow, headers=headers)) as pieces:
        async for _, piece in pieces:
            yield piece


async def sentences(line: Line, heard: Heard, *, slow: bool) -> AsyncGenerator[list[Event], None]:
    """Follow the same in sentences. Only a reader of sentences can go on with them: other events cut elsewhere."""
    address = f"/v1/turns/{heard.turn}/events?unit=sentence"
    headers = {"last-event-id": heard.last_id()}
    async with aclosing(stream(line, "GET", address, sentence, slow=slow, headers=headers)) as pieces:
        async for _, piece in pieces:
            yield piece


async def front_end(line: Line, heard: Heard, *, slow: bool) -> AsyncGenerator[list[Event], None]:
    """Follow `GET /stream`, as an EventSource does that comes back."""
    address = "/stream?session_id=resumed&dialog_id=resumed"
    headers = {"last-event-id": f"{heard.turn}.{heard.last_id()}"}
    async with aclosing(stream(line, "GET", address, FrontEnd(), slow=slow, headers=headers)) as pieces:
        async for _, piece in pieces:
            yield piece


async def turn_socket(line: Line, heard: Heard, *, slow: bool) -> AsyncGenerator[list[Event], None]:
    """Follow `WS /v1/turns/{id}/ws`."""
    async with _socket(line, f"/v1/turns/{heard.turn}/ws?after={heard.last_id()}", slow=slow) as talk:
        async for message in talk:
            yield [socket_message(json.loads(message))]


async def proxy(line: Line, heard: Heard, *, slow: bool) -> AsyncGenerator[list[Event], None]:
    """Follow `WS /ws`, by `resume`."""
    hello = {"type": "resume", "turnId": heard.turn, "after": int(heard.last_id())}
    async with aclosing(talk(line, hello, slow=slow)) as pieces:
        async for _, piece in pieces:
            yield piece


async def talk(
    line: Line, hello: Mapping[str, Any], *, slow: bool = False
) -> AsyncGenerator[tuple[str, list[Event]], None]:
    """Open a socket on `/ws`, say hello, and read one turn: its id, and events as they come."""
    async with _socket(line, "/ws", slow=slow) as socket_:
        await socket_.send(json.dumps(hello))
        turn = ""
        async for text in socket_:
            message = json.loads(text)
            if message["type"] == "error" and "auditLog" not in message:
                status = httpx.codes.SERVICE_UNAVAILABLE if message.get("code") in BUSY else 0
                raise Refused(status, json.dumps(message))
            turn = message.get("turnId", turn)
            event = proxy_message(message)
            yield turn, [event] if event else []
            if event is not None and event.kind == "ended":
                return


async def stream(
    line: Line, method: str, address: str, block: Block, *, slow: bool = False, **more: Any
) -> AsyncGenerator[tuple[str, list[Event]], None]:
    """Read an event stream: the id of its turn, and events as they come. Raises `Refused`, and one of `LOST`."""
    http = line.slow_http if slow else line.http
    async with http.stream(method, line.relay.url + address, **more) as response:
        if response.status_code != httpx.codes.OK:
            raise Refused(response.status_code, (await response.aread()).decode(errors="replace"))
        turn, cutter = response.headers["x-turn-id"], EventStream(block)
        async for piece in response.aiter_raw():
            yield turn, cutter.feed(piece)


@asynccontextmanager
async def _socket(line: Line, address: str, *, slow: bool) -> AsyncIterator[websockets.ClientConnection]:
    """Open a WebSocket. Raises `Refused`, and one of `LOST`."""
    made = None
    if slow:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY_BUFFER)
        made.setblocking(False)  # noqa: FBT003 - its only argument
        host, _, port = line.relay.url.removeprefix("http://").partition(":")
        try:
            await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
        except OSError:
            made.close()
            raise
    url = line.relay.url.replace("http", "ws", 1) + address
    try:
        async with websockets.connect(
            url, sock=made, proxy=None, open_timeout=None, close_timeout=1, ping_interval=None, max_queue=4
        ) as connection:
            yield connection
    except websockets.InvalidStatus as refused:
        raise Refused(refused.response.status_code, bytes(refused.response.body or b"").decode()) from refused


FOLLOW: Final[dict[str, Callable[..., AsyncGenerator[list[Event], None]]]] = {
    "events": events,
    "socket": turn_socket,
    "stream": front_end,
    "proxy": proxy,
    "sentences": sentences,
}
SWITCHED: Final = ("events", "socket", "stream", "proxy")
"""Between these a reader can change in the middle of an answer."""
