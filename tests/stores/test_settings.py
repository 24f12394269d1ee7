"""A span of time as people say it."""

from __future__ import annotations

import pytest

from trunkline.stores.settings import StoreSettings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("24h", "24 hours"), ("7d", "7 days"), ("1d", "24 hours"), ("36h", "36 hours"), ("1h", "1 hour"),
        ("90m", "90 minutes"), ("60s", "1 minute"), ("90s", "90 s"), (0.5, "0.5 s"),
    ],
)  # fmt: skip
def test_how_long_turns_are_kept_is_said_in_the_unit_that_fits(given: str | float, said: str):
    assert f"turns kept {said} after their end" in StoreSettings(retention=given).said()
