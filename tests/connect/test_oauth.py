"""Client credentials: single flight, renewal ahead, old token served, 401, backoff, scopes; no secret in any word."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import SecretStr

from trunkline.connect.backoff import MAX_RETRY_AFTER_S
from trunkline.connect.http import Answer
from trunkline.connect.oauth import Client, ClientCredentials, TokenCache, TokenError

SECRET = "s3cret:/&ü"


class FakeHttp:
    """Answers token requests as the test says; `gate` holds them back until it opens."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.lifetime = 100.0
        self.scope: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, method: str, url: str, **more: Any) -> Answer:
        self.requests.append({"method": method, "url": url, **more})
        number = len(self.requests)
        await self.gate.wait()
        if self.answers:
            return self.answers.pop(0)
        body: dict[str, Any] = {"access_token": f"token-{number}", "token_type": "bearer", "expires_in": self.lifetime}
        if self.scope is not None:
            body["scope"] = self.scope
        return Answer(200, {}, json.dumps(body).encode())


class Bench:
    def __init__(self, **client: Any) -> None:
        self.now = 1_000.0
        self.http = FakeHttp()
        self.cache = TokenCache(self.http, clock=lambda: self.now, wall=lambda: 1.7e9, random=lambda: 0.0)  # type: ignore[arg-type]
        self.client = Client("https://login/oauth/token", "me", SecretStr(SECRET), ("a", "b"), **client)
        self.credentials: ClientCredentials = self.cache.of(self.client)


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    await bench.cache.close()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def refusal(bench: Bench) -> TokenError:
    with pytest.raises(TokenError) as refused:
        await bench.credentials.token()
    return refused.value


async def test_many_who_ask_at_once_cause_one_request(bench):
    bench.http.gate.clear()
    waiting = [asyncio.ensure_future(bench.credentials.token()) for _ in range(200)]
    await settle()
    bench.http.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert len(bench.http.requests) == 1


async def test_one_who_gives_up_takes_the_flight_from_nobody(bench):
    bench.http.gate.clear()
    one, two = asyncio.ensure_future(bench.credentials.token()), asyncio.ensure_future(bench.credentials.token())
    await settle()
    one.cancel()
    await settle()
    bench.http.gate.set()
    assert await two == "token-1"


async def test_a_token_is_renewed_ahead_while_the_old_one_serves(bench):
    assert await bench.credentials.token() == "token-1"
    bench.now += 74  # the leeway of a 100 s token is a quarter of its life
    assert await bench.credentials.token() == "token-1"
    await settle()
    assert len(bench.http.requests) == 1
    bench.now += 2
    assert await bench.credentials.token() == "token-1"
    await settle()
    assert await bench.credentials.token() == "token-2"


async def test_a_renewal_that_fails_leaves_the_old_token_in_service_and_backs_off(bench):
    await bench.credentials.token()
    bench.http.answers = [Answer(500, {}, b"")] * 30
    bench.now += 80
    assert await bench.credentials.token() == "token-1"
    await settle()
    asked = len(bench.http.requests)
    assert await bench.credentials.token() == "token-1"
    await settle()
    assert len(bench.http.requests) == asked
    bench.http.answers.clear()
    bench.now += 1
    await bench.credentials.token()
    await settle()
    assert await bench.credentials.token() == f"token-{asked + 1}"


async def test_only_the_token_that_was_used_is_given_up_on_401(bench):
    used = await bench.credentials.headers()
    bench.credentials.rejected(used)
    assert await bench.credentials.token() == "token-2"
    for _ in range(50):
        bench.credentials.rejected(used)
    assert await bench.credentials.token() == "token-2"
    assert len(bench.http.requests) == 2


@pytest.mark.parametrize("style", ["basic", "form", "json"])
async def test_the_three_ways_to_say_who_one_is(style):
    bench = Bench(style=style)
    await bench.credentials.token()
    (request,) = bench.http.requests
    headers, body = request["headers"], request["body"].decode()
    if style == "json":
        fields = json.loads(body)
        assert headers["content-type"] == "application/json"
    else:
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert (fields["grant_type"], fields["scope"]) == ("client_credentials", "a b")
    if style == "basic":
        pair = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()
        assert pair == "me:s3cret%3A%2F%26%C3%BC"
        assert "client_secret" not in fields
    else:
        assert (fields["client_id"], fields["client_secret"]) == ("me", SECRET)
        assert "authorization" not in headers
    await bench.cache.close()


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (Answer(401, {}, b'{"error":"invalid_client"}'), "upstream_auth", "check client_id"),
        (Answer(400, {}, b'{"error":"invalid_scope"}'), "upstream_forbidden", "the scopes a b"),
        (Answer(200, {}, b"<html>"), "upstream_auth", "access_token"),
        (Answer(200, {}, b'{"access_token":""}'), "upstream_auth", "empty"),
        (Answer(200, {}, b'{"access_token":"a\\r\\nb"}'), "upstream_auth", "header"),
        (Answer(200, {}, b'{"access_token":"x","scope":"a"}'), "upstream_forbidden", "lacks the scope b"),
        (Answer(503, {}, b""), "upstream_unavailable", "HTTP 503"),
        (Answer(429, {}, b""), "rate_limited", "HTTP 429"),
        (Answer(0, {}, b"no answer within 10 s"), "upstream_unavailable", "no answer"),
    ],
)
async def test_every_refusal_says_what_came_and_no_secret(bench, answer, reason, words):
    bench.http.answers = [answer] * 3
    with pytest.raises(TokenError) as refused:
        await bench.credentials.token()
    assert refused.value.reason == reason
    assert words in refused.value.detail
    assert SECRET not in refused.value.detail
    assert SECRET not in repr(bench.client)


def error(words: str) -> Answer:
    return Answer(401, {}, json.dumps({"error": "invalid_client", "error_description": words}).encode())


@pytest.mark.parametrize("style", ["basic", "form", "json"])
async def test_a_client_that_is_repeated_word_for_word_is_not_passed_on(style):
    bench = Bench(style=style)
    await bench.credentials.token()
    (request,) = bench.http.requests
    bench.now += 1_000
    said = f"{request['headers'].get('authorization')} {request['body'].decode()}"
    bench.http.answers = [error(said)]
    detail = (await refusal(bench)).detail
    shown = [SECRET, "s3cret%3A%2F%26%C3%BC", base64.b64encode(b"me:s3cret%3A%2F%26%C3%BC").decode().rstrip("=")]
    assert [secret for secret in shown if secret in detail] == []
    assert "[secret]" in detail
    await bench.cache.close()


@pytest.mark.parametrize("before", range(180, 201))
async def test_a_secret_across_the_cut_leaves_no_head(bench, before):
    bench.http.answers = [error("x" * before + SECRET)]
    assert "s3c" not in (await refusal(bench)).detail


async def test_the_last_two_tokens_are_known_for_secrets(bench):
    for number in range(1, 4):
        assert await bench.credentials.token() == f"token-{number}"
        bench.credentials.rejected(await bench.credentials.headers())
    bench.http.answers = [error("\x1b[2Jnot token-1, token-2 nor token-3")]
    detail = (await refusal(bench)).detail
    assert " [2Jnot token-1, [secret] nor [secret];" in detail


async def test_words_of_a_platform_that_is_not_understood_hold_no_secret_either(bench):
    bench.http.answers = [Answer(0, {}, f"Bad status line: {SECRET}\x1b[2J".encode())] * 3
    assert (await refusal(bench)).detail.endswith("Bad status line: [secret] [2J")


async def test_a_wrong_secret_is_not_tried_again_at_once(bench):
    bench.http.answers = [Answer(401, {}, b'{"error":"invalid_client"}')] * 9
    for _ in range(20):
        with pytest.raises(TokenError):
            await bench.credentials.token()
    assert len(bench.http.requests) == 1


async def test_a_passing_trouble_is_tried_three_times(bench):
    bench.http.answers = [Answer(0, {}, b"reset"), Answer(503, {"retry-after": "0"}, b"")]
    assert await bench.credentials.token() == "token-3"


@pytest.mark.parametrize(
    ("said", "wait_s"), [("60", 60.0), ("7200", 7_200.0), ("Mon, 01 Jan 2035 00:00:00 GMT", MAX_RETRY_AFTER_S)]
)
async def test_nobody_asks_before_the_time_that_the_endpoint_said(bench, said, wait_s):
    bench.http.answers = [Answer(429, {"retry-after": said}, b"")]
    assert (await refusal(bench)).retry_after_s == pytest.approx(wait_s)
    bench.now += wait_s - 1
    assert (await refusal(bench)).retry_after_s == pytest.approx(1)
    assert len(bench.http.requests) == 1
    bench.now += 1
    assert await bench.credentials.token() == "token-2"


async def test_an_old_token_serves_while_its_renewal_has_to_wait(bench):
    await bench.credentials.token()
    bench.http.answers = [Answer(503, {"retry-after": "60"}, b"")]
    bench.now += 80
    for _ in range(3):
        assert await bench.credentials.token() == "token-1"
        await settle()
    assert len(bench.http.requests) == 2
    bench.now += 20
    assert (await refusal(bench)).retry_after_s == pytest.approx(40)


@pytest.mark.parametrize(
    ("answer", "reason", "retryable"),
    [
        (Answer(0, {}, b"ServerDisconnectedError"), "upstream_unavailable", True),
        (Answer(408, {}, b""), "upstream_unavailable", True),
        (Answer(429, {}, b""), "rate_limited", True),
        (Answer(500, {}, b""), "upstream_unavailable", True),
        (Answer(520, {}, b""), "upstream_unavailable", True),
        (Answer(302, {}, b""), "upstream_error", False),
        (Answer(404, {"retry-after": "60"}, b""), "upstream_error", False),
        (Answer(400, {}, b""), "upstream_auth", False),
        (Answer(403, {}, b""), "upstream_auth", False),
        (Answer(400, {}, b'{"error":"invalid_scope"}'), "upstream_forbidden", False),
        (Answer(200, {}, b"<html>"), "upstream_auth", False),
    ],
)
async def test_only_a_passing_trouble_is_worth_another_try(bench, answer, reason, retryable):
    bench.http.answers = [answer] * 3
    for _ in range(2):  # the second one hears it from memory
        error = await refusal(bench)
        assert (error.reason, error.retryable, error.retry_after_s) == (reason, retryable, None)
    assert len(bench.http.requests) == (3 if retryable else 1)


async def test_an_error_that_many_hear_is_not_the_same_object_for_them(bench):
    bench.http.answers = [Answer(429, {"retry-after": "60"}, b"")]
    heard = [await refusal(bench) for _ in range(3)]
    # One object would keep the frames of everybody who ever raised it.
    assert len({id(error) for error in heard}) == 3


def test_the_same_client_and_scopes_share_a_token():
    bench = Bench()
    again = Client("https://login/oauth/token", "me", SecretStr(SECRET), ("b", "a"))
    other = Client("https://login/oauth/token", "me", SecretStr(SECRET), ("a",))
    assert bench.cache.of(again) is bench.credentials
    assert bench.cache.of(other) is not bench.credentials
