"""Rules for the identity numbers of the Americas: United States, Brazil."""

from __future__ import annotations

import re
from typing import Final

from stdnum.br import cnpj, cpf

from trunkline.guards.rule import Rule
from trunkline.guards.rules.pieces import END, GLUE, START, compact, digits, phrases

_SSN_LABELS: Final = phrases("ssn, ss#, social security, seguro social, sozialversicherungsnummer, sécurité sociale")
_ITIN_LABELS: Final = phrases("itin, taxpayer identification")
_ITIN_GROUPS: Final = frozenset((*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)))
_ALL_THE_SAME: Final = re.compile(r"(\d)\1*")


def is_ssn(text: str) -> bool:
    """Tell whether the digits of `text` have an area, a group and a serial number that may be given out.

    Numbers that are known from advertisements count as well: nobody can tell by looking that they are nobody's.
    """
    number = digits(text)
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


def is_itin(text: str) -> bool:
    """Tell whether the digits of `text` begin with 9 and have one of the groups of taxpayer numbers."""
    number = digits(text)
    return number[0] == "9" and int(number[3:5]) in _ITIN_GROUPS


def is_cpf(text: str) -> bool:
    """Tell whether both check digits are right; eleven equal digits pass the sum and are never given out."""
    number = digits(text)
    return not _ALL_THE_SAME.fullmatch(number) and cpf.is_valid(number)


def is_cnpj(text: str) -> bool:
    """Tell whether both check digits are right."""
    return cnpj.is_valid(compact(text))


RULES: Final = (
    # Source: Social Security Administration, "The SSN numbering scheme" and 20 CFR 422.103 (3-2-4; no area 000, 666,
    # 9xx). Nine digits without groups, or with dots, are any number, unless the text calls them one.
    Rule(
        name="us_ssn",
        pattern=START
        + rf"(?:\d{{3}}[ -]\d{{2}}[ -]\d{{4}}|{_SSN_LABELS}{GLUE}\d{{3}}(?: - |[./]?)\d{{2}}(?: - |[./]?)\d{{4}})"
        + END,
        validator=is_ssn,
    ),
    # Source: Internal Revenue Service, Internal Revenue Manual 3.21.263 (9xx, middle digits 50-65, 70-88, 90-92,
    # 94-99).
    Rule(
        name="us_itin",
        pattern=START + rf"(?:9\d{{2}}[ -]\d{{2}}[ -]\d{{4}}|{_ITIN_LABELS}{GLUE}9\d{{8}})" + END,
        validator=is_itin,
    ),
    # Source: Receita Federal, Instrução Normativa RFB 1.548/2015 (CPF: nine digits and two check digits modulo 11).
    Rule(
        name="br_cpf",
        pattern=START + r"\d{3}[. ]?\d{3}[. ]?\d{3}[ -]?\d{2}" + END,
        validator=is_cpf,
    ),
    # Source: Receita Federal, Instrução Normativa RFB 2.229/2024 (CNPJ; letters in the first twelve places since July
    # 2026).
    Rule(
        name="br_cnpj",
        pattern=START + r"(?:\d{8}00\d{4}|[A-Z0-9]{2}\.?[A-Z0-9]{3}\.?[A-Z0-9]{3}/[A-Z0-9]{4}-?\d{2})" + END,
        validator=is_cnpj,
    ),
)
