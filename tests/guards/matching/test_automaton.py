"""The automaton of a configuration: what it refuses, how fast it starts, and what it takes."""

from __future__ import annotations

import time
import tracemalloc
from random import Random

import pytest

from guards import texts
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.pattern import PatternError
from trunkline.guards.rule import Rule, Terms


def many_terms(count: int) -> tuple[str, ...]:
    rnd = Random(5)
    syllables = ("ba", "ko", "ri", "ten", "mal", "stro", "vi", "qua", "ne", "lor", "sam", "pi", "dex", "tu", "gra")
    words: set[str] = set()
    while len(words) < count:
        words.add("".join(rnd.choice(syllables) for _ in range(rnd.randint(2, 6))))
    return tuple(sorted(words))


def test_a_pattern_that_cannot_run_is_refused_at_start() -> None:
    with pytest.raises(PatternError, match="anchors"):
        Automaton([Rule("anchored", "^a")])


@pytest.mark.parametrize("term", ["", "\u200b\u200b", "x" * 321, "abc\U0010ffff"])
def test_a_term_that_cannot_be_found_is_refused_and_never_quoted(term: str) -> None:
    with pytest.raises(ValueError, match=r"names: term 1 has [0-9]+ letters, expected 1 to 320") as refused:
        Automaton([Terms("names", ("fine", term))])
    assert not term or term not in str(refused.value)


def test_ten_thousand_terms_start_within_half_a_second_and_sixty_four_mebibytes() -> None:
    terms = Terms("never", many_terms(10_000))
    rules = [*texts.personal(), terms]
    began = time.perf_counter()
    Automaton(rules)
    assert time.perf_counter() - began < 0.5
    tracemalloc.start()
    automaton = Automaton(rules)
    automaton.warm_up(texts.PROSE + " ".join(terms.words[::20]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_after_a_warm_up_the_same_text_makes_no_row() -> None:
    automaton = Automaton(texts.RULE_SETS["every action"])
    automaton.warm_up(texts.PROSE)
    rows = len(automaton.rows)
    assert rows > 50
    automaton.warm_up(texts.PROSE)
    assert len(automaton.rows) == rows


def test_only_a_configuration_that_blocks_or_removes_pays_for_it() -> None:
    plain = Automaton([Rule("one", "a"), Rule("two", "b", "flag")])
    assert (plain.blocks, plain.changes) == (None, None)
    assert Automaton([Rule("one", "a", "block")]).blocks is not None
    assert Automaton([Terms("one", ("a",), "remove")]).changes is not None


def test_the_bound_on_held_text_counts_the_longest_rule_with_invisible_characters_in_it() -> None:
    assert Automaton([Rule("one", "a{3}"), Rule("two", "b+", cap=50), Terms("t", ("c" * 20,))]).max_held == 450
