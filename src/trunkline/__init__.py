"""Trunkline: a streaming relay for LLM answers in contact centres."""

from __future__ import annotations

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
from trunkline.version import VERSION as __version__  # noqa: N811 - the conventional name

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
