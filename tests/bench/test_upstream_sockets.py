"""The bench's WebSocket platforms keep to their wires, as a client sees them that shares no code with either side."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import tomllib
from contextlib import asynccontextmanager

import pytest

from bench import load, peers, text, upstream
from conftest import serving

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONVERSATIONS = "/api/v2/conversations/websocket"
GATEWAY = "/api/v2/ai/llm/gateway/completions/stream"
COGNIGY = "/api/v2/llm/stream"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
WORD = "tokens:3.interval_us:1000.hold:0"
INIT = {"action": "init_stream", "protocol_version": "v2"}


def subscription(word=WORD):
    context = {"conversation_id": f"{word}.7", "turn_id": "t-1"}
    return {"subscriptions": [{
        "event_type": "ai:chat:completion", "model_id": "bench-model", "conversation_context": context,
        "max_tokens": 2048, "stream_mode": "delta",
    }]}  # fmt: skip


def completion(word=WORD, system=""):
    return {
        "model": "bench-model",
        "prompt_id": "p",
        "parameters": {"temperature": [0.7, 0.8], "max_tokens": 1024, "stop_sequences": ["END"], "stream": True},
        "context": {"system": system, "format": "json", "messages": [{"role": "user", "content": word}]},
    }


def opening(word=WORD):
    return {"dialog_id": "d", "session_id": "s", "input": word}


class Line:
    """A raw connection: HTTP by hand, and frames by hand after an upgrade."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer

    async def call(self, method, path, body=b"", **headers):
        """Make a request; return status, headers and body."""
        named = {"host": "127.0.0.1", "content-length": len(body), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.strip().split("\r\n")
        answered = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return int(first.split()[1]), answered, await self._reader.readexactly(int(answered.get("content-length", 0)))

    async def token(self, path="/oauth/token"):
        _, _, body = await self.call("POST", path, b"grant_type=client_credentials")
        return f"Bearer {json.loads(body)['access_token']}"

    async def upgrade(self, path, authorization=None):
        """Open a WebSocket, with a token where no other is given; return the status."""
        key = base64.b64encode(os.urandom(16)).decode()
        status, headers, _ = await self.call(
            "GET", path, upgrade="websocket", connection="Upgrade", sec_websocket_version=13, sec_websocket_key=key,
            authorization=authorization or await self.token(),
        )  # fmt: skip
        if status == 101:
            accept = base64.b64encode(hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()).decode()
            assert (headers["upgrade"], headers["sec-websocket-accept"]) == ("websocket", accept)
        return status

    def send(self, message, opcode=TEXT, first=0x80):
        self._writer.write(self.frame(message, opcode, first))

    @staticmethod
    def frame(message, opcode=TEXT, first=0x80):
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        size, mask = len(payload), os.urandom(4)
        short = bytes([0x80 | size]) if size < 126 else None
        medium = b"\xfe" + size.to_bytes(2) if size < 1 << 16 else b"\xff" + size.to_bytes(8)
        masked = bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))
        return bytes([first | opcode]) + (short or medium) + mask + masked

    async def send_in_single_bytes(self, message):
        for byte in self.frame(message):
            self._writer.write(bytes([byte]))
            await self._writer.drain()

    async def take(self):
        """Return opcode and payload of the next frame, which must be whole, without a mask and in its shortest form."""
        first, size = await self._reader.readexactly(2)
        assert first & 0xF0 == 0x80
        assert size < 127
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2))
            assert size > 125
        return first & 0x0F, await self._reader.readexactly(size)

    async def messages(self, count):
        frames = [await self.take() for _ in range(count)]
        assert {opcode for opcode, _ in frames} == {TEXT}
        return [json.loads(payload) for _, payload in frames]

    async def rest(self):
        return await self._reader.read()

    def leave(self):
        self._writer.close()


@asynccontextmanager
async def platform():
    """A platform on a free port; yields how to make a line to it, and takes all of them down in the end."""
    held, lines = set(), []
    loop = asyncio.get_running_loop()

    async def line():
        lines.append(Line(*await asyncio.open_connection("127.0.0.1", port)))
        return lines[-1]

    async with await loop.create_server(lambda: upstream.Connection(held), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(10):
            yield line
        for one in lines:
            one.leave()


@pytest.fixture
async def line():
    async with platform() as connect:
        yield await connect()


def is_exact(pieces, tokens=3):
    proof = text.Proof(tokens)
    for piece in pieces:
        proof.take(piece)
    return proof.finish() == ""


def usage(count):
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


# Calls


@pytest.mark.parametrize("path", ["/oauth/token", "/api/v2/oauth/token"])
async def test_a_token_is_to_be_had(line, path):
    status, headers, body = await line.call("POST", path, b"grant_type=client_credentials")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"access_token": "bench-token", "token_type": "bearer", "expires_in": 3600}


async def test_quota_and_configuration_are_answered_on_one_connection_to_who_has_a_token(line):
    token = await line.token()
    quota = await line.call("GET", "/api/v2/ai/models/bench-model/quotas", authorization=token)
    config = await line.call("PUT", "/api/v2/llm/gateway/config", b"{}", authorization=token)
    assert (quota[0], config[0]) == (200, 200)
    assert json.loads(quota[2])["model_status"] == "AVAILABLE"
    assert json.loads(quota[2])["available_slots"] > 200


async def test_nothing_is_given_without_a_token(line):
    for method, path in (("GET", "/api/v2/ai/models/bench-model/quotas"), ("PUT", "/api/v2/llm/gateway/config")):
        assert (await line.call(method, path))[0] == 401
    assert await line.upgrade(GATEWAY, "Bearer another") == 401
    assert await line.rest() == b""


async def test_there_is_no_stream_at_another_path(line):
    assert await line.upgrade("/api/v2/other", await line.token()) == 401


# Streams


async def test_conversations_send_numbered_events_after_a_subscription(line):
    assert await line.upgrade(CONVERSATIONS) == 101
    line.send(subscription())
    events = await line.messages(5)
    metadata = [event.pop("metadata") for event in events]
    assert metadata == [
        {
            "model_id": "bench-model", "conversation_id": f"{WORD}.7", "latency_ms": 12, "throughput_tps": 50.0,
            "sequence": number,
        }
        for number in range(5)
    ]  # fmt: skip
    assert is_exact(event["delta"] for event in events)
    assert {(event["event_type"], event["finish_reason"]) for event in events[:4]} == {("ai:chat:completion", "")}
    assert events[4] == {"event_type": "ai:chat:completion", "delta": "", "finish_reason": "stop"}


async def test_the_gateway_greets_and_then_sends_frames_with_all_keys(line):
    assert await line.upgrade(GATEWAY) == 101
    line.send(INIT)
    assert await line.messages(1) == [{"status": "stream_ready"}]
    line.send(completion())
    frames = await line.messages(5)
    assert is_exact(frame["token"] for frame in frames)
    assert [frame["finish_reason"] for frame in frames] == [None, None, None, None, "stop"]
    assert [frame["usage"] for frame in frames] == [usage(count) for count in (1, 2, 3, 4, 4)]
    assert all(frame.keys() == {"token", "finish_reason", "usage"} for frame in frames)


async def test_cognigy_sends_arrays_of_tokens_and_the_usage_when_it_is_done(line):
    assert await line.upgrade(COGNIGY) == 101
    line.send(opening())
    *messages, last = await line.messages(5)
    assert is_exact("".join(message.pop("tokens")) for message in messages)
    assert messages == [{"done": False, "error": ""}] * 4
    assert last == {"tokens": [], "done": True, "usage": usage(4), "error": ""}


async def test_a_text_that_nothing_paces_is_the_same(line):
    await line.upgrade(COGNIGY)
    line.send(opening("tokens:2000.interval_us:0.hold:0"))
    *messages, last = await line.messages(2_002)
    assert is_exact(("".join(message["tokens"]) for message in messages), 2_000)
    assert last["done"]


# Frames


async def test_a_message_may_come_byte_by_byte(line):
    await line.upgrade(COGNIGY)
    await line.send_in_single_bytes(opening())
    assert len(await line.messages(5)) == 5


@pytest.mark.parametrize("length", [1, 300, 70_000])
async def test_a_message_may_have_any_length(line, length):
    await line.upgrade(GATEWAY)
    line.send(INIT)
    line.send(completion(system="x" * length))
    assert len(await line.messages(6)) == 6


async def test_a_ping_gets_its_pong_in_the_middle_of_an_answer(line):
    await line.upgrade(COGNIGY)
    line.send(opening("tokens:1.interval_us:1000.hold:1"))
    line.send(b"still there?", PING)
    assert sorted([await line.take(), await line.take()])[1] == (PONG, b"still there?")


async def test_a_good_bye_is_answered_and_the_connection_is_gone(line):
    await line.upgrade(COGNIGY)
    line.send((1000).to_bytes(2), CLOSE)
    assert await line.take() == (CLOSE, (1000).to_bytes(2))
    assert await line.rest() == b""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (CONVERSATIONS, {"subscriptions": []}),
        (CONVERSATIONS, subscription("no word")),
        (GATEWAY, {"action": "init_stream", "protocol_version": "v1"}),
        (GATEWAY, {"action": "start", "protocol_version": "v2"}),
        (GATEWAY, {"model": "bench-model"}),
        (COGNIGY, {"input": WORD}),
        (COGNIGY, b"no JSON"),
    ],
)
async def test_who_does_not_keep_to_the_wire_is_dropped(line, path, message):
    await line.upgrade(path)
    line.send(message)
    assert await line.rest() == b""


async def test_a_fragment_is_no_message(line):
    await line.upgrade(COGNIGY)
    line.send(opening(), first=0)
    assert await line.rest() == b""


async def test_an_answer_that_is_held_goes_on_when_all_are_released():
    async with platform() as connect:
        line, other = await connect(), await connect()
        await line.upgrade(COGNIGY)
        line.send(opening("tokens:3.interval_us:1000.hold:1"))
        first = await line.messages(1)
        assert (await other.call("POST", upstream.RELEASE))[0] == 204
        assert is_exact("".join(message["tokens"]) for message in [*first, *await line.messages(4)])


# Through a relay


@pytest.mark.parametrize("asks", ["gateway", "cognigy", "conversations"])
@pytest.mark.parametrize("way", ["openai", "turn", "turn-ws", "proxy-ws"])
async def test_a_relay_with_the_benchs_settings_brings_every_text_whole(tmp_path, asks, way):
    held = set()
    server = await asyncio.get_running_loop().create_server(lambda: upstream.Connection(held), "127.0.0.1", 0)
    async with server:
        platform_port = server.sockets[0].getsockname()[1]
        settings = tomllib.loads(peers.relay_settings(0, platform_port, "memory"))
        settings["store"]["data_dir"] = str(tmp_path)
        async with serving(settings) as address:
            shape = load.Load(streams=3, tokens=20, interval_us=1_000)
            port = int(address.rpartition(":")[2])
            job = load.Job(shape, way, port, [], [], limit_s=5, platform=platform_port, asks=asks)
            outcome = await load.run(job)
    assert (outcome.faults, outcome.exact, outcome.tokens) == ({}, 3, 60)
