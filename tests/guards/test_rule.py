"""Rules and term lists: what they refuse to be, and when a candidate is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.guards.rule import MAX_CAP, Rule, Terms


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": "Card"}, "rule name 'Card'"),
        ({"name": ""}, "rule name ''"),
        ({"name": "2fa"}, "rule name '2fa'"),
        ({"action": "redact"}, "rule card: action 'redact', expected one of allow, block"),
        ({"replacement": "x" * 257}, "rule card: the replacement has 257 characters, at most 256"),
        ({"cap": 0}, "rule card: cap is 0, expected 1 to"),
        ({"cap": MAX_CAP + 1}, f"rule card: cap is {MAX_CAP + 1}"),
    ],
)
def test_a_rule_that_makes_no_sense_says_what_was_expected(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Rule(**{"name": "card", "pattern": "x", **given})


def test_a_term_list_is_checked_alike() -> None:
    with pytest.raises(ValueError, match="rule name"):
        Terms("Never say", ("boom",))
    with pytest.raises(ValueError, match="action"):
        Terms("never", ("boom",), "shout")  # type: ignore[arg-type]


def raises(value: str) -> bool:
    raise LookupError(value)


@pytest.mark.parametrize(
    ("validator", "accepted"),
    [(None, True), (str.isdigit, False), (str.isalpha, True), (len, True), (lambda _: None, False), (raises, True)],
)
def test_a_candidate_is_accepted_unless_the_validator_clears_it(validator: Any, accepted: bool) -> None:  # noqa: FBT001
    assert Rule("name", "x", validator=validator).accepts("x") is accepted


def test_a_validator_that_fails_is_told_of_by_its_exception() -> None:
    told: list[Exception] = []
    rule = Rule("name", "x", validator=raises)
    assert rule.accepts("x", told.append)
    assert [type(error) for error in told] == [LookupError]
    assert Rule("name", "x", validator=str.isalpha).accepts("x", told.append)
    assert len(told) == 1


def test_a_term_needs_no_validator() -> None:
    assert Terms("never", ("boom",)).accepts("boom")
