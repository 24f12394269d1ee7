"""The rules that ship: personal data and credentials told by their form, and what is not to be mistaken for them."""

from __future__ import annotations

from typing import Final

from trunkline.guards.rule import Rule
from trunkline.guards.rules import allow, americas, asia, europe, general, phone, secrets

RULES: Final[dict[str, Rule]] = {
    rule.name: rule
    for family in (secrets.RULES, general.RULES, asia.RULES, americas.RULES, phone.RULES, europe.RULES, allow.RULES)
    for rule in family
}
"""Name to rule. Where two rules take the same text, the earlier one names it: stronger evidence stands first."""
