"""A simulator whose clock only a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from simulators.wires import Clock
from trunkline.simulators import Simulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sim(clock: Clock) -> AsyncIterator[Simulator]:
    async with Simulator(seed=5, clock=clock) as simulator:
        yield simulator
