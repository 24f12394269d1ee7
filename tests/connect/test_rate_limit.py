"""The limiter slows before zero, and never waits without a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.connect.rate_limit import MAX_REFUSAL_S, MAX_WINDOW_S, RateLimiter

WALL = 1_700_000_000.0


def heard(remaining: int, reset: float, limit: int = 100) -> RateLimiter:
    limiter = RateLimiter()
    headers = {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(reset),
    }
    limiter.heard(headers, 0.0, WALL)
    return limiter


def test_without_headers_nothing_waits():
    limiter = RateLimiter()
    limiter.heard({}, 0.0, WALL)
    assert [limiter.reserve(0.0) for _ in range(1_000)] == [0.0] * 1_000


def test_plenty_left_is_no_reason_to_wait():
    assert heard(80, 60).reserve(1.0) == 0.0


def test_what_is_left_is_shared_out_over_the_rest_of_the_window():
    limiter = heard(10, 60)
    waits = [limiter.reserve(0.0) for _ in range(10)]
    assert waits == sorted(waits)
    assert waits[0] > 0
    assert waits[-1] <= 60


def test_nothing_left_waits_for_the_next_window():
    limiter = heard(0, 30)
    assert limiter.reserve(0.0) == 30.0
    assert limiter.reserve(31.0) == 0.0


def test_genesys_headers_are_understood():
    limiter = RateLimiter()
    limiter.heard(
        {"inin-ratelimit-allowed": "180", "inin-ratelimit-count": "180", "inin-ratelimit-reset": "20"}, 0.0, WALL
    )
    assert limiter.reserve(0.0) == 20.0


def test_a_reset_in_unix_time_is_understood():
    limiter = heard(0, WALL + 5)
    assert limiter.reserve(0.0) == 5.0


def test_a_refusal_holds_everybody_back_for_as_long_as_it_says():
    limiter = RateLimiter()
    limiter.must_wait(7, 0.0)
    assert limiter.reserve(2.0) == 5.0
    assert limiter.reserve(8.0) == 0.0


def test_a_refusal_of_a_day_holds_nobody_back_for_a_day():
    limiter = RateLimiter()
    limiter.must_wait(86_400, 0.0)
    assert limiter.reserve(0.0) == MAX_REFUSAL_S


def test_looking_takes_no_place():
    limiter = heard(10, 60)
    assert len({limiter.due_s(0.0) for _ in range(9)}) == 1
    assert limiter.reserve(0.0) < limiter.reserve(0.0)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 1e12), st.floats(0, 100)), max_size=30))
def test_a_wait_is_never_negative_and_never_endless(story):
    limiter, now = RateLimiter(), 0.0
    for remaining, reset, step in story:
        now += step
        limiter.heard({"x-ratelimit-remaining": str(remaining), "x-ratelimit-reset": str(reset)}, now, WALL)
        due = limiter.due_s(now)
        assert 0 <= due < MAX_WINDOW_S + 1e-6
        assert limiter.reserve(now) == due
