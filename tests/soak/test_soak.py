"""A minute of the soak, long enough for the relay to let go of what is past its retention."""

from __future__ import annotations

import pytest

from kills.asking import WAYS
from soak.load import DOINGS
from soak.run import EXPIRY_S, run


@pytest.mark.timeout(200)
async def test_a_minute_of_steady_load_is_right_and_leaves_nothing_behind():
    soaked = await run(EXPIRY_S + 6, streams=40, durability="process", seed=1)
    assert [fault.told() for fault in soaked.faults] == []
    assert soaked.passed, soaked.verdict()
    assert soaked.verdict().startswith("ok")
    assert soaked.turns > 20 * len(WAYS)
    assert set(soaked.ends) == {"completed/stop", "cancelled/client_cancelled"}
    assert set(soaked.done) == set(DOINGS)


@pytest.mark.timeout(120)
async def test_a_soak_that_is_too_short_proves_nothing():
    soaked = await run(3, streams=4, durability="process", seed=2)
    assert not soaked.passed
    assert soaked.verdict().startswith("FAILED: samples")
