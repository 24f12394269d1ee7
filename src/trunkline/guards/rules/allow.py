"""Rules for what looks like personal data and is none: they compete like any rule, and what they take is released."""

from __future__ import annotations

from typing import Final

from stdnum import isbn

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import END, START, phrases

_VERSION_LABELS: Final = phrases(
    "version, versions, versión, versione, versão, release, build, firmware, driver, revision, ver.",
    "section, chapter, clause, paragraph, appendix, kapitel, abschnitt, ziffer, absatz",
    "sección, capítulo, apartado, cláusula, chapitre, sezione, capitolo, paragrafo, seção",
    "chrome, edg, opr, firefox, safari, android, ios, windows",
)
_CURRENCY: Final = r"(?:€|EUR|euros?|\$|USD|£|GBP|R\$|BRL|₹|INR|CHF)"
_THOUSANDS: Final = r"\d{1,3}(?:[ .]\d{3}){1,4}(?:[.,]\d{2})?"


def is_isbn(text: str) -> bool:
    """Tell whether what follows the label is a book number with a right check digit."""
    number = text[4:].lstrip("-: ").removeprefix("13").removeprefix("10").lstrip(": ")
    return isbn.is_valid(number)


RULES: Final = (
    # Source: RFC 9562 section 4; its three groups of four may be the digits of an Aadhaar number.
    Rule(
        name="allow_uuid",
        pattern=START + r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}" + END,
        action="allow",
    ),
    # Source: ISO 2108 (ISBN); an ISBN-10 may have the digits of a phone number.
    Rule(
        name="allow_isbn",
        pattern=START + phrases("isbn") + r"(?:-?1[03])?:? ?\d[0-9 -]{8,15}[0-9Xx]" + END,
        validator=is_isbn,
        action="allow",
    ),
    # Four numbers with dots are an address, unless the text calls them a version or a section.
    Rule(
        name="allow_version",
        pattern=START + _VERSION_LABELS + r"[ :/]{1,2}[vV]?\d{1,6}(?:\.\d{1,6}){3,5}" + END,
        action="allow",
    ),
    # Five or more are none: object identifiers (ITU-T X.660) and chapters.
    Rule(name="allow_dotted", pattern=r"(?<![A-Za-z0-9.])\d{1,6}(?:\.\d{1,6}){4,12}" + END, action="allow"),
    # Source: United States Postal Service, Publication 199 (package barcode of 22 digits, service types 91 to 95).
    Rule(name="allow_usps", pattern=START + r"9[1-5]\d\d(?: \d{4}){4} \d{2}" + END, action="allow"),
    # Amazon's order numbers: 3-7-7 digits, the first ten of which may be an Italian mobile number.
    Rule(name="allow_order", pattern=START + r"\d{3}-\d{7}-\d{7}" + END, action="allow"),
    # What a computer prints for a number below one has as many digits as a card.
    Rule(name="allow_fraction", pattern=START + r"0\.\d{12,20}" + END, action="allow"),
    # Money whose thousands are set apart by spaces has the groups of a phone number.
    Rule(
        name="allow_price",
        pattern=rf"(?<![A-Za-z0-9.,])(?:{_CURRENCY} ?{_THOUSANDS}|{_THOUSANDS} ?{_CURRENCY})" + END,
        action="allow",
    ),
)
