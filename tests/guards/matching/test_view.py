"""The match view: what characters count as, alone and in terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.guards.matching.view import fold, fold_term, is_word, view_of


@pytest.mark.parametrize(
    ("chars", "seen"),
    [
        ("a1@ \n\x00", "a1@ \n\x00"),
        ("٠٥९๓５𝟘𝟗", "05935" + "09"),
        ("²①₃", "213"),
        ("\u00a0\u2003\u202f\u3000", "    "),
        ("‐‑–—―−﹣－⁃", "-" * 9),
        ("ＡｚＺ＠．：（＋，", "AzZ@.:(+,"),
        ("𝒜𝓫𝖈ℂKªº", "AbcCKao"),
        ("﹫․", "@."),
        ("éßñЖ机कあ。😀…", "éßñЖ机कあ。😀…"),
    ],
)
def test_characters_count_as_their_plain_form(chars: str, seen: str) -> None:
    assert [view_of(char) for char in chars] == list(seen)


@pytest.mark.parametrize("char", "\u200b\u200d\u00ad\u2060\ufeff\u0301\u20e3\ufe0f\U000e0041\u3164\uffa0\u061c\u093c")
def test_what_cannot_be_seen_and_what_only_marks_another_is_transparent(char: str) -> None:
    assert view_of(char) is None


@given(st.characters())
def test_a_view_is_one_character_or_none_and_its_own_view(char: str) -> None:
    seen = view_of(char)
    assert seen is None or (len(seen) == 1 and view_of(seen) == seen)


@given(st.characters())
def test_folding_gives_one_letter_and_is_done_once(char: str) -> None:
    assert len(fold(char)) == 1
    assert fold(fold(char)) == fold(char)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ABC", "abc"),
        ("ÉÑÅİıй", "enaiiи"),
        ("Straße STRAẞE", "straße straße"),
        ("ΑΒΕΟΡά", "abeopa"),
        ("Ѕесrеt", "secret"),
        ("ばか한", "ばか한"),
        ("’", "'"),
    ],
)
def test_terms_are_compared_without_case_accents_and_look_alikes(text: str, folded: str) -> None:
    assert "".join(map(fold, text)) == folded


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("Badword", "badword"),
        ("e-mail", "e-mail"),
        ("Café", "cafe"),
        ("Cafe\u0301", "cafe"),
        ("は\u3099か", "ばか"),
        ("機\u200b密", "機密"),
        ("ｓｅｃｒｅｔ", "secret"),
        ("\u200b", ""),
    ],
)
def test_a_term_is_its_letters(term: str, expected: str) -> None:
    assert fold_term(term) == expected


def test_words_are_made_of_the_letters_of_scripts_that_put_spaces_between_them() -> None:
    assert all(map(is_word, "aZ0_éßЖωकิा".replace("ิ", "")))
    assert not any(map(is_word, " -.@，机密あアก한ㄅ\n…"))
