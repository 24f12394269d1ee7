"""The three given WebSocket platforms, whole: each against its simulator, on good days and on bad ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conftest import PATIENCE
from trunkline import Delta, Ended, Notice, Relay, RequestRefused, TurnRequest
from trunkline.config import load, parse
from trunkline.core.errors import SettingsError
from trunkline.live_check import check_live
from trunkline.simulators import Simulator
from trunkline.simulators.ledger import Record

CONVERSATIONS, GATEWAY, COGNIGY = PRESETS = ("genesys-conversations", "genesys-gateway", "cognigy")
STREAMS = {
    CONVERSATIONS: "/api/v2/conversations/websocket",
    GATEWAY: "/api/v2/ai/llm/gateway/completions/stream",
    COGNIGY: "/api/v2/llm/stream",
}
IDS = {
    CONVERSATIONS: {"conversation_id": "c-1"},
    GATEWAY: {"prompt_id": "p-1"},
    COGNIGY: {"dialog_id": "d-1", "session_id": "s-1"},
}
HASTE = {**PATIENCE, "first_token_s": 0.4, "between_tokens_s": 0.4}
Answer = tuple[str, list[Notice], Ended]


def settings_of(simulator: Simulator, preset: str, **more: Any) -> dict[str, Any]:
    upstream = {
        "preset": preset,
        "base_url": simulator.url,
        "client_id": "me",
        "client_secret": "s3cret",
        "model": "sim-model",
        "timeouts": PATIENCE,
        "guards": "none",
        "attempts": 1,
        **more,
    }
    return {"upstreams": {"support": upstream}, "store": {"durability": "memory"}}


@asynccontextmanager
async def relay_of(simulator: Simulator, preset: str, **more: Any) -> AsyncIterator[Relay]:
    async with Relay(settings_of(simulator, preset, **more)) as relay:
        # The dialect's waits between two links have no place in a test.
        object.__setattr__(relay._transports, "random", lambda: 0.0)
        yield relay


async def ask(relay: Relay, preset: str, prompt: str = "Where is my order?", **fields: Any) -> Answer:
    text, notices, ended = "", [], None
    async for event in relay.stream(TurnRequest(**{"input": prompt, **IDS[preset], **fields})):
        assert ended is None
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Notice):
            notices.append(event)
        elif isinstance(event, Ended):
            ended = event
    assert ended is not None
    return text, notices, ended


async def streams(simulator: Simulator, preset: str) -> list[Record]:
    """The ledger's entries of the streams, once all have ended, and no rule of the wire broken on any request."""
    records = await simulator.ended(len(simulator.ledger))
    assert [record["broken"] for record in records if record["broken"]] == []
    return [record for record in records if record["path"] == STREAMS[preset]]


def messages(record: Record) -> list[Any]:
    return [frame["data"] for frame in record["frames"] if (frame["sender"], frame["kind"]) == ("client", "text")]


def word(value: Any) -> str:
    """The name of a case: its faults as they are written in a request."""
    return ";".join(value) if isinstance(value, list) else str(value)


# Good days


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_turn_works_with_nothing_but_address_credentials_and_model(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        text, _, ended = await ask(relay, preset)
    (record,) = await streams(simulator, preset)
    assert text == record["text"] == record["meant"]
    assert (ended.outcome, ended.reason, record["ended"]) == ("completed", "stop", "completed")
    assert ended.usage is not None
    assert ended.usage.counted_by == ("relay" if preset == CONVERSATIONS else "platform")


async def test_the_bodies_are_those_of_the_wires(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        await ask(relay, CONVERSATIONS)
    async with relay_of(simulator, GATEWAY) as relay:
        prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
        await ask(relay, GATEWAY, input=None, messages=prompt, stop="END", temperature=0.5)
    async with relay_of(simulator, COGNIGY) as relay:
        await ask(relay, COGNIGY, "Hello", max_tokens=9)
    (conversations,), (gateway,), (cognigy,) = [await streams(simulator, preset) for preset in PRESETS]
    (subscription,) = messages(conversations)
    context = subscription["subscriptions"][0].pop("conversation_context")
    assert subscription == {"subscriptions": [{
        "event_type": "ai:chat:completion", "model_id": "sim-model", "max_tokens": 2048, "stream_mode": "delta",
    }]}  # fmt: skip
    assert context == {"conversation_id": "c-1", "turn_id": conversations["turn"]}
    assert messages(gateway) == [
        {"action": "init_stream", "protocol_version": "v2"},
        {
            "model": "sim-model",
            "prompt_id": "p-1",
            "parameters": {"temperature": [0.5], "max_tokens": 1024, "stop_sequences": ["END"], "stream": True},
            "context": {"system": "Be kind.", "format": "json", "messages": [{"role": "user", "content": "Hello"}]},
        },
    ]
    assert messages(cognigy) == [{"dialog_id": "d-1", "session_id": "s-1", "input": "Hello"}]
    (config,) = [record["body"] for record in simulator.ledger if record["path"].endswith("/gateway/config")]
    assert config == {
        "streaming": True, "model": "sim-model", "temperature": 0.7, "max_tokens": 9, "dialog_id": "d-1",
    }  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
async def test_two_hundred_turns_at_once_cause_one_token_request(preset: str):
    async with Simulator(max_concurrent=1_000) as simulator, relay_of(simulator, preset) as relay:
        ends = await asyncio.gather(*(ask(relay, preset) for _ in range(200)))
        tokens = [record for record in simulator.ledger if "token" in record["path"]]
        await streams(simulator, preset)
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    assert len(tokens) == 1


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "faults",
    [
        ["fragments=3"], ["pings", "fragments=5"], ["cut=bytes"], ["ascii"], ["closes"], ["double-done"],
        ["after-finish"], ["empty-deltas", "null-deltas"], ["metadata"], ["finish-with-text"], ["no-usage"],
        ["usage-each"], ["usage-before"], ["lone-surrogates"], ["dangling-surrogate"], ["missing-key=any"],
        ["slow-first=30"], ["drip=1", "cut=400"],
    ],
    ids=";".join,
)  # fmt: skip
async def test_what_a_platform_may_do_changes_nothing(simulator: Simulator, preset: str, faults: list[str]):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults([*faults], at="platform")
        text, _, ended = await ask(relay, preset, "sim:text=unicode")
    (record,) = await streams(simulator, preset)
    dangling = "\ufffd" if "dangling-surrogate" in faults else ""
    assert text.removesuffix(dangling) == record["meant"]
    assert (ended.outcome, ended.reason) == ("completed", "stop")


# Bad days

BROKEN = [
    (["no-end"], "upstream_interrupted"),
    (["reset-after=4"], "upstream_interrupted"),
    (["close-after=4"], "upstream_interrupted"),
    (["half-event-after=4"], "upstream_interrupted"),
    (["close-frame=1000/4"], "upstream_interrupted"),
    (["close-frame=1001/4"], "upstream_interrupted"),
    (["close-frame=1011/4"], "upstream_interrupted"),
    (["close-frame=4401/4"], "upstream_auth"),
    (["close-frame=4503/4"], "upstream_unavailable"),
    (["stall-after=4"], "between_tokens_timeout"),
    (["error-after=4"], "upstream_error"),
    (["huge-line=2"], "upstream_protocol"),
    (["stall"], "handshake_timeout"),
    (["refuse"], "upstream_unavailable"),
    (["redirect=http://127.0.0.1:9/"], "upstream_error"),
    (["status=401"], "upstream_auth"),
    (["status=403"], "upstream_forbidden"),
    (["status=404"], "upstream_error"),
    (["status=429", "retry-after=0"], "rate_limited"),
    (["status=500"], "upstream_error"),
    (["status=503"], "upstream_unavailable"),
]


@pytest.mark.parametrize("preset", [GATEWAY, COGNIGY])
@pytest.mark.parametrize(("faults", "reason"), BROKEN, ids=word)
async def test_each_bad_day_has_its_reason_and_nothing_is_made_up(
    simulator: Simulator, preset: str, faults: list[str], reason: str
):
    hasty = {**HASTE, "connect_s": 0.4, "handshake_s": 0.4, "first_token_s": 3}
    async with relay_of(simulator, preset, timeouts=hasty) as relay:
        simulator.set_faults(faults, connections=9, at="platform")
        text, _, ended = await ask(relay, preset)
    record = (await streams(simulator, preset))[-1]
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert record["text"].startswith(text)


# Conversations: links that are taken up again


@pytest.mark.parametrize(
    "faults",
    [
        ["duplicates"], ["reorder=8"], ["reorder=8", "duplicates"], ["bad-json-after=3"], ["not-an-object-after=3"],
        ["keyless-after=3"], ["reset-after=4"], ["close-after=4"], ["half-event-after=4"], ["no-end"],
        ["close-frame=1000/4"], ["close-frame=1011/4"], ["reset-after=0"], ["reset-after=9", "reorder=6", "duplicates"],
        ["reset-after=6", "replay=continues"], ["reset-after=6", "no-sequence"], ["no-end", "no-sequence"],
        ["reset-after=4", "revoked"], ["no-sequence", "lone-surrogates", "reset-after=7"],
    ],
    ids=";".join,
)  # fmt: skip
async def test_a_conversation_comes_exactly_once_and_in_order(simulator: Simulator, faults: list[str]):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(faults, at="platform")
        text, notices, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert text == records[-1]["meant"]
    assert (ended.outcome, ended.reason) == ("completed", "stop")
    reconnects = [notice for notice in notices if notice.kind == "reconnected"]
    subscribed = [record for record in records if record["turn"]]
    assert len(reconnects) == len(subscribed) - 1
    assert len({record["turn"] for record in subscribed}) == 1


async def test_a_link_that_breaks_again_and_again_is_taken_up_each_time_with_the_same_turn(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(["reset-after=9"], connections=5, at="platform")
        text, notices, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")
    assert [record["attempt"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert sum(notice.kind == "reconnected" for notice in notices) == 5


async def test_a_token_that_was_revoked_meanwhile_is_renewed_before_the_turn_goes_on(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(["revoked", "reset-after=9"], connections=3, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")
    # Of each two further links the first is refused with the old token.
    assert [record["status"] for record in records[:3]] == [101, 401, 101]
    assert len([record for record in simulator.ledger if "token" in record["path"]]) > 1


@pytest.mark.parametrize("refusal", [["status=503"], ["status=429", "retry-after=0"], ["refuse"], ["status=500"]])
async def test_a_platform_that_is_away_for_a_while_is_waited_for(simulator: Simulator, refusal: list[str]):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.line_up(["reset-after=9"], refusal, refusal, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (records[-1]["meant"], "stop")


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (["gap=3"], "sequence_gap"),
        (["reset-after=6", "no-sequence", "replay=other"], "replay_mismatch"),
        (["reset-after=6", "replay=other"], "replay_mismatch"),
        (["stall-after=4"], "between_tokens_timeout"),
        (["reset-after=4", "replay=none"], "between_tokens_timeout"),
        (["error-after=4"], "upstream_error"),
        (["close-frame=4403/4"], "upstream_forbidden"),
        (["huge-line=2"], "upstream_protocol"),
        (["status=403"], "upstream_forbidden"),
        (["status=503"], "upstream_unavailable"),
        (["stall"], "handshake_timeout"),
        (["refuse"], "upstream_unavailable"),
    ],
    ids=word,
)
async def test_a_conversation_that_cannot_go_on_says_why(simulator: Simulator, faults: list[str], reason: str):
    timeouts = {**HASTE, "first_token_s": 3, "connect_s": 0.4, "handshake_s": 0.4}
    async with relay_of(simulator, CONVERSATIONS, timeouts=timeouts, gap_s=0.1) as relay:
        simulator.set_faults(faults, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert records[0]["meant"].startswith(text)


@pytest.mark.parametrize(("replay", "reason"), [("continues", "stop"), ("none", "upstream_interrupted")])
async def test_without_numbers_the_preset_says_how_the_platform_goes_on(simulator: Simulator, replay: str, reason: str):
    async with relay_of(simulator, CONVERSATIONS, replay=replay) as relay:
        simulator.set_faults(["close-after=6", "no-sequence", f"replay={replay}"], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert ended.reason == reason
    assert text == (records[-1]["meant"] if replay == "continues" else records[-1]["text"])


async def test_reconnecting_ends_at_the_turns_own_deadline(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS, timeouts={**HASTE, "turn_s": 0.8}) as relay:
        simulator.line_up(["reset-after=4"], *[["status=503", "retry-after=30"]] * 9, at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    assert (ended.reason, text != "") == ("turn_timeout", True)


@pytest.mark.parametrize(
    ("faults", "reason", "words"),
    [
        (["quota-slots=0"], "quota_exceeded", "0 free slots of 10"),
        (["quota-model-status=RETIRED"], "quota_exceeded", "'RETIRED', not AVAILABLE"),
        (["status=401"], "upstream_auth", "quota"),
        (["status=403"], "upstream_forbidden", "AI Administrator or Custom AI Developer"),
        (["status=404"], "upstream_error", "not published"),
        (["status=429", "retry-after=0"], "rate_limited", "429"),
        (["status=500"], "upstream_error", "500"),
        (["status=503"], "upstream_unavailable", "503"),
        (["html"], "upstream_protocol", "available_slots"),
    ],
    ids=word,
)
async def test_each_answer_about_the_quota_has_its_own_words(
    simulator: Simulator, faults: list[str], reason: str, words: str
):
    async with relay_of(simulator, CONVERSATIONS) as relay:
        simulator.set_faults(faults, connections=2, at="quota")
        text, _, ended = await ask(relay, CONVERSATIONS)
    assert (text, ended.reason) == ("", reason)
    assert words in ended.detail
    assert await streams(simulator, CONVERSATIONS) == []


async def test_the_quota_can_be_asked_for_many_turns_at_once(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS, quota_fresh_s=30) as relay:
        ends = await asyncio.gather(*(ask(relay, CONVERSATIONS) for _ in range(5)))
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    assert len([record for record in simulator.ledger if "quotas" in record["path"]]) == 1


async def test_pings_keep_a_link_alive_on_which_nothing_is_said():
    async with Simulator(idle_s=0.3) as simulator:
        timeouts = {**PATIENCE, "ping_every_s": 0.1}
        async with relay_of(simulator, CONVERSATIONS, timeouts=timeouts) as relay:
            simulator.set_faults(["slow-first=700"], at="platform")
            text, _, ended = await ask(relay, CONVERSATIONS)
        (record,) = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason) == (record["meant"], "stop")
    assert any((frame["sender"], frame["kind"]) == ("client", "ping") for frame in record["frames"])


async def test_a_link_without_pongs_is_dead_and_taken_up_again(simulator: Simulator):
    timeouts = {**PATIENCE, "ping_every_s": 0.05, "pong_within_s": 0.05}
    async with relay_of(simulator, CONVERSATIONS, timeouts=timeouts) as relay:
        simulator.set_faults(["no-pong", "stall-after=5"], at="platform")
        text, _, ended = await ask(relay, CONVERSATIONS)
    records = await streams(simulator, CONVERSATIONS)
    assert (text, ended.reason, len(records)) == (records[-1]["meant"], "stop", 2)


# The gateway's handshake


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("handshake=rejected", "handshake_rejected", "The stream cannot be started"),
        ("handshake=garbage", "handshake_rejected", "got 'stream_ready'"),
        ("handshake=other", "handshake_rejected", "got 'queued'"),
    ],
)
async def test_a_handshake_that_is_not_met_ends_the_turn_with_the_platforms_words(
    simulator: Simulator, fault: str, reason: str, words: str
):
    async with relay_of(simulator, GATEWAY) as relay:
        simulator.set_faults([fault], connections=2, at="platform")
        _, _, ended = await ask(relay, GATEWAY)
    assert ended.reason == reason
    assert words in ended.detail
    await streams(simulator, GATEWAY)


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_429_at_the_handshake_is_tried_three_times(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset, attempts=3) as relay:
        simulator.set_faults(["status=429", "retry-after=0"], connections=2, at="platform")
        text, notices, ended = await ask(relay, preset, temperature=0.3)
        first = await streams(simulator, preset)
        simulator.set_faults(["status=429", "retry-after=0"], connections=9, at="platform")
        _, _, refused = await ask(relay, preset)
    assert (text, ended.reason) == (first[-1]["meant"], "stop")
    assert sum(notice.kind == "not_sent" for notice in notices) <= 1
    assert refused.reason == "rate_limited"
    assert [record["status"] for record in await streams(simulator, preset)] == [429, 429, 101, 429, 429, 429]


async def test_the_gateways_token_can_be_a_subprotocol(simulator: Simulator):
    async with relay_of(simulator, GATEWAY, token_in="subprotocol") as relay:
        _, _, ended = await ask(relay, GATEWAY)
    (record,) = await streams(simulator, GATEWAY)
    assert ended.outcome == "completed"
    assert "authorization" not in record["headers"]
    assert record["headers"]["x-genesys-client-id"] == "me"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("bad-json-after=3", "upstream_protocol"), ("not-an-object-after=3", "upstream_protocol"),
     ("keyless-after=3", "upstream_protocol")],
)  # fmt: skip
async def test_a_frame_of_another_wire_ends_the_gateways_turn(simulator: Simulator, fault: str, reason: str):
    async with relay_of(simulator, GATEWAY) as relay:
        simulator.set_faults([fault], at="platform")
        _, _, ended = await ask(relay, GATEWAY)
    assert ended.reason == reason


# Cognigy's configuration and bytes


async def test_a_dialog_is_configured_once_for_all_turns_with_the_same_settings(simulator: Simulator):
    async with relay_of(simulator, COGNIGY) as relay:
        await asyncio.gather(*(ask(relay, COGNIGY) for _ in range(5)))
        await ask(relay, COGNIGY, temperature=0.1)
        await ask(relay, COGNIGY)
        await ask(relay, COGNIGY, dialog_id="d-2")
    configs = [record["body"] for record in simulator.ledger if record["path"].endswith("/config")]
    assert [(config["dialog_id"], config["temperature"]) for config in configs] == [
        ("d-1", 0.7), ("d-1", 0.1), ("d-1", 0.7), ("d-2", 0.7),
    ]  # fmt: skip


async def test_the_configuration_and_the_opening_can_be_switched_off():
    async with Simulator(opening_wait_s=0) as simulator:
        async with relay_of(simulator, COGNIGY, configure=False, opening=False) as relay:
            text, notices, ended = await ask(relay, COGNIGY)
        (record,) = await streams(simulator, COGNIGY)
        assert not [record for record in simulator.ledger if record["path"].endswith("/config")]
    assert (text, ended.reason, messages(record)) == (record["meant"], "stop", [])
    assert [(notice.kind, notice.detail) for notice in notices] == [("not_sent", "input")]


async def test_a_configuration_that_is_refused_ends_the_turn_and_is_asked_for_again(simulator: Simulator):
    async with relay_of(simulator, COGNIGY) as relay:
        simulator.set_faults(["status=403"], at="config")
        _, _, refused = await ask(relay, COGNIGY)
        _, _, ended = await ask(relay, COGNIGY)
    assert (refused.reason, ended.reason) == ("upstream_forbidden", "stop")


async def test_bytes_are_put_together_where_the_settings_say_so(simulator: Simulator):
    async with relay_of(simulator, COGNIGY, byte_tokens="latin1") as relay:
        simulator.set_faults(["byte-tokens"], at="platform")
        text, _, _ = await ask(relay, COGNIGY, "sim:text=unicode")
    (record,) = await streams(simulator, COGNIGY)
    assert text == record["meant"]


async def test_a_link_that_cognigy_loses_before_the_first_token_is_tried_again(simulator: Simulator):
    async with relay_of(simulator, COGNIGY, attempts=3) as relay:
        simulator.set_faults(["metadata", "reset-after=0"], connections=2, at="platform")
        text, _, ended = await ask(relay, COGNIGY)
    records = await streams(simulator, COGNIGY)
    assert (text, ended.reason, len(records)) == (records[-1]["meant"], "stop", 3)


# Settings, limits and the live check


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


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_prompt_is_optional_and_what_changes_the_answer_is_refused(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        _, _, ended = await ask(relay, preset, input=None)
        assert ended.outcome == "completed"
        for option in ({"tools": []}, {"response_format": {}}, {"n": 2}):
            with pytest.raises(RequestRefused, match="cannot pass on"):
                relay.start(TurnRequest(options=option, **IDS[preset]))
        _, notices, _ = await ask(relay, preset, options={"seed": 1, "n": 1})
    assert "seed" in notices[0].detail


async def test_the_gateways_limits_are_those_of_the_model(simulator: Simulator):
    async with relay_of(simulator, GATEWAY, messages_field=False) as relay:
        with pytest.raises(RequestRefused, match="gives at most 4096"):
            relay.start(TurnRequest(max_tokens=4_097, **IDS[GATEWAY]))
        with pytest.raises(RequestRefused, match="takes no messages"):
            relay.start(TurnRequest(input="hi", **IDS[GATEWAY]))
        _, _, ended = await ask(relay, GATEWAY, input=None, messages=[{"role": "system", "content": "Be kind."}])
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
    env = {"GENESYS_CLIENT_ID": "me", "GENESYS_CLIENT_SECRET": "s", "GENESYS_MODEL_ID": "m"}
    assert load(env=env)[0].sole_upstream == "genesys-completions"
    assert load(env={**env, "OPENAI_API_KEY": "sk"})[0].sole_upstream is None


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_live_check_goes_as_far_as_the_handshake_and_spends_no_completion(simulator: Simulator, preset: str):
    async with relay_of(simulator, preset) as relay:
        steps = [step async for step in check_live(relay.turns.upstreams["support"])]
    assert [step.words for step in steps if not step.ok] == []
    expected = ["quota"] if preset == CONVERSATIONS else []
    assert [step.name for step in steps] == ["name", "connection", "credentials", *expected, "handshake"]
    (record,) = await streams(simulator, preset)
    assert (record["status"], record["text"], record["pieces"]) == (101, "", 0)
    assert not [record for record in simulator.ledger if record["path"].endswith("/config")]


@pytest.mark.parametrize(
    ("preset", "fault", "at", "name", "words"),
    [
        (CONVERSATIONS, "quota-slots=0", "quota", "quota", "0 free slots"),
        (CONVERSATIONS, "status=403", "platform", "handshake", "grant the scopes conversations:read"),
        (GATEWAY, "handshake=rejected", "platform", "handshake", "cannot be started"),
        (COGNIGY, "refuse", "platform", "handshake", "no connection"),
    ],
)
async def test_a_live_check_says_what_is_wrong(
    simulator: Simulator, preset: str, fault: str, at: Any, name: str, words: str
):
    async with relay_of(simulator, preset) as relay:
        simulator.set_faults([fault], at=at)
        last = [step async for step in check_live(relay.turns.upstreams["support"])][-1]
    assert (last.name, last.ok) == (name, False)
    assert words in last.words


async def test_a_platform_that_is_away_before_the_first_text_leaves_the_turn_to_the_next(simulator: Simulator):
    settings = settings_of(simulator, CONVERSATIONS, fallbacks=["other"], timeouts=HASTE)
    settings["upstreams"]["other"] = settings_of(simulator, GATEWAY)["upstreams"]["support"]
    settings["default_upstream"] = "support"
    async with Relay(settings) as relay:
        object.__setattr__(relay._transports, "random", lambda: 0.0)  # as in `relay_of`
        simulator.line_up(["reset-after=0"], ["status=503", "retry-after=1"], ["slow-first=1200"], at="platform")
        text, notices, ended = await ask(relay, CONVERSATIONS, prompt_id="p-1")
    (record,) = await streams(simulator, GATEWAY)
    assert (text, ended.reason) == (record["meant"], "stop")
    assert [notice.kind for notice in notices] == ["not_sent", "fallback"]
    # The second link was refused, and nobody comes back for a third when its time has come.
    assert len(await streams(simulator, CONVERSATIONS)) == 2


UPSTREAM = {"client_id": "a", "client_secret": "b", "model": "m"}


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"preset": COGNIGY, "region": "eu_west_1"}, "give either environment or base_url; region is not used by it"),
        ({"preset": COGNIGY, "environment": "a.example/x"}, "should match pattern"),
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
