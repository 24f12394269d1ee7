"""What an upstream knows of its credentials, in whatever words they are repeated, and its calls that turns share."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from conftest import settings_for
from platforms.asking import COGNIGY, PRESETS, settings_of
from platforms.parrot import AROUND, TOKEN, Parrot, issued, parrot
from trunkline import Relay
from trunkline.dialects.base import Call
from trunkline.simulators import Simulator
from trunkline.upstreams import Upstream

SECRET = "s3cret:of/me"
CALL = Call("c", "GET", "/quotas")


async def test_a_key_and_the_configured_headers_go_out_of_foreign_words():
    upstream = {
        "api_key": "sk-12345",
        "headers": {"x-gateway-key": "gateway-1", "proxy-authorization": "Basic cHJveHk6cHc="},
    }
    async with Relay(settings_for("http://127.0.0.1:9/v1", upstream=upstream)) as relay:
        words = "Bearer sk-12345, gateway-1, Basic cHJveHk6cHc=, cHJveHk6cHc= and \x1b[2J"
        left = relay.turns.upstreams["support"].without_secrets(words)
    assert left == "Bearer [secret], [secret], [secret], [secret] and  [2J"


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_client_secret_goes_out_of_foreign_words_in_each_form_that_is_sent(simulator: Simulator, preset: str):
    async with Relay(settings_of(simulator, preset, client_secret=SECRET)) as relay:
        pairs = (b"me:s3cret%3Aof%2Fme", b"me:s3cret:of/me")
        shown = [SECRET, "s3cret%3Aof%2Fme", *(b64encode(pair).decode() for pair in pairs)]
        left = relay.turns.upstreams["support"].without_secrets(" ".join(shown))
    assert left == "[secret] [secret] [secret] [secret]"


async def test_a_token_goes_out_of_the_words_of_the_platform_that_refused_it():
    answers = {"token": [issued(), issued("the-one-after-it")], "quotas": [(401, AROUND)]}
    async with parrot(**answers) as platform, Relay(settings_of(platform, PRESETS[0])) as relay:
        upstream = relay.turns.upstreams["support"]
        status, _, body = await upstream.call(CALL)
        words = body.decode()
        assert (status, "the-one-after-it" in words) == (401, True)
        left = upstream.without_secrets(f"{words} {TOKEN}")
    assert "the-one-after-it" not in left
    assert TOKEN not in left


def put(upstream: Upstream, number: int) -> asyncio.Task[tuple[int, Mapping[str, str], bytes]]:
    call = Call("config", "PUT", "/config", json={"maxTokens": number}, fresh_s=60, topic="d-1")
    return asyncio.ensure_future(upstream.call(call))


@asynccontextmanager
async def busy() -> AsyncIterator[tuple[Parrot, Upstream]]:
    """A platform that has given its token, and holds every answer back from now on."""
    async with parrot(token=[issued()], config=[(200, {})]) as platform, Relay(settings_of(platform, COGNIGY)) as relay:
        upstream = relay.turns.upstreams["support"]
        await upstream.authorise()
        platform.asked.clear()
        platform.arrived.clear()
        platform.may_answer.clear()
        yield platform, upstream


async def test_calls_that_are_cancelled_in_their_queue_are_never_sent():
    async with busy() as (platform, upstream):
        dead = [put(upstream, number) for number in range(30)]
        await platform.arrived.wait()
        for task in dead:
            task.cancel()
        await asyncio.wait(dead)
        platform.may_answer.set()
        status, _, _ = await put(upstream, 99)
    assert (status, platform.asked) == (200, ["/config", "/config"])


async def test_a_call_goes_on_for_those_who_wait_for_it_when_the_one_who_made_it_is_cancelled():
    async with busy() as (platform, upstream):
        first, second = put(upstream, 1), put(upstream, 1)
        await platform.arrived.wait()
        first.cancel()
        await asyncio.wait([first])
        platform.may_answer.set()
        status, _, _ = await second
    assert (status, platform.asked) == (200, ["/config"])
