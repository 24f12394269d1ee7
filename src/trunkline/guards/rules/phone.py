"""Rules for telephone numbers: international ones, and national ones as eight countries write them."""

from __future__ import annotations

import re
from typing import Final

import phonenumbers

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import NO_DIGIT_AFTER, digits, phrases

# Source: ITU-T E.164 (up to 15 digits, "00" as international prefix) and E.123 (how they are written); a trunk "(0)" is
# often left in.
_SEPARATED: Final = r"(?:[ ./()-]{0,3}\d)"
_INTERNATIONAL: Final = rf"(?:\+[ (]?|00 ?)[1-9]{_SEPARATED}{{6,15}}"

# How each country writes its numbers, and the region whose numbering plan `phonenumbers` then asks; none where the
# grouping says enough (and must hold numbers set aside for fiction, which no plan has).
_NATIONAL: Final[tuple[tuple[str, str | None], ...]] = (
    # North American Numbering Plan: (212) 555-0123, 212-555-0123, 1-212-555-0123. With parentheses or hyphens any
    # digits will do: people make up numbers such as 123-456-7890, and mean a phone.
    (r"(?:1[ .-])?(?:\(\d{3}\)[ -]?|\d{3}(?: - |[/-]))\d{3}(?: - |[ .-])\d{4}", None),
    (r"(?:1[ .-])?[2-9]\d{2}[ .]\d{3}[ .-]\d{4}", None),
    # Ofcom, National Telephone Numbering Plan: 020 7946 0123, 0161 496 0123, 01632 960123, 07700 900123.
    (r"\(?02\d\)?[ -]\d{4}[ -]\d{4}", None),
    (r"\(?01(?:1\d|\d1)\)?[ -]\d{3}[ -]\d{4}", None),
    (r"\(?01\d{3}\)?[ -](?:\d{5,6}|\d{3} \d{3})", None),
    (r"07\d{3}[ -](?:\d{6}|\d{3}[ -]\d{3})", None),
    (r"07[1-9]\d{8}", None),
    # ARCEP, plan de numérotation: five pairs; without separators only mobile numbers.
    (r"0[1-9](?:[ .-]\d{2}){4}", None),
    (r"0[67]\d{8}", "FR"),
    # DIN 5008: 030 123456, 030 123456-12; in practice also 030/123456 and (030) 12 34 56.
    (r"\(?0[1-9]\d{1,4}\)?(?:[ -]| ?/ ?)\d{2,8}(?:[ -]\d{1,8}){0,3}", "DE"),
    (r"01[5-7]\d{8,9}", "DE"),
    # AGCOM: the zero of a fixed line is part of the number; mobile numbers have ten digits.
    (r"0\d{1,3}(?:[ /-]\d{5,8}| \d{3,4} \d{4})", "IT"),
    (r"3\d{2}[ ./-](?:\d{7}|\d{3}[ .-]?\d{4}|\d{2} \d{2} \d{3})", "IT"),
    # CNMC, plan nacional: nine digits, in threes or as 3-2-2-2 or 2-3-2-2.
    (r"[679]\d{2} \d{3} \d{3}", "ES"),
    (r"[6-9]\d{2}[ -]\d{2}[ -]\d{2}[ -]\d{2}", "ES"),
    (r"9\d[ -]\d{3}[ -]\d{2}[ -]\d{2}", "ES"),
    # Anatel: (11) 91234-5678, 11 3123-4567.
    (r"(?:\([1-9]{2}\) ?|0?[1-9]{2}[ -])(?:9\d{4}|[2-5]\d{3})[ -]\d{4}", "BR"),
    # TRAI, National Numbering Plan: mobile numbers as 5-5, with or without the trunk zero; fixed lines behind it.
    (r"0?[6-9]\d{4}[ -]\d{5}", "IN"),
    (r"0[1-9]\d{1,3}[ -]\d{6,8}|0[1-9]\d[ -]\d{4}[ -]\d{4}", "IN"),
)
_SHAPES: Final = tuple((re.compile(shape), region) for shape, region in _NATIONAL)

_LABELS: Final = phrases(
    "phone, telephone, tel, tel., mobile, cell, cell phone, fax, whatsapp, call, text, dial",
    "telefon, handy, mobil, rufnummer, telefonnummer, handynummer",
    "teléfono, móvil, celular, llame al, llamar al",
    "téléphone, tél, tél., portable, appelez le",
    "telefono, cellulare, chiami il, telefone, telemóvel, ligue para",
)
_LABEL_WORDS: Final = (
    r"(?:[ -]?"
    + phrases("number, no., nr., no, nr, nummer, número, num., n°")
    + r")?(?:[ :=*#]{1,3}"
    + phrases("is, at, on, me at, us at, me on, ist, lautet, unter, es, es el, al, est, est le, è, è il, é, é o")
    + r")?[ :=*#]{0,4}"
)
_LABELLED_NUMBER: Final = rf"\(?\d{_SEPARATED}{{6,12}}"
_NUMBER: Final = re.compile(r"[+(]?\d[\d ./()-]*\Z")
_TEN_DIGITS: Final = re.compile(r"1?\d{10}")
_FIRST_GROUP: Final = re.compile(r"\d+")
_LOCAL: Final = re.compile(r"[2-9]\d{2}[ .-]\d{4}")
# "+12 500 000" is a gain, "650 000 000" a budget.
_THOUSANDS: Final = re.compile(r"\+?\d{1,3}(?:[ .]\d{3})+")
_DATED: Final = re.compile(r"(?:19|20)\d{2}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]")
_LEAST_DIGITS: Final = 9
_MOST_NATIONAL_DIGITS: Final = 14  # the longest plan of those below, with its trunk prefix
_REGIONS: Final = ("US", "GB", "DE", "FR", "ES", "IT", "BR", "IN")


def is_phone(text: str) -> bool:
    """Tell whether `text` is an international number, a national one in its country's form, or any behind a label."""
    if not text[0].isalpha():
        return _is_international(text) or _is_national(text)
    number = _NUMBER.search(text)
    return number is not None and _is_labelled(number[0])


def _is_international(text: str) -> bool:
    if not text.startswith(("+", "00")):
        return False
    number = "+" + text.removeprefix("+").removeprefix("00")
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    if phonenumbers.is_valid_number(parsed):
        return True
    # A plan grows before the library learns of it, so a possible number is enough behind a plus.
    if not text.startswith("+") or _THOUSANDS.fullmatch(text):
        return False
    return phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE


def _is_national(text: str) -> bool:
    if text.endswith(" 000") and _THOUSANDS.fullmatch(text):
        return False
    if len(digits(text)) > _MOST_NATIONAL_DIGITS:
        return False
    regions = dict.fromkeys(region for shape, region in _SHAPES if shape.fullmatch(text))  # a plan is asked once
    return any(region is None or _is_in_plan(text, region) for region in regions)


def _is_in_plan(text: str, region: str) -> bool:
    """Tell whether the plan of `region` has the number and, for a fixed line, its area code is what stands apart."""
    has_trunk_zero = text.lstrip("(")[0] == "0"
    if has_trunk_zero and len(digits(text)) < _LEAST_DIGITS:
        return False  # "051-23543" was a number once; today it is a part.
    number = _valid(text, region)
    if number is None or not has_trunk_zero:
        return number is not None
    area_length = phonenumbers.length_of_geographical_area_code(number)
    first_group = _FIRST_GROUP.findall(text)[0]
    trunk_zero = 0 if region == "IT" else 1
    return area_length in (0, len(first_group) - trunk_zero)


def _is_labelled(text: str) -> bool:
    if _DATED.match(text) or _is_national(text) or _is_international(text):
        return False  # What is found without its label may keep the label.
    number = digits(text)
    if _TEN_DIGITS.fullmatch(number) or _LOCAL.fullmatch(text):
        return True
    return len(number) >= _LEAST_DIGITS and any(_valid(text, region) for region in _REGIONS)


def _valid(text: str, region: str) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


RULES: Final = (
    # Source: ITU-T E.164 and E.123, the national plans named above, and the metadata of libphonenumber
    # (`phonenumbers`).
    Rule(
        name="phone",
        pattern=r"(?<![A-Za-z0-9+])(?:"
        + "|".join((_INTERNATIONAL, *(shape for shape, _ in _NATIONAL), _LABELS + _LABEL_WORDS + _LABELLED_NUMBER))
        + ")"
        + NO_DIGIT_AFTER,
        validator=is_phone,
    ),
)
