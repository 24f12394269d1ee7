"""The settings of the WebSocket platforms: from the environment, from a table, and what does not fit."""

from __future__ import annotations

import re
from typing import Any

import pytest

from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, IDS, STREAMS, ask, relay_of
from trunkline import RequestRefused, TurnRequest
from trunkline.config import load, parse
from trunkline.core.errors import SettingsError
from trunkline.simulators import Simulator


@pytest.mark.parametrize(("preset", "code"), [
    (CONVERSATIONS, "conversation_required"), (GATEWAY, "prompt_required"), (COGNIGY, "dialog_required"),
])  # fmt: skip
async def test_an_id_that_the_platform_needs_comes_from_the_request_or_the_settings(
    simulator: Simulator, preset: str, code: str
):
    async with relay_of(simulator, preset) as relay:
        with pytest.raises(RequestRefused) as refused:
            relay.start(TurnRequest(input="hi"))
        assert refused.value.code == code
    name, value = next(iter(IDS[preset].items()))
    async with relay_of(simulator, preset, **{name: value}) as relay:
        _, _, ended = await ask(relay, preset, **{name: None})
    assert ended.outcome == "completed"


def test_the_usual_environment_variables_are_enough():
    env = {
        "GENESYS_CLIENT_ID": "me", "GENESYS_CLIENT_SECRET": "s3cret", "GENESYS_MODEL_ID": "m",
        "GENESYS_REGION": "eu-west-1", "GENESYS_CONVERSATION_ID": "c-9",
        "COGNIGY_ENVIRONMENT": "trial.cognigy.ai", "COGNIGY_CLIENT_ID": "you", "COGNIGY_CLIENT_SECRET": "s3cret",
    }  # fmt: skip
    upstreams = load(env=env)[0].upstreams
    assert upstreams[CONVERSATIONS].conversation_id == "c-9"
    assert upstreams[CONVERSATIONS].stream_base == "https://api.mypurecloud.ie"
    assert upstreams[GATEWAY].token_url == "https://api.mypurecloud.ie/oauth/token"
    assert upstreams[COGNIGY].api_base == "https://trial.cognigy.ai"
    assert upstreams[COGNIGY].token_url == "https://trial.cognigy.ai/api/v2/oauth/token"
    assert upstreams[COGNIGY].limits_s.turn_s == 60


def test_the_three_presets_of_one_genesys_client_leave_the_one_that_needs_no_more_as_default():
    env = {
        "GENESYS_CLIENT_ID": "me",
        "GENESYS_CLIENT_SECRET": "s",
        "GENESYS_MODEL_ID": "m",
        "GENESYS_REGION": "eu-west-1",
    }
    assert load(env=env)[0].sole_upstream == "genesys-completions"
    assert load(env={**env, "OPENAI_API_KEY": "sk"})[0].sole_upstream is None


UPSTREAM = {"client_id": "a", "client_secret": "b", "model": "m"}


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"preset": COGNIGY, "region": "eu_west_1"}, "give either environment or base_url; region is not used by it"),
        ({"preset": COGNIGY, "environment": "a.example/x"}, "expected the host alone"),
        ({"preset": COGNIGY, "environment": "a.example", "replay": "none"}, "replay is not used by it"),
        ({"preset": GATEWAY, "environment": "a.example"}, "give either region or base_url; environment is not used"),
        ({"preset": GATEWAY, "region": "eu_west_1", "conversation_id": "c"}, "conversation_id is not used by it"),
        ({"preset": GATEWAY, "region": "eu_west_1", "temperature": []}, "at least 1 item"),
        ({"preset": GATEWAY, "region": "eu_west_1", "temperature": [2.1]}, "less than or equal to 2"),
        ({"preset": CONVERSATIONS, "region": "eu_west_1", "paths": {"x": "/"}}, "only quotas, stream, token"),
        ({"preset": "genesys-chat", "region": "eu_west_1", "ws_url": "wss://x"}, "ws_url is not used by it"),
    ],
)
def test_settings_that_do_not_fit_the_preset_are_named(upstream: dict[str, Any], words: str):
    with pytest.raises(SettingsError, match=re.escape(words)):
        parse({"upstreams": {"support": {**UPSTREAM, **upstream}}})


async def test_every_address_path_and_scope_can_be_overridden(simulator: Simulator):
    more = {
        "ws_url": simulator.url.replace("http", "ws"),
        "paths": {"token": "/login/oauth2/token", "stream": STREAMS[CONVERSATIONS] + "/"},
        "headers": {"x-tenant": "t-1"},
    }
    async with relay_of(simulator, CONVERSATIONS, **more) as relay:
        _, _, ended = await ask(relay, CONVERSATIONS)
    paths = [record["path"] for record in simulator.ledger]
    assert (ended.reason, paths[0], paths[-1]) == (
        "upstream_error", "/login/oauth2/token", STREAMS[CONVERSATIONS] + "/",
    )  # fmt: skip
    assert simulator.ledger[-1]["headers"]["x-tenant"] == "t-1"


@pytest.mark.parametrize(("preset", "turn_s"), [(CONVERSATIONS, 120), (GATEWAY, 120), (COGNIGY, 60)])
def test_the_times_of_the_wires_hold_where_the_settings_say_nothing(preset: str, turn_s: float):
    where = {"environment": "a.example"} if preset == COGNIGY else {"region": "eu_west_1"}
    support = parse({"upstreams": {"support": {**UPSTREAM, "preset": preset, **where}}}).upstreams["support"]
    limits = support.limits_s
    assert (limits.turn_s, limits.handshake_s, limits.ping_every_s, limits.pong_within_s) == (turn_s, 10, 20, 10)
    assert (support.ready_s, support.quota_fresh_s, support.context_format, support.replay) == (
        5,
        0,
        "json",
        "from_start",
    )
    assert support.attempts == 3
