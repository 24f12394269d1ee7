"""Classes of characters: what rules cannot tell apart is one class."""

from __future__ import annotations

import pytest

from trunkline.guards.matching import classes as classes_module
from trunkline.guards.matching.classes import Classes
from trunkline.guards.matching.sets import TERM_WORD, Sets
from trunkline.guards.matching.syntax import DIGIT, CharSet


def made() -> tuple[Classes, int]:
    sets = Sets()
    digit = sets.bit(CharSet(DIGIT))
    return Classes(sets, TERM_WORD, frozenset("ab")), digit


def test_characters_with_the_same_answers_are_one_class() -> None:
    classes, digit = made()
    one, other, letter, term_letter = (classes[char] for char in "12xa")
    assert one is other is classes["９"]
    assert one is not None
    assert letter is not None
    assert term_letter is not None
    assert one.sets == digit | TERM_WORD
    assert one.side == TERM_WORD
    assert letter is classes["y"] is not term_letter
    assert (letter.letter, term_letter.letter) == ("", "a")
    assert term_letter is classes["А"] is classes["Ａ"]


def test_transparent_characters_have_no_class_and_nothing_matches_the_barrier() -> None:
    classes, _ = made()
    assert classes["\u200b"] is None
    assert (classes.barrier.sets, classes.barrier.side, classes.barrier.letter) == (0, 0, "")


def test_a_text_of_all_of_unicode_is_forgotten_and_the_classes_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes_module, "MAX_CHARS", 10)
    classes, _ = made()
    digit = classes["1"]
    for code in range(0x4E00, 0x4E00 + 25):
        assert classes[chr(code)] is not None
        assert len(classes) <= 10
    assert "1" not in classes
    assert classes["1"] is digit
