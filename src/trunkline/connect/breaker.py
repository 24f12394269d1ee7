"""A circuit breaker: a platform that fails again and again is left alone for a while, then tried with one request."""

from __future__ import annotations

from typing import Final, Literal

State = Literal["closed", "open", "half_open"]
STATES: Final[tuple[State, ...]] = ("closed", "open", "half_open")


class Breaker:
    """Opens after `failures` failures in a row, for `open_s` seconds; then lets one probe through. Pure."""

    def __init__(self, failures: int = 5, open_s: float = 10.0) -> None:
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    def state(self, now: float) -> State:
        """Tell the state at a time."""
        if self._opened_at is None:
            return "closed"
        return "open" if now - self._opened_at < self._open_s else "half_open"

    def admits(self, now: float) -> bool:
        """Tell whether a request may go; half open, only one does, and another only where that one never reported."""
        state = self.state(now)
        if state != "half_open":
            return state == "closed"
        if self._probe_at is not None and now - self._probe_at < self._open_s:
            return False
        self._probe_at = now
        return True

    def succeeded(self) -> None:
        """The platform answered as it should."""
        self._failures = 0
        self._opened_at = self._probe_at = None

    def failed(self, now: float) -> None:
        """The platform could not be reached, or answered that it is in trouble."""
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._limit:
            self._opened_at = now
            self._probe_at = None
