"""What a guard looks for and what it does about it: rules by pattern, and lists of terms."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

Report = Callable[[Exception], object]
"""Is told of faults of ours."""

Action = Literal["mask", "partial", "hash", "pseudonym", "remove", "flag", "block", "allow"]
ACTIONS: Final[frozenset[str]] = frozenset(get_args(Action))
MAX_CAP: Final = 16_384  # bounds what one match may hold back; a private key is half of it
MAX_REPLACEMENT: Final = 256  # a replacement is a word or two, not a text
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern and its action. Its place in the list of rules is its priority: of equally long matches the first wins.

    `pattern` is of the subset that `trunkline.guards.matching.pattern` describes and is matched on the match view.
    `validator` is given the match view of a candidate and may reject it; one that raises has accepted.
    `replacement` is what `mask` writes, `[NAME]` unless given. A match is at most `cap` characters of the match view
    long: unless given, as long as the pattern allows, up to 320, and 128 where the pattern sets no limit.
    """

    name: str
    pattern: str
    action: Action = "mask"
    validator: Callable[[str], bool] | None = None
    replacement: str | None = None
    cap: int | None = None
    ignore_case: bool = False

    def __post_init__(self) -> None:
        _check(self.name, self.action, self.replacement)
        if self.cap is not None and not 1 <= self.cap <= MAX_CAP:
            raise ValueError(f"rule {self.name}: cap is {self.cap}, expected 1 to {MAX_CAP}")

    def accepts(self, value: str, report: Report = repr) -> bool:
        """Whether the validator lets this candidate be a match. One that fails has not cleared it, and is reported."""
        if self.validator is None:
            return True
        try:
            return bool(self.validator(value))
        except Exception as error:  # noqa: BLE001 - fail closed: a foreign validator may raise anything
            report(error)
            return True


@dataclass(frozen=True, slots=True)
class Terms:
    """Words and phrases with one action, found in any case, with or without their accents, in look-alike letters.

    With `whole_word` a term that begins or ends with a letter of a script that puts spaces between words is found only
    where no such letter adjoins that end.
    """

    name: str
    words: tuple[str, ...]
    action: Action = "mask"
    replacement: str | None = None
    whole_word: bool = True

    def __post_init__(self) -> None:
        _check(self.name, self.action, self.replacement)

    def accepts(self, value: str, report: Report = repr) -> bool:
        """A term needs no validator: what is in the list is a match."""
        return True


def _check(name: str, action: str, replacement: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"rule name {name!r}: expected lower-case letters, digits and '_', beginning with a letter")
    if action not in ACTIONS:
        raise ValueError(f"rule {name}: action {action!r}, expected one of {', '.join(sorted(ACTIONS))}")
    if replacement is not None and len(replacement) > MAX_REPLACEMENT:
        raise ValueError(f"rule {name}: the replacement has {len(replacement)} characters, at most {MAX_REPLACEMENT}")
