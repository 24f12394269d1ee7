"""`WS /ws`: order and words of the given protocol, and what was added to it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager

import pytest
import websockets

from conftest import serving, settings_for
from trunkline.config import parse
from trunkline.core.errors import RequestRefused
from trunkline.endpoints.websocket_proxy import Cancel, Init, Resume, read
from trunkline.server import Server, bind
from trunkline.tokens import count


class Client:
    def __init__(self, socket):
        self.socket = socket

    async def say(self, kind: str, **more) -> None:
        await self.socket.send(json.dumps({"type": kind, **more}))

    async def init(self, prompt: str, **more) -> None:
        payload = {"modelId": "support", "messages": [{"role": "user", "content": prompt}], "temperature": 0.7}
        await self.say("init", payload=payload | more)

    async def next(self) -> dict:
        return json.loads(await asyncio.wait_for(self.socket.recv(), 10))

    async def to_the_end(self) -> list[dict]:
        frames = [await self.next()]
        while frames[-1]["type"] in ("handshake_ack", "chunk"):
            frames.append(await self.next())
        return frames


def text_of(frames) -> str:
    choices = [choice for frame in frames if frame["type"] == "chunk" for choice in frame["data"]["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@asynccontextmanager
async def connected(url, path="/ws", **options):
    async with websockets.connect(url.replace("http", "ws", 1) + path, **options) as socket:
        yield Client(socket)


@pytest.fixture
async def client(relay_url):
    async with connected(relay_url) as client:
        yield client


async def test_the_order_and_the_shape_of_frames(client, simulator):
    await client.init("sim:text=order", sessionId="s-9", conversationId="c-9")
    frames = await client.to_the_end()
    assert [frame["type"] for frame in frames] == ["handshake_ack", *["chunk"] * (len(frames) - 2), "complete"]
    sent = (await simulator.ended(1))[-1]
    assert text_of(frames) == sent["text"]
    assert frames[1]["data"]["object"] == "chat.completion.chunk"
    assert frames[-2]["data"]["choices"][0]["finish_reason"] == "stop"
    audit = frames[-1]["auditLog"]
    assert audit["status"] == "success"
    assert audit["safetyPassed"] is True
    assert audit["piiFiltered"] is audit["ppiFiltered"] is False
    assert audit["tokenCount"] == frames[0]["tokenCount"] == 6
    assert audit["latencyMs"] >= 0
    assert audit["usage"]["completion_tokens"] == sent["completion_tokens"]
    assert (audit["modelId"], audit["requestId"]) == ("support", frames[0]["turnId"])


async def test_several_turns_follow_one_another_on_one_socket(client):
    for _ in range(3):
        await client.init("sim:text=short")
        assert (await client.to_the_end())[-1]["type"] == "complete"


@pytest.mark.parametrize("said", ['{"type":"hello"}', "nonsense", "[]", '{"type":5}', "", "{}", "\u2028"])
async def test_anything_else_than_init_is_an_invalid_handshake_and_the_socket_stays_open(client, said):
    await client.socket.send(said)
    assert await client.next() == {"type": "error", "message": "Invalid handshake type", "code": "invalid_handshake"}
    await client.init("sim:text=short")
    assert text_of(await client.to_the_end()) == "Hello."


@pytest.mark.parametrize(
    "payload",
    [{}, {"messages": []}, {"messages": [{"role": "boss", "content": "hi"}]},
     {"messages": [{"role": "user", "content": "hi"}], "temperature": 3}],
)  # fmt: skip
async def test_a_payload_that_does_not_fit_fails_the_schema(client, payload):
    await client.say("init", payload=payload)
    frame = await client.next()
    assert (frame["type"], frame["message"]) == ("error", "Schema validation failed")
    assert frame["detail"].startswith("payload.")


async def test_an_unknown_model_is_named(client):
    await client.init("hi", modelId="suport")
    frame = await client.next()
    assert (frame["type"], frame["code"]) == ("error", "model_not_found")


async def test_a_prompt_that_does_not_fit_says_both_numbers(simulator):
    models = {"sim-model": {"context_window": 10}}
    async with serving(settings_for(f"{simulator.url}/v1", models=models)) as url, connected(url) as client:
        await client.init("word " * 20)
        frame = await client.next()
    assert frame["code"] == "context_window_exceeded"
    assert frame["message"].startswith("Context window exceeded: ")
    assert frame["message"].endswith(" > 10")


async def test_an_init_while_a_turn_is_open_is_an_error_that_ends_nothing(client, simulator):
    await client.init("sim:text=order;sim:interval-ms=5")
    await client.init("sim:text=short")
    frames = await client.to_the_end()
    errors = [frame for frame in frames if frame["type"] == "error"]
    assert [error["code"] for error in errors] == ["turn_open"]
    assert "turnId" not in errors[0]
    frames += await client.to_the_end()
    assert frames[-1]["type"] == "complete"
    assert text_of(frames) == (await simulator.ended(1))[-1]["text"]


async def test_a_failure_before_any_text_is_a_stream_that_could_not_begin(client):
    await client.init("sim:fault=status=503")
    *_, last = await client.to_the_end()
    assert (last["type"], last["message"]) == ("error", "Stream initiation failed after retries")
    assert (last["code"], last["auditLog"]["status"]) == ("upstream_unavailable", "failed")


async def test_a_failure_in_mid_answer_says_what_happened(client):
    await client.init("sim:text=order;sim:fault=reset-after=5")
    *frames, last = await client.to_the_end()
    assert text_of(frames)
    assert (last["type"], last["code"]) == ("error", "upstream_interrupted")


async def test_the_platforms_own_filter_is_a_block_and_no_success(client):
    await client.init("sim:text=short;sim:fault=finish=content_filter")
    *_, last = await client.to_the_end()
    assert (last["type"], last["reason"]) == ("blocked", "Safety guardrail violation")
    assert (last["auditLog"]["status"], last["auditLog"]["safetyPassed"]) == ("blocked", False)


async def test_tool_calls_keep_their_shape(client):
    await client.init("sim:fault=tool-calls")
    frames = await client.to_the_end()
    choices = [choice for frame in frames if frame["type"] == "chunk" for choice in frame["data"]["choices"]]
    pieces = [piece for choice in choices for piece in choice["delta"].get("tool_calls", ())]
    assert pieces[0]["function"]["name"]
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_cancel_stops_the_platform_and_is_told_once(client, simulator):
    await client.init("sim:text=long;sim:interval-ms=10")
    assert (await client.next())["type"] == "handshake_ack"
    await client.next()
    await client.say("cancel", heard_upto=3)
    *_, last = await client.to_the_end()
    assert (last["type"], last["auditLog"]["status"]) == ("complete", "cancelled")
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"
    await client.say("cancel")  # one that crossed the end is no error
    await client.say("cancel", turnId="turn_x")
    assert (await client.next())["code"] == "no_open_turn"


async def test_another_socket_resumes_from_any_chunk(client, relay_url, simulator, http):
    await client.init("sim:text=unicode")
    frames = await client.to_the_end()
    turn = frames[0]["turnId"]
    whole = (await simulator.ended(1))[-1]["text"]
    marks = [n for n, frame in enumerate(frames) if "id" in frame]
    async with connected(relay_url) as other:
        shown = (await http.get(f"{relay_url}/v1/turns/{turn}")).json()
        await other.say("resume", turnId=turn, after=shown["tail"])
        assert [frame["type"] for frame in await other.to_the_end()] == ["handshake_ack", "chunk", "complete"]
        for n in (marks[0], marks[len(marks) // 2], marks[-1]):
            await other.say("resume", turnId=turn, after=frames[n]["id"])
            rest = await other.to_the_end()
            assert rest[0]["type"] == "handshake_ack"
            assert rest[0]["turnId"] == turn
            assert text_of(frames[: n + 1]) + text_of(rest) == whole
            assert rest[-1]["type"] == "complete"
        await other.say("resume", turnId=turn, after=10_000)
        assert (await other.next())["code"] == "offset_past_tail"
        await other.say("resume", turnId="turn_" + "0" * 32)
        assert (await other.next())["code"] == "turn_not_found"


async def test_a_turn_has_one_number_of_tokens_whatever_its_model_counts(simulator):
    text = "Können Sie meine Bestellung nachschlagen? Übermorgen wäre schön. " * 3 + "sim:text=short"
    async with serving(settings_for(f"{simulator.url}/v1", upstream={"model": "gpt-4o"})) as url:
        async with connected(url) as client:
            await client.init(text)
            told = await client.to_the_end()
        async with connected(url) as other:
            await other.say("resume", turnId=told[0]["turnId"])
            again = await other.to_the_end()
    tokens = count(f"user: {text}")
    assert tokens != count(f"user: {text}", "gpt-4o")
    counted = [frame["tokenCount"] for frames in (told, again) for frame in (frames[0], frames[-1]["auditLog"])]
    assert counted == [tokens] * 4


async def test_a_client_that_leaves_is_waited_for_or_not_by_policy(relay_url, simulator, http):
    for policy, state in (("cancel", "client_gone"), ("finish", "completed")):
        simulator.clear_ledger()
        async with connected(relay_url) as client:
            await client.init("sim:text=order;sim:interval-ms=3", on_last_reader_gone=policy)
            await client.next()
            await client.next()
        assert (await simulator.ended(1))[-1]["ended"] == state


async def test_ids_may_stand_in_the_address(relay_url, http):
    async with connected(relay_url, "/ws?sessionId=s-3&conversationId=c-3") as client:
        await client.init("sim:text=short")
        turn = (await client.next())["turnId"]
        await client.to_the_end()
    shown = (await http.get(f"{relay_url}/v1/turns/{turn}")).json()
    assert (shown["session_id"], shown["conversation_id"]) == ("s-3", "c-3")


async def test_a_drain_that_ends_a_turn_tells_where_and_closes_for_a_restart(simulator):
    settings = parse(settings_for(f"{simulator.url}/v1"))
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = Server(settings, bind(settings), insecure=True)
    serving_task = asyncio.ensure_future(server.run(ready.set_result))
    async with connected(await ready) as client:
        await client.init("sim:text=long;sim:interval-ms=20")
        ack = await client.next()
        await client.next()
        server.stop()
        *_, last = await client.to_the_end()
        assert (last["type"], last["code"], last["turnId"]) == ("error", "shutdown", ack["turnId"])
        with pytest.raises(websockets.ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 1012
    await asyncio.wait_for(serving_task, 10)


async def test_keys_and_tickets_open_it(simulator, http):
    digest = hashlib.sha256(b"tk_test").hexdigest()
    settings = settings_for(f"{simulator.url}/v1", keys=[{"name": "web", "sha256": digest}])
    async with serving(settings, insecure=False) as url:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connected(url):
                pass
        assert refused.value.response.status_code == 401
        ticket = (await http.post(f"{url}/v1/tickets", headers={"x-api-key": "tk_test"})).json()["ticket"]
        async with connected(url, f"/ws?ticket={ticket}") as client:
            await client.init("sim:text=short")
            assert (await client.to_the_end())[-1]["type"] == "complete"
        with pytest.raises(websockets.InvalidStatus):
            async with connected(url, f"/ws?ticket={ticket}"):
                pass
        async with connected(url, additional_headers={"Authorization": "Bearer tk_test"}) as client:
            await client.init("sim:text=short")
            turn = (await client.to_the_end())[0]["turnId"]
        created = await http.post(f"{url}/v1/turns", headers={"x-api-key": "tk_test"}, json={"input": "hi"})
        follow_only = created.json()["links"]["ws"].partition("ticket=")[2]
        with pytest.raises(websockets.InvalidStatus):
            async with connected(url, f"/ws?ticket={follow_only}"):
                pass
        assert turn


async def test_nesting_without_end_is_an_invalid_handshake(client):
    await client.socket.send("[" * 100_000)
    assert (await client.next())["code"] == "invalid_handshake"


@pytest.mark.parametrize("name", ["sessionId", "conversationId"])
async def test_an_id_that_is_none_is_refused_wherever_it_stands(client, relay_url, name):
    await client.init("hi", **{name: "user@example.com"})
    assert (await client.next())["message"] == "Schema validation failed"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connected(relay_url, f"/ws?{name}=user@example.com"):
            pass
    assert refused.value.response.status_code == 400
    assert refused.value.response.headers["x-request-id"]


async def test_a_message_that_is_too_long_closes_the_socket(simulator):
    settings = settings_for(f"{simulator.url}/v1", server={"max_body_bytes": 2_000})
    async with serving(settings) as url, connected(url) as client:
        await client.init("x" * 3_000)
        with pytest.raises(websockets.ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 1009


async def test_text_that_is_no_utf8_closes_the_socket_and_is_no_fault_to_log(client, caplog):
    await client.socket.send([b"\xc3", b"a"], text=True)
    with pytest.raises(websockets.ConnectionClosed):
        await client.next()
    assert client.socket.close_code == 1007
    assert [record for record in caplog.records if record.exc_info] == []


def test_what_a_client_says_is_read_by_its_type():
    messages = [{"role": "user", "content": "hi"}]
    init = read(json.dumps({"type": "init", "payload": {"messages": messages, "unknown": 1}}))
    assert isinstance(init, Init)
    assert init.payload.modelId is None
    assert read('{"type":"resume","turnId":"t","after":3}') == Resume(type="resume", turnId="t", after=3)
    assert read('{"type":"cancel"}') == Cancel(type="cancel")
    with pytest.raises(RequestRefused, match="Schema validation failed"):
        read('{"type":"resume","turnId":"t","after":-1}')
