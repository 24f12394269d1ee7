"""Screens a tool call's arguments: the values in a JSON text that streams, while its shape stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from trunkline.core.events import Guarded
from trunkline.guards.base import Stage
from trunkline.guards.escaped_text import BY_CODE, FIRST_HALF, HEX, EscapedText
from trunkline.guards.json_answer import MAX_DEPTH
from trunkline.guards.surrogates import SurrogateJoin

MAX_TOKEN: Final = 1000  # characters of a key with its quotes, or of a number: a bound on what is held
TOO_LONG: Final = "too_long"  # the rule that is reported where one has more

_PLAIN: Final = r'[^"\\\x00-\x1f]++'
_ESCAPE: Final = rf'(?:{BY_CODE}|\\["\\/bfnrt])'
# At the end of a piece an escape may be incomplete, or the first half of a pair whose second half may follow.
_BEGUN: Final = rf"(?:\\(?:u{HEX}{{0,3}})?|{FIRST_HALF}(?:\\(?:u(?:[dD](?:[c-fC-F]{HEX}?)?)?)?)?)\Z"
_ESCAPE_BEGUN: Final = re.compile(_BEGUN)
_HALF: Final = re.compile(FIRST_HALF)
_STRING: Final = re.compile(rf"(?:{_PLAIN}|(?!{_BEGUN}){_ESCAPE})*+")
_BROKEN: Final = re.compile(rf"(?:[^\\]++|(?!{_BEGUN})(?:{BY_CODE}|\\.))*+", re.DOTALL)

_KEY: Final = re.compile(rf'"((?:{_PLAIN}|{_ESCAPE})*+)(?:(")|(?:\\(?:u{HEX}{{0,3}})?)?\Z)')
_WORD: Final = re.compile(r"([-+.0-9A-Za-z]++)[ \t\r\n]*+")
_NUMBER_BEGUN: Final = re.compile(r"-?[0-9][-+.0-9eE]*+")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_LITERALS: Final = frozenset({"true", "false", "null"})
_SPACE: Final = re.compile(r"[ \t\r\n]++")

_STEPS: Final[dict[str, dict[str, str]]] = {
    "value": {"{": "first key", "[": "first value"},
    "first value": {"{": "first key", "[": "first value", "]": "after"},
    "key": {},
    "first key": {"}": "after"},
    "colon": {":": "value"},
    "in object": {",": "key", "}": "after"},
    "in array": {",": "value", "]": "after"},
    "end": {},
}
"""What is expected, and what then comes; "after" is what the value around it expects."""
_VALUES: Final = frozenset({"value", "first value"})
_KEYS: Final = frozenset({"key", "first key"})
_AFTER_VALUE: Final = {"{": "in object", "[": "in array"}


class ToolArguments:
    r"""A stage (`trunkline.guards.base`) for the arguments of one tool call: a JSON text by RFC 8259.

    Each string value is screened without its escapes by a chain of its own, `make_chain()`. Up to the first change in a
    string its characters leave in the very spelling in which they came; after it they are spelled anew. Either way what
    leaves decodes to what the chain releases. A key or a number cannot be changed without changing what the arguments
    are: it is held until it is complete, and a match in it blocks unless its rule only flags. So does one of more than
    `MAX_TOKEN` characters. All else leaves as it came: brackets, commas, colons and white space at once, true, false
    and null as soon as what follows shows that, like a number, they are over. Each value is a text of its own: what is
    split over neighbouring items of an array is not found.

    Where a text is no JSON, nobody can tell what its readers take it for. From the fault on, with the key or the word
    or the rest of the string that it is in, all is one more text for one chain: quotes and brackets are plain
    characters, escapes are read wherever they stand (`\q` as `q`). It, too, leaves as it came up to the first change.
    After that its backslashes are doubled; what began as a string goes on as one.

    Reports count characters of the JSON text as it comes and as it leaves, escapes included, once surrogate pairs that
    came as two characters are one. They follow the text that they are about, in its order. For that the chain's stages
    must report what they change or keep its length. Those that take out Markdown or white space do neither, and a tool
    wants its arguments as they are.
    """

    __slots__ = (
        "_broken", "_expected", "_halves", "_make_chain", "_out", "_read", "_stack", "_text", "_unread", "_written",
        "blocked", "found",
    )  # fmt: skip

    def __init__(self, make_chain: Callable[[], Sequence[Stage]]) -> None:
        self._make_chain = make_chain
        self.found: list[Guarded] = []
        self.blocked = False
        self._halves = SurrogateJoin()
        self._unread = ""
        self._read = 0  # characters before the unread ones
        self._out: list[str] = []
        self._written = 0  # characters of the output
        self._expected = "value"
        self._stack = ["end"]  # what is expected after the value at each depth, the innermost last
        self._text: EscapedText | None = None  # the string value that is open, or what is no JSON
        self._broken = False

    @property
    def held(self) -> int:
        """How many characters are held back now; those of a string value without their escapes."""
        return self._halves.held + len(self._unread) + (0 if self._text is None else self._text.held)

    def feed(self, text: str) -> str:
        """Take the next piece; return what is released by it, the same object where nothing is changed or held."""
        released = self._take(self._halves.feed(text), final=False)
        return text if released == text else released

    def finish(self) -> str:
        """The arguments are complete: decide what was held."""
        released = self._take(self._halves.finish(), final=True)
        if self._text is not None and not self.blocked:
            self._end_text(self._text)
            if not self.blocked:  # An escape that the end cuts off says nothing.
                self._write(self._unread)
                self._unread = ""
            released += self._flush()
        return released

    def _take(self, piece: str, *, final: bool) -> str:
        """Read on as far as it is clear what comes, and to the end if this is all; return what that releases."""
        if self.blocked:
            return ""
        text = self._unread + piece
        at = 0
        while at < len(text) and not self.blocked:
            if self._text is None:
                place = self._between(text, at, final=final)
            else:
                place = self._inside(self._text, text, at, final=final)
            if place is None:
                break
            at = place
        self._unread = "" if self.blocked else text[at:]
        self._read += at
        return self._flush()

    def _flush(self) -> str:
        """Return what was written."""
        out, self._out = "".join(self._out), []
        return out

    def _write(self, text: str) -> None:
        self._out.append(text)
        self._written += len(text)

    def _between(self, text: str, at: int, *, final: bool) -> int | None:
        """Read what stands outside of string values; return where to go on, None where that depends on what follows."""
        char, expected = text[at], self._expected
        if space := _SPACE.match(text, at):
            self._write(space[0])
            return space.end()
        if char == '"' and expected in _VALUES:
            self._write(char)
            self._text = EscapedText(self._make_chain(), self._read + at + 1, self._written, quoted=True)
            return at + 1
        if char == '"' and expected in _KEYS:
            return self._key(text, at, final=final)
        if expected in _VALUES and _WORD.match(char):
            return self._word(text, at, final=final)
        return self._step(char, at)

    def _step(self, char: str, at: int) -> int:
        """Take a bracket, a comma or a colon."""
        after = _STEPS[self._expected].get(char)
        if after is None or (char in _AFTER_VALUE and len(self._stack) > MAX_DEPTH):
            return self._break(at)
        if char in _AFTER_VALUE:
            self._stack.append(_AFTER_VALUE[char])
        elif after == "after":
            self._stack.pop()
            after = self._stack[-1]
        self._expected = after
        self._write(char)
        return at + 1

    def _inside(self, opened: EscapedText, text: str, at: int, *, final: bool) -> int | None:
        """Read the content of a string value and its end, or what is no JSON."""
        run = (_BROKEN if self._broken else _STRING).match(text, at)
        end = at if run is None else run.end()
        if end > at:
            self._write(opened.feed(text[at:end]))
            self._report(opened)
            return end
        if text[at] == '"' and not self._broken:
            self._end_text(opened)
            if not self.blocked:
                self._write('"')
                self._text = None
                self._expected = self._stack[-1]
            return at + 1
        if _ESCAPE_BEGUN.match(text, at) is None:
            return self._break(at)
        half = _HALF.match(text, at)
        if not final or half is None:
            return None
        self._write(opened.feed(half[0]))
        self._report(opened)
        return half.end()

    def _end_text(self, text: EscapedText) -> None:
        """Let the chain decide what it holds at the end of its text."""
        self._write(text.finish())
        self._report(text)

    def _report(self, text: EscapedText) -> None:
        """Take over what a text's chain has found."""
        self.found += text.found
        text.found.clear()
        self.blocked = text.blocked

    def _key(self, text: str, at: int, *, final: bool) -> int | None:
        """Read a whole key."""
        limit = at + MAX_TOKEN + 1
        key = _KEY.match(text, at, limit)
        if key is None or (final and key[2] is None):
            return self._break(at)
        if len(key[0]) > MAX_TOKEN:
            return self._refuse(at)
        if key[2] is None:
            return None
        if self._screen(key[1], at, 1):
            self._write(key[0])
            self._expected = "colon"
        return key.end()

    def _word(self, text: str, at: int, *, final: bool) -> int | None:
        """Read a whole number, true, false or null, and the white space after it, up to what shows that it is over."""
        limit = at + MAX_TOKEN + 1
        word = _WORD.match(text, at, limit)
        if word is None:
            raise AssertionError("a word has begun")
        end = word.end()
        if end == len(text) < limit and not final:
            return None
        if len(word[1]) > MAX_TOKEN and _NUMBER_BEGUN.fullmatch(word[1]):
            return self._refuse(at)
        is_literal = word[1] in _LITERALS
        follows = text[end : min(end + 1, limit)]
        is_over = not follows or follows in _STEPS[self._stack[-1]]
        if not is_over or not (is_literal or _NUMBER.fullmatch(word[1])):
            return self._break(at)
        if is_literal or self._screen(word[1], at, 0):
            self._write(word[0])
            self._expected = self._stack[-1]
        return end

    def _screen(self, raw: str, at: int, quotes: int) -> bool:
        """Screen what must not be changed: a key, whose quote precedes it, or a number. False where that blocks."""
        screened = EscapedText(self._make_chain(), self._read + at + quotes, self._written + quotes, quoted=True)
        screened.feed(raw)
        screened.finish()
        self.blocked = screened.blocked
        for event in screened.found:
            if event.action != "flag":
                self._block(event.rule, event.start, event.end, event.digest)
                break
            self.found.append(event)
        return not self.blocked

    def _refuse(self, at: int) -> int:
        """Block at a key or a number that is too long to wait for its end."""
        end = at + MAX_TOKEN + 1
        self._block(TOO_LONG, self._read + at, self._read + end)
        return end

    def _block(self, rule: str, start: int, end: int, digest: str = "") -> None:
        """Release nothing more."""
        self.blocked = True
        self.found.append(Guarded(rule, "block", start, end, self._written, 0, digest))

    def _break(self, at: int) -> int:
        """Take all from here on for one text that is no JSON."""
        self._broken = True
        if self._text is None:
            self._text = EscapedText(self._make_chain(), self._read + at, self._written, quoted=False)
        return at
