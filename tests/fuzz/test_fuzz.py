"""Some seconds of the fuzz, and proof that it finds what is wrong and makes it small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest

from fuzz import lots, patterns
from fuzz.cases import ChainCase, MatcherCase, PatternCase
from fuzz.run import broken_law, run
from fuzz.shrinking import BrokenLaw, Case, shrunk, without_some
from guards.reference import Reference
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.pattern import parse
from trunkline.guards.rule import Rule, Terms

CARD = Rule("card", r"(?<!\d)\d{4} \d{4}(?!\d)")


def test_no_law_is_broken_for_three_seconds() -> None:
    outcome = run(3_000_000, 3)
    assert outcome.broken is None, outcome.told()
    assert outcome.tried.total() > 100
    assert set(outcome.tried) == {"MatcherCase", "ChainCase", "PatternCase"}
    assert outcome.told().endswith("no law was broken")


class Hasty(Matcher):
    """Looks at each piece alone."""

    def feed(self, text: str) -> str:
        return super().feed(text) + super().finish()


class Greedy(Matcher):
    """Holds more than it may."""

    @property
    def held(self) -> int:
        return 1_000


class Leaking(Matcher):
    """Shows a little of what is blocked."""

    def feed(self, text: str) -> str:
        released = super().feed(text)
        return released + text[-1:] if self.blocked else released


class Silent(Matcher):
    """Reports less than it does."""

    def finish(self) -> str:
        output = super().finish()
        self.found.clear()
        return output


@pytest.mark.parametrize("wrong", [Hasty, Greedy, Leaking, Silent])
def test_a_guard_that_is_wrong_is_found_out_and_told_in_a_few_characters(wrong: type[Matcher]) -> None:
    def draw(number: int) -> Case:
        rnd = Random(number)
        rules = (CARD, Terms("term", ("falcon", "project"), "block"), Rule("other", "[a-c]{2}x?", "remove"))
        text = patterns.text(rnd, rules, "12 ab") + " 4111 1111"
        return MatcherCase(rules, lots.cuts(rnd, text), make=wrong)

    outcome = run(1, 10, draw)
    assert outcome.broken is not None
    assert isinstance(outcome.case, MatcherCase)
    assert len(outcome.case.rules) == 1
    assert len("".join(outcome.case.pieces)) <= 9
    assert "BROKEN: " in outcome.told()
    assert "pieces = [" in outcome.told()
    assert f"--seed {outcome.number} --seconds 0" in outcome.told()


def test_where_brute_force_gives_something_else_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reference, "accepts", lambda self, number, value: False)
    case = MatcherCase((CARD,), ("a 4111 1111 b",))
    with pytest.raises(BrokenLaw, match="brute force"):
        case.check()


@dataclass
class Raising:
    text: str

    def check(self) -> None:
        if "x" in self.text and "y" in self.text:
            raise KeyError(self.text)

    def smaller(self) -> Iterator[Case]:
        return map(Raising, without_some(self.text))

    def told(self) -> str:
        return self.text


def test_any_other_exception_is_a_broken_law_and_shrinks_to_its_cause() -> None:
    outcome = run(7, 0, lambda number: Raising("abcdxefghyijkl"))
    assert outcome.broken is not None
    assert outcome.broken.law == "nothing raises KeyError"
    assert outcome.case is not None
    assert outcome.case.told() == "xy"


def test_shrinking_ends_with_its_time() -> None:
    case = Raising("abxy")
    assert shrunk(case, lambda smaller: broken_law(smaller) is not None, lambda: False) is case


def test_a_case_that_takes_too_long_is_given_up() -> None:
    class Endless(Raising):
        def check(self) -> None:
            while True:
                pass

    outcome = run(1, 0, lambda number: Endless(""), case_limit_s=0.02)
    assert (outcome.slow, outcome.broken) == (1, None)


def test_a_number_is_always_the_same_case_and_every_kind_is_drawn() -> None:
    cases = [lots.case(number) for number in range(300)]
    assert [case.told() for case in cases] == [lots.case(number).told() for number in range(300)]
    of_matchers = [case for case in cases if isinstance(case, MatcherCase)]
    assert any(case.only_removals_repeat for case in of_matchers)
    assert any(isinstance(case, ChainCase) and case.names and case.rules for case in cases)
    assert {"Rule", "Terms"} == {type(rule).__name__ for case in of_matchers for rule in case.rules}
    matched = sum(
        bool(Reference(case.rules, marks=[""] * 999).guard("".join(case.pieces)).found) for case in of_matchers
    )
    assert matched > len(of_matchers) / 2


def test_samples_match_their_patterns_and_tame_ones_have_no_condition_behind_them() -> None:
    for seed in range(200):
        rnd = Random(seed)
        pattern = patterns.pattern(rnd, "ab1 -", tame=seed % 2 == 0)
        try:
            parsed = parse(pattern)
        except ValueError:
            continue
        assert seed % 2 or parsed.right is None
        plain = Rule("rule", pattern)
        sample = patterns.sample(rnd, parsed.body)
        if sample and parsed.left is None and parsed.right is None:
            assert Reference([plain]).guard(sample).found


def test_a_pattern_that_is_refused_or_taken_as_re_takes_it_breaks_nothing() -> None:
    for pattern in ("(", "a{2}b|c", r"(?<!\d)1+\b", "[a", "a" * 50, "\\", "(?P<n>a)", "x{0}"):
        PatternCase(pattern).check()
        PatternCase(pattern, ignore_case=True).check()
