"""The text that an exact scan looks at: its raw characters, and those that the match view has, side by side."""

from __future__ import annotations

from trunkline.guards.matching.classes import CharClass, Classes
from trunkline.guards.matching.view import MAX_TRANSPARENT, view_of


class Window:
    """A piece of text to which more is added at its end and from which the decided part is dropped.

    `seen`, `view` and `places` have one item for each character of the match view: its class, itself, and where in
    `raw` it stands. `run` counts the transparent characters at the end, up to as many as may be.
    """

    __slots__ = ("_classes", "places", "raw", "run", "seen", "view")

    def __init__(self, classes: Classes, run: int = 0) -> None:
        self._classes = classes
        self.raw = ""
        self.seen: list[CharClass] = []
        self.view: list[str] = []
        self.places: list[int] = []
        self.run = run

    def add(self, text: str) -> None:
        """Add what came next."""
        classes, run = self._classes, self.run
        for place, char in enumerate(text, len(self.raw)):
            seen = classes[char]
            if seen is not None:
                run = 0
            elif run < MAX_TRANSPARENT:
                run += 1
                continue
            else:
                seen = classes.barrier
            self.seen.append(seen)
            self.view.append(view_of(char) or char)
            self.places.append(place)
        self.run = run
        self.raw += text

    def place(self, index: int) -> int:
        """Return where in `raw` a character of the match view stands; of the one after the last, the end."""
        return self.places[index] if index < len(self.places) else len(self.raw)

    def drop(self, count: int) -> None:
        """Drop so many characters of the match view, and the raw text before the one that then comes first."""
        cut = self.place(count)
        if cut:
            self.raw = self.raw[cut:]
            del self.seen[:count], self.view[:count]
            self.places = [place - cut for place in self.places[count:]]
