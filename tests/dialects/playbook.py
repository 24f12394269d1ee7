"""Drives one dialect by a script that reads top to bottom: `>>` gives it something, `<<` is what it must return next.

    play = Playbook(OpenAIChat())
    play >> ask(input="hi") << Open("POST", "/chat/completions", ANY, ANY)
    play >> Opened() >> b'data: {...}' << Delta("Hel", 0) >> 12.5 >> Loss(clean=True) << Ended(...)

Whatever was returned and not named by a `<<` is a failure, at the next `>>` or at `over`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trunkline.core.request import TurnRequest
from trunkline.dialects.base import Ask, Dialect, Item, Loss


@dataclass(frozen=True)
class Opened:
    """The stream is open, with these headers."""

    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})


@dataclass(frozen=True)
class Refused:
    """`Open` was answered by another status."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """A `Call` was answered."""

    call: str
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wake:
    """The time that `WakeAt` asked for has come."""


@dataclass(frozen=True)
class LastWords:
    """The turn has ended, by whatever and whomever."""


def ask(model: str = "gpt-4o", **fields: Any) -> Ask:
    """What a turn wants; a prompt where the test does not care for one."""
    if not fields.keys() & {"input", "messages"}:
        fields["input"] = "hi"
    return Ask("turn_1", TurnRequest(**fields), model)


class Playbook:
    """One dialect, its clock, and what it returned and nobody has looked at yet."""

    def __init__(self, dialect: Dialect, now: float = 0.0) -> None:
        self._dialect = dialect
        self._now = now
        self._returned: deque[Item] = deque()

    def __rshift__(self, given: Any) -> Self:
        """Give the dialect bytes, an `Ask`, `Opened`, `Refused`, `Answered`, `Wake`, `LastWords`, a `Loss`; a time."""
        self.over()
        self._returned.extend(self._give(given))
        return self

    def __lshift__(self, expected: Any) -> Self:
        """Compare with the next item that was returned."""
        assert self._returned, f"expected {expected}, and nothing more was returned"
        returned = self._returned.popleft()
        if returned != expected:
            self._returned.clear()
        assert returned == expected, f"returned {returned}, expected {expected}"
        return self

    def over(self) -> None:
        """Nothing was returned that the script does not name."""
        left, self._returned = list(self._returned), deque()
        assert not left, f"returned, and not expected: {left}"

    def _give(self, given: Any) -> list[Item]:
        dialect, now = self._dialect, self._now
        items: list[Item] = []
        match given:
            case float() | int():
                self._now = given
            case bytes():
                items = dialect.receive(given, now)
            case Ask():
                items = dialect.start(given, now)
            case Opened():
                items = dialect.opened(given.headers, now)
            case Refused():
                items = dialect.refused(given.status, given.headers, given.body, now)
            case Answered():
                items = dialect.answered(given.call, given.status, given.headers, given.body, now)
            case Loss():
                items = dialect.closed(given, now)
            case Wake():
                items = dialect.wake(now)
            case LastWords():
                items.extend(dialect.last_words())
            case _:
                raise AssertionError(f"the playbook cannot give a dialect {given!r}")
        return items
