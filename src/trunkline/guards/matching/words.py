"""A list of terms as an automaton: sorted words, where all that share a beginning are one range."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from trunkline.guards.matching.nfa import Accept


class Place(NamedTuple):
    """The words from `low` to before `high`, which share their first `depth` letters: those read so far."""

    words: Words
    low: int
    high: int
    depth: int


class Words:
    """Words and what each of them means. No trie: ten thousand words would be a hundred thousand nodes."""

    __slots__ = ("_meanings", "_sorted")

    def __init__(self, meanings: Mapping[str, tuple[Accept, ...]]) -> None:
        self._sorted = sorted(meanings)
        self._meanings = [meanings[word] for word in self._sorted]

    def start(self) -> Place | None:
        """Return the place before the first letter, None where there are no words."""
        return Place(self, 0, len(self._sorted), 0) if self._sorted else None

    def after(self, place: Place, letter: str) -> Place | None:
        """Return the place after one more letter, None where no word goes on with it."""
        words = self._sorted
        prefix = words[place.low][: place.depth]
        low = bisect_left(words, prefix + letter, place.low, place.high)
        high = bisect_left(words, prefix + chr(ord(letter) + 1), low, place.high)
        return Place(self, low, high, place.depth + 1) if low < high else None

    def ending(self, place: Place) -> tuple[Accept, ...]:
        """Return what the word means that ends here, if one does. It is the first of its range."""
        return self._meanings[place.low] if len(self._sorted[place.low]) == place.depth else ()

    def goes_on(self, place: Place) -> bool:
        """Whether a word has more letters than were read. The last of a range is one that does."""
        return len(self._sorted[place.high - 1]) > place.depth
