"""What a reader of a turn has heard, in one form for all endpoints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

WHOLE: Final = sys.maxsize
"""The part of an event that is a whole entry: it comes after all parts of a view."""

NATIVE: Final = frozenset({"events", "socket"})
"""The forms that tell every entry as it is."""


class Event(NamedTuple):
    """One event as a reader got it; `offset` is None where the wire does not tell it.

    `text` is what it adds to the answer; `words` are, of an end, the wire's own: see `end_words`. `data` is all that
    the event said, where that can be compared with other readers'.
    """

    form: str
    offset: int | None
    part: int
    kind: str
    text: str = ""
    words: str = ""
    data: dict[str, Any] | None = None

    @property
    def place(self) -> tuple[int, int] | None:
        """Where it is in the turn."""
        return None if self.offset is None else (self.offset, self.part)

    def told(self) -> str:
        """Describe it in a line."""
        where = self.offset if self.part == WHOLE else f"{self.offset}.{self.part}"
        return f"{self.form} {where} {self.kind} {self.words or repr(self.text)}"


@dataclass
class Heard:
    """All that one reader heard of one turn, over all its connections; it began after the offset `after`."""

    name: str
    turn: str = ""
    after: int = 0
    events: list[Event] = field(default_factory=list)
    tries: int = 0
    """How often it asked."""
    fault: str = ""
    """Why it gave up: what came could not be right."""

    @property
    def text(self) -> str:
        """The text it has."""
        return "".join(event.text for event in self.events)

    @property
    def ended(self) -> bool:
        """Whether it was told that the turn has ended."""
        return bool(self.events) and self.events[-1].kind == "ended"

    def last_id(self) -> str:
        """Return the id of the last event it has, by which it goes on: an offset, with the part of a view if any."""
        for event in reversed(self.events):
            if event.offset is not None:
                return str(event.offset) if event.part == WHOLE else f"{event.offset}.{event.part}"
        return str(self.after)


@dataclass(frozen=True)
class Truth:
    """A turn as one uninterrupted read from its beginning tells it, after all kills; with the same in sentences."""

    turn: str
    events: Sequence[Event]
    sentences: Sequence[Event] = ()

    @cached_property
    def by_offset(self) -> dict[int | None, Event]:
        """Its entries."""
        return {event.offset: event for event in self.events}

    @cached_property
    def by_place(self) -> dict[tuple[int, int] | None, Event]:
        """Its entries in sentences."""
        return {event.place: event for event in self.sentences}

    @property
    def text(self) -> str:
        """The whole text."""
        return self.text_after(0)

    def text_after(self, offset: int) -> str:
        """Return the text of all entries after an offset."""
        return "".join(event.text for event in self.events if event.offset is not None and event.offset > offset)

    @property
    def end(self) -> dict[str, Any]:
        """What its last event says; empty where that is no end."""
        last = self.events[-1] if self.events else None
        return last.data if last is not None and last.kind == "ended" and last.data is not None else {}

    @property
    def unheard(self) -> bool:
        """Whether it failed before it said anything."""
        return self.end.get("outcome") == "failed" and not any(event.kind == "delta" for event in self.events)


def end_words(form: str, end: dict[str, Any]) -> str:
    """Return how an endpoint has to tell an end, given the entry."""
    if not end:
        return "no end"
    outcome, reason = end["outcome"], end["reason"]
    if form == "stream":
        return "done" if outcome == "completed" else "error"
    if form == "proxy":
        kind = {"completed": "complete", "blocked": "blocked", "cancelled": "complete", "failed": "error"}[outcome]
        return f"{kind} {reason}"
    if form == "openai":
        return f"finish {end.get('finish_reason')}" if outcome == "completed" else f"error {reason}"
    return f"{outcome} {reason}"
