"""The stage that finds what rules match: quiet text in one look-up a character, the rest by an exact scan."""

from __future__ import annotations

from functools import reduce
from operator import getitem

from trunkline.guards.actions import Secrets
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.rows import Row
from trunkline.guards.matching.scanner import Scanner
from trunkline.guards.rule import Report


class Matcher:
    """A stage (`trunkline.guards.base`) over a shared automaton, for one text.

    Text and events are the same however the text is cut. A character is held only while something that may follow
    could make it part of a match, leaving validators aside, and nothing of a blocked match is ever released.
    """

    __slots__ = ("_automaton", "_held", "_passed", "_row", "_scanner", "_seam", "fed", "found", "scanned")

    def __init__(self, automaton: Automaton, secrets: Secrets, report: Report = repr) -> None:
        """`report` is told of faults of validators."""
        self._automaton = automaton
        self._scanner = Scanner(automaton, secrets, report)
        self._seam = self._scanner.seam
        self.found = self._scanner.found
        self._row: Row | None = automaton.rows.quiet(0)
        """Where the fast lane is; None while the scanner has the text."""
        self._held = ""
        self._passed = 0
        self.fed = 0
        """How many pieces were fed."""
        self.scanned = 0
        """How many of them took the exact scan."""

    @property
    def blocked(self) -> bool:
        """True once a blocking rule matched; nothing more is released then."""
        return self._scanner.blocked

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return len(self._held) if self._row is not None else self._scanner.held

    def feed(self, text: str) -> str:
        """Take the next piece; return what is released by it, the same object where nothing is changed or held."""
        self.fed += 1
        if self._row is None:
            return self._scan(text)
        row = reduce(getitem, text, self._row)
        if row.loud:
            self._scanner.enter(self._row, self._passed)
            return self._scan(self._held + text)
        self._row = row
        if row.hold or self._held:
            text = self._held + text
            place = len(text) - row.hold
            self._held = text[place:]
            text = text[:place]
        self._passed += len(text)
        if self._seam is not None:
            self._seam.wrote(text)
        return text

    def finish(self) -> str:
        """The text is complete: decide what was held."""
        if self._scanner.blocked or (self._row is not None and not self._held):
            return ""
        held = ""
        if self._row is not None:
            self._scanner.enter(self._row, self._passed)
            self._row, held = None, self._held
        return self._scanner.scan(held, final=True)

    def _scan(self, text: str) -> str:
        """Let the scanner take the text, and take the lane back from it as soon as its text is quiet again."""
        if self._scanner.blocked:
            return ""
        self.scanned += 1
        self._row = None
        released = self._scanner.scan(text)
        if not self._scanner.blocked:
            quiet = self._scanner.leave()
            if quiet is not None:
                self._row, self._held = quiet
                self._passed = 0
        return released
