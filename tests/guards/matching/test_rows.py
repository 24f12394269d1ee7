"""The streaming automaton: what a row holds, when it is loud, and that its memory is bounded."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from random import Random

import pytest

from guards import texts
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.rows import ENTRIES_PER_ROW, Row
from trunkline.guards.rule import Rule, Terms


def after(automaton: Automaton, text: str) -> Row:
    return reduce(getitem, text, automaton.rows.quiet(0))


@pytest.mark.parametrize(
    ("text", "hold"),
    [
        ("xyz", 0),
        ("a", 1),
        ("xab", 2),
        ("aab", 2),
        ("ab\u200b\u200b", 4),
        ("\u200b", 0),
        ("a\u200bb", 3),
        ("abx", 0),
        ("ab1", 0),
        ("-a" + "\u200b" * 8, 9),
        ("-a" + "\u200b" * 9, 0),
        ("5", 1),
        ("55", 2),
        ("5a", 1),
    ],
)
def test_a_row_holds_from_the_oldest_match_that_may_come_about(text: str, hold: int) -> None:
    row = after(Automaton([Rule("letters", "abc"), Rule("digits", r"(?<!\w)5+(?=-)")]), text)
    assert not row.loud
    assert row.hold == hold


@pytest.mark.parametrize(
    ("text", "loud"), [("abc", True), ("5-", True), ("5", False), ("5a", False), ("a5-", False), ("xx abc yy", True)]
)
def test_a_row_is_loud_once_a_rule_matched_with_its_context(text: str, loud: bool) -> None:  # noqa: FBT001
    automaton = Automaton([Rule("letters", "abc"), Rule("digits", r"(?<!\w)5+(?=-)")])
    assert after(automaton, text).loud is loud
    assert after(automaton, text + "more").loud is loud


def test_a_row_says_what_stands_before_what_it_holds() -> None:
    automaton = Automaton([Rule("pair", r"(?<!x)ab"), Rule("other", "(?<!y)c")])
    for before in " xy":
        seen = automaton.classes[before]
        assert seen is not None
        assert after(automaton, f"{before}-").before == after(automaton, "-").before
        assert after(automaton, before).before == seen.side
        assert after(automaton, f"a{before}a").hold == (0 if before == "x" else 1)


def test_equal_places_share_a_row() -> None:
    automaton = Automaton([Rule("letters", "abc")])
    assert after(automaton, "xa") is after(automaton, "yya")
    assert after(automaton, "xa") is not after(automaton, "xab")


def test_the_table_is_bounded_and_a_row_in_use_outlives_it() -> None:
    rnd = Random(7)
    automaton = Automaton([*texts.personal(), Terms("term", texts.TERMS)], max_rows=30)
    kept = after(automaton, "4111 1")
    hold = kept["1"].hold
    for _ in range(40):
        row = automaton.rows.quiet(0)
        for char in texts.text(rnd):
            row = row[char]
            assert len(automaton.rows) <= 30
            assert automaton.rows._entries <= ENTRIES_PER_ROW * 30 + len(row.threads) + 1
            if row.loud:
                row = automaton.rows.quiet(0)
    assert not kept
    assert kept["1"].hold == hold
