"""The deterministic automaton: walks, caps, and that forgetting changes nothing."""

from __future__ import annotations

from random import Random

import pytest

from guards import texts
from trunkline.guards.matching import states as states_module
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.states import State, States
from trunkline.guards.rule import Rule, Terms


def walk(automaton: Automaton, text: str, states: States | None = None) -> State:
    states = states or automaton.states
    first, *rest = (automaton.classes[char] for char in text)
    assert first is not None
    state = states.start(0, first)
    for read, seen in enumerate(rest, 2):
        assert seen is not None
        state = states.within(states.after(state, seen), read)
    return state


def test_a_state_knows_what_matches_and_whether_more_may() -> None:
    automaton = Automaton([Rule("short", "ab"), Rule("long", "abc*(?!x)"), Terms("term", ("abd",))])
    state = walk(automaton, "ab")
    assert {accept.rule for accept in state.accepts} == {0, 1}
    assert state.live
    assert state.sure
    assert state.waits
    assert not walk(automaton, "abd").live
    assert walk(automaton, "abd").waits
    assert walk(automaton, "abx") is automaton.states.dead
    assert not automaton.states.dead.live


def test_of_a_pattern_beyond_its_cap_nothing_is_left() -> None:
    automaton = Automaton([Rule("run", "a+b", cap=4), Rule("fixed", "a{6}")])
    assert [walk(automaton, "a" * size).live for size in range(1, 7)] == [True] * 5 + [False]
    assert walk(automaton, "aaab").sure
    assert walk(automaton, "aaaab") is automaton.states.dead
    alone = Automaton([Rule("run", "a+b", cap=4)])
    assert [walk(alone, "a" * size).live for size in range(1, 5)] == [True, True, True, False]


def test_what_cannot_end_within_the_cap_does_not_even_begin() -> None:
    automaton = Automaton([Rule("either", "a|bcd", cap=2)])
    assert walk(automaton, "a").sure
    assert walk(automaton, "b") is automaton.states.dead


def test_of_the_rules_that_began_only_those_with_the_right_character_before_them_count() -> None:
    automaton = Automaton([Rule("word", r"\bab"), Rule("inner", r"(?<=x)ab"), Rule("any", "ab")])
    a, b, x, blank = (automaton.classes[char] for char in "abx ")
    assert a is not None
    assert b is not None
    assert x is not None
    assert blank is not None
    for before, rules in ((0, {0, 2}), (x.side, {1, 2}), (blank.side, {0, 2})):
        state = automaton.states.after(automaton.states.start(before, a), b)
        assert {accept.rule for accept in state.accepts} == rules


@pytest.mark.parametrize(("max_states", "max_transitions"), [(2, 1000), (1000, 2)])
def test_forgetting_changes_no_state_that_is_in_use(
    max_states: int, max_transitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_module, "MAX_TRANSITIONS", max_transitions)
    for seed in range(40):
        rnd = Random(seed)
        rules = [rule for rule in texts.small_rules(rnd) if isinstance(rule, Rule)]
        automaton = Automaton(rules)
        forgetful = States(automaton.states._nfa, automaton.states._beginnings, max_states)
        for _ in range(5):
            text = texts.small_text(rnd).replace("\u200b", "")[:12] or "a"
            expected, found = walk(automaton, text), walk(automaton, text, forgetful)
            assert (expected.nfa, expected.accepts, expected.live) == (found.nfa, found.accepts, found.live)
        assert len(forgetful._known) <= max_states + 1


def test_a_state_in_use_keeps_none_of_the_forgotten_ones() -> None:
    automaton = Automaton([Rule("letters", "[a-e]{9}")])
    states = States(automaton.states._nfa, automaton.states._beginnings, max_states=4)
    kept = walk(automaton, "a", states)
    walk(automaton, "abc", states)
    assert kept.next
    walk(automaton, "abcde", states)
    assert not kept.next
    assert walk(automaton, "ab", states).nfa == walk(automaton, "ab").nfa
