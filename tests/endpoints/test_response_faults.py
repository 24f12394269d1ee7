"""Faults of ours while an answer is sent: telemetry is told, the client sees it is no end, no log quotes anybody."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from contextlib import nullcontext
from types import SimpleNamespace

import httpx
import pytest
import websockets
from starlette.websockets import WebSocketDisconnect

from conftest import serving, settings_for
from trunkline import TurnRequest
from trunkline.endpoints import native, openai, shape_of
from trunkline.endpoints.middleware import Gate
from trunkline.endpoints.settings import ServerSettings
from trunkline.endpoints.streams import EventStream
from trunkline.telemetry import RequestServed
from trunkline.turns import Turn

SECRET = "4111 1111 1111 1111"
SLOW = "sim:text=long;sim:interval-ms=20"
BODY = {"input": "sim:text=order"}


def stumble(*_args, **_kwargs):
    raise ValueError(f"a customer said {SECRET}")


@pytest.fixture(autouse=True)
def nothing_is_quoted(caplog):
    """Reads all that was logged in a test, with the traces that a handler would print."""
    with caplog.at_level(logging.DEBUG):
        yield
        gc.collect()  # asyncio tells of an exception that nobody took when its task goes
        records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    told = [logging.Formatter().format(record) for record in records]
    assert not [line for line in told if SECRET in line]
    assert not [line for line in told if "never retrieved" in line]


async def faults(http, url):
    lines = (await http.get(f"{url}/metrics")).text.splitlines()
    prefix = "trunkline_internal_errors_total"
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


async def test_a_stream_that_has_begun_breaks_off(http, relay_url, monkeypatch):
    encode = native.encode
    monkeypatch.setattr(native, "encode", lambda kind, *rest: stumble() if kind == b"delta" else encode(kind, *rest))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await http.post(f"{relay_url}/v1/turns?stream=true", json=BODY)
    assert await faults(http, relay_url) == ['{where="response"} 1.0']


async def test_an_answer_that_has_not_begun_is_a_500_in_the_endpoints_shape(http, relay_url, monkeypatch):
    monkeypatch.setattr(openai, "_completion", stumble)
    asked = {"model": "support", "messages": [{"role": "user", "content": "sim:text=order"}]}
    response = await http.post(f"{relay_url}/v1/chat/completions", json=asked, headers={"x-request-id": "call-7"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "call-7")
    assert response.json()["error"] == {
        "message": "A fault in the relay; its log says more.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    monkeypatch.setattr(native, "stream_error", stumble)
    response = await http.post(f"{relay_url}/v1/turns?stream=true", json=BODY)
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert await faults(http, relay_url) == ['{where="response"} 2.0']


async def test_a_body_that_is_too_long_where_none_is_wanted_is_the_clients_fault(http, simulator):
    async def body():
        for _ in range(3):
            yield b"x" * 600

    async with serving(settings_for(f"{simulator.url}/v1", server={"max_body_bytes": 1_024})) as url:
        turn = (await http.post(f"{url}/v1/turns", json={"input": SLOW})).json()["id"]
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await http.request("GET", f"{url}/v1/turns/{turn}/events", content=body())
        assert await faults(http, url) == []


async def test_what_stops_the_watch_over_a_client_is_not_lost(relay):
    async def receive():
        stumble()

    async def send(message):
        pass

    with pytest.raises(ValueError, match=SECRET):
        await EventStream(relay.start(TurnRequest(input=SLOW)), 0, native.events, headers={})({}, receive, send)


@pytest.fixture
async def links(http, relay_url):
    """The links of a turn whose platform says nothing more."""
    return (await http.post(f"{relay_url}/v1/turns", json={"input": SLOW})).json()["links"]


async def test_a_websocket_that_was_accepted_is_closed_as_a_fault_of_ours(http, relay_url, links, monkeypatch):
    monkeypatch.setattr(native, "FRAMES", stumble)
    async with websockets.connect(relay_url.replace("http", "ws", 1) + links["ws"]) as socket:
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd.code == 1011
    assert await faults(http, relay_url) == ['{where="response"} 1.0']


async def test_a_fault_in_what_a_websockets_client_asks_for_closes_it_too(http, relay_url, monkeypatch):
    turn = (await http.post(f"{relay_url}/v1/turns", json={"input": SLOW})).json()["id"]
    monkeypatch.setattr(Turn, "cancel", stumble)
    async with websockets.connect(relay_url.replace("http", "ws", 1) + f"/v1/turns/{turn}/ws") as socket:
        await socket.send(json.dumps({"type": "cancel"}))
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            while True:
                await socket.recv()
    assert closed.value.rcvd.code == 1011
    assert await faults(http, relay_url) == ['{where="response"} 1.0']


async def test_a_websocket_that_was_not_accepted_is_refused_with_a_500(http, relay_url, links, monkeypatch):
    monkeypatch.setattr(native, "read_offset", stumble)
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(relay_url.replace("http", "ws", 1) + links["ws"]):
            pass
    assert refused.value.response.status_code == 500
    assert json.loads(refused.value.response.body)["code"] == "internal_error"
    assert await faults(http, relay_url) == ['{where="response"} 1.0']


async def test_clients_that_leave_are_no_fault(http, simulator, relay_url, links):
    asked = {"model": "support", "messages": [{"role": "user", "content": SLOW}]}
    address = f"{relay_url}/v1/chat/completions"
    async with http.stream("POST", address, json={**asked, "stream": True}) as response:
        await anext(response.aiter_lines())
    with pytest.raises(httpx.ReadTimeout):
        await http.post(address, json=asked, timeout=httpx.Timeout(5, read=0.1))
    await simulator.ended(2)
    socket = await websockets.connect(relay_url.replace("http", "ws", 1) + links["ws"])
    await socket.recv()
    socket.transport.abort()
    await socket.wait_closed()
    assert await faults(http, relay_url) == []


def gate_before(app, told):
    telemetry = SimpleNamespace(tell=told.append)
    return Gate(app, settings=ServerSettings(), loopback_only=False, telemetry=lambda: telemetry, shape_of=shape_of)


SOCKET = {"type": "websocket", "path": "/ws", "headers": []}


async def nothing():
    return {"type": "websocket.connect"}


async def test_what_the_server_says_of_a_client_that_left_goes_back_to_it():
    gone = ConnectionResetError()
    told = []

    async def accept(scope, receive, send):
        await send({"type": "websocket.accept", "headers": []})

    async def send(message):
        raise gone

    with pytest.raises(ConnectionResetError) as raised:
        await gate_before(accept, told)(dict(SOCKET), nothing, send)
    assert raised.value is gone
    assert [type(fact) for fact in told] == [RequestServed]


@pytest.mark.parametrize("error", [asyncio.CancelledError, WebSocketDisconnect])
async def test_neither_a_cancellation_nor_a_client_that_left_is_a_fault(error):
    told, sent = [], []

    async def app(scope, receive, send):
        await send({"type": "websocket.accept", "headers": []})
        raise error

    async def send(message):
        sent.append(message["type"])

    with nullcontext() if error is WebSocketDisconnect else pytest.raises(error):
        await gate_before(app, told)(dict(SOCKET), nothing, send)
    assert sent == ["websocket.accept"]
    assert [type(fact) for fact in told] == [RequestServed]
