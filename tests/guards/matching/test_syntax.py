"""Sets of code points, and what can be told of a pattern from its tree."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.guards.matching import syntax
from trunkline.guards.matching.pattern import parse

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: (min(ends), max(ends))))


def members(ranges: syntax.Ranges, below: int = 60) -> set[int]:
    return {code for code in range(below) if any(first <= code <= last for first, last in ranges)}


@given(PAIRS)
def test_a_union_has_the_same_members_in_order_and_apart(pairs: list[tuple[int, int]]) -> None:
    joined = syntax.union(pairs)
    assert members(joined) == members(tuple(pairs))
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(joined))


@given(PAIRS)
def test_a_complement_has_all_others(pairs: list[tuple[int, int]]) -> None:
    joined = syntax.union(pairs)
    assert members(syntax.complement(joined)) == set(range(60)) - members(joined)
    assert syntax.complement(syntax.complement(joined)) == joined


def test_a_set_without_members_is_known() -> None:
    everything = ((0, syntax.MAX_CODE),)
    assert syntax.CharSet(()).is_empty
    assert syntax.CharSet(everything, negated=True).is_empty
    assert not syntax.CharSet(everything).is_empty
    assert not syntax.CharSet((), negated=True).is_empty


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        ("abc", 3),
        ("ab?c{2,4}", 6),
        ("(?:a|bcd|)", 3),
        ("a*", None),
        ("a{2,}b", None),
        ("(?:ab|c+)d", None),
        ("(?:a{0}){5}b", 1),
        ("(?:a*){0}b", 1),
    ],
)
def test_the_longest_match_of_a_pattern_is_known(pattern: str, longest: int | None) -> None:
    assert syntax.longest(parse(pattern).body) == longest


def test_size_counts_each_repetition() -> None:
    assert syntax.size(parse("a{100}").body) == pytest.approx(200, rel=0.1)
    assert syntax.size(parse("(?:ab){100}").body) > 300
    assert syntax.size(parse("a*").body) < 5


@pytest.mark.parametrize(
    ("char", "others"), [("a", "A"), ("A", "a"), ("É", "é"), ("1", ""), ("ı", "Ii"), ("İ", "i"), ("ß", ""), ("ς", "Σσ")]
)
def test_the_cases_of_a_character_are_those_it_may_be_written_in(char: str, others: str) -> None:
    assert {chr(code) for code in syntax.cases(char)} == {char, *others}


@pytest.mark.parametrize(
    ("pattern", "least"), [("abc", 3), ("a?", 0), ("a{2,5}", 2), ("(?:ab|c{9})d+", 3), ("a*", 0), ("(?:ab){3}", 6)]
)
def test_the_shortest_match_is_known(pattern: str, least: int) -> None:
    assert syntax.shortest(parse(pattern).body) == least
