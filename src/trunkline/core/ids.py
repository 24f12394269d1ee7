"""Identifiers: the turn ids the relay makes, and the form of every id that comes from outside."""

from __future__ import annotations

import re
from typing import Final

CLIENT_ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,128}$"
_CLIENT_ID = re.compile(CLIENT_ID_PATTERN.removesuffix("$") + r"\Z")
_TURN_ID = re.compile(r"turn_[0-9a-f]{32}\Z")


def turn_id(unix_ms: int, random: bytes) -> str:
    """Make `turn_` and the 32 hex digits of a UUIDv7 (RFC 9562 section 5.7) from a time and 10 random bytes."""
    if len(random) != 10:  # noqa: PLR2004 - 80 bits, of which 74 are used
        raise ValueError(f"expected 10 random bytes, got {len(random)}")
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return f"turn_{value:032x}"


def is_turn_id(value: str) -> bool:
    """Tell whether `value` has the form of a turn id."""
    return _TURN_ID.match(value) is not None


def is_client_id(value: str) -> bool:
    """Tell whether an id from outside may be used: 1 to 128 letters, digits, dots, underscores, colons, hyphens."""
    return _CLIENT_ID.match(value) is not None
