"""What each action writes in place of a match, and the secrets of a conversation that some of it is made with."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable
from typing import Final

from trunkline.guards.rule import Rule, Terms

MAX_NAMES: Final = 10_000  # bounds the memory of a conversation; what comes after has no number
DIGEST_DIGITS: Final = 16  # 64 bits: no two values of one conversation share a digest by accident
KEPT: Final = 4
_KEPT_SHARE: Final = 3  # at most one of so many
_TELLING: Final = frozenset("@._+%")  # signs without which two different addresses would be the same


class Secrets:
    """The key of a conversation and the names it gave to values; who holds this decides how long they live.

    Values themselves are never kept, nor can they be found from what is: with the key gone, digests say nothing.
    """

    __slots__ = ("_counts", "_names", "key")

    def __init__(self, key: bytes, names: Iterable[tuple[str, str]] = ()) -> None:
        """Take a key, and the values that have names already: (rule, digest), in the order of their names."""
        self.key = key
        self._names: dict[tuple[str, str], str] = {}
        self._counts: Counter[str] = Counter()
        for rule, digest in names:
            self.pseudonym(rule, digest)

    @property
    def named(self) -> list[tuple[str, str]]:
        """The values that have names: (rule, digest), in the order of their names."""
        return list(self._names)

    def digest(self, rule: str, value: str) -> str:
        """Return the keyed digest of a value in the match view; spellings of one value have one digest."""
        message = f"{rule}\0{_normalised(value)}".encode("utf-8", "surrogatepass")
        return hmac.digest(self.key, message, "sha256").hex()[:DIGEST_DIGITS]

    def pseudonym(self, rule: str, digest: str) -> str:
        """Return the name of the value with this digest: `EMAIL_1`, `EMAIL_2`, each the same whenever it comes."""
        name = self._names.get((rule, digest))
        if name is None and len(self._names) >= MAX_NAMES:
            return rule.upper()
        if name is None:
            self._counts[rule] += 1
            name = self._names[rule, digest] = f"{rule.upper()}_{self._counts[rule]}"
        return name


def written(rule: Rule | Terms, value: str, digest: str, secrets: Secrets) -> str:
    """Return what stands for a match of a rule whose action writes something; `value` is in the match view."""
    match rule.action:
        case "mask":
            return f"[{rule.name.upper()}]" if rule.replacement is None else rule.replacement
        case "partial":
            return _partial(value)
        case "hash":
            return f"[{rule.name.upper()}:{digest}]"
        case "pseudonym":
            return f"[{secrets.pseudonym(rule.name, digest)}]"
        case "remove" | "flag" | "block" | "allow":
            raise ValueError(f"the action {rule.action} writes nothing")


def _partial(value: str) -> str:
    """Keep the last letters and digits, four or a third of them, whichever is fewer, and all that is neither."""
    places = [place for place, char in enumerate(value) if char.isalnum()]
    hidden = frozenset(places[: len(places) - min(KEPT, len(places) // _KEPT_SHARE)])
    return "".join("*" if place in hidden else char for place, char in enumerate(value))


def _normalised(value: str) -> str:
    return "".join(char for char in value.casefold() if char.isalnum() or char in _TELLING)
