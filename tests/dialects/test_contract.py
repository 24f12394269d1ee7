"""The dialect contract carries a WebSocket platform: as a pure script, and through pump, sources and log for real."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

from conftest import settings_for
from dialects.toy import Toy
from trunkline import Delta, Ended, Notice, Relay, TurnRequest
from trunkline.dialects.base import Ask, Call, Loss, Open, Reopen, Send, WakeAt
from trunkline.dialects.presets import PRESETS, Preset

WORDS = ["Trunk ", "lines ", "carry ", "many ", "calls."]


def test_a_reconnect_reads_top_to_bottom():
    toy = Toy()
    ask = Ask("turn_1", TurnRequest(input="hi"), "m")
    assert toy.start(ask, now=0.0) == [Call("config", "PUT", "/config", {"model": "m"})]
    assert toy.answered("config", 200, {}, b"", now=0.1) == [Open("GET", "/words", {"x-turn": "turn_1"}), WakeAt(5.1)]
    assert toy.opened({}, now=0.2) == [Send(b'{"hello":0}')]
    assert toy.receive(b'{"ready":true}', now=0.3) == [WakeAt(60.3), Send(b'{"go":true}')]
    assert toy.receive(b'{"n":0,"word":"Hel"}', now=0.4) == [Delta("Hel", 0)]
    lost = toy.closed(Loss(clean=False, code=1006), now=1.0)
    assert lost == [Notice("reconnected", "after 1006"), Reopen(1.01)]
    assert toy.opened({}, now=1.1) == [Send(b'{"hello":1}')]
    assert toy.receive(b'{"ready":true}', now=1.2)[0] == WakeAt(61.2)
    assert toy.receive(b'{"n":0,"word":"Hel"}', now=1.3) == []
    assert toy.receive(b'{"n":1,"word":"lo"}', now=1.4) == [Delta("lo", 0)]
    assert toy.receive(b'{"end":true}', now=1.5) == [Ended("completed", "stop", "stop")]


def test_a_handshake_that_never_ends_is_given_up():
    toy = Toy()
    toy.start(Ask("turn_1", TurnRequest(input="hi"), "m"), now=0.0)
    toy.answered("config", 200, {}, b"", now=0.0)
    assert toy.wake(now=5.0) == [Ended("failed", "handshake_timeout")]


@dataclass
class ToyPlatform:
    """A server that speaks the toy's wire: it drops links, refuses, and keeps silent as told."""

    drop_after: list[int] = field(default_factory=list)
    refuse_config: bool = False
    refuse_words: bool = False
    heard: list[Any] = field(default_factory=list)
    configured: int = 0
    gone: int = 0
    endless: bool = False

    async def words(self, socket: ServerConnection) -> None:
        hello = json.loads(await socket.recv())
        self.heard.append(hello)
        await socket.send('{"ready":true}')
        assert json.loads(await socket.recv()) == {"go": True}
        drop = self.drop_after.pop(0) if self.drop_after else None
        for n, word in enumerate(WORDS):
            if n == drop:
                socket.transport.abort()
                return
            await socket.send(json.dumps({"n": n, "word": word}))
        if self.endless:
            await socket.wait_closed()
            self.gone += 1
            return
        await socket.send('{"end":true}')
        await socket.wait_closed()

    def http(self, _: ServerConnection, request: Request) -> Response | None:
        if request.path == "/config":
            self.configured += 1
            status = HTTPStatus.TOO_MANY_REQUESTS if self.refuse_config else HTTPStatus.OK
            return Response(status.value, status.phrase, Headers({"content-length": "2"}), b"{}")
        if self.refuse_words:
            return Response(403, "Forbidden", Headers({"content-length": "6"}), b"not me")
        return None


@asynccontextmanager
async def toy_relay(platform: ToyPlatform, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relay]:
    monkeypatch.setitem(PRESETS, "openai", Preset(lambda _: GetToy(), "websocket"))  # a preset is a row of a table
    async with serve(platform.words, "127.0.0.1", 0, process_request=platform.http) as server:
        port = server.sockets[0].getsockname()[1]
        async with Relay(settings_for(f"http://127.0.0.1:{port}")) as relay:
            yield relay


class GetToy(Toy):
    """The test server takes plain calls as GET only."""

    def start(self, ask: Ask, now: float) -> list[Any]:
        (call,) = super().start(ask, now)
        return [Call(call.id, "GET", call.path)]


async def run(relay: Relay, until: Callable[[Any], bool] = lambda event: False) -> tuple[str, list[str], Ended | None]:
    text, notices, ended = "", [], None
    async for event in relay.stream(TurnRequest(input="hi")):
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Notice):
            notices.append(event.kind)
        elif isinstance(event, Ended):
            ended = event
        if until(event):
            break
    return text, notices, ended


async def test_the_toy_speaks_through_the_whole_relay(monkeypatch):
    platform = ToyPlatform()
    async with toy_relay(platform, monkeypatch) as relay:
        text, notices, ended = await run(relay)
    assert (text, notices) == ("".join(WORDS), [])
    assert ended is not None
    assert (ended.outcome, ended.reason) == ("completed", "stop")
    assert platform.configured == 1


async def test_a_link_that_breaks_twice_loses_and_repeats_nothing(monkeypatch):
    platform = ToyPlatform(drop_after=[2, 4])
    async with toy_relay(platform, monkeypatch) as relay:
        text, notices, ended = await run(relay)
    assert text == "".join(WORDS)
    assert notices == ["reconnected", "reconnected"]
    assert ended is not None
    assert ended.outcome == "completed"
    assert platform.heard == [{"hello": 0}, {"hello": 2}, {"hello": 4}]


async def test_a_link_that_never_holds_ends_the_turn(monkeypatch):
    async with toy_relay(ToyPlatform(drop_after=[1, 1, 1]), monkeypatch) as relay:
        text, _, ended = await run(relay)
    assert text == WORDS[0]
    assert ended is not None
    assert ended.reason == "upstream_interrupted"


async def test_a_refused_call_and_a_refused_upgrade_end_the_turn(monkeypatch):
    async with toy_relay(ToyPlatform(refuse_config=True), monkeypatch) as relay:
        _, _, ended = await run(relay)
    assert ended is not None
    assert (ended.reason, ended.detail) == ("quota_exceeded", "config answered 429")
    async with toy_relay(ToyPlatform(refuse_words=True), monkeypatch) as relay:
        _, _, ended = await run(relay)
    assert ended is not None
    assert (ended.reason, ended.detail) == ("handshake_rejected", "HTTP 403: not me")


async def test_a_platform_that_cannot_be_reached_ends_the_turn(monkeypatch):
    monkeypatch.setitem(PRESETS, "openai", Preset(lambda _: GetToy(), "websocket"))
    async with Relay(settings_for("http://127.0.0.1:9")) as relay:
        _, _, ended = await run(relay)
    assert ended is not None
    assert ended.outcome == "failed"


async def test_leaving_closes_the_platforms_socket(monkeypatch):
    platform = ToyPlatform(endless=True)
    async with toy_relay(platform, monkeypatch) as relay:
        await run(relay, until=lambda event: isinstance(event, Delta) and event.text == WORDS[-1])
    assert platform.gone == 1
