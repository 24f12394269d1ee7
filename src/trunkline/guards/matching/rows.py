"""The streaming automaton: all matches that a text so far may be in the middle of, as one state made on first use."""

from __future__ import annotations

from typing import Final, NamedTuple

from trunkline.guards.matching.classes import Classes
from trunkline.guards.matching.states import State, States
from trunkline.guards.matching.view import MAX_TRANSPARENT

ENTRIES_PER_ROW: Final = 10  # on average; bounds what the rows' own tables and threads take


class Thread(NamedTuple):
    """A match that may have begun `age` raw characters ago and has read `chars` characters of the match view."""

    state: State
    age: int
    chars: int
    before: int
    """The sets of the character before it, from which an exact scan can start."""


class Row(dict[str, "Row"]):
    """The threads that live at one place of a text, oldest first. `row[char]` is the row after that character.

    So a quiet text is one look-up for each character: `functools.reduce(operator.getitem, text, row)`. A loud row says
    that somewhere in the text a rule matched, as far as the automaton can tell; it has lost the place.
    """

    __slots__ = ("before", "hold", "loud", "prev", "rows", "run", "threads")

    def __init__(self, rows: Rows, threads: tuple[Thread, ...], prev: int, run: int) -> None:
        super().__init__()
        self.rows = rows
        self.threads = threads
        self.prev = prev
        """The sets (`CharClass.side`) of the last character of the match view."""
        self.run = run
        """How many transparent characters came after it, up to as many as may."""
        self.hold = threads[0].age if threads else 0
        """How many raw characters at the end of the text may belong to a match."""
        self.before = threads[0].before if threads else prev
        """`prev` as of before those."""
        self.loud = False

    def __missing__(self, char: str) -> Row:
        row = self[char] = self.rows.after(self, char)
        return row


class Rows:
    """Makes the rows, and forgets them all when there are too many; those in use stay valid."""

    def __init__(self, classes: Classes, states: States, max_rows: int) -> None:
        self._classes = classes
        self._states = states
        self._max_rows = max_rows
        self._known: dict[tuple[tuple[Thread, ...], int, int], Row] = {}
        self._entries = 0
        self._loud = _LoudRow(self, (), 0, 0)

    def __len__(self) -> int:
        return len(self._known)

    def quiet(self, prev: int, run: int = 0) -> Row:
        """Return the row where nothing has begun."""
        return self._row((), prev, run)

    def after(self, row: Row, char: str) -> Row:
        """Return the row after one more character."""
        self._entries += 1
        seen = self._classes[char]
        run = 0
        if seen is None:
            if row.run < MAX_TRANSPARENT:
                aged = tuple(Thread(t.state, t.age + 1, t.chars, t.before) for t in row.threads)
                return self._row(aged, row.prev, row.run + 1)
            seen, run = self._classes.barrier, row.run
        states = self._states
        threads: list[Thread] = []
        for state, age, chars, before in row.threads:
            if state.waits and state.matches(seen.sets, row.prev):
                return self._loud
            following = states.after(state, seen)
            if chars >= following.last:
                following = states.within(following, chars + 1)
            if following.sure:
                return self._loud
            if following is not states.dead:
                threads.append(Thread(following, age + 1, chars + 1, before))
        begun = states.start(row.prev, seen)
        if begun.sure:
            return self._loud
        if begun is not states.dead:
            threads.append(Thread(begun, 1, 1, row.prev))
        return self._row(tuple(threads), seen.side, run)

    def _row(self, threads: tuple[Thread, ...], prev: int, run: int) -> Row:
        key = (threads, prev, run)
        row = self._known.get(key)
        if row is None:
            self._entries += len(threads)
            if len(self._known) >= self._max_rows or self._entries > ENTRIES_PER_ROW * self._max_rows:
                self._forget()
            row = self._known[key] = Row(self, threads, prev, run)
        return row

    def _forget(self) -> None:
        """Empty the tables, also those of the rows: one that a turn still uses must not keep the others alive."""
        for row in self._known.values():
            row.clear()
        self._known.clear()
        self._entries = 0


class _LoudRow(Row):
    """Stays what it is, whatever comes."""

    __slots__ = ()

    def __init__(self, rows: Rows, threads: tuple[Thread, ...], prev: int, run: int) -> None:
        super().__init__(rows, threads, prev, run)
        self.loud = True

    def __missing__(self, char: str) -> Row:
        return self
