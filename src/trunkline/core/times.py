"""Times as they are written for others."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(unix_ms: int) -> str:
    """Write a time in UTC with milliseconds, `2026-11-21T10:00:00.000Z` (RFC 3339)."""
    moment = datetime.fromtimestamp(unix_ms / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
