"""The OpenAI platform of the simulator, over real sockets: what it answers, refuses and writes into its ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from trunkline.simulators import Simulator
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count, cut

CHAT = "/v1/chat/completions"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=7) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sim.url, trust_env=False) as http:
        yield http


def ask(message: str = "Where is my order?", **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": message}], **fields}


async def stream(client: httpx.AsyncClient, message: str, **fields: Any) -> list[dict[str, Any]]:
    """Ask for a stream and give its chunks; the stream must end with [DONE]."""
    answer = await client.post(CHAT, json=ask(message, stream=True, **fields))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["transfer-encoding"] == "chunked"
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def said(chunks: list[dict[str, Any]], choice: int = 0) -> str:
    return "".join(
        one["delta"].get("content") or "" for chunk in chunks for one in chunk["choices"] if one["index"] == choice
    )


def finishes(chunks: list[dict[str, Any]]) -> list[str]:
    return [one["finish_reason"] for chunk in chunks for one in chunk["choices"] if one["finish_reason"]]


async def connect(sim: Simulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = sim.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


def http_request(message: str, **fields: Any) -> bytes:
    body = json.dumps(ask(message, stream=True, **fields)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


# --- what a stream looks like


async def test_the_models_are_listed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models")
    assert answer.status_code == 200
    assert answer.json()["object"] == "list"
    assert {"id", "object", "created", "owned_by"} <= set(answer.json()["data"][0])


async def test_a_stream_is_a_role_then_pieces_then_a_finish_then_done(client: httpx.AsyncClient) -> None:
    chunks = await stream(client, "sim:text=short")
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hello"}, {"content": "."}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {"gpt-4o"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("name", TEXTS)
async def test_every_text_arrives_whole_and_is_in_the_ledger(
    sim: Simulator, client: httpx.AsyncClient, name: str
) -> None:
    chunks = await stream(client, f"sim:text={name}", stream_options={"include_usage": True})
    assert said(chunks) == TEXTS[name]
    (entry,) = sim.ledger
    assert entry["text"] == TEXTS[name]
    assert entry["texts"] == [TEXTS[name]]
    assert entry["completion_tokens"] == count(TEXTS[name]) == chunks[-1]["usage"]["completion_tokens"]
    assert entry["pieces"] == len(cut(TEXTS[name])[0])
    assert (entry["status"], entry["ended"], entry["client_gone_after"]) == (200, "completed", None)


async def test_the_order_text_is_the_default_and_another_can_be(sim: Simulator, client: httpx.AsyncClient) -> None:
    assert said(await stream(client, "Hello?")) == TEXTS["order"]
    sim.default_text = "german"
    assert said(await stream(client, "Hallo?")) == TEXTS["german"]
    with pytest.raises(KeyError):
        sim.default_text = "klingon"


async def test_own_texts_are_added() -> None:
    async with (
        Simulator(texts={"file": "One two."}) as sim,
        httpx.AsyncClient(base_url=sim.url, trust_env=False) as client,
    ):
        assert said(await stream(client, "sim:text=file")) == "One two."


async def test_usage_comes_in_a_last_chunk_without_choices(client: httpx.AsyncClient) -> None:
    chunks = await stream(client, "sim:text=short", stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    prompt_tokens = count("user: sim:text=short")
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": prompt_tokens + 2}
    assert chunks[-1]["usage"].items() >= usage.items()
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_pieces_are_tokens_but_never_half_a_character(client: httpx.AsyncClient) -> None:
    chunks = await stream(client, "sim:text=unicode")
    pieces = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:-1]]
    assert pieces == [piece.text for piece in cut(TEXTS["unicode"])[0]]
    assert all("\ufffd" not in piece and piece for piece in pieces)
    assert any(piece.tokens > 1 for piece in cut(TEXTS["unicode"])[0])


async def test_max_tokens_cuts_the_answer(sim: Simulator, client: httpx.AsyncClient) -> None:
    chunks = await stream(client, "sim:text=order", max_tokens=10)
    assert TEXTS["order"].startswith(said(chunks))
    assert count(said(chunks)) == 10
    assert finishes(chunks) == ["length"]
    assert sim.ledger[0]["completion_tokens"] == 10
    chunks = await stream(client, "sim:text=short", max_completion_tokens=2)
    assert finishes(chunks) == ["stop"]


async def test_a_stop_sequence_ends_the_answer_ahead_of_it(client: httpx.AsyncClient) -> None:
    chunks = await stream(client, "sim:text=order", stop=["no such words", " for waiting"])
    assert said(chunks) == "Thank you"
    assert finishes(chunks) == ["stop"]


async def test_several_choices_take_turns_and_differ(sim: Simulator, client: httpx.AsyncClient) -> None:
    chunks = await stream(client, "sim:text=order;sim:tokens=30", n=3)
    texts = [said(chunks, choice) for choice in range(3)]
    assert len(set(texts)) == 3
    assert sim.ledger[0]["texts"] == texts
    assert finishes(chunks) == ["stop"] * 3
    order = [chunk["choices"][0]["index"] for chunk in chunks]
    assert order[:9] == [0, 1, 2] * 3


async def test_a_whole_answer(sim: Simulator, client: httpx.AsyncClient) -> None:
    answer = (await client.post(CHAT, json=ask("sim:text=short", n=2))).json()
    assert answer["object"] == "chat.completion"
    messages = [choice["message"] for choice in answer["choices"]]
    assert messages[0] == {"role": "assistant", "content": "Hello.", "refusal": None}
    assert sim.ledger[0]["texts"] == [message["content"] for message in messages]
    assert answer["usage"]["completion_tokens"] == sim.ledger[0]["completion_tokens"]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop", "stop"]


async def test_the_same_seed_gives_the_same_ids() -> None:
    ids = []
    for seed in (1, 1, 2):
        async with (
            Simulator(seed=seed) as sim,
            httpx.AsyncClient(base_url=sim.url, trust_env=False) as client,
        ):
            ids.append((await client.post(CHAT, json=ask())).json()["id"])
    assert ids[0] == ids[1] != ids[2]


# --- directives


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("sim:text=echo;Repeat this", "Repeat this"),
        ("sim:text=echo Repeat this", "Repeat this"),
        ("Repeat this sim:text=echo", "Repeat this"),
        ("Repeat sim:text=echo;sim:interval-ms=0 this", "Repeat this"),
        ("sim:text=echo; sim:fault=retry-after-date=1;x", None),
        ("sim:text=short\nand more", "Hello."),
        ("my sim: it is broken sim:text=short", "Hello."),
    ],
)
async def test_directives_are_found_in_the_message(client: httpx.AsyncClient, message: str, text: str | None) -> None:
    answer = await client.post(CHAT, json=ask(message))
    assert (answer.json()["choices"][0]["message"]["content"] if text else answer.status_code) == (text or 429)


async def test_only_the_last_user_message_directs(client: httpx.AsyncClient) -> None:
    messages = [
        {"role": "system", "content": "sim:text=german"},
        {"role": "user", "content": "sim:text=french"},
        {"role": "user", "content": [{"type": "text", "text": "sim:text=sho"}, {"type": "text", "text": "rt"}]},
        {"role": "assistant", "content": None},
    ]
    answer = await client.post(CHAT, json={"model": "m", "messages": messages})
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize("tokens", [0, 1, 7, 500])
async def test_a_text_is_repeated_or_cut_to_a_number_of_tokens(client: httpx.AsyncClient, tokens: int) -> None:
    chunks = await stream(client, f"sim:tokens={tokens}", stream_options={"include_usage": True})
    assert chunks[-1]["usage"]["completion_tokens"] == tokens
    assert finishes(chunks) == ["stop"]


@pytest.mark.parametrize(
    ("message", "nearest"),
    [
        ("sim:text=ordr", '"order"'),
        ("sim:fault=reset-aftr=3", '"reset-after"'),
        ("sim:txt=order", '"sim:text"'),
        ("sim:fault=reset-after", "whole number"),
        ("sim:fault=no-done=1", "no value"),
        ("sim:fault=status=99", "400 to 599"),
        ("sim:tokens=many", "whole number"),
        ("sim:interval-ms=nan", "0 to"),
    ],
)
async def test_an_unknown_word_is_refused_with_the_nearest(
    sim: Simulator, client: httpx.AsyncClient, message: str, nearest: str
) -> None:
    answer = await client.post(CHAT, json=ask(message))
    assert answer.status_code == 400
    assert nearest in answer.json()["error"]["message"]
    assert sim.ledger[0]["ended"] == "refused"


async def test_a_lone_surrogate_is_answered(client: httpx.AsyncClient) -> None:
    body = json.dumps(ask("sim:text=echo \ud83d!")).encode()
    answer = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.json()["choices"][0]["message"]["content"] == "\ufffd!"
    assert (await client.get("/_sim/ledger")).status_code == 200


# --- refusals


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"tools": {}}, "tools"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    answer = await client.post(CHAT, json={**ask(), **fields})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"[1]", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_wrong_key_is_refused_and_no_key_is_written_down(sim: Simulator, client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, json=ask(), headers={"authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    answer = await client.post(CHAT, json=ask(), headers={"authorization": "Bearer s3cret", "api-key": "s3cret"})
    assert answer.status_code == 200
    assert sim.ledger[1]["headers"]["authorization"] == "Bearer ***"
    assert "s3cret" not in json.dumps(sim.ledger)


async def test_a_key_can_be_required() -> None:
    async with (
        Simulator(require_key=True) as sim,
        httpx.AsyncClient(base_url=sim.url, trust_env=False) as client,
    ):
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers={"authorization": "Bearer k"})).status_code == 200


async def test_other_refusals(sim: Simulator, client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/v1/nothing"),
        await client.get("/nothing"),
        await client.get(CHAT),
        await client.post("/v1/models", json={}),
        await client.post(CHAT, content=b"x", headers={"content-type": "text/plain"}),
        await client.post(CHAT, json={**ask(), "model": "wrong"}),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 405, 405, 415, 404]
    assert answers[2].headers["allow"] == "POST"
    assert all("message" in answer.json()["error"] for answer in answers)
    assert [entry["ended"] for entry in sim.ledger] == ["refused"] * 6


async def test_a_body_over_the_bound_is_refused_and_the_connection_closed(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, content=b"x" * (9 << 20), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(9 << 4):
            yield b"x" * (1 << 16)

    answer = await client.post(CHAT, content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


# --- the connection


async def test_a_connection_is_kept_and_counted(sim: Simulator, client: httpx.AsyncClient) -> None:
    await stream(client, "sim:text=short")
    await client.get("/v1/models")
    assert [entry["connection"] for entry in sim.ledger] == [1, 1]
    assert [entry["sequence"] for entry in sim.ledger] == [1, 2]


async def test_requests_sent_ahead_are_answered_in_order(sim: Simulator) -> None:
    reader, writer = await connect(sim)
    writer.write(http_request("sim:text=short") + http_request("sim:text=echo;Second"))
    for word in (b'"Hello"', b'"Second"'):
        assert word in await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()


async def test_a_client_that_asks_first_is_told_to_go_on(sim: Simulator) -> None:
    reader, writer = await connect(sim)
    head, _, body = http_request("sim:text=short").partition(b"\r\n\r\n")
    writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_http_1_0_gets_a_body_that_ends_with_the_connection(sim: Simulator) -> None:
    reader, writer = await connect(sim)
    writer.write(http_request("sim:text=short").replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    answer = await reader.read()
    assert b"chunked" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")
    writer.close()


async def test_what_is_no_http_is_answered_with_400(sim: Simulator) -> None:
    reader, writer = await connect(sim)
    writer.write(b"hello there\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()


@pytest.mark.parametrize("how", ["eof", "reset", "half"])
async def test_a_client_that_leaves_between_two_tokens_is_noticed_at_once(sim: Simulator, how: str) -> None:
    reader, writer = await connect(sim)
    writer.write(http_request("sim:interval-ms=60000"))
    await reader.readuntil(b'"Thank"')
    assert sim.ledger[0]["ended"] == "open"
    if how == "reset":
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    if how == "half":
        writer.write_eof()
    else:
        writer.close()
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["client_gone_after"], entry["text"]) == ("client_gone", 1, "Thank")
    writer.close()


async def test_a_client_that_leaves_without_reading_is_noticed(sim: Simulator) -> None:
    host, port = sim.url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setblocking(False)  # noqa: FBT003
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(raw, (host, int(port)))
        await loop.sock_sendall(raw, http_request("sim:tokens=50000"))
        await loop.sock_recv(raw, 1)
    (entry,) = await sim.ended(1)
    assert entry["ended"] == "client_gone"
    assert entry["client_gone_after"] is not None
    assert entry["client_gone_after"] < 50_000


# --- the ledger


async def test_the_ledger_is_live(sim: Simulator, client: httpx.AsyncClient) -> None:
    reader, writer = await connect(sim)
    writer.write(http_request("sim:interval-ms=60000"))
    await reader.readuntil(b'"Thank"')
    (entry,) = (await client.get("/_sim/ledger")).json()
    assert entry == json.loads(json.dumps(sim.ledger[0]))
    assert (entry["ended"], entry["text"], entry["pieces"], entry["status"]) == ("open", "Thank", 1, 200)
    assert entry["body"]["messages"][0]["content"] == "sim:interval-ms=60000"
    waiting = asyncio.ensure_future(client.get("/_sim/ledger?wait=1&timeout=30"))
    writer.close()
    assert (await waiting).json()[0]["ended"] == "client_gone"


async def test_waiting_for_the_ledger_ends(sim: Simulator, client: httpx.AsyncClient) -> None:
    assert (await client.get("/_sim/ledger?wait=1&timeout=0.01")).status_code == 504
    assert (await client.get("/_sim/ledger?wait=x")).status_code == 400
    with pytest.raises(TimeoutError, match="1 ended"):
        await sim.ended(1, 0.01)
    await client.get("/v1/models")
    assert len((await client.get("/_sim/ledger?wait=1")).json()) == 1
    assert (await client.delete("/_sim/ledger")).json() == []
    assert sim.ledger == []
    assert (await client.put("/_sim/ledger")).status_code == 405
    assert (await client.get("/_sim/nothing")).status_code == 404


# --- the end


async def test_leaving_the_context_ends_everything() -> None:
    before = asyncio.all_tasks()
    async with Simulator(interval_ms=60_000) as sim:
        streaming = await connect(sim)
        streaming[1].write(http_request("Hello"))
        await streaming[0].readuntil(b'"Thank"')
        idle = await connect(sim)
        stalled = await connect(sim)
        sim.set_faults(["stall"])
        stalled[1].write(http_request("Hello"))
        unread = await connect(sim)
        unread[1].write(http_request("sim:tokens=100000;sim:fault=flood"))
        await unread[0].readuntil(b"\r\n\r\n")
    assert asyncio.all_tasks() == before
    assert {entry["ended"] for entry in sim.ledger} <= {"shutdown"}
    for reader, writer in (streaming, idle, stalled, unread):
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_it_can_be_started_again_on_its_port_and_serve_until_closed() -> None:
    sim = Simulator()
    async with sim:
        url = sim.url
    with pytest.raises(RuntimeError):
        _ = sim.url
    async with sim, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/v1/models")).status_code == 200
        serving = asyncio.ensure_future(sim.serve_forever())
        await asyncio.wait({serving}, timeout=0)
        assert not serving.done()
        await sim.close()
        await serving
