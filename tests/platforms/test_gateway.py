"""Genesys' LLM gateway, whole: its handshake, where the token goes, frames of another wire, and its limits."""

from __future__ import annotations

import pytest

from platforms.asking import GATEWAY, IDS, ask, relay_of, streams
from trunkline import RequestRefused, TurnRequest
from trunkline.simulators import Simulator


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


async def test_the_gateways_limits_are_those_of_the_model(simulator: Simulator):
    async with relay_of(simulator, GATEWAY, messages_field=False) as relay:
        with pytest.raises(RequestRefused, match="gives at most 4096"):
            relay.start(TurnRequest(max_tokens=4_097, **IDS[GATEWAY]))
        with pytest.raises(RequestRefused, match="takes no messages"):
            relay.start(TurnRequest(input="hi", **IDS[GATEWAY]))
        _, _, ended = await ask(relay, GATEWAY, input=None, messages=[{"role": "system", "content": "Be kind."}])
    assert ended.outcome == "completed"


async def test_what_the_settings_say_is_checked_against_the_models_limit_too(simulator: Simulator):
    async with relay_of(simulator, GATEWAY, max_tokens=4_097) as relay:
        with pytest.raises(RequestRefused, match="max_tokens is 4097, and sim-model gives at most 4096"):
            relay.start(TurnRequest(**IDS[GATEWAY]))
        _, _, ended = await ask(relay, GATEWAY, max_tokens=4_096)
    assert ended.outcome == "completed"


async def test_a_platform_that_never_says_stream_ready_has_its_own_time(simulator: Simulator):
    async with relay_of(simulator, GATEWAY, ready_s=0.1) as relay:
        simulator.set_faults(["handshake=silent"], at="platform")
        _, _, ended = await ask(relay, GATEWAY)
    assert (ended.reason, ended.detail) == ("handshake_timeout", "no stream_ready within 0.1 s")


@pytest.mark.parametrize("temperature", [-0.1, 2.1])
def test_a_temperature_outside_the_wires_range_is_no_request(temperature: float):
    with pytest.raises(ValueError, match="temperature"):
        TurnRequest(temperature=temperature, **IDS[GATEWAY])
