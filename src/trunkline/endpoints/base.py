"""What every endpoint works with: its desk, and how it reads and shows what is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from fastapi import Query
from starlette.requests import HTTPConnection

from trunkline.core.errors import RequestRefused
from trunkline.core.events import Usage
from trunkline.endpoints.access import Access
from trunkline.endpoints.settings import FallbackTexts, ServerSettings
from trunkline.repeats import Repeats
from trunkline.telemetry import Telemetry
from trunkline.turns import Turns

MAX_OFFSET_DIGITS: Final = 18
TicketInAddress = Annotated[
    str | None, Query(max_length=512, description="in place of a key, for browsers; POST /v1/tickets makes one")
]


@dataclass(frozen=True, slots=True)
class Desk:
    """What an endpoint works with."""

    turns: Turns
    access: Access
    settings: ServerSettings
    telemetry: Telemetry
    repeats: Repeats
    fallback_texts: Mapping[str, FallbackTexts] = field(default_factory=dict)


def desk_of(connection: HTTPConnection) -> Desk:
    """Return the desk of the application that serves this request."""
    desk: Desk = connection.app.state.desk
    return desk


def read_offset(text: str, where: str) -> int:
    """Read an offset that a client gives in a header or an address. Raises `RequestRefused`."""
    if not text.isascii() or not text.isdigit() or len(text) > MAX_OFFSET_DIGITS:
        raise RequestRefused("invalid_offset", f"{where}: expected an offset, got {text[:40]!r}.")
    return int(text)


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return a usage as the native routes show it."""
    fields: dict[str, Any] = msgspec.to_builtins(usage)
    fields.pop("type")
    return fields
