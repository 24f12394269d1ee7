"""A time is written in one way, whoever writes it."""

from __future__ import annotations

import pytest

from trunkline.core.times import iso


@pytest.mark.parametrize(
    ("unix_ms", "written"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_255_200_007, "2026-11-21T10:00:00.007Z"),
        (999, "1970-01-01T00:00:00.999Z"),
    ],
)
def test_a_time_is_written_in_utc_with_its_milliseconds(unix_ms: int, written: str):
    assert iso(unix_ms) == written
