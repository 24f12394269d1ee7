"""Collapses white space over the whole text, however it was cut."""

from __future__ import annotations

import re
from typing import Final

from trunkline.core.events import Guarded

_SPACE_OR_WORD: Final = re.compile(r"([ \t\r\n]+)|([^ \t\r\n]+)")
# Possessive, so that a long text that is not quiet is found out in one pass.
_QUIET: Final = re.compile(r"(?: ?[^ \t\r\n]++)++")
MAX_NEWLINES: Final = 2


class WhitespaceCollapse:
    r"""Leaves one blank of several, one empty line of several, no blank before a line's end, none around the text.

    Blanks are space, tab and carriage return (so CR LF becomes LF); a no-break space is a letter to this stage. A run
    of white space becomes its newlines, at most two, and then one space where a blank follows the last of them. What
    leads or ends the text goes wholly. Collapsing an output again changes nothing.

    Held is only the run that ends what was fed, in its collapsed form: at most three characters.
    """

    __slots__ = ("_begun", "_run", "blocked", "found")

    def __init__(self) -> None:
        self.found: list[Guarded] = []
        self.blocked = False
        self._begun = False
        self._run = ""

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return len(self._run)

    def feed(self, text: str) -> str:
        """Take the next piece; return its words, and the collapsed white space before each of them."""
        if self._begun and not self._run and _QUIET.fullmatch(text):
            return text
        released: list[str] = []
        for space, word in _SPACE_OR_WORD.findall(text):
            if word:
                released += (self._run, word)
                self._run = ""
                self._begun = True
            elif self._begun:
                newlines = min(MAX_NEWLINES, self._run.count("\n") + space.count("\n"))
                self._run = "\n" * newlines + ("" if space.endswith("\n") else " ")
        return "".join(released)

    def finish(self) -> str:
        """Drop what is held: it is the white space that ends the text."""
        self._run = ""
        return ""
