"""Rules for the identity numbers of Europe: United Kingdom, Germany, Spain, France, Italy."""

from __future__ import annotations

import re
from typing import Final

from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.it import codicefiscale

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import END, GLUE, START, compact, digits, phrases

_NINO_LABELS: Final = phrases("national insurance, nino, ni number, ni no")
_NINO_UNUSED: Final = frozenset(("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"))
_NINO_FORM: Final = r"[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z][ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?[A-D]"
_NINO: Final = re.compile(rf"{_NINO_FORM}\Z")
_NHS_LABELS: Final = phrases("nhs")
_OMOCODIA: Final = "[0-9LMNPQRSTUV]"  # digits are replaced by letters where two people would get the same code
_NIR_MONTHS: Final = range(1, 13)
_NIR_PLAIN: Final = re.compile(r"[12]\w{14}")


def is_nino(text: str) -> bool:
    """Tell whether the prefix is given out; behind a label any will do, such as `QQ` of the authority's examples."""
    number = _NINO.search(text)
    if number is None:
        return True
    # A proper number is found without its label, which may then stay.
    return number[0] == text and text[:2] not in _NINO_UNUSED


def is_nhs_number(text: str) -> bool:
    """Tell whether the check digit modulo 11 is right."""
    return nhs.is_valid(digits(text))


def is_german_tax_id(text: str) -> bool:
    """Tell whether exactly one of the first ten digits is repeated and the check digit is right."""
    return idnr.is_valid(digits(text))


def is_dni(text: str) -> bool:
    """Tell whether the letter is the remainder of the eight digits modulo 23."""
    return dni.is_valid(compact(text))


def is_nie(text: str) -> bool:
    """Tell whether the last letter is the remainder modulo 23, with X, Y, Z read as 0, 1, 2."""
    return nie.is_valid(compact(text))


def is_nir(text: str) -> bool:
    """Tell whether the key is right and, without groups, sex and month are plain ones; others are rarely given out."""
    number = compact(text)
    if number == text.upper() and not (_NIR_PLAIN.fullmatch(number) and int(number[3:5]) in _NIR_MONTHS):
        return False
    return nir.is_valid(number)


def is_codice_fiscale(text: str) -> bool:
    """Tell whether the date in the code exists and the check letter is right."""
    return codicefiscale.is_valid(compact(text))


RULES: Final = (
    # Source: HM Revenue & Customs, National Insurance Manual NIM39110 (format, letters and prefixes that are not used).
    Rule(
        name="uk_nino",
        pattern=START
        + rf"(?:{_NINO_FORM}|{_NINO_LABELS}{GLUE}[A-Za-z]{{2}}[ -]?\d{{2}}[ -]?\d{{2}}[ -]?\d{{2}}[ -]?[A-Da-d])"
        + END,
        validator=is_nino,
    ),
    # Source: NHS Data Dictionary, NHS NUMBER (ten digits, modulo 11, shown 3-3-4). Ten digits without groups are any
    # number.
    Rule(
        name="uk_nhs",
        pattern=START + rf"(?:\d{{3}}[ -]\d{{3}}[ -]\d{{4}}|{_NHS_LABELS}{GLUE}\d{{3}}[ -]?\d{{3}}[ -]?\d{{4}})" + END,
        validator=is_nhs_number,
    ),
    # Source: Bundeszentralamt für Steuern, section 139b Abgabenordnung (eleven digits, ISO 7064 mod 11,10; shown
    # 2-3-3-3).
    Rule(
        name="de_tax_id",
        pattern=START + r"[1-9]\d[ ./-]?\d{3}[ ./-]?\d{3}[ ./-]?\d{3}" + END,
        validator=is_german_tax_id,
    ),
    # Source: Real Decreto 1553/2005 (DNI) and Ministerio del Interior, "Cálculo del dígito de control" (modulo 23). A
    # small letter behind a space is a word.
    Rule(
        name="es_dni",
        pattern=START + r"(?:\d{8}|\d{2}\.\d{3}\.\d{3})(?:[ -]?[A-HJ-NP-TV-Z]|-?[a-hj-np-tv-z])" + END,
        validator=is_dni,
    ),
    # Source: Real Decreto 557/2011 article 206 and Orden INT/2058/2008 (NIE: X, Y or Z, seven digits, a letter).
    Rule(
        name="es_nie",
        pattern=START + r"(?:[XYZxyz][ -]?(?:\d{7}|\d\.\d{3}\.\d{3}))(?:[ -]?[A-HJ-NP-TV-Z]|-?[a-hj-np-tv-z])" + END,
        validator=is_nie,
    ),
    # Source: INSEE, "Numéro de sécurité sociale / NIR" and Code de la sécurité sociale R115-1 (13 characters, key 97 -
    # n mod 97; Corsica 2A, 2B).
    Rule(
        name="fr_nir",
        pattern=START
        + r"[1-478][ .-]?\d{2}[ .-]?\d{2}[ .-]?(?:\d{2}|2[ABab])[ .-]?\d{3}[ .-]?\d{3}(?:[ .-]| - | / |/)?\d{2}"
        + END,
        validator=is_nir,
    ),
    # Source: Agenzia delle Entrate, Decreto Ministeriale 23 December 1976 n. 13813 (16 characters, check letter;
    # omocodia).
    Rule(
        name="it_codice_fiscale",
        pattern=START
        + r"(?:[A-Z]{3}[ -]?[A-Z]{3}[ -]?"
        + rf"{_OMOCODIA}{{2}}[A-EHLMPRST]{_OMOCODIA}{{2}}[ -]?[A-Z]{_OMOCODIA}{{3}}[A-Z]"
        + r"|[a-z]{6}\d{2}[a-ehlmprst]\d{2}[a-z]\d{3}[a-z])"
        + END,
        validator=is_codice_fiscale,
    ),
)
