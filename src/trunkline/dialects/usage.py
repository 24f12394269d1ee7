"""Reads the token counts of platforms that count in OpenAI's words."""

from __future__ import annotations

from typing import Any

from trunkline.core.events import Usage


def usage_of(value: Any) -> Usage | None:
    """Return what a `usage` object says; None where there is none, or nothing in it that is a count."""
    if not isinstance(value, dict):
        return None
    prompt = _count(value.get("prompt_tokens"))
    completion = _count(value.get("completion_tokens"))
    total = _count(value.get("total_tokens")) or 0  # a total of nothing is none
    if prompt is None and completion is None:
        return None
    return Usage(prompt or 0, completion or 0, total or (prompt or 0) + (completion or 0), "platform")


def _count(value: Any) -> int | None:
    if type(value) not in (int, float):  # a bool is no count
        return None
    return int(value) if 0 <= value < 1 << 53 else None
