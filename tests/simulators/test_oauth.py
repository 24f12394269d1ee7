"""The authorization server of the simulator: whom it gives a token, what it refuses, and how it misbehaves."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.wires import Clock
from trunkline.simulators import Simulator
from trunkline.simulators.access import Tokens
from trunkline.simulators.faults import FaultQueue, parse

PATHS = ("/oauth/token", "/login/oauth2/token", "/api/v2/oauth/token")
URL = PATHS[0]
ME = "/api/v2/tokens/me"
GRANT = {"grant_type": "client_credentials"}
SCOPES = "ai:llm:write ai:llm:read"
SECRET = "s3cret!"


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sim.url, trust_env=False) as http:
        yield http


def basic(client_id: str = "app", secret: str = SECRET) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


async def ask(
    client: httpx.AsyncClient, style: str = "basic", path: str = URL, secret: str = SECRET, **more: str
) -> httpx.Response:
    body = {**GRANT, **more}
    if style == "basic":
        return await client.post(path, data=body, headers=basic(secret=secret))
    body |= {"client_id": "app", "client_secret": secret}
    return await client.post(path, **{"data" if style == "form" else "json": body})


async def standing(client: httpx.AsyncClient, answer: httpx.Response) -> tuple[int, str]:
    """What becomes of a request with the token of `answer`: its status, and the code of the error."""
    header = {"authorization": f"Bearer {answer.json()['access_token']}"}
    found = await client.get(ME, headers=header)
    return found.status_code, found.json().get("code", "")


def fails(answer: httpx.Response) -> tuple[int, str]:
    assert set(answer.json()) == {"error", "error_description"}
    return answer.status_code, answer.json()["error"]


# --- tokens


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("style", ["basic", "form", "json"])
async def test_every_path_and_style_gives_a_token(
    sim: Simulator, client: httpx.AsyncClient, path: str, style: str
) -> None:
    answer = await ask(client, style, path, scope=SCOPES)
    token = answer.json()
    assert answer.status_code == 200
    assert {**token, "access_token": ""} == {
        "access_token": "", "token_type": "bearer", "expires_in": 86_399, "scope": SCOPES,
    }  # fmt: skip
    assert len(token["access_token"]) == 86
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert await standing(client, answer) == (200, "")
    entry, shown = sim.ledger
    assert (entry["path"], entry["style"], entry["client_id"], entry["token"]) == (path, style, "app", 1)
    assert entry["scopes"] == SCOPES.split()
    assert (entry["status"], entry["ended"], entry["body"]["scope"]) == (200, "completed", SCOPES)
    assert (shown["token"], shown["client_id"], shown["style"]) == (1, "app", None)
    assert SECRET not in json.dumps(sim.ledger)
    assert token["access_token"] not in json.dumps(sim.ledger)


async def test_without_scopes_the_answer_has_none(sim: Simulator, client: httpx.AsyncClient) -> None:
    assert set((await ask(client)).json()) == {"access_token", "token_type", "expires_in"}
    assert set((await ask(client, scope="")).json()) == {"access_token", "token_type", "expires_in"}
    assert sim.ledger[0]["scopes"] == []


async def test_a_client_and_its_secret_are_form_encoded_in_basic(sim: Simulator, client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, data=GRANT, headers=basic("a+b%3Ac", "%77rong"))
    assert fails(answer) == (401, "invalid_client")
    assert (await client.post(URL, data=GRANT, headers=basic("a+b%3Ac", "x%3Ay"))).status_code == 200
    assert sim.ledger[1]["client_id"] == "a b:c"


async def test_tokens_are_random_by_seed() -> None:
    values = []
    for seed in (1, 1, 2):
        async with Simulator(seed=seed) as sim, httpx.AsyncClient(base_url=sim.url, trust_env=False) as client:
            values.append([(await ask(client)).json()["access_token"] for _ in range(2)])
    assert values[0] == values[1] != values[2]
    assert values[0][0] != values[0][1]


async def test_a_token_lives_as_long_as_it_says(clock: Clock, client: httpx.AsyncClient) -> None:
    answer = await ask(client)
    clock.now += 86_398.9
    assert await standing(client, answer) == (200, "")
    clock.now += 0.1
    assert await standing(client, answer) == (401, "credentials.expired")


async def test_the_lifetime_may_be_a_fraction_of_a_second() -> None:
    async with (
        Simulator(token_lifetime_s=0.05) as sim,
        httpx.AsyncClient(base_url=sim.url, trust_env=False) as client,
    ):
        began = time.monotonic()
        answer = await ask(client)
        assert answer.json()["expires_in"] == 0.05
        while await standing(client, answer) == (200, ""):
            pass
        assert time.monotonic() - began >= 0.05


async def test_a_token_can_be_revoked_by_who_has_it(client: httpx.AsyncClient) -> None:
    answer, other = await ask(client), await ask(client)
    header = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await client.head(ME, headers=header)).status_code == 200
    assert (await client.delete(ME, headers=header)).status_code == 200
    assert await standing(client, answer) == (401, "bad.credentials")
    assert await standing(client, other) == (200, "")


def test_only_the_newest_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.simulators.access._MAX_TOKENS", 2)
    tokens, rng = Tokens(), random.Random(1)
    values = [tokens.issue(rng, "app", (), 9)[0] for _ in range(3)]
    assert [tokens.standing(tokens.get(value)) for value in values] == ["unknown", "good", "good"]


# --- refusals


@pytest.mark.parametrize("style", ["basic", "form", "json"])
async def test_a_wrong_secret_is_refused(sim: Simulator, client: httpx.AsyncClient, style: str) -> None:
    answer = await ask(client, style, secret="wrong")
    assert fails(answer) == (401, "invalid_client")
    assert ("www-authenticate" in answer.headers) == (style == "basic")
    (entry,) = sim.ledger
    assert (entry["ended"], entry["client_id"], entry["style"], entry["token"]) == ("refused", "app", style, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": ""}, (400, "invalid_request")),
        ({"scope": "a"}, (400, "invalid_request")),
        ({**GRANT, "scope": "a  b"}, (400, "invalid_scope")),
        ({**GRANT, "scope": 'a "b"'}, (400, "invalid_scope")),
        ({**GRANT, "scope": "a wrong"}, (400, "invalid_scope")),
        ({**GRANT, "client_secret": SECRET}, (400, "invalid_request")),
        ({**GRANT, "client_id": "other"}, (400, "invalid_request")),
        ({**GRANT, "client_id": "app"}, (200, "")),
        ({**GRANT, "resource": "ignored"}, (200, "")),
    ],
)
async def test_parameters_are_checked(
    sim: Simulator, client: httpx.AsyncClient, body: dict[str, str], expected: tuple[int, str]
) -> None:
    for answer in (
        await client.post(URL, data=body, headers=basic()),
        await client.post(URL, json=body, headers=basic()),
    ):
        assert (answer.status_code, answer.json().get("error", "")) == expected
    assert SECRET not in json.dumps(sim.ledger)


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic YXBw", "Bearer YXBwOnM=", "Basic /w==", "s3cret!"])
async def test_what_is_no_basic_is_refused(sim: Simulator, client: httpx.AsyncClient, header: str) -> None:
    answer = await client.post(URL, data=GRANT, headers={"authorization": header})
    assert fails(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert SECRET not in json.dumps(sim.ledger)


@pytest.mark.parametrize("who", [{}, {"client_id": "app"}, {"client_secret": SECRET}])
async def test_a_client_that_does_not_say_who_it_is(client: httpx.AsyncClient, who: dict[str, str]) -> None:
    answer = await client.post(URL, data={**GRANT, **who})
    assert fails(answer) == (401, "invalid_client")
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"grant_type=client_credentials&grant_type=client_credentials"),
        ("application/x-www-form-urlencoded", b'{"grant_type":"client_credentials","client_secret":"s3cret!="}'),
        ("application/x-www-form-urlencoded", b"\xff=1"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(200))),
        ("application/json", b"grant_type=client_credentials"),
        ("application/json", b"[1]"),
        ("application/json", b'{"grant_type":["client_credentials"]}'),
        ("text/plain", b"grant_type=client_credentials"),
        ("", b""),
    ],
)
async def test_a_body_that_cannot_be_read(
    sim: Simulator, client: httpx.AsyncClient, media_type: str, body: bytes
) -> None:
    answer = await client.post(URL, content=body, headers={"content-type": media_type, **basic()})
    assert fails(answer) == (400, "invalid_request")
    assert not set(answer.json()["error_description"]) & set('"\\')
    assert SECRET not in json.dumps(sim.ledger)


async def test_a_secret_in_the_address_is_refused_and_not_written_down(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    query = "grant_type=client_credentials&client%5fsecret=s3cret!&client_id=app"
    answer = await client.post(f"{URL}?{query}", data=GRANT, headers=basic())
    assert fails(answer) == (400, "invalid_request")
    assert sim.ledger[0]["query"] == "grant_type=client_credentials&client%5fsecret=***&client_id=app"


async def test_other_refusals(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get(URL),
        await client.post(f"{URL}/more", data=GRANT, headers=basic()),
        await client.post(URL, content=b"x" * (9 << 20), headers=basic()),
    ]
    assert [fails(answer) for answer in answers] == [(status, "invalid_request") for status in (405, 404, 413)]
    assert answers[0].headers["allow"] == "POST"


# --- faults


async def test_a_lifetime_for_the_next_tokens(sim: Simulator, clock: Clock, client: httpx.AsyncClient) -> None:
    sim.set_faults(["token-expires=0.5"], connections=2)
    short, other, long = [await ask(client) for _ in range(3)]
    assert [answer.json()["expires_in"] for answer in (short, other, long)] == [0.5, 0.5, 86_399]
    clock.now += 0.5
    assert await standing(client, short) == (401, "credentials.expired")
    assert await standing(client, long) == (200, "")
    assert sim.ledger[0]["faults"] == ["token-expires=0.5"]
    sim.set_faults(["token-expires=60"])
    assert '"expires_in":60,' in (await ask(client, scope="a")).text


@pytest.mark.parametrize(("scope", "granted"), [(SCOPES, "ai:llm:write"), ("ai:llm:read", ""), ("x", "x")])
async def test_a_scope_that_is_not_granted(sim: Simulator, client: httpx.AsyncClient, scope: str, granted: str) -> None:
    sim.set_faults(["token-missing-scope=ai:llm:read"])
    answer = await ask(client, scope=scope)
    assert answer.json()["scope"] == granted
    header = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await client.get(ME, headers=header)).json()["authorizedScope"] == granted.split()
    assert sim.ledger[0]["scopes"] == scope.split()
    assert sim.ledger[1]["scopes"] == granted.split()


@pytest.mark.parametrize(
    ("words", "expected", "wait"),
    [
        (["token-status=503"], (503, "temporarily_unavailable"), None),
        (["token-status=400"], (400, "invalid_request"), None),
        (["token-status=401"], (401, "invalid_client"), None),
        (["token-retry-after=7"], (429, "temporarily_unavailable"), "7"),
        (["token-retry-after=0", "token-status=503"], (503, "temporarily_unavailable"), "0"),
    ],
)
async def test_an_error_instead_of_a_token(
    sim: Simulator, client: httpx.AsyncClient, words: list[str], expected: tuple[int, str], wait: str | None
) -> None:
    sim.set_faults(words)
    answer = await ask(client)
    assert fails(answer) == expected
    assert answer.headers.get("retry-after") == wait
    last = "token-status" if "token-status" in words[-1] else words[0].partition("=")[0]
    assert (sim.ledger[0]["ended"], sim.ledger[0]["token"]) == (f"fault:{last}", None)
    assert (await ask(client)).status_code == 200


async def test_garbage_instead_of_a_token(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.set_faults(["token-garbage"])
    answer = await client.post(URL, content=b"nonsense")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<html" in answer.text
    assert sim.ledger[0]["ended"] == "fault:token-garbage"


async def test_a_drop_closes_without_a_byte(sim: Simulator) -> None:
    sim.set_faults(["token-drop"])
    host, port = sim.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {URL} HTTP/1.1\r\nhost: s\r\ncontent-length: 0\r\n\r\n".encode())
    assert await reader.read() == b""
    writer.close()
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["status"]) == ("fault:token-drop", None)


async def test_a_slow_token_is_on_its_way_until_the_client_leaves(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.set_faults(["token-slow=60000"])
    with pytest.raises(httpx.ReadTimeout):
        await client.post(URL, data=GRANT, headers=basic(), timeout=0.05)
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["client_id"], entry["token"]) == ("client_gone", "app", None)
    sim.set_faults(["token-slow=1"])
    assert (await ask(client)).status_code == 200


# --- two sorts of faults


async def test_faults_wait_for_the_requests_they_are_for(sim: Simulator, client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"faults": ["status=500", "token-status=503"], "connections": 1}
    answer = await client.post("/_sim/faults", json=body)
    token = {"faults": ["token-status=503"], "connections": 1}
    assert answer.json() == {"faults": ["status=500"], "connections": 1, "token": token}
    assert (await ask(client)).status_code == 503
    assert (await ask(client)).status_code == 200
    assert (await client.get("/_sim/faults")).json() == {"faults": ["status=500"], "connections": 1}
    assert (await client.get("/v1/models")).status_code == 500
    assert (await client.get("/v1/models")).status_code == 200


def test_one_sort_leaves_the_other_as_it_was() -> None:
    queue = FaultQueue()
    queue.set(parse(["bom"]), 2)
    queue.set(parse(["token-drop"]), 3)
    assert (queue.take().words, queue.take("token").words) == (["bom"], ["token-drop"])
    queue.set(parse(["crlf"]))
    assert queue.record() == {
        "faults": ["crlf"], "connections": 1, "token": {"faults": ["token-drop"], "connections": 2},
    }  # fmt: skip
    queue.set(parse([]), 9)
    assert queue.record() == {"faults": [], "connections": 0}
    assert queue.take("token").words == []


async def test_a_message_cannot_ask_for_a_fault_of_a_token_request(client: httpx.AsyncClient) -> None:
    message = {"role": "user", "content": "sim:fault=token-drop"}
    answer = await client.post("/v1/chat/completions", json={"model": "m", "messages": [message]})
    assert answer.status_code == 400
    assert "/_sim/faults" in answer.json()["error"]["message"]
