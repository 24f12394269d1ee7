"""Characters that no rule tells apart are one class, so that the automaton has transitions for classes only."""

from __future__ import annotations

from typing import Final

from trunkline.guards.matching.sets import Sets
from trunkline.guards.matching.view import fold, view_of

MAX_CHARS: Final = 50_000  # bounds the memory that a text of all of Unicode could take


class CharClass:
    """What the rules can know of a character; each object is one class, compared by identity."""

    __slots__ = ("letter", "sets", "side")

    def __init__(self, sets: int, side: int, letter: str) -> None:
        self.sets = sets
        """The answers to the rules' questions (`trunkline.guards.matching.sets`)."""
        self.side = side
        """Those that matter for what comes next."""
        self.letter = letter
        """What it is in a term; empty if no term has it."""


class Classes(dict[str, CharClass | None]):
    """The class of each raw character, None for a transparent one; fills itself. Those in `hidden` are transparent too.

    `barrier` is the class that no rule can match: that of an edge of the text, and of a run of too many transparent
    characters.
    """

    __slots__ = ("_alphabet", "_hidden", "_known", "_sets", "_side", "barrier")

    def __init__(self, sets: Sets, side: int, alphabet: frozenset[str], hidden: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._hidden = hidden
        self._sets = sets
        self._side = side
        self._alphabet = alphabet
        self._known: dict[tuple[int, str], CharClass] = {}
        self.barrier = self._class(0, "")

    def __missing__(self, char: str) -> CharClass | None:
        if len(self) >= MAX_CHARS:
            self.clear()
        seen = view_of(char)
        if seen is None or seen in self._hidden:
            self[char] = None
            return None
        letter = fold(seen)
        found = self[char] = self._class(self._sets.of(seen), letter if letter in self._alphabet else "")
        return found

    def _class(self, sets: int, letter: str) -> CharClass:
        key = (sets, letter)
        if key not in self._known:
            self._known[key] = CharClass(sets, sets & self._side, letter)
        return self._known[key]
