"""The Genesys gateway: who is let in, the handshake, what a request may have, and the frames."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from simulators.wires import GATEWAY, WIRES, Seen, completion, init, link, see, token
from trunkline.simulators import Simulator
from trunkline.simulators.ledger import Record
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count, cut

WIRE = WIRES["genesys-gateway"]
ORDER = TEXTS["order"]
PIECES = [piece.text for piece in cut(ORDER)[0]]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=5) as simulator:
        yield simulator


async def ask(sim: Simulator, request: Any) -> Seen:
    async with link(sim, GATEWAY) as socket:
        assert await init(socket) == {"status": "stream_ready"}
        await socket.send(request if isinstance(request, str) else json.dumps(request))
        return await see(socket, WIRE.is_end)


async def entry_of(sim: Simulator) -> Record:
    return (await sim.ended(len(sim.ledger)))[-1]


# --- who is let in


async def test_the_header_names_the_client_of_the_token(sim: Simulator) -> None:
    for headers in ({}, {"x-genesys-client-id": "other"}):
        with pytest.raises(InvalidStatus) as refused:
            async with link(sim, GATEWAY, headers=headers):
                pass
        assert refused.value.response.status_code == 400
        entry = await entry_of(sim)
        assert "X-Genesys-Client-ID" in entry["broken"][0]


@pytest.mark.parametrize("scope", ["ai:llm:gateway:use", "ai:llm:gateway:stream", "ai:llm:prompt:read"])
async def test_every_scope_is_needed(sim: Simulator, scope: str) -> None:
    others = "ai:llm:gateway:use ai:llm:gateway:stream ai:llm:prompt:read".replace(scope, "x")
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, GATEWAY, await token(sim, others)):
            pass
    assert json.loads(refused.value.response.body or b"")["message"].endswith(scope)


@pytest.mark.parametrize("before", [[], ["bearer"]])
async def test_the_token_may_come_as_a_subprotocol(sim: Simulator, before: list[str]) -> None:
    bearer = await token(sim)
    async with link(sim, GATEWAY, "", subprotocols=[*before, bearer]) as socket:
        assert socket.subprotocol == [*before, bearer][0]
        assert await init(socket) == {"status": "stream_ready"}
    entry = await entry_of(sim)
    assert (entry["token"], entry["headers"]["sec-websocket-protocol"]) == (1, "***")
    assert bearer not in json.dumps(sim.ledger)


async def test_a_wrong_token_as_a_subprotocol_is_refused(sim: Simulator) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, GATEWAY, "", subprotocols=["bearer", "s3cret"]):
            pass
    assert json.loads(refused.value.response.body or b"")["code"] == "bad.credentials"


async def test_a_token_that_came_as_a_subprotocol_is_revoked_by_a_401(sim: Simulator) -> None:
    bearer = await token(sim)
    sim.set_faults(["unauthorized-once"])
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            async with link(sim, GATEWAY, "", subprotocols=[bearer]):
                pass
        assert refused.value.response.status_code == 401


async def test_nothing_else_is_under_its_address(sim: Simulator) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, f"{GATEWAY}/more", "x", headers={}):
            pass
    assert refused.value.response.status_code == 404


# --- the handshake


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ("init", "json"),
        ("[]", "order"),
        (json.dumps(completion()), "order"),
        ('{"action":"init_stream"}', "fields"),
        ('{"action":"init_stream","protocol_version":"v1"}', "fields"),
        ('{"action":"init_stream","protocol_version":"v2","x":1}', "fields"),
    ],
)
async def test_the_first_message_asks_for_the_stream(sim: Simulator, message: str, rule: str) -> None:
    async with link(sim, GATEWAY) as socket:
        await socket.send(message)
        seen = await see(socket)
    assert seen.code == 4400
    entry = await entry_of(sim)
    assert (entry["ended"], entry["broken"][0].partition(":")[0]) == ("refused", rule)
    if rule != "json":
        assert seen.messages[0]["status"] == "rejected"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("rejected", {"status": "rejected", "message": "The stream cannot be started for jane.doe@example.com."}),
        ("garbage", "stream_ready"),
        ("other", {"status": "queued", "position": 7}),
    ],
)
async def test_a_handshake_may_fail_in_several_ways(sim: Simulator, how: str, says: Any) -> None:
    sim.set_faults([f"handshake={how}"])
    async with link(sim, GATEWAY) as socket:
        await socket.send('{"action":"init_stream","protocol_version":"v2"}')
        seen = await see(socket, bool)
        assert seen.messages == [says]
        if how == "rejected":
            assert (await see(socket)).code == 4403
    entry = await entry_of(sim)
    assert (entry["ended"], entry["broken"]) == ("fault:handshake" if how == "rejected" else "client_gone", [])
    assert [frame["data"] for frame in entry["frames"] if frame["kind"] == "text"][1] == says


async def test_a_handshake_may_be_met_with_silence(sim: Simulator) -> None:
    sim.set_faults(["handshake=silent"])
    async with link(sim, GATEWAY) as socket:
        await socket.send('{"action":"init_stream","protocol_version":"v2"}')
        await (await socket.ping())
    entry = await entry_of(sim)
    assert entry["ended"] == "client_gone"
    assert [frame["kind"] for frame in entry["frames"] if frame["sender"] == "platform"] == ["pong"]


# --- the request


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (completion(parameters={"temperature": []}), "$.parameters.temperature"),
        (completion(parameters={"temperature": 0.7}), "$.parameters.temperature"),
        (completion(parameters={"temperature": [0.7, 2.1]}), "$.parameters.temperature"),
        (completion(parameters={"temperature": [-0.1]}), "$.parameters.temperature"),
        (completion(parameters={"max_tokens": 0}), "$.parameters.max_tokens"),
        (completion(parameters={"max_tokens": 4097}), "$.parameters.max_tokens"),
        (completion(parameters={"max_tokens": 1.5}), "$.parameters.max_tokens"),
        (completion(parameters={"stop_sequences": "END"}), "$.parameters.stop_sequences"),
        (completion(parameters={"stream": False}), "parameters.stream"),
        (completion(parameters={"n": 1}), "unknown field `n`"),
        (completion(model=""), "$.model"),
        (completion(prompt_id=None), "$.prompt_id"),
        (completion(context={"input": "x"}), "unknown field `input`"),
        (completion(stream_options={}), "unknown field `stream_options`"),
        ({"model": "gpt"}, "prompt_id"),
        ([], "object"),
    ],
)
async def test_a_wrong_request_is_refused(sim: Simulator, request_body: Any, words: str) -> None:
    assert (await ask(sim, request_body)).code == 4400
    entry = await entry_of(sim)
    assert entry["broken"][0].startswith("fields: ")
    assert words in entry["broken"][0]


@pytest.mark.parametrize(
    "request_body",
    [
        completion(parameters={"temperature": [0, 2]}),
        completion(parameters={"max_tokens": 4096}),
        completion(parameters={"stop_sequences": []}),
        completion(context={}),
        completion(context={"system": "Be kind."}),
    ],
)
async def test_a_request_at_its_limits_is_answered(sim: Simulator, request_body: Any) -> None:
    assert WIRE.text((await ask(sim, request_body)).messages) == ORDER
    assert (await entry_of(sim))["broken"] == []


@pytest.mark.parametrize("changes", [{"model": "wrong"}, {"prompt_id": "wrong"}])
async def test_a_model_or_prompt_that_does_not_exist(sim: Simulator, changes: dict[str, Any]) -> None:
    assert (await ask(sim, completion(**changes))).code == 4404
    assert (await entry_of(sim))["broken"] == []


async def test_the_last_user_message_directs(sim: Simulator) -> None:
    messages = [{"role": "user", "content": "sim:text=long"}, {"role": "assistant", "content": "sim:text=long"},
                {"role": "user", "content": "sim:text=echo;sim:interval-ms=0;sim:fault=pings Hi!"}]  # fmt: skip
    seen = await ask(sim, completion(context={"messages": messages}))
    assert WIRE.text(seen.messages) == "Hi!"
    entry = await entry_of(sim)
    assert entry["faults"] == ["pings"]
    assert "ping" in [frame["kind"] for frame in entry["frames"] if frame["sender"] == "platform"]
    assert len((await ask(sim, completion("sim:tokens=7"))).messages) == 8


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("sim:text=ordr", "order"), ("sim:fault=status=429", "POST it"), ("sim:fault=quota-slots=0", "POST it")],
)
async def test_a_directive_that_comes_to_nothing_is_refused(sim: Simulator, prompt: str, words: str) -> None:
    assert (await ask(sim, completion(prompt))).code == 4400
    assert words in (await entry_of(sim))["broken"][0]


async def test_a_stop_sequence_and_the_limit_bound_the_answer(sim: Simulator) -> None:
    stopped = await ask(sim, completion(parameters={"stop_sequences": ["zzz", "order"]}))
    assert WIRE.text(stopped.messages) == ORDER[: ORDER.index("order")]
    assert stopped.messages[-1]["finish_reason"] == "stop"
    limited = await ask(sim, completion(parameters={"max_tokens": 3}))
    assert WIRE.text(limited.messages) == "".join(PIECES[:3])
    assert limited.messages[-1]["finish_reason"] == "length"


async def test_the_same_request_again_is_another_attempt(sim: Simulator) -> None:
    for prompt in ("a", "a", "b"):
        await ask(sim, completion(prompt))
    entries = await sim.ended(len(sim.ledger))
    assert [entry["attempt"] for entry in entries if entry["path"] == GATEWAY] == [1, 2, 1]


# --- the frames


async def test_the_frames_are_those_of_the_wire(sim: Simulator) -> None:
    seen = await ask(sim, completion())
    *pieces, end = seen.messages
    assert [piece["token"] for piece in pieces] == PIECES
    assert {piece["finish_reason"] for piece in pieces} == {None}
    assert all(set(message) == {"token", "finish_reason", "usage"} for message in seen.messages)
    prompt_tokens = count("Be kind.\nuser: Where is my order?")
    done = count(ORDER)
    assert end == {
        "token": "",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": done, "total_tokens": prompt_tokens + done},
    }
    assert [piece["usage"]["completion_tokens"] for piece in pieces[:3]] == [1, 2, 3]


@pytest.mark.parametrize("key", ["token", "finish_reason", "usage"])
async def test_a_key_may_be_missing_without_a_loss(sim: Simulator, key: str) -> None:
    sim.set_faults([f"missing-key={key}"])
    seen = await ask(sim, completion())
    assert any(key not in message for message in seen.messages)
    assert WIRE.text(seen.messages) == ORDER
    assert seen.messages[-1]["finish_reason"] == "stop"


async def test_any_key_may_be_missing_by_lot(sim: Simulator) -> None:
    sim.set_faults(["missing-key=any"])
    seen = await ask(sim, completion())
    assert {frozenset(message) for message in seen.messages} >= {
        frozenset({"token", "usage"}), frozenset({"token", "finish_reason"}), frozenset(seen.messages[0]),
    }  # fmt: skip
    assert WIRE.text(seen.messages) == ORDER


async def test_usage_may_be_missing(sim: Simulator) -> None:
    sim.set_faults(["no-usage"])
    assert {message["usage"] for message in (await ask(sim, completion())).messages} == {None}
