"""What a rule of one's own may ask for by name: check digits and the like, on the letters and digits of a match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stdnum import luhn, verhoeff
from stdnum.iso7064 import mod_11_2, mod_11_10, mod_37_2, mod_37_36, mod_97_10


def _compact(check: Callable[[str], bool]) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        return check("".join(char for char in text if char.isalnum()).upper())

    return valid


VALIDATORS: Final[dict[str, Callable[[str], bool]]] = {
    "luhn": _compact(luhn.is_valid),
    "verhoeff": _compact(verhoeff.is_valid),
    "mod_11_2": _compact(mod_11_2.is_valid),
    "mod_11_10": _compact(mod_11_10.is_valid),
    "mod_37_2": _compact(mod_37_2.is_valid),
    "mod_37_36": _compact(mod_37_36.is_valid),
    "mod_97_10": _compact(mod_97_10.is_valid),
}
"""Luhn (ISO/IEC 7812-1), Verhoeff, and the systems of ISO 7064."""
