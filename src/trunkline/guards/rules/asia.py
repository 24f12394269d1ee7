"""Rules for the identity numbers of Asia: India, China."""

from __future__ import annotations

from datetime import date
from typing import Final

from stdnum.cn import ric
from stdnum.in_ import aadhaar, pan

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import END, GLUE, NO_DIGIT_BEFORE, START, compact, digits, phrases

_AADHAAR_LABELS: Final = phrases("aadhaar, aadhar, uidai, uid")
# GB/T 2260, first two digits of the place: the provinces, Hong Kong and Macau and Taiwan, and foreigners (9).
_CHINESE_PROVINCES: Final = frozenset(
    (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91)
)
_CHINESE_YEARS: Final = range(1900, 2100)


def is_aadhaar(text: str) -> bool:
    """Tell whether the Verhoeff check digit is right."""
    return aadhaar.is_valid(digits(text))


def is_pan(text: str) -> bool:
    """Tell whether the fourth letter names a kind of holder and the number is not zero."""
    return pan.is_valid(compact(text))


def is_chinese_id(text: str) -> bool:
    """Tell whether province, date of birth and check character can be; places change too often to be asked."""
    number = text.upper()
    if int(number[:2]) not in _CHINESE_PROVINCES or ric.calc_check_digit(number) != number[-1]:
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return born.year in _CHINESE_YEARS


RULES: Final = (
    # Source: Unique Identification Authority of India, "Aadhaar number" (twelve digits, not beginning with 0 or 1,
    # Verhoeff; shown 4-4-4). Twelve digits without groups are any number, unless the text calls them one.
    Rule(
        name="in_aadhaar",
        pattern=START + rf"(?:[2-9]\d{{3}}[ -]\d{{4}}[ -]\d{{4}}|{_AADHAAR_LABELS}{GLUE}[2-9]\d{{11}})" + END,
        validator=is_aadhaar,
    ),
    # Source: Income Tax Department of India, "Know your PAN" (five letters, four digits, a letter; the fourth names the
    # holder's kind).
    Rule(name="in_pan", pattern=START + r"[A-Z]{3}[ABCFGHJKLPT][A-Z]\d{4}[A-Z]" + END, validator=is_pan),
    # Source: GB 11643-1999 (18 characters: place, date, order, ISO 7064 mod 11-2).
    Rule(name="cn_resident_id", pattern=NO_DIGIT_BEFORE + r"[1-9]\d{16}[\dXx]" + END, validator=is_chinese_id),
)
