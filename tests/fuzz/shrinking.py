"""What can be tried, and how a case that breaks a law is made as small as it can be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

from trunkline.guards.matching.pattern import PatternError, parse
from trunkline.guards.rule import Rule, Terms

Items = TypeVar("Items", str, tuple[str, ...], tuple[Rule | Terms, ...])


class BrokenLaw(Exception):
    """A law that the guard broke."""

    def __init__(self, law: str, detail: str = "") -> None:
        super().__init__(f"{law}\n{detail}" if detail else law)
        self.law = law


class Case(Protocol):
    """Something to try."""

    def check(self) -> None:
        """Raise `BrokenLaw` where a law is broken."""

    def smaller(self) -> Iterator[Case]:
        """Make cases out of this one by leaving something out, much of it first."""

    def told(self) -> str:
        """Say what it is, as code."""


def shrunk(case: Case, breaks: Callable[[Case], bool], still: Callable[[], bool]) -> Case:
    """Take each smaller case that still breaks the law, until there is none, or no more time."""
    while still():
        found = next((smaller for smaller in case.smaller() if still() and breaks(smaller)), None)
        if found is None:
            break
        case = found
    return case


def without_some(items: Items) -> Iterator[Items]:
    """The items without a stretch of them: half, a quarter, ... one."""
    length = max(1, len(items) // 2)
    while length:
        for start in range(0, len(items), length):
            yield items[:start] + items[start + length :]
        length //= 2


def fewer_pieces(pieces: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Pieces without some of them, without some of their characters, or joined."""
    yield from without_some(pieces)
    for number, piece in enumerate(pieces):
        for shorter in without_some(piece):
            yield (*pieces[:number], shorter, *pieces[number + 1 :])
        if number:
            yield (*pieces[: number - 1], pieces[number - 1] + piece, *pieces[number + 1 :])


def simpler_rules(rule: Rule | Terms) -> Iterator[Rule | Terms]:
    """The same rule with less to it."""
    if isinstance(rule, Terms):
        for words in without_some(rule.words):
            if words:
                yield replace(rule, words=words)
        return
    for simpler in (
        replace(rule, validator=None),
        replace(rule, cap=None),
        replace(rule, ignore_case=False),
        replace(rule, action="mask"),
    ):
        if simpler != rule:
            yield simpler
    for pattern in without_some(rule.pattern):
        with contextlib.suppress(PatternError):
            parse(pattern, ignore_case=rule.ignore_case)
            yield replace(rule, pattern=pattern)
