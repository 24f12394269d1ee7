"""What a removal leaves: nothing where nothing can come of it, else a mark that keeps both sides apart."""

from __future__ import annotations

from random import Random

import pytest

from guards import texts
from trunkline.guards.matching import seam as seam_module
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.seam import MARKS, Seam
from trunkline.guards.rule import Rule, Terms

GONE = Terms("gone", ("zap",), "remove", whole_word=False)


def seam_of(*rules: Rule | Terms) -> Seam:
    automaton = Automaton([*rules, GONE])
    assert automaton.changes is not None
    return Seam(automaton.classes, automaton.changes, automaton.max_held)


@pytest.mark.parametrize(
    ("pattern", "before", "mark"),
    [
        (r"(?<!\d)\d{3}-\d{2}(?!\d)", "the ", ""),
        (r"(?<!\d)\d{3}-\d{2}(?!\d)", "", ""),
        (r"(?<!\d)\d{3}-\d{2}(?!\d)", "53", "…"),
        (r"(?<!\d)\d{3}-\d{2}(?!\d)", "536-2", "…"),
        (r"(?<!\d)\d{3}-\d{2}(?!\d)", "536-22", "0…"),
        (r"(?<!\w)\d{3}-\d{2}(?!\w)", "536-22", "_…"),
        (r"(?<!\w)\d{3}-\d{2}(?!\w)", "536-22 ", ""),
        ("a.{4}b", "a", "\u2060" * 9),
        ("[^x]{2}", "x", ""),
        ("abc", "z", "…"),
        ("abc", "-\u200b", "…"),
        ("abc", "-\u200b.", ""),
    ],
)
def test_a_mark_is_left_only_where_something_could_go_on_or_end(pattern: str, before: str, mark: str) -> None:
    seam = seam_of(Rule("rule", pattern))
    for char in before:
        seam.wrote(char)
    assert seam.close()[0] == mark


def test_flags_and_what_is_allowed_need_no_mark() -> None:
    assert seam_of(Rule("one", r"\d{5}", "flag"), Rule("two", r"\d+x", "allow")).close()[0] == ""
    seam = seam_of(Rule("one", r"\d{5}", "flag"), Rule("two", r"\d+x", "allow"))
    seam.wrote("12")
    assert seam.close()[0] == ""


def test_where_no_mark_keeps_the_text_before_it_from_matching_both_sides_are_still_kept_apart() -> None:
    seam = seam_of(Rule("last", r"\w(?!\w)"))
    seam.wrote("abc")
    assert seam.close()[0] == MARKS[0]


def test_the_character_before_the_gap_is_that_of_the_mark_or_of_the_text() -> None:
    automaton = Automaton([Rule("rule", r"(?<!\w)\d{3}(?![\d…])"), GONE])
    assert automaton.changes is not None
    seam = Seam(automaton.classes, automaton.changes, automaton.max_held)
    seam.wrote("x")
    letter, dots = automaton.classes["x"], automaton.classes["…"]
    assert letter is not None
    assert dots is not None
    assert seam.close() == ("", letter.side)
    seam.wrote("-5")
    assert seam.close() == ("…", dots.side)


def test_following_a_long_output_in_pieces_or_trimmed_gives_the_same_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam_module, "MAX_PIECES", 5)
    trimmed = 0
    for seed in range(150):
        rnd = Random(seed)
        rules = [Rule("pair", r"(?<!b)a[ab]{2}1"), Rule("end", r"1(?!\w)", "block")]
        whole, pieces = seam_of(*rules), seam_of(*rules)
        text = "".join(texts.small_text(rnd) for _ in range(8)).replace("机", "")
        pieces.wrote("a")
        for piece in texts.cuts(rnd, text, 3):
            pieces.wrote(piece)
            assert pieces._unread_size <= 2 * pieces._max_unread
            if rnd.random() < 0.05:
                pieces.close()
        trimmed += len(text) > 2 * pieces._max_unread
        whole.wrote(("a" + text)[-2 * whole._max_unread :])
        assert pieces.close() == whole.close()
    assert trimmed > 20


def test_what_is_trimmed_away_cannot_have_been_the_beginning_of_a_match() -> None:
    begun = "a\u200b\u200bb\u200bb"
    for before in range(120):
        seam = seam_of(Rule("rule", "a[ab]{2}1"))
        for char in "." * before + begun:
            seam.wrote(char)
        assert seam.close()[0] == "…"
