"""The two given Genesys SSE systems, whole: tokens, bodies, scopes, limits, and their bad days."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conftest import PATIENCE
from test_retries import ask
from trunkline import Relay, RequestRefused, TurnRequest
from trunkline.config import load
from trunkline.live_check import check_live
from trunkline.simulators import Simulator

PRESETS = ["genesys-completions", "genesys-chat"]


def settings_of(simulator: Simulator, preset: str, **more: Any) -> dict[str, Any]:
    upstream = {
        "preset": preset,
        "base_url": simulator.url,
        "client_id": "me",
        "client_secret": "s3cret",
        "model": "gpt-4-1106-preview",
        "timeouts": PATIENCE,
        "guards": "none",
        **more,
    }
    return {"upstreams": {"support": upstream}}


def streams(simulator: Simulator) -> list[dict[str, Any]]:
    return [dict(record) for record in simulator.ledger if "completions" in record["path"]]


def tokens(simulator: Simulator) -> list[dict[str, Any]]:
    return [dict(record) for record in simulator.ledger if "token" in record["path"]]


@asynccontextmanager
async def relay_of(simulator: Simulator, preset: str, **more: Any):
    async with Relay(settings_of(simulator, preset, **more)) as relay:
        yield relay


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_turn_works_with_nothing_but_address_credentials_and_model(simulator, preset):
    async with relay_of(simulator, preset) as relay:
        text, notices, ended = await ask(relay, "sim:text=order", temperature=0.5)
    (record,) = streams(simulator)
    assert text == record["text"]
    assert ended.usage is not None
    assert (ended.outcome, ended.usage.counted_by) == ("completed", "platform")
    expected = {"model", "messages", "stream"} | ({"temperature"} if preset == "genesys-chat" else set())
    assert set(record["body"]) == expected
    assert [notice.kind for notice in notices] == ([] if preset == "genesys-chat" else ["not_sent"])
    assert len(tokens(simulator)) == 1


@pytest.mark.parametrize("preset", PRESETS)
async def test_two_hundred_turns_at_once_cause_one_token_request(simulator, preset):
    async with relay_of(simulator, preset) as relay:
        ends = await asyncio.gather(*(ask(relay) for _ in range(200)))
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    assert len(tokens(simulator)) == 1


async def test_two_hundred_turns_with_an_expiring_token_cause_one_token_request_per_expiry():
    async with Simulator(token_lifetime_s=4.0) as simulator, relay_of(simulator, "genesys-chat") as relay:
        async with asyncio.timeout(40):
            began = asyncio.get_running_loop().time()
            rounds = 0
            while (lasted := asyncio.get_running_loop().time() - began) < 8.0:
                ends = await asyncio.gather(*(ask(relay) for _ in range(200)))
                assert {ended.outcome for _, _, ended in ends} == {"completed"}
                rounds += 1
        issued = len(tokens(simulator))
    # A token of four seconds is renewed three quarters into its life.
    assert rounds > 1
    assert 2 <= issued <= lasted / 2.8 + 1


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_token_that_the_platform_gives_up_is_renewed_once_for_all(simulator, preset):
    async with relay_of(simulator, preset) as relay:
        await ask(relay)
        simulator.set_faults(["unauthorized-once"], connections=1)
        ends = await asyncio.gather(*(ask(relay) for _ in range(20)))
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    assert len(tokens(simulator)) == 2


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_second_401_is_the_end(simulator, preset):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults(["status=401"], connections=9)
        _, _, ended = await ask(relay)
    assert ended.reason == "upstream_auth"
    assert len(streams(simulator)) == 2


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_wrong_secret_is_said_and_shown_nowhere(simulator, preset, caplog):
    async with relay_of(simulator, preset, client_secret="wrong") as relay:
        _, _, ended = await ask(relay)
    assert ended.reason == "upstream_auth"
    assert "check client_id and client_secret" in ended.detail
    assert streams(simulator) == []
    assert "s3cret" not in caplog.text


async def test_a_missing_scope_is_named(simulator):
    async with relay_of(simulator, "genesys-chat") as relay:
        simulator.set_faults(["token-missing-scope=ai:llm:read"])
        _, _, ended = await ask(relay)
    assert ended.reason == "upstream_forbidden"
    assert "lacks the scope ai:llm:read" in ended.detail


async def test_a_403_names_what_to_grant(simulator):
    async with relay_of(simulator, "genesys-chat") as relay:
        simulator.set_faults(["status=403"], connections=9)
        _, _, ended = await ask(relay)
    assert ended.reason == "upstream_forbidden"
    assert "grant the scopes ai:llm:write ai:llm:read" in ended.detail


async def test_a_stream_outlives_its_token(simulator):
    async with relay_of(simulator, "genesys-chat") as relay:
        simulator.set_faults(["token-expires=0.2"])
        text, _, ended = await ask(relay, "sim:text=order;sim:interval-ms=3")
    assert ended.outcome == "completed"
    assert text == streams(simulator)[0]["text"]


@pytest.mark.parametrize("style", ["basic", "form", "json"])
async def test_the_three_styles_of_client_authentication_are_taken(simulator, style):
    async with relay_of(simulator, "genesys-chat", token_style=style) as relay:
        _, _, ended = await ask(relay)
    assert ended.outcome == "completed"
    assert tokens(simulator)[0]["style"] == style


async def test_every_path_and_header_can_be_overridden(simulator):
    more = {
        "paths": {"token": "/oauth/token", "completions": "/api/v2/ai/llm/completions"},
        "scopes": ["ai:llm:write"],
        "headers": {"x-tenant": "t-1"},
    }
    async with relay_of(simulator, "genesys-chat", **more) as relay:
        _, _, ended = await ask(relay)
    assert ended.outcome == "completed"
    assert tokens(simulator)[0]["path"] == "/oauth/token"
    (record,) = streams(simulator)
    assert (record["path"], record["headers"]["x-tenant"]) == ("/api/v2/ai/llm/completions", "t-1")


async def test_the_relay_slows_down_before_the_platform_says_no(simulator):
    async with relay_of(simulator, "genesys-chat", timeouts={**PATIENCE, "first_token_s": 0.5}, attempts=1) as relay:
        simulator.set_faults(["limit-headers=0/60"], connections=1)
        _, _, first = await ask(relay)
        _, _, second = await ask(relay)
    assert first.outcome == "completed"
    assert second.reason == "rate_limited"
    assert second.detail == "the platform takes no more requests for 60 s"  # said by nobody but the relay
    assert len(streams(simulator)) == 1


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (TurnRequest(messages=[{"role": "tool", "content": "x"}]), "invalid_request", "/messages/0/role"),
        (TurnRequest(input="x" * 4_097), "invalid_request", "4097 characters, the platform takes 4096"),
        (TurnRequest(input="x", options={"tools": []}), "unsupported_parameter", "tools"),
        (TurnRequest(input="x", model="support/small", max_tokens=8_192), "context_window_exceeded", "> 8192"),
        (TurnRequest(input="x", max_tokens=128_000), "context_window_exceeded", "> 128000"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_is_asked(simulator, request_, code, words):
    async with relay_of(simulator, "genesys-chat") as relay:
        with pytest.raises(RequestRefused) as refused:
            relay.start(request_)
    assert refused.value.code == code
    assert words in refused.value.detail
    assert simulator.ledger == []


async def test_a_prompt_that_is_too_long_can_be_cut_to_its_newest_messages(simulator):
    settings = settings_of(simulator, "genesys-chat", on_overflow="truncate")
    settings["models"] = {"gpt-4-1106-preview": {"context_window": 60}}
    messages = [{"role": "system", "content": "Be kind."}]
    messages += [{"role": "user", "content": f"message {n} " + "word " * 10} for n in range(9)]
    messages += [{"role": "user", "content": "sim:text=short"}]
    async with Relay(settings) as relay:
        events = [event async for event in relay.stream(TurnRequest(messages=messages))]
    sent = streams(simulator)[0]["body"]["messages"]
    assert sent[0] == messages[0]
    assert sent[1:] == messages[-len(sent) + 1 :]
    assert 2 < len(sent) < len(messages)
    assert any(getattr(event, "kind", "") == "truncated" for event in events)


async def test_the_usual_environment_variables_are_enough(simulator):
    env = {
        "GENESYS_CLOUD_BASE_URL": simulator.url,
        "GENESYS_CLOUD_CLIENT_ID": "me",
        "GENESYS_CLOUD_CLIENT_SECRET": "s3cret",
    }
    settings, _ = load(env=env)
    async with Relay(settings) as relay:
        _, _, ended = await ask(relay)
    assert ended.outcome == "completed"


def test_a_region_says_where_the_platform_is():
    env = {
        "GENESYS_CLIENT_ID": "a",
        "GENESYS_CLIENT_SECRET": "b",
        "GENESYS_MODEL_ID": "m",
        "GENESYS_REGION": "eu-west-1",
    }
    upstream = load(env=env)[0].upstreams["genesys-completions"]
    assert upstream.api_base == "https://api.mypurecloud.ie"
    assert upstream.token_url == "https://api.mypurecloud.ie/oauth/token"


async def test_a_live_check_spends_no_completion_and_names_what_is_missing(simulator):
    async with relay_of(simulator, "genesys-chat") as relay:
        steps = [step async for step in check_live(relay.turns.upstreams["support"])]
        assert all(step.ok for step in steps)
        assert steps[-1].words == "a token, with every scope"
    assert streams(simulator) == []
    async with relay_of(simulator, "genesys-chat") as relay:
        simulator.set_faults(["token-missing-scope=ai:llm:read"])
        steps = [step async for step in check_live(relay.turns.upstreams["support"])]
    assert (steps[-1].name, steps[-1].ok) == ("credentials", False)
    assert "ai:llm:read" in steps[-1].words
