"""The syntax tree of a pattern: sets of characters, and what is built of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_CODE: Final = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]
"""Code points from first to last, both included; in order, disjoint."""

DIGIT: Final[Ranges] = ((48, 57),)
SPACE: Final[Ranges] = ((9, 13), (32, 32))
WORD: Final[Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Join ranges in any order into the form that `Ranges` promises."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def complement(ranges: Ranges) -> Ranges:
    """Return all other code points."""
    others: list[tuple[int, int]] = []
    after = 0
    for first, last in ranges:
        if first > after:
            others.append((after, first - 1))
        after = last + 1
    if after <= MAX_CODE:
        others.append((after, MAX_CODE))
    return tuple(others)


@dataclass(frozen=True)
class CharSet:
    """A set of characters. With `ignore_case` it has a character if it has that character in either case."""

    ranges: Ranges
    negated: bool = False
    ignore_case: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no character is in it."""
        return self.ranges == (((0, MAX_CODE),) if self.negated else ())


@dataclass(frozen=True)
class Context:
    """A condition on the one character before or after a match: that it is, or is not, in a set; or a word boundary.

    The edge of a text is in no set and is no word.
    """

    chars: CharSet
    wanted: bool = True
    boundary: bool = False
    """The set holds the word characters: exactly one of the two characters at the edge of the match is in it."""


@dataclass(frozen=True)
class Chars:
    """One character of a set."""

    chars: CharSet


@dataclass(frozen=True)
class Sequence:
    """One after the other; the empty one matches the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """Any of them."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """An item from `least` to `most` times; None is without end."""

    item: Node
    least: int
    most: int | None


Node = Chars | Sequence | Choice | Repeat


@dataclass(frozen=True)
class Pattern:
    """A pattern, read: what a match looks like, and what must hold on either side of it."""

    body: Node
    left: Context | None = None
    right: Context | None = None


def longest(node: Node) -> int | None:
    """Return how long a match can be, None where there is no end to it."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeat):
        inner = longest(node.item)
        if inner == 0 or node.most == 0:
            return 0
        return None if inner is None or node.most is None else inner * node.most
    lengths = [longest(item) for item in node.items]
    if None in lengths:
        return None
    known = [length for length in lengths if length is not None]
    return sum(known) if isinstance(node, Sequence) else max(known, default=0)


def shortest(node: Node) -> int:
    """Return how short a match can be."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeat):
        return shortest(node.item) * node.least
    lengths = [shortest(item) for item in node.items]
    return sum(lengths) if isinstance(node, Sequence) else min(lengths, default=0)


def size(node: Node) -> int:
    """Return how many states a pattern takes in the automaton, where each repetition is written out."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeat):
        return (size(node.item) + 1) * max(1, node.least, node.most or 0)
    return 1 + sum(map(size, node.items))


def cases(char: str) -> tuple[int, ...]:
    """Return the code points of a character in its cases: itself, lower, upper, and the lower case of the upper."""
    lower, upper = char.lower()[0], char.upper()
    if len(upper) != 1:
        return (ord(char), ord(lower))
    return (ord(char), ord(lower), ord(upper), ord(upper.lower()[0]))
