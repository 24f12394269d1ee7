"""A platform that is slow, dead or sends without end: its own turn ends with the reason, and nobody else waits."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conftest import PATIENCE
from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, IDS, settings_of
from platforms.flooding import flooding, text_frame
from trunkline import Delta, Ended, Relay, TurnRequest
from trunkline.simulators import Simulator
from trunkline.sources.websocket_client import MAX_MESSAGE_BYTES

MIB = 1 << 20
# The room of one turn whatever its platform does: its log with one entry a character, a message that is being put
# together, pieces that wait for a missing one, and the buffers of the link.
MAX_ANSWER_CHARS = 20_000
BOUND_BYTES = 16 * MIB
LONG_S = 1.2
READY = text_frame(b'{"status":"stream_ready"}')
PADDING = b"x" * (MAX_MESSAGE_BYTES - 200)
SAY = {
    CONVERSATIONS: b'{"event_type":"ai:chat:completion","delta":"%s","finish_reason":"","metadata":{}}',
    GATEWAY: b'{"token":"%s","finish_reason":null,"usage":null}',
    COGNIGY: b'{"tokens":["%s"],"done":false,"error":""}',
}
OTHER = {
    CONVERSATIONS: b'{"event_type":"system:heartbeat","padding":"%s"}',
    GATEWAY: b'{"token":"","finish_reason":null,"usage":null,"padding":"%s"}',
    COGNIGY: b'{"status":"alive","padding":"%s"}',
}


def floods(preset: str) -> dict[str, tuple[bytes, bytes, str]]:
    """What is sent once and then without end, and the reason that this must end with."""
    once = READY if preset == GATEWAY else b""
    return {
        "tokens": (once, text_frame(SAY[preset] % b"a"), "answer_too_long"),
        "huge messages": (once, text_frame(SAY[preset] % PADDING), "answer_too_long"),
        "no text": (once, text_frame(OTHER[preset] % b""), "first_token_timeout"),
        "huge messages without text": (once, text_frame(OTHER[preset] % PADDING), "first_token_timeout"),
        "pings": (once, b"\x89\x7d" + b"p" * 125, "first_token_timeout"),
        "a message without end": (once + b"\x01\x01{", b"\x00\x7e\x03\xe8" + b" " * 1_000, "upstream_protocol"),
        "empty fragments": (once + b"\x01\x01{", b"\x00\x00", "first_token_timeout"),
        "no text after some": (
            once + text_frame(SAY[preset] % b"Hel"), text_frame(OTHER[preset] % b""), "between_tokens_timeout",
        ),
    }  # fmt: skip


BY_THE_DIALECT = ("tokens", "no text", "no text after some")  # the others are the link's, whatever the wire
FLOODS = [(preset, name) for preset in SAY for name in BY_THE_DIALECT]
FLOODS += [(COGNIGY, name) for name in floods(COGNIGY) if name not in BY_THE_DIALECT]


@asynccontextmanager
async def relay_of_two(faulty_url: str, well: Simulator, preset: str, **more: Any) -> AsyncIterator[Relay]:
    """A relay with one upstream that misbehaves and one that is well."""
    times = {
        **PATIENCE,
        "first_token_s": LONG_S,
        "between_tokens_s": LONG_S,
        "connect_s": LONG_S,
        "handshake_s": LONG_S,
    }
    settings = settings_of(well, COGNIGY)
    faulty = settings_of(
        well, preset, **{"timeouts": times, "base_url": faulty_url, "max_answer_chars": MAX_ANSWER_CHARS, **more}
    )
    settings["upstreams"]["faulty"] = faulty["upstreams"]["support"]
    async with Relay({**settings, "default_upstream": "support"}) as relay:
        yield relay


async def answer(relay: Relay) -> tuple[str, Ended]:
    """One turn of the upstream that is well."""
    events = [event async for event in relay.stream(TurnRequest(input="hi", upstream="support", **IDS[COGNIGY]))]
    last = events[-1]
    assert isinstance(last, Ended)
    return "".join(event.text for event in events if isinstance(event, Delta)), last


async def ends_beside(relay: Relay, well: Simulator, preset: str) -> tuple[Ended, int]:
    """Start a turn that cannot go well, and turns beside it as long as it is open: its end, and how many were whole."""
    turn = relay.start(TurnRequest(upstream="faulty", **IDS[preset]))
    whole = 0

    async def follow() -> Ended:
        with turn.follow() as follower:
            events = [entry.event async for batch in follower.entries() for entry in batch]
        assert isinstance(events[-1], Ended)
        return events[-1]

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        while not following.done():
            text, ended = await answer(relay)
            assert (ended.reason, text) == ("stop", well.ledger[-1]["meant"])
            whole += 1
    return following.result(), whole


@pytest.mark.parametrize(("preset", "name"), FLOODS)
async def test_a_flood_ends_with_its_reason_and_the_turns_beside_it_go_on(preset: str, name: str):
    once, again, reason = floods(preset)[name]
    with flooding(once, again) as flood:
        async with Simulator(interval_ms=1) as well, relay_of_two(flood.url, well, preset) as relay:
            await answer(relay)
            ended, whole = await ends_beside(relay, well, preset)
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    # A neighbour takes some tenths of a second; of those that end only by the clock several fit in.
    assert whole >= (2 if reason.endswith("timeout") else 1)


STALLS = [
    *(((preset, "token", "token-slow=60000", "first_token_timeout")) for preset in SAY),
    (CONVERSATIONS, "quota", "stall", "first_token_timeout"),
    (COGNIGY, "config", "stall", "first_token_timeout"),
    *(((preset, "platform", "stall", "handshake_timeout")) for preset in SAY),
    (GATEWAY, "platform", "handshake=silent", "first_token_timeout"),
    *(((preset, "platform", "stall-after=0", "first_token_timeout")) for preset in SAY),
    *(((preset, "platform", "stall-after=4", "between_tokens_timeout")) for preset in SAY),
    *(((preset, "platform", "drip=1000", "turn_timeout")) for preset in SAY),
]


@pytest.mark.parametrize(("preset", "at", "fault", "reason"), STALLS)
async def test_a_platform_that_stalls_ends_with_its_reason_and_the_turns_beside_it_go_on(
    preset: str, at: Any, fault: str, reason: str
):
    turn_s = 1.5 if reason == "turn_timeout" else 20.0
    first_s = LONG_S + 1 if reason == "handshake_timeout" else LONG_S
    times = {
        **PATIENCE, "handshake_s": LONG_S, "first_token_s": first_s, "between_tokens_s": LONG_S, "turn_s": turn_s,
    }  # fmt: skip
    async with (
        Simulator() as ill,
        Simulator(interval_ms=1) as well,
        relay_of_two(ill.url, well, preset, timeouts=times) as relay,
    ):
        await answer(relay)
        ill.set_faults([fault], connections=9, at=at)
        ended, whole = await ends_beside(relay, well, preset)
    assert (ended.outcome, ended.reason) == ("failed", reason), ended.detail
    assert whole >= 2


@pytest.mark.parametrize("preset", [GATEWAY, COGNIGY])
async def test_a_dead_link_ends_with_its_reason_and_the_turns_beside_it_go_on(preset: str):
    async with (
        Simulator() as ill,
        Simulator(interval_ms=1) as well,
        relay_of_two(ill.url, well, preset, timeouts={**PATIENCE, "ping_every_s": 1, "pong_within_s": 0.5}) as relay,
    ):
        await answer(relay)
        ill.set_faults(["no-pong", "stall-after=4"], at="platform")
        ended, whole = await ends_beside(relay, well, preset)
    assert (ended.reason, ended.detail) == (
        "upstream_interrupted", "the link is dead: no answer to a ping within 0.5 s",
    )  # fmt: skip
    assert whole >= 2


def far_ahead() -> bytes:
    """Events that all wait for the first one."""
    event = b'{"event_type":"ai:chat:completion","delta":"%s","finish_reason":"","metadata":{"sequence":%d}}'
    return b"".join(text_frame(event % (b"a" * 1_000, n)) for n in range(1, 400))


@pytest.mark.parametrize("name", [*floods(CONVERSATIONS), "pieces far ahead"])
async def test_what_an_open_turn_holds_has_a_bound_whatever_its_platform_sends(name: str):
    preset = CONVERSATIONS
    kinds = {**floods(preset), "pieces far ahead": (far_ahead(), b"\x89\x00", "sequence_gap")}
    once, again, reason = kinds[name]
    with flooding(once, again) as flood:
        async with Simulator() as well, relay_of_two(flood.url, well, preset) as relay:
            await answer(relay)
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                turn = relay.start(TurnRequest(upstream="faulty", **IDS[preset]))
                async with asyncio.timeout(40):
                    while not isinstance(turn.log.entries[-1].event, Ended):  # nobody reads the turn
                        await asyncio.sleep(0.01)
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            entries = [entry.event for entry in turn.log.entries]
    assert isinstance(entries[-1], Ended)
    assert entries[-1].reason == reason, entries[-1].detail
    assert most - before < BOUND_BYTES
