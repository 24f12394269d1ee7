"""What most products do to a streamed answer, with `re`: look at each delta alone, or at a window that slides along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from trunkline.guards.rule import Rule


class Masked(NamedTuple):
    """What was taken out: start and end in the input, offset and length in the output, and by which rule."""

    start: int
    end: int
    offset: int
    length: int
    rule: str


class PlainRules:
    """Rules as `re` runs them: of what matches and is valid the leftmost, of those the longest, then the first."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Take rules whose action is `mask` or `allow`."""
        self._rules: Final = [
            (rule, re.compile(rule.pattern, re.ASCII | (re.IGNORECASE if rule.ignore_case else 0))) for rule in rules
        ]

    def matches(self, text: str, begin: int) -> list[tuple[int, int, Rule]]:
        """Return start, end and rule of all matches from `begin` on, in their order; what is before it is context."""
        candidates = [
            (match.start(), -match.end(), order)
            for order, (rule, pattern) in enumerate(self._rules)
            for match in pattern.finditer(text, begin)
            if match.end() > match.start() and rule.accepts(match[0])
        ]
        chosen: list[tuple[int, int, Rule]] = []
        for start, negated_end, order in sorted(candidates):
            if not chosen or start >= chosen[-1][1]:
                chosen.append((start, -negated_end, self._rules[order][0]))
        return chosen


class PerDelta:
    """Masks what matches within one delta, and holds nothing."""

    def __init__(self, rules: PlainRules) -> None:
        self._rules = rules
        self._read = self._written = 0
        self.held: Final = 0
        self.masked: Final[list[Masked]] = []

    def feed(self, text: str) -> str:
        """Take the next delta; return it, masked."""
        released: list[str] = []
        at = 0
        for start, end, rule in self._rules.matches(text, 0):
            if rule.action == "allow":
                continue
            self._written += start - at
            mask = rule.replacement or f"[{rule.name.upper()}]"
            self.masked.append(Masked(self._read + start, self._read + end, self._written, len(mask), rule.name))
            released += (text[at:start], mask)
            self._written += len(mask)
            at = end
        released.append(text[at:])
        self._written += len(text) - at
        self._read += len(text)
        return "".join(released)

    def finish(self) -> str:
        """Return nothing: nothing was held."""
        return ""


class Window:
    """Holds the last `size` characters, looks at them with every delta, and releases what is older, masked.

    It is as good as such a filter can be: a match that has begun to leave the window leaves it as a whole, and the
    character before the window is remembered for the rules that look at it.
    """

    def __init__(self, rules: PlainRules, size: int) -> None:
        self._rules = rules
        self._size = size
        self._text = ""
        self._at = 0  # what of it is released; at most one character
        self._read = self._written = 0
        self.masked: Final[list[Masked]] = []

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return len(self._text) - self._at

    def feed(self, text: str) -> str:
        """Take the next delta; return what leaves the window."""
        self._text += text
        edge = len(self._text) - self._size
        return self._release(edge) if edge > self._at else ""

    def finish(self) -> str:
        """Return what is left, masked."""
        return self._release(len(self._text))

    def _release(self, edge: int) -> str:
        text, at = self._text, self._at
        released: list[str] = []
        for start, end, rule in self._rules.matches(text, at):
            if start >= edge:
                break
            if rule.action == "allow":
                released.append(text[at:end])
                self._written += end - at
            else:
                self._written += start - at
                mask = rule.replacement or f"[{rule.name.upper()}]"
                self.masked.append(Masked(self._read + start, self._read + end, self._written, len(mask), rule.name))
                released += (text[at:start], mask)
                self._written += len(mask)
            at = end
        if at < edge:
            released.append(text[at:edge])
            self._written += edge - at
            at = edge
        dropped = max(0, at - 1)
        self._text, self._at = text[dropped:], at - dropped
        self._read += dropped
        return "".join(released)
