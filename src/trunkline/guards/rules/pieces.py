"""What the rules are made of: edges, labels in any case, and the words that may stand between a label and its value."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# ASCII on purpose: Chinese and Arabic write numbers right against letters. The underscore is no edge, so that `_..._`
# (emphasis) hides nothing.
START: Final = r"(?<![A-Za-z0-9])"
END: Final = r"(?![A-Za-z0-9])"
NO_DIGIT_BEFORE: Final = r"(?<!\d)"
NO_DIGIT_AFTER: Final = r"(?!\d)"

# "No.", "Nr.", "n.", "núm." carry the one full stop that a label may have.
_ABBREVIATED_NUMBER: Final = r"(?:(?:[^0-9.!?\n]{0,12}[ -])?(?:[Nn][OoRr]?|[Nn][UuÚú][Mm])\.)?"
COMPOUND: Final = _ABBREVIATED_NUMBER + r"[^0-9.!?\n]{0,24}"
"""What may stand between a label and its value, the rest of its word first (`Reisepassnummer`): up to 24 characters of
the same sentence, without a digit."""
GLUE: Final = r"(?:[^A-Za-zÀ-ÖØ-öø-ɏ0-9.!?\n]" + COMPOUND + ")?"
"""The same where the label is a whole word (`né` is none in `nehmen`)."""

_NOT_DIGITS: Final = re.compile(r"\D+")
_NOT_ALPHANUMERIC: Final = re.compile(r"[^A-Za-z0-9]+")


def digits(text: str) -> str:
    """Return the digits of `text`."""
    return _NOT_DIGITS.sub("", text)


def compact(text: str) -> str:
    """Return the ASCII letters and digits of `text`, letters in upper case."""
    return _NOT_ALPHANUMERIC.sub("", text).upper()


def phrases(*lists: str) -> str:
    """Return a pattern for any phrase of the lists (separated by commas), in any case, with or without accents.

    A space in a phrase also stands for a hyphen, an underscore or nothing: `birth date` is `birthdate`, too.
    """
    return "(?:" + "|".join("".join(map(_any_case, text)) for each in lists for text in each.split(", ")) + ")"


def _any_case(letter: str) -> str:
    if letter == " ":
        return "[ _-]?"
    plain = unicodedata.normalize("NFD", letter)[0]
    forms = sorted({form for each in (letter, plain) for form in (each.lower(), each.upper())})
    return f"[{''.join(forms)}]" if len(forms) > 1 else re.escape(letter)
