"""How long to wait before trying again: what the platform says (`Retry-After`), else exponential with full jitter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER_S: Final = 86_400.0


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """Return the seconds of a `Retry-After` header (RFC 9110 section 10.2.3), or None without a usable one.

    Takes both forms, a number of seconds and an HTTP date; header names are in lower case, `wall_s` is Unix time.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):  # the last of a number that no date has
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    wait_s = (date - datetime.fromtimestamp(wall_s, UTC)).total_seconds()
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)


def full_jitter_s(attempt: int, base_s: float, cap_s: float, random: Callable[[], float]) -> float:
    """Return a random wait between 0 and `base_s` doubled per attempt (from 0 on), at most `cap_s`.

    Full jitter keeps clients that failed together from coming back together.
    """
    return min(cap_s, base_s * float(1 << min(attempt, 32))) * random()
