"""What `remove` leaves behind: nothing, or a mark where the text on both sides could otherwise become a match."""

from __future__ import annotations

from itertools import product
from typing import Final

from trunkline.guards.matching.classes import Classes
from trunkline.guards.matching.states import State, States
from trunkline.guards.matching.view import MAX_TRANSPARENT

# The first character of a mark must not complete what stands before it, its last ones must end whatever could go on.
# Nothing goes on over more transparent characters than a match may have.
_ENDINGS: Final = ("\N{HORIZONTAL ELLIPSIS}", "\N{WORD JOINER}" * (MAX_TRANSPARENT + 1))
MARKS: Final = tuple(first + last for last, first in product(_ENDINGS, ("", "_", "0", "a", "-", ".", " ")))
MAX_PIECES: Final = 256  # many small strings take more memory than their text


class Seam:
    """Follows what is written, lazily: the text is looked at when something is removed from its end.

    `states` are those of the rules whose matches must not come about, and no match of theirs is longer than `max_held`.
    """

    __slots__ = ("_classes", "_max_unread", "_prev", "_run", "_states", "_threads", "_unread", "_unread_size")

    def __init__(self, classes: Classes, states: States, max_held: int) -> None:
        self._classes = classes
        self._states = states
        # What began before the text that is kept has ended within it.
        self._max_unread = max_held + 1 + MAX_TRANSPARENT
        self._unread: list[str] = []
        self._unread_size = 0
        self._threads: list[tuple[State, int]] = []
        self._prev = 0
        self._run = 0

    def wrote(self, text: str) -> None:
        """Take note of the next piece of the output."""
        self._unread.append(text)
        self._unread_size += len(text)
        if self._unread_size > 2 * self._max_unread:
            self._unread = ["".join(self._unread)[-self._max_unread :]]
            self._unread_size = self._max_unread
        elif len(self._unread) > MAX_PIECES:
            self._unread = ["".join(self._unread)]

    def close(self) -> tuple[str, int]:
        """Return what is to be written to keep both sides apart, and the sets of the last character (`CharClass.side`).

        No match goes on across it. Nor does it let anything before it match, as long as any mark can do that: against a
        rule for every last letter of a word, say, none can.
        """
        for char in "".join(self._unread):
            self._step(char)
        self._unread.clear()
        self._unread_size = 0
        here = self._threads, self._prev, self._run
        second_best: tuple[str, int] | None = None
        for mark in ("", *MARKS):
            completed = [self._step(char) for char in mark]
            # Transparent characters after the gap must not be counted together with those before it.
            apart = not self._threads and not 0 < self._run <= MAX_TRANSPARENT
            side = self._prev
            self._threads, self._prev, self._run = here
            if apart and not any(completed):
                return mark, side
            if apart and mark and second_best is None:
                second_best = mark, side
        if second_best is None:
            raise AssertionError("a barrier ends everything")
        return second_best

    def _step(self, char: str) -> bool:
        """Read one character; return whether it completes a match, as far as the automaton can tell."""
        seen = self._classes[char]
        if seen is not None:
            self._run = 0
        elif self._run < MAX_TRANSPARENT:
            self._run += 1
            return False
        else:
            self._run = MAX_TRANSPARENT + 1
            seen = self._classes.barrier
        states = self._states
        completed = any(state.waits and state.matches(seen.sets, self._prev) for state, _ in self._threads)
        threads = [(states.within(states.after(state, seen), chars + 1), chars + 1) for state, chars in self._threads]
        threads.append((states.start(self._prev, seen), 1))
        completed = completed or any(state.sure for state, _ in threads)
        self._threads = [(state, chars) for state, chars in threads if state.live or state.waits]
        self._prev = seen.side
        return completed
