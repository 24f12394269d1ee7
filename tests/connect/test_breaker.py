"""The breaker: closed, open, half open, and one probe at a time."""

from __future__ import annotations

from trunkline.connect.breaker import Breaker

ME, OTHER = "me", "other"


def failing(times: int, now: float = 0.0) -> Breaker:
    breaker = Breaker(failures=3, open_s=10)
    for _ in range(times):
        breaker.failed(now)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row():
    assert failing(2).admits(0.0, ME)
    assert not failing(3).admits(0.0, ME)
    breaker = failing(2)
    breaker.succeeded()
    breaker.failed(0.0)
    assert breaker.state(0.0) == "closed"


def test_half_open_lets_one_probe_through():
    breaker = failing(3)
    assert breaker.state(9.9) == "open"
    assert breaker.state(10.0) == "half_open"
    assert [breaker.admits(10.0, asker) for asker in (ME, OTHER, "third")] == [True, False, False]


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_again():
    breaker = failing(3)
    assert breaker.admits(10.0, ME)
    breaker.failed(10.5)
    assert not breaker.admits(20.4, ME)
    assert breaker.admits(20.5, ME)
    breaker.succeeded()
    assert all(breaker.admits(20.6, ME) for _ in range(5))


def test_a_probe_that_never_reports_does_not_keep_it_shut_for_ever():
    breaker = failing(3)
    assert breaker.admits(10.0, ME)
    assert not breaker.admits(15.0, OTHER)
    assert breaker.admits(20.0, OTHER)
    assert not breaker.admits(21.0, ME)


def test_who_has_the_probe_may_try_again_and_give_it_back():
    breaker = failing(3)
    assert breaker.admits(10.0, ME)
    assert breaker.admits(11.0, ME)
    breaker.let_go(OTHER)
    assert not breaker.admits(11.0, OTHER)
    breaker.let_go(ME)
    assert breaker.admits(11.0, OTHER)
