"""Strips Markdown from an answer while it streams, so that guards judge, and people read, the words alone."""

from __future__ import annotations

import string
from enum import Enum, auto
from typing import Final

from trunkline.core.events import Guarded
from trunkline.guards import markdown_marks as marks

MAX_HELD: Final = len("![") + marks.MAX_LABEL + len("]") + marks.MAX_TARGET

_WAIT: Final = -1  # more text is needed to decide
_NO: Final = -2  # it is not what it might have been
_NEUTRAL: Final = "."  # stands for the character before the next one where that was punctuation and no mark


class _Place(Enum):
    """Where in the text the next character stands."""

    LINE_START = auto()
    TEXT = auto()
    ROW = auto()
    CODE = auto()
    FENCED_LINE_START = auto()
    FENCED = auto()


# What goes on unchanged at each place.
_PLAIN: Final = {
    _Place.LINE_START: marks.NOTHING,
    _Place.TEXT: marks.TEXT,
    _Place.ROW: marks.ROW,
    _Place.CODE: marks.CODE,
    _Place.FENCED_LINE_START: marks.NOTHING,
    _Place.FENCED: marks.FENCED,
}


class MarkdownStrip:
    """Strips Markdown, and leaves the words in the order and on the lines where they were.

    | Markdown | becomes |
    |---|---|
    | emphasis by one to three `*` or `_`, or by `~~` | the words |
    | code between backticks; a code block between fences | the code, untouched; a fence's line goes |
    | a link, an image, an address in angle brackets | its text, its description, the address |
    | `# heading`, `> quote` | the words |
    | a bullet `*` or `-` | `- `; numbers and `+` stay |
    | a table's row, which begins with a pipe | its cells, joined by a comma; empty ones and the delimiter row go |
    | a rule; a line under a heading, of three marks or more | nothing, also no line |
    | a backslash before punctuation, or at a line's end | the punctuation, the line's end |

    Everything else stays as it is: HTML and its entities, footnotes, links by reference, code by indentation, a
    heading's closing marks. Whether a mark is emphasis is decided by CommonMark's flanking rules on its two
    neighbours, with these differences, since nobody can wait for the end of a paragraph:

    - A mark that can open emphasis goes at once, whether it is ever closed or not.
    - One that can only close emphasis stays where none of its kind is open (`from 5* on`).
    - A star next to its left operand opens nothing: `2*3`, `f(x)*2`, `Kund*innen` stay.
    - Next to a letter of a script without spaces, and to CJK punctuation, stars need no edge of a word.
    - Code ends at the line's end at the latest; what three backticks or more begin then goes on as a block.

    Each decision looks ahead a bounded stretch and never back at what was released: at most `MAX_HELD` characters
    are held, and those only from the first character of something that may be Markdown until it is decided; a line's
    leading blanks are part of that. A text without any of Markdown's marks comes out as it went in. A second strip
    may find new marks: those that were escaped, that stood in code, or that met only when what was between them had
    gone. Which character of the input an output character came from is not recorded.
    """

    __slots__ = (
        "_complete", "_fence", "_fence_quotes", "_fresh", "_held", "_in_row", "_open", "_out", "_place",
        "_plain", "_prev", "_quotes", "_ticks", "blocked", "found",
    )  # fmt: skip

    def __init__(self) -> None:
        self.found: list[Guarded] = []
        self.blocked = False
        self._held = ""
        self._out: list[str] = []
        self._complete = False
        self._go(_Place.LINE_START)
        self._prev = "\n"  # the character before the next one, as it came
        self._open = {"*": 0, "_": 0, "~": 0}  # sizes of open emphasis: 1, 2, or their sum
        self._fresh = True  # nothing of this line was released
        self._quotes = 0  # marks of quotes that begin this line
        self._in_row = False
        self._ticks = 0
        self._fence = ""
        self._fence_quotes = 0

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """Take the next piece; return what is decided, the same object where that is all of it, unchanged."""
        if not self._held and self._plain.fullmatch(text) is not None:
            self._prev = text[-1]
            return text
        released = self._strip(self._held + text)
        return text if released == text else released

    def finish(self) -> str:
        """Decide on what is held as the text's end."""
        self._complete = True
        return self._strip(self._held)

    def _strip(self, text: str) -> str:
        self._out = out = []
        at = 0
        while at < len(text):
            plain = self._plain.match(text, at)
            if plain is not None:
                at = plain.end()
                out.append(plain[0])
                self._prev = text[at - 1]
                continue
            after = self._take(text, at)
            if after == _WAIT:
                break
            at = after
        self._held = text[at:]
        return "".join(out)

    def _take(self, text: str, at: int) -> int:
        """Take what begins at a character that may be Markdown; return where the rest begins, or `_WAIT`."""
        if self._place is _Place.LINE_START:
            return self._line_start(text, at)
        if self._place is _Place.FENCED_LINE_START:
            return self._fenced_line_start(text, at)
        if text[at] == "\n":
            return self._end_line(at, "\n")
        return self._inline(text, at)

    def _short(self, text: str, end: int) -> bool:
        """Tell whether what follows a run of characters has not come yet: more of it, or what decides about it."""
        return end == len(text) and not self._complete

    def _go(self, place: _Place) -> None:
        self._place = place
        self._plain = _PLAIN[place]

    def _emit(self, text: str, prev: str) -> None:
        self._out.append(text)
        self._prev = prev

    # Lines

    def _end_line(self, at: int, released: str) -> int:
        """Begin a new line behind the newline at `at`."""
        if self._place is _Place.CODE and self._ticks >= marks.MIN_FENCE:
            # A fence that begins late, as in "1. ```sh": its closing fence must not begin another block.
            self._fence = "`" * self._ticks
            self._fence_quotes = self._quotes
        self._emit(released, "\n")
        self._go(_Place.FENCED_LINE_START if self._fence else _Place.LINE_START)
        self._fresh = True
        self._in_row = False
        self._quotes = 0
        return at + 1

    def _line_start(self, text: str, at: int) -> int:
        mark = marks.end_of(marks.INDENT, text, at)
        if self._short(text, mark):
            return _WAIT
        after = self._block(text, at, mark)
        if after == _NO:
            self._go(_Place.TEXT)
            self._out.append(text[at:mark])
            after = mark
        return after

    def _block(self, text: str, at: int, mark: int) -> int:
        """Take what begins a block behind the line's indentation, or say that nothing does."""
        match text[mark : mark + 1]:
            case "\n":
                self._close_emphasis()
                return self._end_line(mark, text[at : mark + 1])
            case ">":
                return self._quote(text, mark)
            case "#":
                return self._heading(text, mark)
            case "`" | "~":
                return self._fence_line(text, mark)
            case "-" | "*" | "_" | "=" | "|" | ":":
                return self._rule(text, at, mark)
            case _:
                return _NO

    def _close_emphasis(self) -> None:
        """Emphasis does not reach from one block or cell into another."""
        if any(self._open.values()):
            self._open = dict.fromkeys(self._open, 0)

    def _quote(self, text: str, mark: int) -> int:
        if self._short(text, mark + 1):
            return _WAIT
        self._quotes += 1
        return mark + (2 if text.startswith(" ", mark + 1) else 1)

    def _heading(self, text: str, mark: int) -> int:
        end = marks.end_of(marks.HEADING_MARKS, text, mark)
        if self._short(text, end):
            return _WAIT
        if marks.HEADING.match(text, mark) is None:
            return _NO
        self._close_emphasis()
        self._go(_Place.TEXT)
        return end

    def _rule(self, text: str, at: int, mark: int) -> int:
        """Take a line of marks only, or what else may begin with one of them: a bullet, a row of a table."""
        end = marks.end_of(marks.RULE_MARKS, text, mark)
        if self._short(text, end):
            return _WAIT
        ends = end == len(text) or text[end] == "\n"
        if not ends or marks.RULE.fullmatch(text, mark, end) is None:
            return self._bullet_or_row(text, at, mark)
        self._close_emphasis()
        if not self._fresh or end == len(text):
            self._go(_Place.TEXT)
            return end
        return self._end_line(end, "")

    def _bullet_or_row(self, text: str, at: int, mark: int) -> int:
        if text[mark] == "|":
            self._close_emphasis()
            self._in_row = True
            self._go(_Place.ROW)
            self._prev = " "
            return marks.end_of(marks.ROW_START, text, mark)
        bullet = marks.BULLET.match(text, mark)
        if bullet is None:
            return _NO
        self._close_emphasis()
        self._fresh = False
        self._emit(text[at:mark] + "- ", " ")
        return bullet.end()

    def _fence_line(self, text: str, mark: int) -> int:
        run = marks.end_of(marks.FENCE_MARKS, text, mark)
        size = run - mark
        if self._short(text, run):
            return _WAIT
        if size < marks.MIN_FENCE:
            return _NO
        end = marks.end_of(marks.INFO[text[mark]], text, run)
        if self._short(text, end):
            return _WAIT
        if end < len(text) and text[end] != "\n":
            return _NO
        self._close_emphasis()
        self._fence = text[mark:run]
        self._fence_quotes = self._quotes
        return self._end_line(end, "")

    def _fenced_line_start(self, text: str, at: int) -> int:
        """Drop the quote marks of a line of a code block, or the whole line where it is the closing fence."""
        mark = marks.end_of(marks.QUOTED_INDENT if self._fence_quotes else marks.INDENT, text, at)
        run = mark
        while text.startswith(self._fence[0], run) and run - mark < marks.MAX_RUN:
            run += 1
        end = marks.end_of(marks.INDENT, text, run)
        if self._short(text, end):
            return _WAIT
        if run - mark >= len(self._fence) and (end == len(text) or text[end] == "\n"):
            self._fence = ""
            return self._end_line(end, "")
        for _ in range(self._fence_quotes):
            quote = marks.QUOTE.match(text, at, mark)
            if quote is None:  # CommonMark 5.1: a block ends with the quote that it is in
                self._fence = ""
                self._go(_Place.LINE_START)
                return at
            at = quote.end()
        self._go(_Place.FENCED)
        return at

    # Inside a line

    def _inline(self, text: str, at: int) -> int:
        match text[at]:
            case "\\":
                return self._backslash(text, at)
            case "`":
                return self._backticks(text, at)
            case "*" | "_" | "~":
                return self._emphasis(text, at)
            case "[" | "!":
                return self._bracket(text, at)
            case "<":
                return self._angle(text, at)
            case _:
                return self._cell_end(text, at)

    def _backslash(self, text: str, at: int) -> int:
        if self._short(text, at + 1):
            return _WAIT
        escaped = text[at + 1 : at + 2]
        if escaped and escaped in string.punctuation:
            self._emit(escaped, _NEUTRAL)
            return at + 2
        if escaped != "\n":
            self._emit("\\", "\\")
        return at + 1

    def _backticks(self, text: str, at: int) -> int:
        end = marks.end_of(marks.TICKS, text, at)
        size = end - at
        if self._short(text, end):
            return _WAIT
        if self._place is not _Place.CODE:
            self._ticks = size
            self._go(_Place.CODE)
        elif size == self._ticks:
            self._go(_Place.ROW if self._in_row else _Place.TEXT)
        else:
            self._out.append(text[at:end])
        self._prev = "`"
        return end

    def _emphasis(self, text: str, at: int) -> int:
        char = text[at]
        end = marks.end_of(marks.STARS[char], text, at)
        if self._prev != char:
            if end - at <= marks.MAX_EMPHASIS and self._short(text, end):
                return _WAIT
            if self._delimits(char, end - at, text[end] if end < len(text) else "\n"):
                self._prev = char
                return end
        # Else it goes on a run that is too long: a mark that was decided is followed by another character.
        self._emit(text[at:end], char)
        return end

    def _delimits(self, char: str, size: int, after: str) -> bool:
        """Tell whether a run of marks opens or closes emphasis, and keep account of it."""
        if size > marks.MAX_EMPHASIS or (char == "~" and size != marks.STRIKE):
            return False
        opens, closes = marks.flanks(char, self._prev, after)
        if closes and self._open[char] & size:
            self._open[char] &= ~size
            return True
        if opens and not (char == "*" and marks.is_operator(self._prev, after)):
            self._open[char] |= size
            return True
        return False

    def _bracket(self, text: str, at: int) -> int:
        """Take a link or an image, or the mark that might have begun one."""
        start = at + 1
        if text[at] == "!":
            if self._short(text, start):
                return _WAIT
            if text.startswith("[", start):
                start += 1
        end = self._label_end(text, start) if text[start - 1] == "[" else _NO
        after = self._target_end(text, end + 1) if end >= 0 else end
        if after == _WAIT:
            return _WAIT
        if after == _NO:
            self._emit(text[at:start], text[start - 1])
            return start
        label = MarkdownStrip()
        label._go(_Place.TEXT)
        self._emit(label.feed(text[start:end]) + label.finish(), _NEUTRAL)
        return after

    def _label_end(self, text: str, start: int) -> int:
        """Find the bracket that closes a link's text."""
        limit = start + marks.MAX_LABEL + 1
        depth = 0
        for bracket in marks.BRACKET.finditer(text, start, limit):
            if bracket[0] == "]" and depth == 0:
                return bracket.start()
            depth += {"[": 1, "]": -1}.get(bracket[0], 0)
            if bracket[0] == "\n" or depth > marks.MAX_NESTED:
                return _NO
        return _WAIT if len(text) < limit and not self._complete else _NO

    def _target_end(self, text: str, start: int) -> int:
        """Find the end of a link's address in parentheses."""
        limit = start + marks.MAX_TARGET
        target = marks.TARGET.match(text, start, limit)
        if target is not None:
            return target.end()
        may_be = marks.TARGET_BEGUN.match(text, start) is not None
        return _WAIT if may_be and len(text) < limit and not self._complete else _NO

    def _angle(self, text: str, at: int) -> int:
        """Take an address in angle brackets, or the bracket alone."""
        limit = at + marks.MAX_TARGET
        link = marks.AUTOLINK.match(text, at, limit)
        if link is not None:
            self._emit(link[1], _NEUTRAL)
            return link.end()
        if len(text) < limit and not self._complete and marks.AUTOLINK_BEGUN.match(text, at) is not None:
            return _WAIT
        self._emit("<", "<")
        return at + 1

    def _cell_end(self, text: str, at: int) -> int:
        end = marks.end_of(marks.CELL_END, text, at)
        if self._short(text, end):
            return _WAIT
        run = text[at:end]
        if "|" not in run:
            self._emit(run, " ")
        elif end == len(text) or text[end] == "\n":
            self._emit("\r" if run.endswith("\r") else "", " ")
        else:
            self._close_emphasis()
            self._emit(", ", " ")
        return end
