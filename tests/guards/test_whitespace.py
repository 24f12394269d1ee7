"""White space over every cut, against a few substitutions on the whole text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuts import cut_texts, every_cut, fed, tokens
from trunkline.guards.whitespace import WhitespaceCollapse
from trunkline.simulators.texts import TEXTS

MAX_HELD = 3


def collapsed(text: str) -> str:
    """The reference, on the whole text at once."""
    text = re.sub(r"[ \t\r]+", " ", text)
    text = text.replace(" \n", "\n")
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"\n(?: ?\n)+", "\n\n", text)).strip(" \n")


CASES = {
    "a  b \t c": "a b c",
    "a\n\n\n\nb": "a\n\nb",
    "a \n \n \n b": "a\n\n b",
    "a\t\nb": "a\nb",
    "a\r\nb\r\n\r\n\r\nc": "a\nb\n\nc",
    "a\rb": "a b",
    " \n\t a": "a",
    "a \n\n ": "a",
    " ": "",
    "": "",
    "\n": "",
    "- a\n  - b": "- a\n - b",
    "9\u00a0h  ?\u202f!": "9\u00a0h ?\u202f!",
    "a\u2028\u2028b\v\v\f\x85": "a\u2028\u2028b\v\v\f\x85",
}


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_white_space_collapses_over_every_cut(text, expected):
    assert collapsed(text) == expected
    for pieces in every_cut(text):
        assert fed(WhitespaceCollapse, pieces, MAX_HELD) == expected, pieces


TEXTS_WITH_SPACE = st.text(" \t\n\r" * 3 + "ab\u00a0\u3000", max_size=40)


@given(cut_texts(TEXTS_WITH_SPACE))
@settings(max_examples=300)
def test_any_cut_gives_what_the_reference_gives(pieces):
    assert fed(WhitespaceCollapse, pieces, MAX_HELD) == collapsed("".join(pieces))


@given(TEXTS_WITH_SPACE)
def test_collapsing_again_changes_nothing(text):
    once = fed(WhitespaceCollapse, [text], MAX_HELD)
    assert fed(WhitespaceCollapse, [once], MAX_HELD) == once


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_tokens_of_a_model_change_nothing(text):
    assert fed(WhitespaceCollapse, tokens(text), MAX_HELD) == collapsed(text)


def test_a_collapse_of_each_delta_alone_would_be_found_out():
    assert any("".join(map(collapsed, pieces)) != collapsed("a  b") for pieces in every_cut("a  b"))


def test_words_pass_at_once_and_as_the_same_object():
    stage = WhitespaceCollapse()
    stage.feed("H")
    for piece in ["ello", " wor", "ld, here", " it is"]:
        assert stage.feed(piece) is piece
        assert stage.held == 0


def test_only_the_space_behind_the_last_word_is_held():
    stage = WhitespaceCollapse()
    assert stage.feed(" \n ") == ""
    assert stage.held == 0
    assert stage.feed("a ") == "a"
    assert stage.held == 1
    assert stage.feed("\n" * 1000 + "\t" * 1000) == ""
    assert stage.held == 3
    assert stage.feed("b") == "\n\n b"


def test_a_long_text_of_single_words_is_read_in_one_pass():
    stage = WhitespaceCollapse()
    assert stage.feed("a" * 100_000 + " ") == "a" * 100_000
