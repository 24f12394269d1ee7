"""Slows down before a platform says no: one limiter for each credential, fed by the platform's own headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SLOW_BELOW: Final = 0.2  # of the allowance; below it the rest of the window is shared out evenly
MAX_WAIT_S: Final = 60.0


class RateLimiter:
    """Knows what is left of the window, and how long the next request should wait. Pure: time comes as an argument.

    Understands `X-RateLimit-Limit`, `-Remaining`, `-Reset` (seconds, or Unix time) and `inin-ratelimit-allowed`,
    `-count`, `-reset` of Genesys. Without any of them nothing waits.
    """

    def __init__(self) -> None:
        self._allowed: float | None = None
        self._remaining = 0.0
        self._reset_at = 0.0
        self._next_at = 0.0

    def heard(self, headers: Mapping[str, str], now: float, wall_s: float) -> None:
        """Take what an answer's headers say; names are in lower case."""
        allowed = _number(headers, "x-ratelimit-limit", "inin-ratelimit-allowed")
        remaining = _number(headers, "x-ratelimit-remaining")
        count = _number(headers, "inin-ratelimit-count")
        if remaining is None and allowed is not None and count is not None:
            remaining = max(0.0, allowed - count)
        reset_s = _number(headers, "x-ratelimit-reset", "inin-ratelimit-reset")
        if remaining is None or reset_s is None:
            return
        if reset_s > 1e9:  # noqa: PLR2004 - a point in Unix time, not a duration
            reset_s = max(0.0, reset_s - wall_s)
        self._allowed = allowed if allowed is not None else max(self._allowed or 0.0, remaining)
        self._remaining = remaining
        self._reset_at = now + min(reset_s, MAX_WAIT_S)

    def must_wait(self, seconds: float, now: float) -> None:
        """The platform refused for so long (429): nobody asks before that."""
        self._next_at = max(self._next_at, now + seconds)

    def reserve(self, now: float) -> float:
        """Take a place for one request; return the seconds it has to wait for it."""
        at = max(now, self._next_at)
        if self._allowed is None or at >= self._reset_at:
            return min(at - now, MAX_WAIT_S)
        self._remaining -= 1
        if self._remaining < SLOW_BELOW * self._allowed:
            gap = (self._reset_at - at) / max(1.0, self._remaining + 1) if self._remaining >= 0 else self._reset_at - at
            at += gap
            self._next_at = at
        return min(at - now, MAX_WAIT_S)


def _number(headers: Mapping[str, str], *names: str) -> float | None:
    for name in names:
        value = headers.get(name, "").strip()
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value)
    return None
