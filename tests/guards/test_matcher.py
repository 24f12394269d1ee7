"""The stage: its contract, and that the fast lane and the exact scan are one."""

from __future__ import annotations

from random import Random

import pytest

from guards import texts
from trunkline.guards.actions import Secrets
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.scanner import Scanner
from trunkline.guards.rule import Rule, Terms


def matcher_of(*rules: Rule | Terms) -> Matcher:
    return Matcher(Automaton(rules), Secrets(b"key"))


def test_where_nothing_is_changed_or_held_the_same_object_is_released() -> None:
    matcher = matcher_of(Rule("one", "abc"))
    for text in ("hello ", "w\u200borld", "\n", ""):
        assert matcher.feed(text) is text
    assert matcher.finish() == ""


def test_held_text_is_counted_and_released_as_soon_as_it_cannot_match() -> None:
    matcher = matcher_of(Rule("one", "abc"))
    steps = [(text, matcher.feed(text), matcher.held) for text in ("xa", "b", "d", "a", "ab", "c", "a")]
    assert steps == [
        ("xa", "x", 1), ("b", "", 2), ("d", "abd", 0), ("a", "", 1), ("ab", "a", 2), ("c", "[ONE]", 0), ("a", "", 1),
    ]  # fmt: skip
    assert matcher.finish() == "a"
    assert not matcher.held


def test_at_the_end_what_waited_for_a_next_character_is_decided() -> None:
    matcher = matcher_of(Rule("one", r"ab(?!\w)"), Rule("two", "c+"))
    assert matcher.feed("ab") == ""
    assert not matcher.found
    assert matcher.finish() == "[ONE]"
    assert [event.rule for event in matcher.found] == ["one"]
    matcher = matcher_of(Rule("two", "c+"))
    assert matcher.feed("-cc") == "-"
    assert matcher.held == 2
    assert matcher.finish() == "[TWO]"


def test_after_a_block_nothing_more_comes() -> None:
    matcher = matcher_of(Rule("one", "ab", "block"))
    assert matcher.feed("x a") == "x "
    assert not matcher.blocked
    assert matcher.feed("b a") == ""
    assert matcher.blocked
    assert (matcher.held, matcher.feed("c"), matcher.finish()) == (0, "", "")
    assert [event.rule for event in matcher.found] == ["one"]


def test_events_may_be_taken_out_as_they_come() -> None:
    matcher = matcher_of(Rule("one", "ab"))
    matcher.feed("ab")
    assert [(event.start, event.offset) for event in matcher.found] == [(0, 0)]
    matcher.found.clear()
    matcher.feed(" - ab")
    assert [(event.start, event.offset) for event in matcher.found] == [(5, 8)]


@pytest.mark.parametrize("name", texts.RULE_SETS)
def test_the_fast_lane_gives_what_the_exact_scan_gives(name: str) -> None:
    automaton = Automaton(texts.RULE_SETS[name], max_rows=200)
    quiet = 0
    for seed in range(texts.TEXTS // 4):
        rnd = Random(seed)
        matcher, scanner = Matcher(automaton, Secrets(b"key")), Scanner(automaton, Secrets(b"key"))
        for piece in texts.cuts(rnd, texts.text(rnd), 5):
            if not scanner.blocked:
                assert matcher.feed(piece) == scanner.scan(piece)
            assert matcher.held == scanner.held
            quiet += matcher._row is not None
        if not scanner.blocked:
            assert matcher.finish() == scanner.scan("", final=True)
        assert matcher.found == scanner.found
    assert quiet > texts.TEXTS


def test_turns_share_an_automaton_and_nothing_else() -> None:
    automaton = Automaton([Rule("one", "ab", "pseudonym")])
    first, second = Matcher(automaton, Secrets(b"1")), Matcher(automaton, Secrets(b"2"))
    assert (first.feed("a"), second.feed("xa"), first.feed("b"), second.feed("x")) == ("", "x", "[ONE_1]", "ax")
    assert (len(first.found), len(second.found)) == (1, 0)


def test_channels_of_one_conversation_share_its_names() -> None:
    automaton = Automaton([Rule("one", "[ab]", "pseudonym")])
    secrets = Secrets(b"key")
    assert [Matcher(automaton, secrets).feed(text) for text in ("a", "b", "a")] == ["[ONE_1]", "[ONE_2]", "[ONE_1]"]


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("**536**-22-1234 *x*", "**[SSN] *x*"),
        ("`5``36-2`2-~~1234~~.", "`[SSN]~~."),
        ("**Project** *Falcon*", "**[TERM]*"),
        ("f*ck it, fck", "[TERM] it, [TERM]"),
        ("2*3", "2*3"),
    ],
)
def test_marks_that_are_kept_can_be_hidden_from_the_rules(text: str, output: str) -> None:
    rules = [Rule("ssn", r"(?<!\w)\d{3}-\d{2}-\d{4}(?!\w)"), Terms("term", ("project falcon", "f*ck"))]
    automaton = Automaton(rules, hidden="*`~")
    for pieces in ([text], list(text)):
        matcher = Matcher(automaton, Secrets(b"key"))
        assert "".join(map(matcher.feed, pieces)) + matcher.finish() == output
