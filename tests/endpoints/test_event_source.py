"""An EventSource client that nobody here wrote, cut off at many places, ends with the uninterrupted text."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field

import pytest
from ld_eventsource import SSEClient
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy

from tcp_proxy import cutting


@dataclass
class Heard:
    text: str = ""
    ids: list[int] = field(default_factory=list)
    ended: dict[str, object] = field(default_factory=dict)


def listen(url: str) -> Heard:
    """Follow to the end with LaunchDarkly's client, which reconnects by itself."""
    heard = Heard()
    client = SSEClient(
        ConnectStrategy.http(url),
        error_strategy=ErrorStrategy.always_continue(),
        initial_retry_delay=0.01,
        retry_delay_strategy=RetryDelayStrategy.default(backoff_multiplier=1),
    )
    try:
        for event in client.events:
            data = json.loads(event.data)
            heard.ids.append(int(event.last_event_id))
            if event.event == "delta":
                heard.text += data["text"]
            if event.event == "ended":
                heard.ended = data
                return heard
    finally:
        client.close()
    return heard


@pytest.mark.parametrize("seed", range(6))
async def test_a_reader_that_is_cut_off_again_and_again_loses_and_repeats_nothing(http, simulator, relay_url, seed):
    prompt = "sim:text=unicode;sim:interval-ms=2"
    turn = (await http.post(f"{relay_url}/v1/turns", json={"input": prompt})).json()
    dice = random.Random(seed)
    cuts = [dice.randint(200, 3_000) for _ in range(6)]
    async with cutting(relay_url, cuts) as proxy, asyncio.timeout(30):
        heard = await asyncio.to_thread(listen, proxy.url + turn["links"]["events"])
        assert proxy.connections > 1
    assert heard.text == (await simulator.ended(1))[-1]["text"]
    assert heard.ids == sorted(set(heard.ids))
    assert heard.ended["outcome"] == "completed"
