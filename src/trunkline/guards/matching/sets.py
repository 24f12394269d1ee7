"""The questions that rules ask of a character, numbered, so that all its answers are the bits of one integer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

from trunkline.guards.matching.syntax import CharSet, Context, cases
from trunkline.guards.matching.view import is_word

TERM_WORD: Final = 1
"""The bit of a character that makes a term's neighbour part of a longer word (`view.is_word`)."""


class Condition(NamedTuple):
    """What must hold of the character beside a match, in terms of bits."""

    bit: int
    wanted: bool
    boundary: bool

    def holds(self, beside: int, inside: int) -> bool:
        """Tell whether it holds, from the bits of the character beside the match and of the match's own one there."""
        return bool((beside ^ inside if self.boundary else beside) & self.bit) is self.wanted


OUTSIDE_WORD: Final = Condition(TERM_WORD, wanted=False, boundary=False)
"""What a whole word needs on either side."""


class Sets:
    """Sets of characters, each with a bit."""

    def __init__(self) -> None:
        self._bits: dict[CharSet, int] = {}
        self._edges: list[int] = []
        self._masks: list[int] = []
        self._cased = 0
        self._negated = 0

    def bit(self, chars: CharSet) -> int:
        """Return the bit that says whether a character is in this set."""
        known = self._bits.get(chars)
        if known is None:
            known = self._bits[chars] = TERM_WORD << (1 + len(self._bits))
            self._edges.clear()
        return known

    def condition(self, context: Context | None) -> Condition | None:
        """Return a pattern's condition in terms of these bits."""
        return None if context is None else Condition(self.bit(context.chars), context.wanted, context.boundary)

    def of(self, char: str) -> int:
        """Return the bits of a character: one for each set that has it, and `TERM_WORD`."""
        if not self._edges:
            self._divide()
        plain = self._mask(ord(char))
        cased = 0
        if self._cased:
            for code in cases(char):
                cased |= self._mask(code)
        answers = ((plain & ~self._cased) | (cased & self._cased)) ^ self._negated
        return answers | TERM_WORD if is_word(char) else answers

    def _mask(self, code: int) -> int:
        return self._masks[bisect_right(self._edges, code) - 1]

    def _divide(self) -> None:
        """Divide all of Unicode where any set begins or ends, so that one search answers for all sets."""
        ends = {end for chars in self._bits for first, last in chars.ranges for end in (first, last + 1)}
        self._edges = sorted({0} | ends)
        self._masks = [0] * len(self._edges)
        for chars, bit in self._bits.items():
            self._cased |= bit if chars.ignore_case else 0
            self._negated |= bit if chars.negated else 0
            for first, last in chars.ranges:
                for part in range(bisect_left(self._edges, first), bisect_left(self._edges, last + 1)):
                    self._masks[part] |= bit
