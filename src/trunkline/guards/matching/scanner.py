"""The exact scan: decides place by place what matches, acts on it, and goes on where it stopped."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from typing import Final, Literal, NamedTuple

from trunkline.core.events import Guarded
from trunkline.guards.actions import Secrets, written
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.rows import Row
from trunkline.guards.matching.seam import Seam
from trunkline.guards.matching.states import State
from trunkline.guards.matching.view import fold_term
from trunkline.guards.matching.window import Window
from trunkline.guards.rule import Report, Rule, Terms


class _Attempt(NamedTuple):
    """A match from the current place on that more text may still change."""

    state: State
    read: int
    ends: list[tuple[int, int]]
    """The matches found so far: their length and their rule."""


class _Span(NamedTuple):
    """A match that was chosen, from index to index of the window, and whose inside is searched for blocking rules."""

    start: int
    end: int
    rule: int


class Scanner:
    """Scans one text in pieces. `found` takes the events, `blocked` is true once a blocking rule matched.

    Left to right: at a place, of all that matches there and that its validator accepts the longest is taken, of equally
    long ones the rule that comes first; its action is done, and the scan goes on at its end. Blocking rules are looked
    for at every place, also inside what another rule took. Flags are reported beside that and take nothing; those of
    one rule do not overlap.
    """

    __slots__ = (
        "_at", "_attempt", "_automaton", "_cut", "_flagged", "_loud_at", "_out", "_prev", "_read", "_report_fault",
        "_secrets", "_span", "_window", "_written", "blocked", "found", "seam",
    )  # fmt: skip

    def __init__(self, automaton: Automaton, secrets: Secrets, report: Report = repr) -> None:
        self._automaton = automaton
        self._secrets = secrets
        self._report_fault = report
        self.found: Final[list[Guarded]] = []
        self.blocked = False
        changes = automaton.changes
        self.seam: Final = None if changes is None else Seam(automaton.classes, changes, automaton.max_held)
        self._read = 0  # characters of the input before the window
        self._written = 0  # characters of the output
        self._window = Window(automaton.classes)
        self._cut = 0  # in the window's raw text: what is before is written or gone
        self._out: list[str] = []
        self._at = 0  # the place to decide next, as an index of the window
        self._prev = 0  # the sets of the character before it
        self._attempt: _Attempt | None = None
        self._span: _Span | None = None
        self._flagged: dict[int, int] = {}  # for each flagging rule, where in the input its last match ended
        self._loud_at = -1

    @property
    def held(self) -> int:
        """How many characters are held."""
        return len(self._window.raw)

    def enter(self, row: Row, passed: int) -> None:
        """Take over from the fast lane, which is in this row and has released so many characters."""
        self._read += passed
        self._written += passed
        self._prev = row.before
        self._window = Window(self._automaton.classes, 0 if row.threads else row.run)

    def leave(self) -> tuple[Row, str] | None:
        """Return the row from which the fast lane can go on, and the text it then holds; None where it cannot yet."""
        if self._span is not None or self._loud_at == self._read:
            return None
        raw = self._window.raw
        row = reduce(getitem, raw, self._automaton.rows.quiet(self._prev, 0 if raw else self._window.run))
        if row.loud:
            self._loud_at = self._read  # it stays loud until something of this is decided
            return None
        self._attempt = None
        return row, raw

    def scan(self, text: str, *, final: bool = False) -> str:
        """Take the next piece of the text, return what it releases; after the final one nothing is held."""
        self._window.add(text)
        while not self.blocked:
            span = self._span
            if span is not None and self._at == span.end:
                self._act(span)
            elif self._at == len(self._window.seen) or (ends := self._ends(final=final)) is None:
                break
            elif span is None:
                self._decide(ends)
            else:
                self._look_inside(ends)
        return self._release()

    def _ends(self, *, final: bool) -> list[tuple[int, int]] | None:
        """Return the length and rule of all that matches at this place; None where more text may change that."""
        seen = self._window.seen
        blocks = self._automaton.blocks
        states = blocks if blocks is not None and self._span is not None else self._automaton.states
        at, size = self._at, len(seen)
        state, read, ends = self._attempt or (states.start(self._prev, seen[at]), 1, [])
        self._attempt = None
        while True:
            after = at + read
            if after == size and not final and (state.live or state.waits):
                self._attempt = _Attempt(state, read, ends)
                return None
            if state.accepts:
                beside, inside = seen[after].sets if after < size else 0, seen[after - 1].sets
                ends += [(read, rule) for rule, right in state.accepts if right is None or right.holds(beside, inside)]
            if after == size or not state.live:
                return ends
            state = state.next.get(seen[after]) or states.after(state, seen[after])
            read += 1
            if read > state.last:
                state = states.within(state, read)

    def _decide(self, ends: list[tuple[int, int]]) -> None:
        """Choose among the matches at this place."""
        chosen: tuple[int, int] | None = None
        for length, number in sorted(ends, key=_longest_first):
            rule = self._automaton.rules[number]
            if rule.action == "flag":
                self._flag(length, number)
            elif chosen is None and self._accepts(rule, self._value(self._at, self._at + length)):
                chosen = length, number
        if chosen is None:
            self._advance()
            return
        length, number = chosen
        if self._automaton.rules[number].action == "block":
            self._block(length, number)
            return
        self._span = _Span(self._at, self._at + length, number)
        if self._automaton.blocks is None:
            self._at += length

    def _look_inside(self, ends: list[tuple[int, int]]) -> None:
        """Choose among the blocking matches at a place inside a span."""
        for length, number in sorted(ends, key=_longest_first):
            if self._accepts(self._automaton.rules[number], self._value(self._at, self._at + length)):
                self._block(length, number)
                return
        self._advance()

    def _advance(self) -> None:
        self._prev = self._window.seen[self._at].side
        self._at += 1

    def _accepts(self, rule: Rule | Terms, value: str) -> bool:
        return rule.accepts(value, self._report_fault)

    def _value(self, start: int, end: int) -> str:
        return "".join(self._window.view[start:end])

    def _flag(self, length: int, number: int) -> None:
        """Report a match that stays as it is, unless it overlaps the last one of this rule."""
        rule = self._automaton.rules[number]
        end = self._at + length
        start_place, end_place = self._window.place(self._at), self._end_place(end)
        value = self._value(self._at, end)
        if self._read + start_place < self._flagged.get(number, 0) or not self._accepts(rule, value):
            return
        self._write_to(start_place)
        self._report(rule, (self._at, end), end_place - start_place, self._digest(rule, value))
        self._flagged[number] = self._read + end_place

    def _act(self, span: _Span) -> None:
        """Do what the rule of a chosen match says, now that nothing inside of it blocks."""
        self._span = None
        rule = self._automaton.rules[span.rule]
        self._prev = self._window.seen[span.end - 1].side
        if rule.action == "allow":
            return
        self._write_to(self._window.place(span.start))
        value = self._value(span.start, span.end)
        digest = self._digest(rule, value)
        if rule.action == "remove" and self.seam is not None:
            replacement, self._prev = self.seam.close()
        else:
            replacement = written(rule, value, digest, self._secrets)
        self._report(rule, (span.start, span.end), len(replacement), digest)
        self._write(replacement)
        self._cut = self._end_place(span.end)

    def _block(self, length: int, number: int) -> None:
        """End the text here: release what precedes, which what another rule took around this place is not."""
        span = self._span
        taken = span is not None and self._automaton.rules[span.rule].action != "allow"
        self._write_to(self._window.place(span.start if span is not None and taken else self._at))
        rule = self._automaton.rules[number]
        end = self._at + length
        self._report(rule, (self._at, end), 0, self._digest(rule, self._value(self._at, end)))
        self.blocked = True

    def _digest(self, rule: Rule | Terms, value: str) -> str:
        """Return the digest of a match: of a term in any spelling the same one."""
        return self._secrets.digest(rule.name, value if isinstance(rule, Rule) else fold_term(value))

    def _report(self, rule: Rule | Terms, match: tuple[int, int], length: int, digest: str) -> None:
        """Make the event of a match (its indexes), whose place in the output is the end of what is written."""
        start, end = self._read + self._window.place(match[0]), self._read + self._end_place(match[1])
        kind: Literal["data", "term"] = "term" if isinstance(rule, Terms) else "data"
        self.found.append(Guarded(rule.name, rule.action, start, end, self._written, length, digest, kind))

    def _end_place(self, end: int) -> int:
        """Return where in the raw text a match ends; transparent characters after its last one are not part of it."""
        return self._window.places[end - 1] + 1

    def _write_to(self, place: int) -> None:
        """Write the raw text up to here as it came."""
        if place > self._cut:
            self._write(self._window.raw[self._cut : place])
            self._cut = place

    def _write(self, text: str) -> None:
        self._out.append(text)
        self._written += len(text)
        if self.seam is not None:
            self.seam.wrote(text)

    def _release(self) -> str:
        """Write what is decided, drop it from the window, and return all that was written."""
        window, span = self._window, self._span
        if self.blocked:
            self._window = Window(self._automaton.classes)
        else:
            allowed = span is None or self._automaton.rules[span.rule].action == "allow"
            first_held = self._at if span is None or allowed else span.start
            place = window.place(first_held)
            self._write_to(place)
            window.drop(first_held)
            self._read += place
            self._cut = 0
            self._at -= first_held
            if span is not None:
                self._span = _Span(span.start - first_held, span.end - first_held, span.rule)
        out, self._out = "".join(self._out), []
        return out


def _longest_first(end: tuple[int, int]) -> tuple[int, int]:
    """Order matches by length, then by the place of their rule."""
    length, rule = end
    return -length, rule
