"""Thompson's construction: the language is that of `re`, and how far each state is from its end."""

from __future__ import annotations

import re
from itertools import product
from random import Random

import pytest

from guards import texts
from trunkline.guards.matching.nfa import DEFAULT_CAP, NO_LIMIT, UNBOUNDED_CAP, Accept, Nfa
from trunkline.guards.matching.pattern import parse
from trunkline.guards.matching.sets import Sets

ACCEPT = Accept(0, None)


def built(pattern: str, cap: int | None = None) -> tuple[Sets, Nfa, int, int]:
    sets = Sets()
    nfa = Nfa(sets)
    return sets, nfa, *nfa.add(parse(pattern).body, ACCEPT, cap)


def matches(sets: Sets, nfa: Nfa, start: int, text: str) -> bool:
    states = set(nfa.closure(start))
    for char in text:
        edges = [nfa.edges[state] for state in states]
        taken = [edge[1] for edge in edges if edge is not None and edge[0] & sets.of(char)]
        states = {state for target in taken for state in nfa.closure(target)}
    return any(state in nfa.ends for state in states)


@pytest.mark.parametrize("seed", range(60))
def test_the_language_of_a_pattern_is_that_of_re(seed: int) -> None:
    pattern = "[ab]" + texts.small_pattern(Random(seed))
    sets, nfa, start, _ = built(pattern)
    expected = re.compile(pattern, re.ASCII)
    for size in range(1, 5):
        for chars in product("ab1 -机", repeat=size):
            text = "".join(chars)
            assert matches(sets, nfa, start, text) is (expected.fullmatch(text) is not None), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "cap", "longest"),
    [
        ("abc", None, 3),
        ("a{500}", None, DEFAULT_CAP),
        ("a+", None, UNBOUNDED_CAP),
        ("a+", 7, 7),
        ("abc", 2, 2),
        ("abc", 7, 3),
    ],
)
def test_a_match_is_as_long_as_pattern_and_cap_allow(pattern: str, cap: int | None, longest: int) -> None:
    assert built(pattern, cap)[3] == longest


def test_each_state_knows_after_how_many_characters_it_is_too_late() -> None:
    _, nfa, start, _ = built("ab+c", cap=6)
    assert nfa.last[start] == 3
    end = next(iter(nfa.ends))
    assert nfa.last[end] == 6
    _, nfa, start, _ = built("abc", cap=3)
    assert nfa.last[start] == NO_LIMIT


def test_rules_added_to_one_automaton_keep_apart() -> None:
    sets = Sets()
    nfa = Nfa(sets)
    first, _ = nfa.add(parse("ab").body, Accept(0, None), None)
    second, _ = nfa.add(parse("a[bc]").body, Accept(1, None), None)
    assert matches(sets, nfa, first, "ab")
    assert not matches(sets, nfa, first, "ac")
    assert matches(sets, nfa, second, "ac")
    assert {accept.rule for accept in nfa.ends.values()} == {0, 1}
