"""Checks while an answer streams whether it is well-formed JSON (RFC 8259), and where it ceased to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 128  # a bound on memory, and well below what common parsers take

Row = dict[str, str]

_SPACE: Final = " \t\n\r"
_DIGITS: Final = "0123456789"
_HEX: Final = "0123456789abcdefABCDEF"
_INFO: Final = " \t\r-_+.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# What a string takes without a further look: no quote, escape or control character, and no half of a surrogate pair.
_STRING_RUN: Final = re.compile('[^"\\\\\x00-\x1f\ud800-\udfff]*')


def _row(*steps: tuple[str, str]) -> Row:
    """Make a row of the table: each character of a pair's first string leads to the state that the second names."""
    return {char: state for chars, state in steps for char in chars}


def _spell(word: str) -> dict[str, Row]:
    """Make the rows that read the rest of a literal name; each state is what was read of it."""
    return {word[:n]: {word[n]: word[: n + 1]} for n in range(1, len(word) - 1)} | {word[:-1]: {word[-1]: "_whole"}}


_VALUE: Final = _row(
    (_SPACE, "value"), ("{", "_object"), ("[", "_array"), ('"', "string"), ("-", "minus"), ("0", "zero"),
    ("123456789", "integer"), ("t", "t"), ("f", "f"), ("n", "n"),
)  # fmt: skip
# A step whose name begins with "_" is no state but a turn that looks at the stack; `JsonAnswer._turn` takes it.
_TABLE: Final[dict[str, Row]] = {
    "value": _VALUE,
    "first value": _VALUE | _row((_SPACE, "first value"), ("]", "_close")),
    "name": _row((_SPACE, "name"), ('"', "_name")),
    "first name": _row((_SPACE, "first name"), ('"', "_name"), ("}", "_close")),
    "colon": _row((_SPACE, "colon"), (":", "value")),
    "in object": _row((_SPACE, "in object"), (",", "name"), ("}", "_close")),
    "in array": _row((_SPACE, "in array"), (",", "value"), ("]", "_close")),
    "end": _row((_SPACE, "end")),
    "string": _row(('"', "_string"), ("\\", "escape")),
    "escape": _row(('"\\/bfnrt', "string"), ("u", "digit 1")),
    # An escape is four digits. D8 to DB begin a pair; DC to DF alone are the second half of one.
    "digit 1": _row((_HEX, "digit 2"), ("dD", "digit 2 after d")),
    "digit 2": _row((_HEX, "digit 3")),
    "digit 2 after d": _row(("01234567", "digit 3"), ("89abAB", "digit 3 of first half")),
    "digit 3": _row((_HEX, "digit 4")),
    "digit 4": _row((_HEX, "string")),
    "digit 3 of first half": _row((_HEX, "digit 4 of first half")),
    "digit 4 of first half": _row((_HEX, "second half")),
    "second half": _row(("\\", "u of second half")),
    "u of second half": _row(("u", "digit 1 of second half")),
    "digit 1 of second half": _row(("dD", "digit 2 of second half")),
    "digit 2 of second half": _row(("cdefCDEF", "digit 3")),
    "minus": _row(("0", "zero"), ("123456789", "integer")),
    "zero": _row((".", "point"), ("eE", "exponent")),
    "integer": _row((_DIGITS, "integer"), (".", "point"), ("eE", "exponent")),
    "point": _row((_DIGITS, "fraction")),
    "fraction": _row((_DIGITS, "fraction"), ("eE", "exponent")),
    "exponent": _row(("+-", "exponent sign"), (_DIGITS, "exponent digits")),
    "exponent sign": _row((_DIGITS, "exponent digits")),
    "exponent digits": _row((_DIGITS, "exponent digits")),
    **_spell("true"),
    **_spell("false"),
    **_spell("null"),
    # One Markdown code fence around the JSON, where that is allowed.
    "start": _VALUE | _row((_SPACE, "start"), ("`", "fence 2")),
    "fence 2": _row(("`", "fence 3")),
    "fence 3": _row(("`", "_fence")),
    "info": _row((_INFO, "info"), ("\n", "value")),
    "line end": _row((" \t\r", "line end"), ("\n", "closing fence")),
    "closing fence": _row((_SPACE, "closing fence"), ("`", "closing fence 2")),
    "closing fence 2": _row(("`", "closing fence 3")),
    "closing fence 3": _row(("`", "end")),
}
# A number has no mark of its end: in these states any other character belongs to what follows the number.
_WHOLE_NUMBERS: Final = frozenset({"zero", "integer", "fraction", "exponent digits"})
_DIGIT: Final = "a digit"
_PAIR: Final = "the second half of a surrogate pair"
_FENCE: Final = "the closing fence on a line of its own"
_EXPECTED: Final = {
    "value": "a value", "start": "a value", "first value": "a value or the array's end",
    "name": "a name in quotes", "first name": "a name in quotes or the object's end", "colon": "a colon",
    "in object": "a comma or the object's end", "in array": "a comma or the array's end",
    "end": "nothing but white space", "string": "a character that a string may hold, or its end",
    "escape": "an escape that JSON knows", "digit 2 after d": "the escape of a character, not of half a pair",
    "second half": _PAIR, "u of second half": _PAIR, "digit 1 of second half": _PAIR, "digit 2 of second half": _PAIR,
    "minus": _DIGIT, "point": _DIGIT, "exponent": "a digit or a sign", "exponent sign": _DIGIT,
    "fence 2": "a code fence", "fence 3": "a code fence", "info": "the end of the fence's line",
    "line end": _FENCE, "closing fence": _FENCE, "closing fence 2": _FENCE, "closing fence 3": _FENCE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JsonFault:
    """The first character that no well-formed answer can have at its place, and what would have been in order there.

    `offset` counts characters from 0; it is the answer's length where the answer ended too early. `reason` never
    quotes the answer.
    """

    offset: int
    reason: str


class JsonAnswer:
    """Follows an answer as it streams: never changes it, keeps nothing of it, says the same for every cut of it.

    The answer is one JSON text by RFC 8259, with white space around it at most. It must also be fit for UTF-8: a lone
    half of a surrogate pair, plain or escaped, is a fault. So is a byte order mark; a repeated name is none.
    `max_depth` bounds the nesting, and with it the memory. With `allow_fence` the text may stand in one Markdown code
    fence of three backticks, each on a line of its own, the first with a language's name or not.

    After the first fault the rest is not read.
    """

    __slots__ = ("_finished", "_in_name", "_max_depth", "_offset", "_stack", "_state", "fault")

    def __init__(self, *, max_depth: int = MAX_DEPTH, allow_fence: bool = False) -> None:
        self._max_depth = max_depth
        self._state = "start" if allow_fence else "value"
        self._stack = ["end"]  # the state after the value at each depth, the innermost last
        self._in_name = False
        self._offset = 0
        self._finished = False
        self.fault: JsonFault | None = None

    @property
    def read(self) -> int:
        """How many characters were read."""
        return self._offset

    @property
    def ok(self) -> bool:
        """Whether the answer was complete and well-formed; false until `finish`."""
        return self._finished and self.fault is None

    def feed(self, text: str) -> None:
        """Read the next piece."""
        if self.fault is not None:
            return
        at = 0
        while at < len(text):
            if self._state == "string":
                run = _STRING_RUN.match(text, at)
                at = run.end() if run is not None else at
                if at == len(text):
                    break
            if not self._step(text[at]):
                self.fault = JsonFault(self._offset + at, self._reason())
                return
            at += 1
        self._offset += len(text)

    def finish(self) -> None:
        """The answer is complete."""
        self._finished = True
        if self.fault is not None:
            return
        if self._state in _WHOLE_NUMBERS:
            self._state = self._stack[-1]
        if self._state != "end":
            self.fault = JsonFault(self._offset, f"{self._reason()}, and the answer ended")

    def _step(self, char: str) -> bool:
        """Take one character; False where it is a fault."""
        after = _TABLE[self._state].get(char)
        if after is None and self._state in _WHOLE_NUMBERS:
            self._state = self._stack[-1]
            after = _TABLE[self._state].get(char)
        if after is None:
            return False
        if after[0] == "_":
            return self._turn(after)
        self._state = after
        return True

    def _turn(self, turn: str) -> bool:
        """Enter or leave a value; False where that is too deep."""
        stack = self._stack
        match turn:
            case "_object" | "_array":
                if len(stack) > self._max_depth:
                    self._state = "too deep"
                    return False
                stack.append("in object" if turn == "_object" else "in array")
                self._state = "first name" if turn == "_object" else "first value"
            case "_close":
                stack.pop()
                self._state = stack[-1]
            case "_name":
                self._in_name = True
                self._state = "string"
            case "_string" if self._in_name:
                self._in_name = False
                self._state = "colon"
            case "_fence":
                stack[0] = "line end"
                self._state = "info"
            case _:  # the end of a string that is a value, or of a literal name
                self._state = stack[-1]
        return True

    def _reason(self) -> str:
        """Say what would have been in order; never what came."""
        if self._state == "too deep":
            return f"nested deeper than {self._max_depth}"
        if self._state in _EXPECTED:
            return f"expected {_EXPECTED[self._state]}"
        if self._state.startswith("digit"):
            return "expected four hexadecimal digits"
        return "expected true, false or null"
