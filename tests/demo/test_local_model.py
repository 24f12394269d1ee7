"""A real model on this machine: opt in with `make test-local-model`."""

from __future__ import annotations

import asyncio

import pytest

from conftest import settings_for
from trunkline import Delta, Ended, Relay, TurnRequest
from trunkline.demo.local_model import local_model, model_file

PATIENT = {"connect_s": 10, "first_token_s": 60, "between_tokens_s": 60, "turn_s": 120}


@pytest.mark.local_model
@pytest.mark.timeout(180)
async def test_a_real_model_answers_and_can_be_stopped():
    assert model_file() is not None, "run `make local-model` first"
    with local_model() as url:
        async with Relay(settings_for(url, timeouts=PATIENT)) as relay:
            request = TurnRequest(input="Say hello.", max_tokens=40, temperature=0)
            events = [event async for event in relay.stream(request)]
            assert "".join(event.text for event in events if isinstance(event, Delta)).strip()
            end = events[-1]
            assert isinstance(end, Ended)
            assert end.outcome == "completed"
            assert end.usage is not None
            assert end.usage.counted_by == "platform"
            turn = relay.start(TurnRequest(input="Count to a thousand.", max_tokens=2_000))
            with turn.follow() as follower:
                while not any(isinstance(entry.event, Delta) for entry in turn.log.entries):
                    await follower.wait(turn.log.visible)
                turn.cancel()
                async with asyncio.timeout(5):
                    while not turn.log.ended:
                        await follower.wait(turn.log.visible)
            assert turn.record().ended is not None
