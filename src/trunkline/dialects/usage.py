"""Reads the token counts of platforms that count in OpenAI's words."""

from __future__ import annotations

from typing import Any

from trunkline.core.events import Usage


def usage_of(value: Any) -> Usage | None:
    """Return what a `usage` object says; None where there is none, or nothing in it that is a count."""
    if not isinstance(value, dict):
        return None
    prompt, completion, total = (_count(value.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if prompt is None and completion is None:
        return None
    both = (prompt or 0) + (completion or 0)
    return Usage(prompt or 0, completion or 0, both if total is None else total, "platform")


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 1 << 53 else None
