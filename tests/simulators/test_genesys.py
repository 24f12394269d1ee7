"""The Genesys platform of the simulator: whom it lets in, what it refuses in which words, and what it streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.wires import Clock
from trunkline.simulators import Simulator
from trunkline.simulators.access import Limiter
from trunkline.simulators.base import Once
from trunkline.simulators.fault_words import FAULTS
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count

COMPLETIONS = "/api/v2/ai/llm/completions"
CHAT = "/api/v2/ai/llm/chat/completions"
BOTH = (COMPLETIONS, CHAT)
ME = "/api/v2/tokens/me"
SCOPES = "ai:llm:write ai:llm:read"
LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
ININ_LIMITS = ("inin-ratelimit-allowed", "inin-ratelimit-count", "inin-ratelimit-reset")
# A value for each word that takes one and for which 1 is none.
VALUES = {
    "status": "503", "redirect": "http://127.0.0.1:9/", "finish": "length", "cut": "7", "limit-headers": "3/10",
}  # fmt: skip


@pytest.fixture
async def limited(clock: Clock) -> AsyncIterator[Simulator]:
    async with Simulator(rate_per_minute=3, clock=clock) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sim.url, trust_env=False) as http:
        http.headers["authorization"] = f"Bearer {await token(http)}"
        sim.clear_ledger()
        yield http


async def token(client: httpx.AsyncClient, scopes: str = SCOPES, client_id: str = "app") -> str:
    body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": "s", "scope": scopes}
    request = client.build_request("POST", "/oauth/token", json=body)
    request.headers.pop("authorization", None)
    return (await client.send(request)).json()["access_token"]


def ask(message: str = "Where is my order?", **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": message}], "stream": True, **fields}


async def post(
    client: httpx.AsyncClient, path: str = CHAT, message: str = "sim:text=short", **headers: str
) -> httpx.Response:
    return await client.post(path, json=ask(message), headers={"accept": "text/event-stream", **headers})


def chunks(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def said(answer: httpx.Response) -> str:
    return "".join(one["delta"].get("content") or "" for chunk in chunks(answer) for one in chunk["choices"])


def fails(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error, which must have the form of the platform."""
    error = answer.json()
    assert set(error) == {"message", "code", "status", "contextId", "details", "errors"}
    assert (error["status"], error["errors"]) == (answer.status_code, [])
    assert error["contextId"] == answer.headers["inin-correlation-id"]
    return answer.status_code, error["code"]


# --- the stream


@pytest.mark.parametrize("path", BOTH)
async def test_the_stream_is_that_of_the_openai_api_with_usage(
    sim: Simulator, client: httpx.AsyncClient, path: str
) -> None:
    answer = await post(client, path, "sim:text=unicode")
    first, *_, finish, last = chunks(answer)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert {chunk["object"] for chunk in chunks(answer)} == {"chat.completion.chunk"}
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == count(TEXTS["unicode"]) == sim.ledger[0]["completion_tokens"]
    assert said(answer) == TEXTS["unicode"] == sim.ledger[0]["text"]
    (entry,) = sim.ledger
    assert (entry["path"], entry["ended"], entry["client_id"], entry["token"]) == (path, "completed", "app", 1)
    assert entry["headers"]["authorization"] == "Bearer ***"
    assert entry["body"] == ask("sim:text=unicode")


async def test_every_answer_has_its_own_correlation_id(client: httpx.AsyncClient) -> None:
    answers = [await post(client), await post(client), await client.get(ME)]
    ids = {answer.headers["inin-correlation-id"] for answer in answers}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in ids)


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("word", sorted(set(FAULTS) - {"stall", "stall-after"}))
async def test_every_fault_word_plays_here_too(sim: Simulator, client: httpx.AsyncClient, path: str, word: str) -> None:
    takes = FAULTS[word].value
    written = f"{word}={VALUES.get(word, '1')}" if takes else word
    try:
        answer = await post(client, path, f"sim:text=short;sim:fault={written}")
    except (httpx.RemoteProtocolError, httpx.ReadError):
        answer = None
    (entry,) = await sim.ended(1)
    assert entry["faults"] == [written]
    assert entry["ended"] in {"completed", f"fault:{word}"}
    assert entry["ended"] != "completed" or entry["text"] == ("" if word in {"refusal", "tool-calls"} else "Hello.")
    assert entry["ended"] == f"fault:{word}" if answer is None else "inin-correlation-id" in answer.headers


# --- who may ask


async def test_without_a_token(client: httpx.AsyncClient) -> None:
    del client.headers["authorization"]
    answers = [await post(client), await client.get(ME), await post(client, authorization="Basic YTpi")]
    assert {fails(answer) for answer in answers} == {(401, "authentication.required")}
    assert answers[0].headers["www-authenticate"] == "Bearer"


async def test_a_token_that_was_never_issued(sim: Simulator, client: httpx.AsyncClient) -> None:
    answer = await post(client, authorization="Bearer s3cret")
    assert fails(answer) == (401, "bad.credentials")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert (sim.ledger[0]["ended"], sim.ledger[0]["token"]) == ("refused", None)
    assert "s3cret" not in json.dumps(sim.ledger)


async def test_a_token_that_has_expired(sim: Simulator, client: httpx.AsyncClient, clock: Clock) -> None:
    assert (await post(client)).status_code == 200
    clock.now += 86_399
    assert fails(await post(client)) == (401, "credentials.expired")
    assert (sim.ledger[1]["client_id"], sim.ledger[1]["token"]) == ("app", 1)


async def test_a_stream_outlives_its_token(sim: Simulator, client: httpx.AsyncClient, clock: Clock) -> None:
    body = ask("sim:tokens=20;sim:interval-ms=1")
    async with client.stream("POST", CHAT, json=body, headers={"accept": "text/event-stream"}) as answer:
        clock.now += 86_399
        assert b"[DONE]" in await answer.aread()
    assert fails(await client.get(ME)) == (401, "credentials.expired")


@pytest.mark.parametrize(
    ("path", "scopes", "missing"),
    [
        (COMPLETIONS, "ai:llm:read", ["ai:llm:write"]),
        (COMPLETIONS, "ai:llm:write", []),
        (COMPLETIONS, "", ["ai:llm:write"]),
        (CHAT, "ai:llm:write", ["ai:llm:read"]),
        (CHAT, "other", ["ai:llm:write", "ai:llm:read"]),
    ],
)
async def test_a_scope_that_is_missing_is_named(
    client: httpx.AsyncClient, path: str, scopes: str, missing: list[str]
) -> None:
    answer = await post(client, path, authorization=f"Bearer {await token(client, scopes)}")
    if missing:
        assert fails(answer) == (403, "missing.permissions")
        assert answer.json()["message"].endswith(f" following permission(s): {', '.join(missing)}")
    else:
        assert answer.status_code == 200


async def test_a_token_tells_of_itself(client: httpx.AsyncClient) -> None:
    answer = (await client.get(ME)).json()
    assert (answer["OAuthClient"]["id"], answer["authorizedScope"]) == ("app", SCOPES.split())
    assert (await client.head(ME)).content == b""
    assert (await client.delete(ME)).content == b""
    assert fails(await client.get(ME)) == (401, "bad.credentials")


# --- what may be asked


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": None}, "n"),
        ({"model": ""}, "model"),
        ({"stream": False}, "stream"),
        ({"stream": None}, "stream"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": "sim:text=ordr"}]}, "messages"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, path: str, fields: dict[str, Any], param: str) -> None:
    answer = await client.post(path, json=ask(**fields), headers={"accept": "text/event-stream"})
    assert fails(answer) == (400, "bad.request")
    (detail,) = answer.json()["details"]
    assert detail["fieldName"] == param
    assert f"'{param}'" in answer.json()["message"] or param == "messages"


@pytest.mark.parametrize(
    ("fields", "chat", "completions"),
    [
        ({"temperature": 0}, 200, 400),
        ({"temperature": 2}, 200, 400),
        ({"temperature": 2.1}, 400, 400),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": ""}]}, 200, 200),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, 200),
        ({"messages": [{"role": "developer", "content": "x"}]}, 400, 200),
        ({"messages": [{"role": "user", "content": "\u00e9" * 4096}]}, 200, 200),
        ({"messages": [{"role": "user", "content": "x" * 4097}]}, 400, 200),
    ],
)
async def test_what_chat_takes_and_completions_do_not_and_the_other_way_round(
    client: httpx.AsyncClient, fields: dict[str, Any], chat: int, completions: int
) -> None:
    header = {"accept": "text/event-stream"}
    assert (await client.post(CHAT, json=ask(**fields), headers=header)).status_code == chat
    assert (await client.post(COMPLETIONS, json=ask(**fields), headers=header)).status_code == completions


@pytest.mark.parametrize(
    ("accept", "status"),
    [("*/*", 406), ("application/json", 406), ("application/json, text/event-stream;q=0.5", 200)],
)
async def test_chat_must_accept_an_event_stream(client: httpx.AsyncClient, accept: str, status: int) -> None:
    assert (await post(client, CHAT, accept=accept)).status_code == status
    assert (await post(client, COMPLETIONS, accept=accept)).status_code == 200


async def test_other_refusals(sim: Simulator, client: httpx.AsyncClient) -> None:
    json_header = {"content-type": "application/json"}
    answers = [
        await client.get("/api/v2/ai/llm/nothing"),
        await client.get("/api/v2/tokens"),
        await client.get(COMPLETIONS),
        await client.post(COMPLETIONS, content=b"x", headers={"content-type": "text/plain"}),
        await client.post(COMPLETIONS, content=b"{", headers=json_header),
        await client.post(COMPLETIONS, content=b"[]", headers=json_header),
        await client.post(COMPLETIONS, content=b"x" * (9 << 20), headers=json_header),
        await client.post(COMPLETIONS, json={**ask(), "model": "wrong"}),
    ]
    assert [fails(answer) for answer in answers] == [
        (404, "not.found"), (404, "not.found"), (405, "method.not.allowed"), (415, "unsupported.media.type"),
        (400, "bad.request"), (400, "bad.request"), (413, "request.entity.too.large"), (404, "not.found"),
    ]  # fmt: skip
    assert answers[2].headers["allow"] == "POST"
    assert {entry["ended"] for entry in sim.ledger} == {"refused"}


# --- faults


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status=500"], (500, "internal.server.error")),
        (["status=503"], (503, "service.unavailable")),
        (["status=418"], (418, "bad.request")),
        (["status=401"], (401, "bad.credentials")),
        (["retry-after-date=9"], (429, "too.many.requests.retry.after")),
    ],
)
async def test_errors_by_fault(
    sim: Simulator, client: httpx.AsyncClient, words: list[str], expected: tuple[int, str]
) -> None:
    sim.set_faults(words)
    assert fails(await post(client)) == expected
    assert (await post(client)).status_code == 200


async def test_429_is_as_the_platform_sends_it(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.set_faults(["retry-after=42"])
    answer = await post(client)
    context = answer.headers["inin-correlation-id"]
    assert answer.headers["retry-after"] == "42"
    assert answer.json() == {
        "message": "Rate limit exceeded the maximum. Retry the request in [42] seconds",
        "code": "too.many.requests.retry.after", "status": 429, "contextId": context, "details": [], "errors": [],
    }  # fmt: skip


async def test_unauthorized_once_revokes_the_token(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.set_faults(["unauthorized-once"])
    assert fails(await post(client)) == (401, "bad.credentials")
    assert fails(await post(client)) == (401, "bad.credentials")
    client.headers["authorization"] = f"Bearer {await token(client)}"
    assert (await post(client)).status_code == 200
    asked = [(entry["ended"], entry["token"]) for entry in sim.ledger if entry["path"] == CHAT]
    assert asked == [("fault:unauthorized-once", 1), ("refused", 1), ("completed", 2)]


@pytest.mark.parametrize("path", [*BOTH, "/v1/chat/completions"])
async def test_a_message_that_asks_for_it_gets_its_401_once(
    sim: Simulator, client: httpx.AsyncClient, path: str
) -> None:
    for message in ("sim:fault=unauthorized-once;first", "sim:fault=unauthorized-once;second"):
        assert (await post(client, path, message)).status_code == 401
        assert (await post(client, path, message)).status_code == 401
        client.headers["authorization"] = f"Bearer {await token(client)}"
        assert (await post(client, path, message)).status_code == 200
    asked = [entry["ended"] for entry in sim.ledger if entry["path"] == path]
    assert asked == ["fault:unauthorized-once", "refused", "completed"] * 2


def test_what_happened_once_is_forgotten_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.simulators.base._MAX_ONCE", 2)
    once = Once()
    assert [once.first(key) for key in (b"a", b"a", b"b", b"c", b"a")] == [True, False, True, True, True]


@pytest.mark.parametrize("path", ["/v1/chat/completions", CHAT])
async def test_limit_headers_come_with_a_good_answer(sim: Simulator, client: httpx.AsyncClient, path: str) -> None:
    answer = await post(client, path, "sim:text=short;sim:fault=limit-headers=2/30")
    assert [answer.headers[name] for name in LIMITS] == ["300", "2", "30"]
    assert [answer.headers[name] for name in ININ_LIMITS] == ["300", "298", "30"]
    sim.set_faults(["limit-headers=2/30", "status=500"])
    assert not set(LIMITS + ININ_LIMITS) & set((await post(client)).headers)
    assert not set(LIMITS + ININ_LIMITS) & set((await post(client)).headers)


# --- the limiter


async def test_a_client_may_ask_so_often_in_any_minute(limited: Simulator, clock: Clock) -> None:
    async with httpx.AsyncClient(base_url=limited.url, trust_env=False) as client:
        client.headers["authorization"] = f"Bearer {await token(client)}"
        for remaining in (2, 1, 0):
            answer = await post(client)
            assert [answer.headers[name] for name in LIMITS] == ["3", str(remaining), str(60 - 10 * (2 - remaining))]
            assert answer.headers["inin-ratelimit-count"] == str(3 - remaining)
            clock.now += 10
        over = await post(client)
        assert fails(over) == (429, "too.many.requests.retry.after")
        assert (over.headers["retry-after"], over.headers["x-ratelimit-remaining"]) == ("30", "0")
        assert "[30] seconds" in over.json()["message"]
        assert limited.ledger[-1]["ended"] == "refused"
        # All tokens of a client share what it may ask; another client has its own.
        again = await post(client, authorization=f"Bearer {await token(client)}")
        assert again.status_code == 429
        other = await post(client, authorization=f"Bearer {await token(client, client_id='other')}")
        assert (other.status_code, other.headers["x-ratelimit-remaining"]) == (200, "2")
        clock.now += 30
        assert [(await post(client)).status_code for _ in range(2)] == [200, 429]


async def test_refused_requests_count_too_but_not_those_without_a_token(limited: Simulator) -> None:
    async with httpx.AsyncClient(base_url=limited.url, trust_env=False) as client:
        assert not set(LIMITS) & set((await post(client)).headers)
        client.headers["authorization"] = f"Bearer {await token(client)}"
        limited.set_faults(["status=500"])
        answers = [await post(client), await post(client, CHAT, "sim:text=ordr"), await client.get(ME)]
        assert [answer.status_code for answer in answers] == [500, 400, 200]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0"]


def test_a_limiter_lets_nobody_be_a_mistake_and_forgets_the_oldest_client(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limiter(0)
    monkeypatch.setattr("trunkline.simulators.access._MAX_CLIENTS", 1)
    limiter = Limiter(1, Clock())
    assert [limiter.count(client).over for client in ("a", "a", "b", "a")] == [False, True, False, False]


# --- the connection


async def test_a_client_that_leaves_is_noticed(sim: Simulator, client: httpx.AsyncClient) -> None:
    body = json.dumps(ask("sim:interval-ms=60000")).encode()
    head = [f"POST {COMPLETIONS} HTTP/1.1", "host: s", "content-type: application/json"]
    head += [f"authorization: {client.headers['authorization']}", f"content-length: {len(body)}"]
    host, port = sim.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    await reader.readuntil(b'"Thank"')
    writer.close()
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["client_gone_after"], entry["text"]) == ("client_gone", 1, "Thank")
