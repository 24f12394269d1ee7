"""Retry-After in both forms, and full jitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.connect.backoff import MAX_RETRY_AFTER_S, full_jitter_s, retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("42", 42.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("999999999", 86_400.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("٣", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 01 Jan 2024 99999999999999999999:00:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after_s({"retry-after": value}, NOW) == seconds


# Text that is almost a date reaches further into the parser than any text does.
DATES = st.tuples(
    st.sampled_from(["Mon, ", "", "Monday, ", ","]),
    st.integers(-1, 10**25),
    st.sampled_from([" Jan ", "-Feb-", " 13 ", " "]),
    st.integers(-1, 10**25),
    st.integers(-1, 10**25),
    st.sampled_from([":00:00", ".0", "", ":"]),
    st.sampled_from([" GMT", " -0000", " +9999", "", " +99999999999999999999"]),
).map(lambda parts: "{}{}{}{} {}{}{}".format(*parts))


@given(st.text() | st.from_regex(r"[0-9.]+") | DATES)
def test_any_header_means_a_bounded_wait_or_none(value):
    wait_s = retry_after_s({"retry-after": value}, NOW)
    assert wait_s is None or 0 <= wait_s <= MAX_RETRY_AFTER_S


def test_no_header_no_wait():
    assert retry_after_s({}, NOW) is None


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_below_the_doubled_base_and_the_cap(attempt, dice):
    wait = full_jitter_s(attempt, 0.5, 30, lambda: dice)
    assert 0 <= wait <= min(30, 0.5 * 2 ** min(attempt, 10))
