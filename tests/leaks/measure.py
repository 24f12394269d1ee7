"""What a filter shows of planted values, and how long it holds text back: one text, one way to cut it, one filter."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.plain_filters import Masked, PerDelta, Window
from trunkline.core.events import AnyEvent, Delta, Guarded
from trunkline.guards.actions import Secrets
from trunkline.guards.chain import Guard
from trunkline.guards.screen import Screen

Place = tuple[str, int, int]
"""Rule, start and end of a planted value."""


class Filter(Protocol):
    """Screens one text in pieces, and tells what it did."""

    output: str
    """What was released so far."""

    @property
    def reports(self) -> Sequence[object]:
        """Everything that it reported."""

    @property
    def masked(self) -> Sequence[Masked]:
        """What it reported to have taken out."""

    @property
    def held(self) -> int:
        """How many characters of the input are held back now."""

    def feed(self, text: str) -> None:
        """Take the next piece."""

    def finish(self) -> None:
        """The text is complete."""


class Guarding:
    """The relay's guard: the whole chain of a turn, as the relay itself runs it."""

    def __init__(self, guard: Guard) -> None:
        self.output = ""
        self.reports: list[Guarded] = []
        self._screen = Screen(guard.for_turn(Secrets(b"key")))

    @property
    def masked(self) -> list[Masked]:
        return [Masked(r.start, r.end, r.offset, r.length, r.rule) for r in self.reports]

    @property
    def held(self) -> int:
        return self._screen.held

    def feed(self, text: str) -> None:
        self._take(self._screen.screen([Delta(text, 0)], 0.0))

    def finish(self) -> None:
        self._take(self._screen.finish("stop", 0.0))

    def _take(self, events: list[AnyEvent]) -> None:
        for event in events:
            if type(event) is Delta:
                self.output += event.text
            elif type(event) is Guarded:
                self.reports.append(event)
            else:
                raise AssertionError(f"a guard that masks made {event}")


class Plain:
    """One of the filters that are compared with it."""

    def __init__(self, plain: PerDelta | Window) -> None:
        self.output = ""
        self.reports = self.masked = plain.masked
        self._plain = plain

    @property
    def held(self) -> int:
        return self._plain.held

    def feed(self, text: str) -> None:
        self.output += self._plain.feed(text)

    def finish(self) -> None:
        self.output += self._plain.finish()


@dataclass
class Delay:
    """How many characters were held after each delta, and how many deltas each character waited for."""

    held: Counter[int] = field(default_factory=Counter)
    waited: Counter[int] = field(default_factory=Counter)

    def add(self, other: Delay) -> None:
        self.held += other.held
        self.waited += other.waited


@dataclass
class Streamed:
    """What a text's way through a filter took."""

    delay: Delay
    most_held: list[int]
    """For each planted value, the most characters that were held while any of it was."""


def feed_all(screen: Filter, pieces: Sequence[str]) -> None:
    """Feed the pieces one by one. Fails where the output is not the input without exactly what is reported."""
    for piece in pieces:
        screen.feed(piece)
    screen.finish()
    _assert_adds_up("".join(pieces), screen)


def streamed(screen: Filter, pieces: Sequence[str], places: Sequence[Place] = ()) -> Streamed:
    """Do as `feed_all` does, and keep account of what is held."""
    delay = Delay()
    most_held = [0] * len(places)
    waiting: deque[tuple[int, int]] = deque()  # where each piece that is not all released ends, and its number
    read = shown = 0
    for number, piece in enumerate(pieces):
        screen.feed(piece)
        read += len(piece)
        waiting.append((read, number))
        held = screen.held
        delay.held[held] += 1
        shown = _release(waiting, shown, read - held, number, delay)
        for place, (_, start, end) in enumerate(places):
            if start < read and end > shown:
                most_held[place] = max(most_held[place], held)
    screen.finish()
    _release(waiting, shown, read, len(pieces), delay)
    _assert_adds_up("".join(pieces), screen)
    return Streamed(delay, most_held)


def _release(waiting: deque[tuple[int, int]], shown: int, until: int, number: int, delay: Delay) -> int:
    """Count for how many deltas each character waited that is released with delta `number`."""
    while waiting and shown < until:
        end, brought = waiting[0]
        delay.waited[number - brought] += min(end, until) - shown
        shown = min(end, until)
        if shown == end:
            waiting.popleft()
    return shown


def _assert_adds_up(text: str, screen: Filter) -> None:
    output = screen.output
    read = written = 0
    for span in screen.masked:
        assert text[read : span.start] == output[written : span.offset], "more or less was changed than is reported"
        read, written = span.end, span.offset + span.length
    assert text[read:] == output[written:], "more or less was changed than is reported"


@dataclass
class Sums:
    """Planted values, and what of them was shown."""

    values: int = 0
    missed: int = 0
    """Values that the rules do not find, not even in one piece."""
    chars: int = 0
    """Characters of values that the rules find."""
    shown: int = 0
    """Those of them that were shown."""

    def add(self, chars: int, shown: int, *, missed: bool) -> None:
        """Add a value of so many characters of which so many were shown."""
        self.values += 1
        if missed:
            self.missed += 1
        else:
            self.chars += chars
            self.shown += shown


def shown_of(place: Place, masked: Sequence[Masked]) -> int:
    """How many characters of a planted value were shown."""
    _, start, end = place
    return end - start - sum(max(0, min(end, span.end) - max(start, span.start)) for span in masked)


@dataclass
class Tally:
    """What came of all texts.

    A group is a language, a rule, all texts, those that every filter was given, or a language's without a private key.
    """

    texts: int = 0
    compared: int = 0
    sums: defaultdict[tuple[str, str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    """By filter, cut and group."""
    delays: defaultdict[tuple[str, str], Delay] = field(default_factory=lambda: defaultdict(Delay))
    """By filter and group, where real tokens came one by one."""
    most_held: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By filter and rule: the most characters that were held while any of such a value was."""
    ordinary: defaultdict[str, Delay] = field(default_factory=lambda: defaultdict(Delay))
    """The guard's on prose with nothing in it, by language."""
    mistaken: int = 0
    """What the guard took of that prose."""
    differing: Counter[str] = field(default_factory=Counter)
    """By filter: texts whose output or reports depended on the cut."""
    leaks: list[str] = field(default_factory=list)
    """Each value that the guard finds, and showed something of."""
    missed: list[str] = field(default_factory=list)
    """Each value that the guard does not find, not even in one piece."""
