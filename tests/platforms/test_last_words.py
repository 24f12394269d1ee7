"""What a dialect has counted is told in the log, whoever ends the turn."""

from __future__ import annotations

import pytest

from platforms.asking import COGNIGY, CONVERSATIONS, GATEWAY, HASTE, ask, relay_of
from trunkline.simulators import Simulator

MET = {
    CONVERSATIONS: (["metadata"], "skipped", "of another conversation"),
    GATEWAY: (["missing-key=any"], "incomplete_frames", "lacked"),
    COGNIGY: (["keyless-after=2"], "skipped", "without tokens and done"),
}


@pytest.mark.parametrize("preset", MET)
@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        ([], "completed"),
        (["stall-after=9"], "failed"),
        (["error-after=9"], "failed"),
        (["close-frame=4403/9"], "failed"),
    ],
)
async def test_what_was_passed_over_is_told_once_whoever_ends_the_turn(
    simulator: Simulator, preset: str, ending: list[str], outcome: str
):
    faults, kind, words = MET[preset]
    async with relay_of(simulator, preset, timeouts=HASTE) as relay:
        simulator.set_faults([*faults, *ending], at="platform")
        _, notices, ended = await ask(relay, preset)
    (notice,) = [notice for notice in notices if notice.kind == kind]
    assert (ended.outcome, words in notice.detail) == (outcome, True)


async def test_an_attempt_that_is_made_anew_has_its_say_too(simulator: Simulator):
    async with relay_of(simulator, COGNIGY, attempts=2) as relay:
        simulator.set_faults(["keyless-after=0", "reset-after=0"], at="platform")
        _, notices, ended = await ask(relay, COGNIGY)
    assert ended.reason == "stop"
    assert [notice.detail for notice in notices if notice.kind == "skipped"] == ["messages: 1 without tokens and done"]


async def test_a_turn_that_hears_of_others_only_says_so_at_its_time_out(simulator: Simulator):
    async with relay_of(simulator, CONVERSATIONS, timeouts=HASTE) as relay:
        simulator.set_faults(["keyless-after=0", "stall-after=0"], at="platform")
        _, notices, ended = await ask(relay, CONVERSATIONS)
    assert ended.reason == "first_token_timeout"
    assert [notice.detail for notice in notices if notice.kind == "skipped"] == ["events: 1 of another type"]
