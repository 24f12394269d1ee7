"""Halves of characters over every cut, against Python's own decoder."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuts import cut_texts, every_cut, fed
from trunkline.guards.surrogates import SurrogateJoin, mended

MAX_HELD = 1

CASES = [
    ("Hi \ud83d\ude00!", "Hi \U0001f600!"),
    ("\ud83d", "\ufffd"),
    ("\ude00", "\ufffd"),
    ("\ud83da", "\ufffda"),
    ("\ude00\ud83d", "\ufffd\ufffd"),
    ("\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    ("\ud83d\ude00\ude00", "\U0001f600\ufffd"),
    ("\ud800\udc00\udbff\udfff", "\U00010000\U0010ffff"),
    ("\ud7ff\ue000\uffff", "\ud7ff\ue000\uffff"),
    ("é中\U0001f600", "é中\U0001f600"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[ascii(text) for text, _ in CASES])
def test_halves_are_joined_over_every_cut(text, expected):
    for pieces in every_cut(text):
        assert fed(SurrogateJoin, pieces, MAX_HELD) == expected, pieces


@given(cut_texts(st.text(["\ud83d", "\ude00", "\ud800", "\udfff", "a", "é", "\U0001f600"], max_size=12)))
@settings(max_examples=200)
def test_any_cut_gives_what_a_decoder_of_utf_16_gives(pieces):
    expected = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert fed(SurrogateJoin, pieces, MAX_HELD) == expected


def test_text_without_halves_passes_as_the_same_object():
    stage = SurrogateJoin()
    for piece in ["Hello", " Zoë", "\U0001f600", ""]:
        assert stage.feed(piece) is piece


def test_only_a_first_half_is_held_until_the_next_character_decides():
    stage = SurrogateJoin()
    assert stage.feed("a\ud83d") == "a"
    assert stage.held == 1
    assert stage.feed("") == ""
    assert stage.held == 1
    assert stage.feed("b\ude00") == "\ufffdb\ufffd"
    assert stage.held == 0


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[ascii(text) for text, _ in CASES])
def test_a_complete_text_is_mended_at_once_and_stays_the_same_object_where_it_is_whole(text, expected):
    assert mended(text) == expected
    assert (mended(text) is text) == (text == expected)
