"""Tries case after case, and makes the first that breaks a law small."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from fuzz import lots
from fuzz.shrinking import BrokenLaw, Case, shrunk

CASE_LIMIT_S = 2.0  # of CPU time; `re` needs forever for some of what brute force asks of it
SHRINK_LIMIT_S = 20.0


class TooSlow(Exception):
    """A case took more time than it is worth."""


@dataclass
class Outcome:
    """What was tried, and what broke."""

    first: int
    tried: Counter[str] = field(default_factory=Counter)
    slow: int = 0
    number: int = 0
    broken: BrokenLaw | None = None
    case: Case | None = None

    def told(self) -> str:
        """Tell it to a person."""
        tried = ", ".join(f"{count:,} {name}" for name, count in sorted(self.tried.items()))
        lines = [f"{self.tried.total():,} cases from {self.first} on: {tried}; {self.slow} given up as too slow"]
        if self.broken is None or self.case is None:
            return "\n".join([*lines, "no law was broken"])
        again = f"again: make fuzz ARGS='--seed {self.number} --seconds 0'"
        return "\n".join([*lines, f"BROKEN: {self.broken}", self.case.told(), again])


def run(
    first: int, seconds: float, draw: Callable[[int], Case] = lots.case, case_limit_s: float = CASE_LIMIT_S
) -> Outcome:
    """Try the cases from a number on for so long, at least one; stop at the first that breaks a law."""
    outcome = Outcome(first, number=first)
    until = time.monotonic() + seconds
    while True:
        case = draw(outcome.number)
        outcome.tried[type(case).__name__] += 1
        try:
            broken = broken_law(case, case_limit_s)
        except TooSlow:
            outcome.slow += 1
            broken = None
        if broken is not None:
            outcome.case = _smallest(case, broken.law)
            outcome.broken = broken_law(outcome.case) or broken
            return outcome
        if time.monotonic() >= until:
            return outcome
        outcome.number += 1


def broken_law(case: Case, limit_s: float = CASE_LIMIT_S) -> BrokenLaw | None:
    """Return the law that a case breaks; that nothing else is raised is one, too. Raises `TooSlow`."""
    try:
        with _time_limit(limit_s):
            case.check()
    except TooSlow:
        raise
    except BrokenLaw as broken:
        return broken
    except Exception as error:  # noqa: BLE001 - whatever it is, it should not have come
        return BrokenLaw(f"nothing raises {type(error).__name__}", repr(error))
    return None


def _smallest(case: Case, law: str) -> Case:
    until = time.monotonic() + SHRINK_LIMIT_S

    def breaks(smaller: Case) -> bool:
        try:
            broken = broken_law(smaller)
        except TooSlow:
            return False
        return broken is not None and broken.law == law

    return shrunk(case, breaks, lambda: time.monotonic() < until)


@contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    """Raise `TooSlow` once so much CPU time was used; `re` lets itself be interrupted."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
