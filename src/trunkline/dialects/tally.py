"""Counts what a dialect passes over, by kind, so that a turn can say it at its end, whoever ends it."""

from __future__ import annotations

from collections import Counter

from trunkline.core.events import Notice


class Tally:
    """What was passed over in one attempt, counted and never quoted."""

    def __init__(self, notice: str, of: str) -> None:
        """Name the kind of the notice, and what is counted."""
        self._notice = notice
        self._of = of
        self._counts: Counter[str] = Counter()

    def add(self, what: str, count: int = 1) -> None:
        """Count one more, or `count`."""
        self._counts[what] += count

    def notices(self) -> list[Notice]:
        """Return one notice with all counts, in the order in which each was first met; none where there are none."""
        said = ", ".join(f"{count} {what}" for what, count in self._counts.items() if count)
        return [Notice(self._notice, f"{self._of}: {said}")] if said else []
