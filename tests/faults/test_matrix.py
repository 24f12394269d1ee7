"""A thousand turns of the fault matrix."""

from __future__ import annotations

import pytest

from faults.matrix import run


@pytest.mark.timeout(400)
async def test_a_thousand_turns_under_every_fault_come_out_as_they_must():
    rows = await run(range(8), at_once=16)
    assert sum(row.turns for row in rows) >= 1_000
    assert [line for row in rows for line in row.wrong] == []
