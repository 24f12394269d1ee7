"""Every way to read a turn, each brought to one form, so that one case can be held against all of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import websockets

from trunkline import Delta, Ended, Relay, TurnRequest


@dataclass(frozen=True)
class Seen:
    """What a client has at the end: its text, and how it was told that the turn ended."""

    text: str
    outcome: str
    reason: str
    status: int = 200
    ids_in_order: bool = True


Reader = Callable[[str, str], Awaitable[Seen]]
FINISH = {"stop": "stop", "length": "max_tokens", "tool_calls": "tool_calls", "content_filter": "content_filter"}


def native_events(body: str) -> list[dict[str, Any]]:
    """Read the native form with nothing of the relay's own code."""
    found = []
    for block in body.split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.split("\n") if line and not line.startswith(":")]
        if fields:
            row = dict(fields)
            found.append({**json.loads(row["data"]), "id": int(row["id"])})
            assert row["event"] == found[-1]["type"]
            assert list(row)[-1] == "id", "the id line comes last"
    return found


def _from_events(events: list[dict[str, Any]]) -> Seen:
    ids = [event["id"] for event in events]
    deltas = [event for event in events if event["type"] == "delta" and event["choice"] == 0]
    text = "".join(delta["text"] for delta in deltas if delta.get("channel", "answer") == "answer")
    ends = [event for event in events if event["type"] == "ended"]
    assert len(ends) == 1, "exactly one end"
    assert events[-1] is ends[0], "nothing after the end"
    return Seen(text, ends[0]["outcome"], ends[0]["reason"], 200, ids == sorted(set(ids)))


async def native_stream(url: str, prompt: str) -> Seen:
    async with httpx.AsyncClient(timeout=20) as http:
        response = await http.post(f"{url}/v1/turns?stream=true", json={"input": prompt})
        if response.status_code != 200:
            problem = response.json()
            assert response.headers["content-type"] == "application/problem+json"
            assert problem["status"] == response.status_code
            return Seen("", "failed", problem["code"], response.status_code)
        return _from_events(native_events(response.text))


async def native_created_then_followed(url: str, prompt: str) -> Seen:
    async with httpx.AsyncClient(timeout=20) as http:
        created = await http.post(f"{url}/v1/turns", json={"input": prompt})
        assert created.status_code == 201
        response = await http.get(url + created.json()["links"]["events"])
        seen = _from_events(native_events(response.text))
        shown = (await http.get(url + created.json()["links"]["self"])).json()
        assert (shown["text"], shown["outcome"], shown["reason"]) == (seen.text, seen.outcome, seen.reason)
        return seen


async def native_websocket(url: str, prompt: str) -> Seen:
    async with httpx.AsyncClient(timeout=20) as http:
        created = (await http.post(f"{url}/v1/turns", json={"input": prompt})).json()
    address = url.replace("http", "ws", 1) + created["links"]["ws"]
    messages = []
    async with websockets.connect(address) as socket:
        with suppress(websockets.ConnectionClosed):
            while True:
                messages.append(json.loads(await socket.recv()))
    seen = _from_events(messages)
    assert socket.close_code == (1012 if seen.reason == "shutdown" else 1000)
    return seen


async def openai_stream(url: str, prompt: str) -> Seen:
    return await _openai_stream(f"{url}/v1/chat/completions", prompt)


async def _openai_stream(address: str, prompt: str) -> Seen:
    body = {"model": "support", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    async with httpx.AsyncClient(timeout=20) as http:
        response = await http.post(address, json=body)
    if response.status_code != 200:
        return Seen("", "failed", response.json()["error"]["code"], response.status_code)
    datas = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
    ids = [int(line.removeprefix("id: ")) for line in response.text.split("\n") if line.startswith("id: ")]
    assert datas.pop() == "[DONE]"
    text, finish, error = "", None, None
    for data in map(json.loads, datas):
        error = error or data.get("error")
        for choice in data.get("choices", ()):
            if choice["index"] == 0:
                text += choice["delta"].get("content") or ""
                finish = finish or choice["finish_reason"]
    in_order = ids == sorted(set(ids))
    if error:
        return Seen(text, "failed", error["code"], 200, in_order)
    return Seen(text, "completed", FINISH[finish], 200, in_order)


async def openai_whole(url: str, prompt: str) -> Seen:
    body = {"model": "support", "messages": [{"role": "user", "content": prompt}]}
    async with httpx.AsyncClient(timeout=20) as http:
        response = await http.post(f"{url}/v1/chat/completions", json=body)
    answer = response.json()
    if response.status_code != 200:
        return Seen("", "failed", answer["error"]["code"], response.status_code)
    choice = answer["choices"][0]
    return Seen(choice["message"]["content"] or "", "completed", FINISH[choice["finish_reason"]])


async def azure_stream(url: str, prompt: str) -> Seen:
    return await _openai_stream(f"{url}/openai/deployments/support/chat/completions?api-version=2026-01-01", prompt)


async def websocket_proxy(url: str, prompt: str) -> Seen:
    """The given WebSocket protocol: its order of frames, and exactly one that is the last."""
    payload = {"modelId": "support", "messages": [{"role": "user", "content": prompt}], "temperature": 0.5}
    async with websockets.connect(url.replace("http", "ws", 1) + "/ws") as socket:
        await socket.send(json.dumps({"type": "init", "payload": payload}))
        ack = json.loads(await socket.recv())
        assert list(ack) == ["type", "tokenCount", "modelId", "turnId"]
        assert ack["modelId"] == "support"
        text, ids = "", []
        while (frame := json.loads(await socket.recv()))["type"] == "chunk":
            ids += [frame["id"]] if "id" in frame else []
            choices = [choice for choice in frame["data"]["choices"] if choice["index"] == 0]
            text += "".join(choice["delta"].get("content") or "" for choice in choices)
        if frame.get("code") != "shutdown":
            await socket.send(json.dumps({"type": "hello"}))
            answer = json.loads(await socket.recv())
            assert answer["message"] == "Invalid handshake type", "nothing came after the last frame"
    audit = frame["auditLog"]
    assert frame["turnId"] == audit["requestId"] == ack["turnId"]
    assert audit["tokenCount"] == ack["tokenCount"]
    last = {"success": "complete", "failed": "error", "blocked": "blocked", "cancelled": "complete"}
    assert frame["type"] == ("error" if audit["reason"] == "shutdown" else last[audit["status"]])
    outcomes = {"success": "completed", "failed": "failed", "blocked": "blocked", "cancelled": "cancelled"}
    return Seen(text, outcomes[audit["status"]], audit["reason"], 200, ids == sorted(set(ids)))


def front_end_events(body: str) -> list[tuple[str, str, str]]:
    """Read `/stream` with nothing of the relay's own code: (type, data, id)."""
    found = []
    for block in body.split("\n\n"):
        lines = [line.partition(":")[::2] for line in block.split("\n") if line and not line.startswith(":")]
        data = [value.removeprefix(" ") for name, value in lines if name == "data"]
        if data:
            fields = {name: value.removeprefix(" ") for name, value in lines}
            assert lines[-1][0] == "id", "the id line comes last"
            if fields["event"] == "turn":
                assert fields["id"].startswith(f"{data[0]}.")
                continue
            found.append((fields["event"], "\n".join(data), fields["id"]))
    return found


async def front_end(url: str, prompt: str) -> Seen:
    async with httpx.AsyncClient(timeout=20) as http:
        query = {"session_id": "s-1", "dialog_id": "d-1", "input": prompt}
        response = await http.get(f"{url}/stream", params=query)
        assert response.status_code == 200
        assert response.headers["cache-control"].startswith("no-cache")
        assert response.text.startswith("retry: 1000\nevent: turn\ndata: turn_")
        shown = (await http.get(f"{url}/v1/turns/{response.headers['x-turn-id']}")).json()
    *tokens, (kind, words, _) = front_end_events(response.text)
    assert {token[0] for token in tokens} <= {"token"}
    assert kind == ("done" if shown["outcome"] == "completed" else "error")
    text = "".join(token[1] for token in tokens)
    if kind == "done":
        assert words == text
    ids = [int(token[2].rpartition(".")[2]) for token in tokens]
    return Seen(text, shown["outcome"], shown["reason"], 200, ids == sorted(set(ids)))


async def library(relay: Relay, prompt: str) -> Seen:
    """The one reader without a server."""
    text, ended = "", None
    async for event in relay.stream(TurnRequest(input=prompt)):
        assert ended is None, "nothing after the end"
        if isinstance(event, Delta) and event.channel == "answer" and event.choice == 0:
            text += event.text
        if isinstance(event, Ended):
            ended = event
    assert ended is not None
    return Seen(text, ended.outcome, ended.reason)


READERS: dict[str, Reader] = {
    "native-stream": native_stream,
    "native-follow": native_created_then_followed,
    "native-websocket": native_websocket,
    "openai-stream": openai_stream,
    "openai-whole": openai_whole,
    "azure-stream": azure_stream,
    "websocket-proxy": websocket_proxy,
    "front-end": front_end,
}
