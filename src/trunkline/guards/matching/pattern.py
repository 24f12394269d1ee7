r"""Reads the patterns that rules are written in: the regular part of the syntax of Python's `re`.

Literals, escapes, `.`, classes, `\d \w \s` (ASCII) and their negations, groups, alternation, `? * + {m} {m,} {m,n}`
(lazy ones are the same language), and one condition on the character before and after: at the very start `(?<!X)`,
`(?<=X)` or `\b`, at the very end `(?!X)`, `(?=X)` or `\b`, where X is one character or class.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from trunkline.guards.matching import syntax
from trunkline.guards.matching.syntax import Chars, CharSet, Choice, Context, Node, Pattern, Ranges, Repeat, Sequence
from trunkline.guards.matching.view import view_of

MAX_STATES: Final = 10_000  # a bound on memory and start time; the longest real patterns take some 500
MAX_DEPTH: Final = 50  # a bound on recursion
MAX_COUNT_DIGITS: Final = 9  # far above what MAX_STATES allows
_QUANTIFIER: Final = re.compile(r"[?*+]|\{(?:[0-9]+(?:,[0-9]*)?|,[0-9]*)\}")
_SPECIAL: Final = frozenset("^$*+?{|()")
_CONTROLS: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CATEGORIES: Final = {"d": syntax.DIGIT, "s": syntax.SPACE, "w": syntax.WORD} | {
    letter: syntax.complement(ranges)
    for letter, ranges in (("D", syntax.DIGIT), ("S", syntax.SPACE), ("W", syntax.WORD))
}
_CODES: Final = {"x": 2, "u": 4, "U": 8}
_ANY: Final = syntax.complement(((10, 10),))
_BACKSPACE: Final = "\b"


class PatternError(ValueError):
    """A pattern that a guard cannot run, the place in it, and why; the message shows the place."""

    def __init__(self, pattern: str, position: int, reason: str) -> None:
        self.pattern = pattern
        self.position = position
        self.reason = reason
        # One character of the pattern is one column here, whatever it is.
        shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in pattern)
        super().__init__(f"{reason} (at {position})\n  {shown}\n  {' ' * position}^")


def parse(pattern: str, *, ignore_case: bool = False) -> Pattern:
    """Read a pattern. Raises `PatternError` for everything that is outside the subset or too large."""
    return _Parser(pattern, ignore_case=ignore_case).parse()


class _Parser:
    """Reads one pattern from left to right; each method reads one construct at `_at` and goes past it."""

    def __init__(self, pattern: str, *, ignore_case: bool) -> None:
        self._pattern = pattern
        self._ignore_case = ignore_case
        self._at = 0
        self._depth = 0
        self._right: Context | None = None
        self._bar: int | None = None  # the first '|' outside of groups

    def parse(self) -> Pattern:
        left = self._left_context()
        start = self._at
        body = self._alternation()
        if self._at < len(self._pattern):
            self._refuse("this ')' closes nothing")
        if self._bar is not None and (left or self._right):
            self._refuse("with a condition at an end, put the alternatives into a group: (?:a|b)", self._bar)
        if syntax.longest(body) == 0:
            self._refuse("it matches the empty text only", start)
        if syntax.size(body) > MAX_STATES:
            self._refuse_size(body, start)
        return Pattern(body, left, self._right)

    def _refuse(self, reason: str, position: int | None = None) -> NoReturn:
        raise PatternError(self._pattern, self._at if position is None else position, reason)

    def _refuse_size(self, node: Node, position: int) -> NoReturn:
        states = f"{syntax.size(node):,} states"
        self._refuse(f"the automaton would take {states} from here, at most {MAX_STATES:,} are allowed", position)

    def _sees(self, text: str) -> bool:
        return self._pattern.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        """Go past the text if it comes next."""
        if not self._sees(text):
            return False
        self._at += len(text)
        return True

    def _next(self, missing: str, position: int) -> str:
        """Go past one character and return it; refuse the pattern's end with this reason and place."""
        if self._at >= len(self._pattern):
            self._refuse(missing, position)
        self._at += 1
        return self._pattern[self._at - 1]

    def _left_context(self) -> Context | None:
        if self._take(r"\b"):
            return Context(CharSet(syntax.WORD), boundary=True)
        for opening, wanted in (("(?<=", True), ("(?<!", False)):
            if self._take(opening):
                return Context(self._context_char(), wanted)
        return None

    def _right_context(self) -> Context | None:
        if self._take(r"\b"):
            return Context(CharSet(syntax.WORD), boundary=True)
        for opening, wanted in (("(?=", True), ("(?!", False)):
            if self._take(opening):
                return Context(self._context_char(), wanted)
        return None

    def _context_char(self) -> CharSet:
        start = self._at
        special = self._pattern[self._at : self._at + 1] in _SPECIAL
        chars = None if special else self._char()
        if chars is None or not self._take(")"):
            self._refuse("a condition looks at one character: expected one character or class, then ')'", start)
        return chars

    def _alternation(self) -> Node:
        branches = [self._sequence()]
        while self._sees("|"):
            if self._bar is None and not self._depth:
                self._bar = self._at
            self._at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._at < len(self._pattern) and not (self._sees("|") or self._sees(")")):
            start = self._at
            self._right = self._right_context()
            if self._right is not None:
                if self._depth or self._at < len(self._pattern):
                    self._refuse("a condition stands at the very start or the very end of the pattern only", start)
                break
            items.append(self._quantified())
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _quantified(self) -> Node:
        start = self._at
        item = self._atom()
        quantifier = _QUANTIFIER.match(self._pattern, self._at)
        if quantifier is None:
            return item
        if len(max(quantifier[0].split(","), key=len)) > MAX_COUNT_DIGITS:
            self._refuse("this count is far too large")
        least, most = _counts(quantifier[0])
        if most is not None and least > most:
            self._refuse(f"the least count, {least}, is above the most, {most}")
        self._at = quantifier.end()
        if self._sees("+"):
            self._refuse("a possessive quantifier is not regular")
        self._take("?")
        if _QUANTIFIER.match(self._pattern, self._at):
            self._refuse("two quantifiers on one item: put the inner one into a group")
        node = Repeat(item, least, most)
        if syntax.size(node) > MAX_STATES:
            self._refuse_size(node, start)
        return node

    def _atom(self) -> Node:
        if self._sees("("):
            return self._group()
        if _QUANTIFIER.match(self._pattern, self._at):
            self._refuse("there is nothing to repeat")
        if self._sees("^") or self._sees("$"):
            self._refuse("anchors have no meaning in a stream; a condition such as (?<!\\w) looks at one character")
        return Chars(self._char())

    def _group(self) -> Node:
        start = self._at
        self._at += 1
        if self._sees("?") and not self._take("?:"):
            self._refuse(_why_no_group(self._pattern[self._at : self._at + 3]), start)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"groups are nested more than {MAX_DEPTH} deep", start)
        body = self._alternation()
        if not self._take(")"):
            self._refuse("this group is not closed", start)
        self._depth -= 1
        return body

    def _char(self) -> CharSet:
        """Read what stands for one character: a literal, an escape, `.` or a class."""
        start = self._at
        char = self._next("a character is missing", start)
        if char == ".":
            return CharSet(_ANY)
        if char == "[":
            return self._class(start)
        if char != "\\":
            return self._set(self._literal(char, start))
        escaped = self._escape(in_class=False)
        return CharSet(escaped) if isinstance(escaped, tuple) else self._set(self._literal(escaped, start))

    def _set(self, ranges: Ranges, *, negated: bool = False) -> CharSet:
        return CharSet(ranges, negated, self._ignore_case)

    def _literal(self, char: str, position: int) -> Ranges:
        """Return the set of what a literal counts as in the match view, where alone it could be found."""
        seen = view_of(char)
        if seen is None:
            self._refuse(f"U+{ord(char):04X} is invisible to a guard and can never be found", position)
        return ((ord(seen), ord(seen)),)

    def _class(self, start: int) -> CharSet:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._sees("]"):
            first = False
            position = self._at
            low = self._class_item(start)
            if isinstance(low, tuple):
                if self._sees("-") and not self._sees("-]"):
                    self._refuse("a range begins with one character", position)
                ranges += low
            elif self._sees("-") and not self._sees("-]"):
                self._at += 1
                ranges.append(self._range(low, self._class_item(start), position))
            else:
                ranges += self._literal(low, position)
        self._at += 1
        chars = self._set(syntax.union(ranges), negated=negated)
        if chars.is_empty:
            self._refuse("this class has no character at all", start)
        return chars

    def _class_item(self, start: int) -> str | Ranges:
        char = self._next("this class is not closed", start)
        return self._escape(in_class=True) if char == "\\" else char

    def _range(self, low: str, high: str | Ranges, position: int) -> tuple[int, int]:
        if isinstance(high, tuple):
            self._refuse("a range ends with one character", position)
        if low > high:
            self._refuse("this range runs backwards", position)
        for end in (low, high):
            seen = view_of(end)
            if seen != end:
                self._refuse(f"a guard sees U+{ord(end):04X} as {seen or ''!r}: write that", position)
        return (ord(low), ord(high))

    def _escape(self, *, in_class: bool) -> str | Ranges:
        """Read what follows a backslash: a character, or the ranges of a category."""
        start = self._at - 1
        char = self._next("a backslash at the end", start)
        if char in _CATEGORIES:
            return _CATEGORIES[char]
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in _CODES:
            return self._code(_CODES[char], start)
        if in_class and char == "b":
            return _BACKSPACE
        if char.isascii() and char.isalnum():
            self._refuse(_why_no_escape(char), start)
        return char

    def _code(self, digits: int, start: int) -> str:
        written = self._pattern[self._at : self._at + digits]
        if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", written) or int(written, 16) > syntax.MAX_CODE:
            self._refuse(f"expected {digits} hexadecimal digits of a character", start)
        self._at += digits
        return chr(int(written, 16))


def _counts(quantifier: str) -> tuple[int, int | None]:
    """Return the least and the most count of a quantifier."""
    if quantifier in "?*+":
        return (int(quantifier == "+"), 1 if quantifier == "?" else None)
    least, comma, most = quantifier[1:-1].partition(",")
    if not comma:
        return (int(least), int(least))
    return (int(least or 0), int(most) if most else None)


def _why_no_group(opening: str) -> str:
    if opening.startswith(("?=", "?!", "?<=", "?<!")):
        return "a condition stands at the very start or the very end of the pattern only"
    if opening.startswith("?P="):
        return "a reference back to a group is not regular"
    if opening.startswith(("?P", "?<")):
        return "groups have no names here: write (?:...)"
    if opening.startswith("?>"):
        return "an atomic group is not regular"
    if opening.startswith("?("):
        return "a choice by an earlier group is not regular"
    return "flags and comments are not part of a pattern; a rule has ignore_case"


def _why_no_escape(char: str) -> str:
    if char.isdigit():
        return "a reference back to a group is not regular"
    if char in "AZ":
        return "anchors have no meaning in a stream"
    if char == "b":
        return "\\b stands at the very start or the very end of the pattern only"
    return f"\\{char} is not supported"
