"""A circuit breaker: a platform that fails again and again is left alone for a while, then tried with one request."""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "half_open"]


class Breaker:
    """Opens after `failures` failures in a row, for `open_s` seconds; then lets one probe through. Pure."""

    def __init__(self, failures: int = 5, open_s: float = 10.0) -> None:
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._opened_at: float | None = None
        self._prober: object | None = None
        self._probe_at = 0.0

    def state(self, now: float) -> State:
        """Tell the state at a time."""
        if self._opened_at is None:
            return "closed"
        return "open" if now - self._opened_at < self._open_s else "half_open"

    def admits(self, now: float, asker: object) -> bool:
        """Tell whether a request may go; half open, only those of one `asker` do, who has the probe.

        It keeps the probe until it reports how that went, gives it back (`let_go`), or is silent for too long.
        """
        state = self.state(now)
        if state != "half_open":
            return state == "closed"
        if self._prober not in (None, asker) and now - self._probe_at < self._open_s:
            return False
        self._prober, self._probe_at = asker, now
        return True

    def let_go(self, asker: object) -> None:
        """Hear that somebody asks no more: where that was the probe and nothing is known, the next one is."""
        if self._prober is asker:
            self._prober = None

    def succeeded(self) -> None:
        """The platform answered, be it with a refusal: it is well."""
        self._failures = 0
        self._opened_at = self._prober = None

    def failed(self, now: float) -> None:
        """The platform could not be reached, or answered that it is in trouble."""
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._limit:
            self._opened_at = now
            self._prober = None
