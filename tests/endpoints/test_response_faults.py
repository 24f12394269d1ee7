"""Faults of ours while an answer is sent: telemetry is told, the client sees it is no end, no log quotes anybody."""

from __future__ import annotations

import gc
import json
import logging

import httpx
import pytest
import websockets

from trunkline.endpoints import native, openai
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
        told = [logging.Formatter().format(record) for record in caplog.records]
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


async def test_a_body_that_is_too_long_for_a_stream_without_one_is_the_clients_fault(http, relay_url):
    async def endless():
        for _ in range(64):
            yield b"x" * 65_536

    turn = (await http.post(f"{relay_url}/v1/turns", json={"input": SLOW})).json()["id"]
    with pytest.raises(httpx.TransportError):
        await http.request("GET", f"{relay_url}/v1/turns/{turn}/events", content=endless())
    assert await faults(http, relay_url) == []


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
