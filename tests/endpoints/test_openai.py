"""The OpenAI routes, asked by OpenAI's own SDK and by hand."""

from __future__ import annotations

import hashlib
import json

import openai
import pytest

from conftest import serving, settings_for


@pytest.fixture
async def sdk(relay_url):
    async with openai.AsyncOpenAI(base_url=f"{relay_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def user(content: str) -> list:
    return [{"role": "user", "content": content}]


async def test_the_sdk_streams(sdk, simulator):
    stream = await sdk.chat.completions.create(
        model="support", messages=user("sim:text=unicode"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    record = (await simulator.ended(1))[-1]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == record["text"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == record["completion_tokens"]
    assert len({c.id for c in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")


async def test_the_sdk_gets_a_whole_answer(sdk, simulator):
    answer = await sdk.chat.completions.create(model="support", messages=user("sim:text=order"))
    record = (await simulator.ended(1))[-1]
    assert answer.choices[0].message.content == record["text"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + record["completion_tokens"]


async def test_usage_comes_only_when_it_is_asked_for(sdk):
    stream = await sdk.chat.completions.create(model="support", messages=user("sim:text=short"), stream=True)
    assert all(chunk.usage is None for chunk in [chunk async for chunk in stream])


async def test_tool_calls_keep_their_shape(sdk, simulator):
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    whole = await sdk.chat.completions.create(model="support", messages=user("sim:fault=tool-calls"), tools=tools)
    calls = whole.choices[0].message.tool_calls
    assert whole.choices[0].finish_reason == "tool_calls"
    assert all(json.loads(call.function.arguments) is not None for call in calls)
    stream = await sdk.chat.completions.create(
        model="support", messages=user("sim:fault=tool-calls"), tools=tools, stream=True
    )
    pieces: dict[int, str] = {}
    async for chunk in stream:
        for piece in chunk.choices[0].delta.tool_calls or ():
            pieces[piece.index] = pieces.get(piece.index, "") + piece.function.arguments
    assert list(pieces.values()) == [call.function.arguments for call in calls]
    assert (await simulator.ended(2))[0]["body"]["tools"] == tools


async def test_several_choices(sdk, simulator):
    answer = await sdk.chat.completions.create(model="support", messages=user("sim:text=short"), n=3)
    record = (await simulator.ended(1))[-1]
    assert [choice.message.content for choice in answer.choices] == record["texts"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop"] * 3


async def test_refusals_and_reasoning_have_their_own_fields(sdk):
    refused = await sdk.chat.completions.create(model="support", messages=user("sim:fault=refusal"))
    assert refused.choices[0].message.refusal
    assert not refused.choices[0].message.content
    thought = await sdk.chat.completions.create(model="support", messages=user("sim:fault=reasoning"))
    assert thought.choices[0].message.reasoning_content
    assert thought.choices[0].message.reasoning_content not in thought.choices[0].message.content


async def test_what_the_platform_is_asked(sdk, simulator):
    await sdk.chat.completions.create(
        model="support/other-model",
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "sim:text=short"}],
        temperature=0.5,
        max_tokens=5,
        stop=["END"],
        seed=3,
        user="u-1",
        extra_headers={"X-Conversation-Id": "c-9"},
    )
    body = (await simulator.ended(1))[-1]["body"]
    assert body["model"] == "other-model"
    assert body["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (body["temperature"], body["max_tokens"], body["stop"], body["seed"]) == (0.5, 5, ["END"], 3)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


async def test_conversation_and_session_come_from_headers_metadata_or_user(http, relay_url):
    async def asked(**more) -> dict:
        body = {"model": "support", "messages": user("sim:text=short"), **more.pop("body", {})}
        response = await http.post(f"{relay_url}/v1/chat/completions", json=body, headers=more)
        turn = response.headers["x-turn-id"]
        return (await http.get(f"{relay_url}/v1/turns/{turn}")).json()

    shown = await asked(**{"x-conversation-id": "c-1", "x-session-id": "s-1"})
    assert (shown["conversation_id"], shown["session_id"]) == ("c-1", "s-1")
    shown = await asked(body={"metadata": {"conversation_id": "c-2", "session_id": "s-2"}, "user": "u-2"})
    assert (shown["conversation_id"], shown["session_id"]) == ("c-2", "s-2")
    shown = await asked(body={"user": "u-3"})
    assert shown["session_id"] == "u-3"


async def test_models_are_the_upstreams(sdk):
    assert [model.id async for model in sdk.models.list()] == ["support"]
    assert (await sdk.models.retrieve("support")).id == "support"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("suport")


async def test_errors_have_openais_shape(sdk, http, relay_url):
    with pytest.raises(openai.NotFoundError) as unknown:
        await sdk.chat.completions.create(model="suport", messages=user("hi"))
    assert unknown.value.code == "model_not_found"
    assert 'Did you mean "support"?' in unknown.value.message
    with pytest.raises(openai.BadRequestError) as hot:
        await sdk.chat.completions.create(model="support", messages=user("hi"), temperature=3)
    assert (hot.value.code, hot.value.param) == ("invalid_request", "temperature")
    with pytest.raises(openai.RateLimitError) as limited:
        await sdk.chat.completions.create(model="support", messages=user("sim:fault=status=429"), stream=True)
    assert limited.value.code == "rate_limited"
    response = await http.post(f"{relay_url}/v1/chat/completions", json={"messages": user("hi")})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "model_required")
    response = await http.post(
        f"{relay_url}/v1/chat/completions", content=b"{nope", headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    response = await http.post(f"{relay_url}/v1/chat/completions", json={"model": "support", "messages": []})
    assert response.json()["error"]["param"] == "messages"


async def test_what_is_null_is_as_if_it_were_not_there(http, relay_url):
    body = {"model": "support", "messages": user("sim:text=short"), "n": None, "stream": None, "stream_options": None}
    response = await http.post(f"{relay_url}/v1/chat/completions", json=body)
    assert response.json()["choices"][0]["message"]["content"] == "Hello."


async def test_a_body_that_is_too_large_is_refused_in_openais_shape(http, relay_url):
    body = {"model": "support", "messages": user("x" * 1_100_000)}
    response = await http.post(f"{relay_url}/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
    assert (await http.get(f"{relay_url}/v1/models/{'x' * 200}")).status_code == 404


async def test_an_error_in_mid_stream_reaches_the_sdk(sdk):
    stream = await sdk.chat.completions.create(model="support", messages=user("sim:fault=reset-after=3"), stream=True)
    text = ""
    with pytest.raises(openai.APIError) as broken:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert broken.value.code == "upstream_interrupted"
    assert text


async def test_leaving_stops_the_platform_at_once(sdk, simulator, http, relay_url):
    stream = await sdk.chat.completions.create(
        model="support", messages=user("sim:text=long;sim:interval-ms=20"), stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"
    turns = (await http.get(f"{relay_url}/v1/turns")).json()["turns"]
    assert (turns[0]["outcome"], turns[0]["reason"]) == ("cancelled", "client_left")


async def test_leaving_a_whole_answer_stops_the_platform_too(simulator, relay_url):
    async with openai.AsyncOpenAI(base_url=f"{relay_url}/v1", api_key="x", max_retries=0, timeout=0.4) as sdk:
        with pytest.raises(openai.APITimeoutError):
            await sdk.chat.completions.create(model="support", messages=user("sim:text=long;sim:interval-ms=50"))
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"


async def test_the_platforms_words_about_an_error_are_short(http, simulator):
    async with serving(settings_for(f"{simulator.url}/v1")) as url:
        body = {"model": "support", "messages": user("sim:fault=status=400")}
        response = await http.post(f"{url}/v1/chat/completions", json=body)
    assert response.status_code == 502
    assert len(response.json()["error"]["message"]) < 320


async def test_azures_client_streams_and_waits(simulator):
    digest = hashlib.sha256(b"tk_test").hexdigest()
    settings = settings_for(f"{simulator.url}/v1", keys=[{"name": "web", "sha256": digest}])
    async with (
        serving(settings, insecure=False) as url,
        openai.AsyncAzureOpenAI(azure_endpoint=url, api_key="tk_test", api_version="2026-01-01", max_retries=0) as sdk,
    ):
        whole = await sdk.chat.completions.create(model="support", messages=user("sim:text=order"))
        stream = await sdk.chat.completions.create(model="support", messages=user("sim:text=order"), stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert text == whole.choices[0].message.content == (await simulator.ended(2))[-1]["text"]
        with pytest.raises(openai.NotFoundError) as unknown:
            await sdk.chat.completions.create(model="suport", messages=user("hi"))
        assert unknown.value.code == "model_not_found"
    async with (
        serving(settings, insecure=False) as url,
        openai.AsyncAzureOpenAI(azure_endpoint=url, api_key="tk_wrong", api_version="2026-01-01", max_retries=0) as sdk,
    ):
        with pytest.raises(openai.AuthenticationError):
            await sdk.chat.completions.create(model="support", messages=user("hi"))


async def test_a_client_goes_on_behind_any_id_that_it_has(http, relay_url):
    where = f"{relay_url}/v1/chat/completions"
    body = {"model": "support", "stream": True, "messages": user("sim:text=order")}
    body["stream_options"] = {"include_usage": True}
    key = {"idempotency-key": "k-1"}
    whole = (await http.post(where, json=body, headers=key)).text
    ids = [int(line.removeprefix("id: ")) for line in whole.split("\n") if line.startswith("id: ")]
    assert len(ids) > 50
    for offset in ids[:-1]:
        before, _, rest = whole.partition(f"\nid: {offset}\n\n")
        again = await http.post(where, json=body, headers={**key, "last-event-id": str(offset)})
        assert (again.status_code, again.text) == (200, rest), before[-200:]
    done = await http.post(where, json=body, headers={**key, "last-event-id": str(ids[-1])})
    assert (done.status_code, done.headers["idempotent-replayed"]) == (204, "true")


async def test_a_client_that_is_cut_off_goes_on_in_the_middle_of_an_answer(http, simulator, relay_url):
    where = f"{relay_url}/v1/chat/completions"
    body = {"model": "support", "stream": True, "messages": user("sim:text=order;sim:interval-ms=2")}
    key = {"idempotency-key": "k-1"}
    read = ""
    async with http.stream("POST", where, json=body, headers=key) as response:
        async for text in response.aiter_text():
            read += text
            if "id: 9\n\n" in read:
                break
    read = read[: read.rindex("\n\n") + 2]
    last = read.rpartition("id: ")[2].strip()
    rest = await http.post(where, json=body, headers={**key, "last-event-id": last})
    chunks = [json.loads(line[6:]) for line in (read + rest.text).split("\n") if line.startswith("data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == (await simulator.ended(1))[-1]["text"]
    assert len(simulator.ledger) == 1


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"last-event-id": "4"}, 400, "invalid_idempotency_key"),
        ({"last-event-id": "4", "idempotency-key": "unknown"}, 404, "turn_not_found"),
        ({"last-event-id": "4.5", "idempotency-key": "k"}, 400, "invalid_offset"),
        ({"last-event-id": "99999", "idempotency-key": "k"}, 409, "offset_past_tail"),
    ],
    ids=["no key", "another key", "no offset", "past the end"],
)
async def test_a_client_that_cannot_go_on_gets_no_other_answer(http, simulator, relay_url, headers, status, code):
    where = f"{relay_url}/v1/chat/completions"
    body = {"model": "support", "stream": True, "messages": user("sim:text=short")}
    await http.post(where, json=body, headers={"idempotency-key": "k"})
    refused = await http.post(where, json=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert len(simulator.ledger) == 1


async def test_a_client_with_an_idempotency_key_may_come_back(http, simulator, relay_url):
    body = {"model": "support", "stream": True, "messages": user("sim:text=order;sim:interval-ms=5")}
    key = {"idempotency-key": "k-1"}
    async with http.stream("POST", f"{relay_url}/v1/chat/completions", json=body, headers=key) as response:
        turn = response.headers["x-turn-id"]
        await anext(response.aiter_bytes())
    again = await http.post(f"{relay_url}/v1/chat/completions", json=body, headers=key)
    assert (again.headers["x-turn-id"], again.headers["idempotent-replayed"]) == (turn, "true")
    assert again.text.endswith("\n\n")
    assert "[DONE]" in again.text
    assert (await simulator.ended(1))[-1]["ended"] == "completed"
    whole = await http.post(f"{relay_url}/v1/chat/completions", json={**body, "stream": False}, headers=key)
    assert whole.status_code == 409
