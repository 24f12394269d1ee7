"""Rules that know no country: payment card, IBAN, e-mail and IP address; date of birth and passport where labelled."""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from itertools import permutations
from typing import Final

from stdnum import ean, iban, luhn
from stdnum.iso7064 import mod_97_10

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import (
    COMPOUND,
    END,
    GLUE,
    NO_DIGIT_AFTER,
    NO_DIGIT_BEFORE,
    START,
    compact,
    digits,
    phrases,
)

# Source: ISO/IEC 7812-1 (numbers of 13 to 19 digits here); the issuers' public ranges, in the order of the lines: Visa;
# Mastercard; American Express; Diners Club; Discover; JCB; UnionPay; Maestro; RuPay; Mir; Troy; Elo; Hipercard; Verve;
# Dankort.
_ISSUERS: Final = re.compile(
    r"""
    4(?:\d{12}|\d{15}|\d{18})
    | (?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}
    | 3[47]\d{13}
    | 36\d{12,17} | (?:30[0-5]\d|3095|3[89]\d\d)(?:\d{10}|\d{12,15})
    | (?:6011|64[4-9]\d|65\d\d)\d{12,15}
    | 35(?:2[89]|[3-8]\d)\d{12,15}
    | (?:62|81)\d{14,17}
    | (?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}
    | (?:60|65|81|82|508\d|35[36]\d)\d{14} | (?:508|353|356)\d{13}
    | 220[0-4]\d{12,15}
    | 9792\d{12}
    | (?:4011|4312|4389|4514|4576|5041|5066|5067|5090|6277|6362|6363)\d{12}
    | 606282\d{10}
    | 506(?:099|1[0-8]\d|19[0-8])(?:\d{10}|\d{12,13})
    | 5019\d{12}""",
    re.VERBOSE,
)
# How people and machines group a card number: not at all, in fours (the last group may be longer by one or shorter), as
# 4-6-4, 4-6-5 or 6-13, or digit by digit. Lists of sizes, years or prices are grouped otherwise.
_GAP: Final = "[ .,/-]{1,3}"
_CARD: Final = (
    r"(?:[2-9]\d{12,18}"
    rf"|[2-9]\d{{3}}{_GAP}\d{{4}}{_GAP}\d{{4}}{_GAP}(?:\d{{4}}{_GAP})?\d{{1,5}}"
    rf"|[2-9]\d{{3}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}"
    rf"|[2-9]\d{{5}}{_GAP}\d{{7,13}}"
    rf"|[2-9](?:{_GAP}\d){{12,18}})"
)
_VISA_OF_OLD: Final = 13

# Latin letters with accents: a German or French address must not lose its first half.
_LETTER: Final = "A-Za-zÀ-ÖØ-öø-ɏ"
_LOCAL: Final = f"{_LETTER}0-9_.+%-"
_DOMAIN_LABEL: Final = f"[{_LETTER}0-9-]{{1,63}}"
# RFC 5321 section 4.5.3.1: 64 octets before the sign, 255 behind it.
_EMAIL_CAP: Final = 64 + 1 + 255

_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_HEXTET: Final = r"[0-9A-Fa-f]{1,4}"

_BIRTH_LABELS: Final = phrases(
    "date of birth, birth date, dob, d.o.b., born",
    "geburtsdatum, geboren, geb.",
    "fecha de nacimiento, nacimiento, nacido, nacida, nací, nació, f. nac.",
    "date de naissance, naissance",
    "data di nascita",
    "data de nascimento, nascimento, nascido, nascida, nasceu, nasci",
    "出生日期, 生日",
)
# Words of everyday speech (a birthday offer ends on a date, too) need the date right behind them.
_BIRTH_WORDS: Final = phrases(
    "birthday, birthday is, birthday is on, birthday on",
    "geburtstag, geburtstag am, geburtstag ist der, geburtstag ist am",
    "cumpleaños, cumpleaños es el",
    "né le, née le, nato il, nata il",
)
_DATE: Final = (
    r"(?:\d{1,2}[./ -]{1,2}\d{1,2}[./ -]{1,2}(?:\d{4}|\d{2})"  # 12.05.1985, 12/05/85
    r"|\d{4}[./ -]\d{1,2}[./ -]\d{1,2}|\d{4}年\d{1,2}月\d{1,2}日?"  # 1985-05-12
    r"|\d{1,2}[^0-9!?\n]{1,20}(?:19|20)\d{2})"  # May 12, 1985; 12. Mai 1985; 12 de mayo de 1985
)
_LONG_HEXTET: Final = re.compile(r"[0-9A-Fa-f]{3}")
_SHORT_COLONS: Final = 2
_MONTHS: Final = 12
_DAYS: Final = 31
_CENTURY: Final = 100

_PASSPORT_LABELS: Final = phrases(
    "passport, reisepass, pass nummer, pass nr, pasaporte, passeport, passaporto, passaporte, 护照"
)
_LAST_WORD: Final = re.compile(r"[A-Za-z0-9]+\Z")
_PASSPORT_LENGTHS: Final = range(6, 10)
_PASSPORT_LEAST_DIGITS: Final = 5


def is_card(text: str) -> bool:
    """Tell whether `text` is a card number: an issuer's prefix, its length and the Luhn check digit."""
    number = digits(text)
    if not _ISSUERS.fullmatch(number):
        return False
    # Thirteen digits that begin with 4 are a German or Japanese bar code today; Visa gave them up long ago.
    if len(number) == _VISA_OF_OLD and ean.is_valid(number):
        return False
    return luhn.is_valid(number)


def is_iban(text: str) -> bool:
    """Tell whether `text` has the length and structure of its country's IBANs and the remainder 1 modulo 97."""
    number = compact(text)
    # A country's own check digits inside are not asked for: a test account is still an account.
    return mod_97_10.is_valid(number[4:] + number[:4]) and iban.is_valid(number, check_country=False)


def names_a_host(text: str) -> bool:
    """Tell whether an IPv4 address names a host (RFC 1122 3.2.1.3): not loopback, a mask or a network."""
    return not text.startswith(("0.", "127.", "255.")) and not text.endswith(".0.0")


def is_ipv6(text: str) -> bool:
    """Tell whether `text` is an IPv6 address and not a name of code such as `ABC::DEF`, nor the loopback address."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    # `12::34` is a row or a ratio, `ABC::DEF` a name in code.
    is_written_out = text.count(":") > _SHORT_COLONS or _LONG_HEXTET.search(text) is not None
    return is_written_out and not address.is_loopback and any(c.isdigit() for c in text)


def is_birth_date(text: str) -> bool:
    """Tell whether the numbers in `text` can be read as a day of the calendar, in the order of any country."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if len(numbers) == 2:  # noqa: PLR2004 - a day and a year; the month is a word
        return 1 <= numbers[0] <= _DAYS
    return any(map(_is_day, permutations(numbers)))


def _is_day(numbers: tuple[int, ...]) -> bool:
    year, month, day = numbers
    if not (1 <= month <= _MONTHS and 1 <= day <= _DAYS):
        return False
    try:
        date(year if year >= _CENTURY else 2000 + year, month, day)
    except ValueError:
        return False
    return True


def ends_with_passport_number(text: str) -> bool:
    """Tell whether the last word of `text` has six to nine characters, most of them digits."""
    word = _LAST_WORD.search(text)
    return word is not None and len(word[0]) in _PASSPORT_LENGTHS and len(digits(word[0])) >= _PASSPORT_LEAST_DIGITS


RULES: Final = (
    # Source: ISO/IEC 7812-1 (structure, Luhn check digit) and the issuers' ranges above.
    Rule(
        name="card",
        pattern=NO_DIGIT_BEFORE + _CARD + NO_DIGIT_AFTER,
        validator=is_card,
    ),
    # Source: ISO 13616-1 and the SWIFT IBAN registry (per-country length and structure, in python-stdnum); paper form
    # in groups of four, some countries print their national groups. Lower case is written by people, in fours or
    # without groups.
    Rule(
        name="iban",
        pattern=START
        + r"(?:[A-Z]{2} ?\d{2}(?:[ .-]?[A-Z0-9]){11,30}"
        + r"|[A-Za-z]{2}\d{2}(?:[ .-]?[A-Za-z0-9]{4}){2,7}(?:[ .-]?[A-Za-z0-9]{1,3})?)"
        + END,
        validator=is_iban,
    ),
    # Source: RFC 5321 section 4.1.2 (dot-string, without the punctuation nobody uses), RFC 6531 (letters beyond ASCII),
    # RFC 1035 section 2.3.1. No context behind: emphasis (`_a@b.co_`) and glued words must not hide an address.
    Rule(
        name="email",
        pattern=f"(?<![{_LOCAL}])[{_LOCAL}]['{_LOCAL}]{{0,63}}@"
        rf"(?:{_DOMAIN_LABEL}\.){{1,6}}(?:[{_LETTER}]{{2,24}}|xn--[a-z0-9-]{{2,20}})",
        cap=_EMAIL_CAP,
    ),
    # Source: RFC 791, dotted decimal as in RFC 3986 section 3.2.2 (no leading zeros).
    Rule(
        name="ipv4",
        pattern=r"(?<![A-Za-z0-9.])" + _IPV4 + END,
        validator=names_a_host,
    ),
    # Source: RFC 4291 section 2.2, and 2.5.5.2 for the form that ends in an IPv4 address.
    Rule(
        name="ipv6",
        pattern=r"(?<![A-Za-z0-9:])"
        rf"(?:{_HEXTET}(?::{_HEXTET}){{7}}|(?:{_HEXTET}(?::{_HEXTET}){{0,6}})?::(?:{_HEXTET}(?::{_HEXTET}){{0,6}})?"
        rf"|::[Ff]{{4}}:{_IPV4})" + END,
        validator=is_ipv6,
    ),
    # Source: the words of forms in the six languages; a date alone is no personal datum, one named as a birthday is
    # (GDPR article 4).
    Rule(
        name="birth_date",
        pattern=START + rf"(?:{_BIRTH_LABELS}{GLUE}|{_BIRTH_WORDS}[ :=*\"']{{1,4}})" + _DATE + NO_DIGIT_AFTER,
        validator=is_birth_date,
    ),
    # Source: ICAO Doc 9303-4 section 4.2.2 (document number, up to nine characters). Without its label it is any code.
    Rule(
        name="passport",
        pattern=START + _PASSPORT_LABELS + COMPOUND + r"[A-Za-z0-9]{6,9}" + END,
        validator=ends_with_passport_number,
    ),
)
