"""Thirty rounds of kills, and proof that the rounds notice what goes wrong in them."""

from __future__ import annotations

import asyncio

import pytest

from kills.figures import ENDPOINTS, Figures
from kills.page import page
from kills.plans import WHILE_STREAMING, RoundPlan, draw
from kills.run import run


@pytest.mark.timeout(300)
async def test_nothing_that_a_reader_was_shown_is_lost_or_changed_by_thirty_rounds_of_kills():
    # Two relays at the same time: while one starts, which is most of a round, the other one streams.
    runs = [Figures(seed=seed, streams=24, durability="process") for seed in (1, 2)]
    await asyncio.gather(*(run(figures, rounds=15) for figures in runs))
    for figures in runs:
        assert [fault.told() for _, fault in figures.faults] == []
        assert figures.passed, figures.verdict()
        assert figures.kills.total() >= 15
        assert figures.turns >= 15 * 24
        assert set(figures.ends) >= {"completed/stop", "failed/relay_restarted", "cancelled/client_cancelled"}
        assert set(figures.resumed) == set(ENDPOINTS), "readers came back on every endpoint"
        assert min(figures.changes, figures.visits, figures.rereads, figures.forgotten, figures.repeats_found) > 0
        told = page(figures)
        assert all(name in told for name in ENDPOINTS.values())


@pytest.mark.timeout(120)
async def test_a_disk_is_waited_for_and_keeps_the_same_promises():
    figures = await run(Figures(seed=2, streams=12, durability="disk"), rounds=3)
    assert [fault.told() for _, fault in figures.faults] == []
    assert figures.passed, figures.verdict()


@pytest.mark.timeout(120)
async def test_a_relay_that_keeps_its_turns_in_memory_is_found_out():
    seed = next(seed for seed in range(1_000) if _is_killed_in_the_middle(draw(seed, 0, 10)))
    figures = await run(Figures(seed, streams=10, durability="memory"), rounds=1)
    assert not figures.passed
    assert figures.verdict().startswith("FAILED")
    found = [fault.what for _, fault in figures.faults]
    assert {"gave up", "cannot be read", "is not in the list"} <= set(found)
    assert any("status 404" in fault.came for _, fault in figures.faults if fault.what == "gave up")


def _is_killed_in_the_middle(plan: RoundPlan) -> bool:
    return plan.kills[0].moment == WHILE_STREAMING and 0.3 < plan.kills[0].where < 0.5 and len(plan.kills) == 1


@pytest.mark.timeout(120)
async def test_readers_that_come_to_no_end_in_time_are_found_out():
    figures = await run(Figures(seed=4, streams=10, durability="process"), rounds=1, limit_s=0.001)
    assert not figures.passed
    assert any(fault.came.startswith("hangs after") for _, fault in figures.faults)


def test_a_run_in_which_nothing_was_killed_proves_nothing():
    assert not Figures(seed=1, streams=24, durability="process").passed


def test_a_seed_is_one_plan_and_all_kinds_of_moments_come_up():
    plans = [draw(1, number, 24) for number in range(30)]
    assert plans == [draw(1, number, 24) for number in range(30)]
    assert plans != [draw(2, number, 24) for number in range(30)]
    assert len({kill.moment for plan in plans for kill in plan.kills}) == 5
    assert any(len(plan.kills) > 2 for plan in plans)
