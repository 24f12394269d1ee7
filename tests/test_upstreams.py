"""What an upstream knows of itself: every credential that it shows, in whatever words a platform repeats it."""

from __future__ import annotations

from base64 import b64encode

import pytest

from conftest import settings_for
from platforms.asking import PRESETS, settings_of
from platforms.parrot import AROUND, TOKEN, issued, parrot
from trunkline import Relay
from trunkline.dialects.base import Call
from trunkline.simulators import Simulator

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
