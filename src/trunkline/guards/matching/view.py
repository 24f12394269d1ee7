"""The match view: what each character of a text counts as when rules are matched, one for one or nothing at all."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

MARKDOWN_MARKS: Final = "*`~"
"""Marks that a reader does not see, or takes for none: `5**36**-22-1234` is a number."""
MAX_TRANSPARENT: Final = 8  # a longer run of transparent characters is a barrier, so what is held stays bounded
MAX_REMEMBERED: Final = 50_000  # bounds the memory that a text of all of Unicode could take

# Drawn as hyphens or minus signs, though Unicode does not class them as dashes.
_DASHES: Final = frozenset("\u02d7\u2043\u2212\u2796")
# Letters by their category, blank by their looks.
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0")
# As they look in lower case, because case is folded first.
_LOOK_ALIKES: Final = {
    **dict(zip("авгекмнорстухѕіјһӏԁԛԝүѵ", "abrekmhopctyxsijhldqwyv", strict=True)),
    **dict(zip("αβεζηικμνορτυχϲϳ", "abezhikmvoptuxcj", strict=True)),
    **dict(zip("\u0131\u0251\u0261\u2018\u2019\u02bc\u02b9\u00b4", "iag'''''", strict=True)),
}  # fmt: skip
# Scripts whose words adjoin each other without spaces, as Unicode's names of characters begin; Hangul is among them
# because particles adjoin its nouns.
_UNSPACED: Final = (
    "CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "HANGUL", "YI ", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN",
)  # fmt: skip


@lru_cache(MAX_REMEMBERED)
def view_of(char: str) -> str | None:
    """Return what the character counts as in the match view, None where it is transparent."""
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category in {"Cf", "Mn", "Me"} or char in _BLANK_LETTERS:
        return None
    plain = unicodedata.normalize("NFKC", char)
    if len(plain) == 1 and plain.isascii():
        return plain
    return _plain_sign(plain if len(plain) == 1 else char)


def _plain_sign(char: str) -> str:
    """Return the ASCII digit, space or hyphen that a character stands for, else itself."""
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Zs":
        return " "
    if category == "Pd" or char in _DASHES:
        return "-"
    return char


@lru_cache(MAX_REMEMBERED)
def fold(char: str) -> str:
    """Return the letter that a character of the match view is in a term: no case, no accent, look-alikes made Latin.

    An accent that comes as a character of its own is transparent, so those that are part of a letter cannot count
    either. In scripts without spaces such marks make another letter (ha and ba in Japanese) and stay.
    """
    decomposed = unicodedata.normalize("NFD", char)
    if is_word(decomposed[0]) and all(unicodedata.category(mark) == "Mn" for mark in decomposed[1:]):
        char = decomposed[0]
    folded = char.casefold()
    if len(folded) != 1:
        folded = char.lower()
    if len(folded) != 1:
        folded = char
    return _LOOK_ALIKES.get(folded, folded)


def fold_term(term: str) -> str:
    """Return the letters of a term, without what is transparent in it."""
    if term.isascii():
        return term.lower()
    composed = unicodedata.normalize("NFC", term)
    return "".join(fold(seen) for char in composed if (seen := view_of(char)) is not None)


@lru_cache(MAX_REMEMBERED)
def is_word(char: str) -> bool:
    """Whether the character belongs to a word of a script that puts spaces between words."""
    if char.isascii():
        return char.isalnum() or char == "_"
    if not char.isalnum() and unicodedata.category(char) != "Mc":
        return False
    return not unicodedata.name(char, "").startswith(_UNSPACED)
