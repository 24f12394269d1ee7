"""Trunkline: a streaming relay for LLM answers in contact centres."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from trunkline.version import VERSION as __version__  # noqa: N811 - the conventional name

if TYPE_CHECKING:
    from trunkline.app import Relay
    from trunkline.config import Settings
    from trunkline.core.errors import (
        AccessDenied,
        OffsetPastTail,
        Overloaded,
        RequestRefused,
        SettingsError,
        TrunklineError,
        TurnForgotten,
        TurnNotFound,
    )
    from trunkline.core.events import AnyEvent, Delta, Ended, Entry, Event, Guarded, Notice, Started, ToolCall, Usage
    from trunkline.core.record import TurnRecord
    from trunkline.core.request import Message, TurnRequest
    from trunkline.turns import Turn

__all__ = [
    "AccessDenied",
    "AnyEvent",
    "Delta",
    "Ended",
    "Entry",
    "Event",
    "Guarded",
    "Message",
    "Notice",
    "OffsetPastTail",
    "Overloaded",
    "Relay",
    "RequestRefused",
    "Settings",
    "SettingsError",
    "Started",
    "ToolCall",
    "TrunklineError",
    "Turn",
    "TurnForgotten",
    "TurnNotFound",
    "TurnRecord",
    "TurnRequest",
    "Usage",
    "__version__",
]

_HOMES: Final = {
    "Relay": "app",
    "Settings": "config",
    **dict.fromkeys(("AccessDenied", "OffsetPastTail", "Overloaded", "RequestRefused", "SettingsError"), "core.errors"),
    **dict.fromkeys(("TrunklineError", "TurnForgotten", "TurnNotFound"), "core.errors"),
    **dict.fromkeys(("AnyEvent", "Delta", "Ended", "Entry", "Event"), "core.events"),
    **dict.fromkeys(("Guarded", "Notice", "Started", "ToolCall", "Usage"), "core.events"),
    "TurnRecord": "core.record",
    **dict.fromkeys(("Message", "TurnRequest"), "core.request"),
    "Turn": "turns",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: a command must be able to hear Ctrl-C before all of it is there."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
