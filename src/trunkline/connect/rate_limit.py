"""Slows down before a platform says no: one limiter for each credential, fed by the platform's own headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline.connect.errors import CannotAsk

SLOW_BELOW: Final = 0.2  # of the allowance; below it the rest of the window is shared out evenly
MAX_WINDOW_S: Final = 60.0
MAX_REFUSAL_S: Final = 600.0  # a platform that means longer says so again


class LimitedError(CannotAsk):
    """A request would have to wait longer for the platform's rate limit than whoever makes it can."""

    code = "rate_limited"
    status = 429

    def __init__(self, wait_s: float) -> None:
        detail = f"the platform takes no more requests for {wait_s:.0f} s"
        super().__init__("rate_limited", detail, retryable=True, retry_after_s=wait_s)


class RateLimiter:
    """Knows what is left of the window, and how long the next request should wait. Pure: time comes as an argument.

    Understands `X-RateLimit-Limit`, `-Remaining`, `-Reset` (seconds, or Unix time) and `inin-ratelimit-allowed`,
    `-count`, `-reset` of Genesys. Without any of them nothing waits.
    """

    def __init__(self) -> None:
        self._allowed = 0.0
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
        self._allowed = allowed if allowed is not None else max(self._allowed, remaining)
        self._remaining = remaining
        self._reset_at = now + min(reset_s, MAX_WINDOW_S)

    def must_wait(self, seconds: float, now: float) -> None:
        """The platform refused for so long (429): nobody asks before that."""
        self._next_at = max(self._next_at, now + min(seconds, MAX_REFUSAL_S))

    def due_s(self, now: float) -> float:
        """Return the seconds that the next request has to wait, without taking its place."""
        return self._next(now)[0] - now

    def reserve(self, now: float) -> float:
        """Take a place for one request; return the seconds it has to wait for it."""
        at, is_slow = self._next(now)
        if self._in_window(max(now, self._next_at)):
            self._remaining -= 1
        if is_slow:
            self._next_at = at
        return at - now

    def _next(self, now: float) -> tuple[float, bool]:
        """Return when the next request may go, and whether that is to slow down before the window is used up."""
        at = max(now, self._next_at)
        remaining = self._remaining - 1
        if not self._in_window(at) or remaining >= SLOW_BELOW * self._allowed:
            return at, False
        left_s = self._reset_at - at
        return at + (left_s / (remaining + 1) if remaining > 0 else left_s), True

    def _in_window(self, at: float) -> bool:
        return at < self._reset_at


def _number(headers: Mapping[str, str], *names: str) -> float | None:
    for name in names:
        value = headers.get(name, "").strip()
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value)
    return None
