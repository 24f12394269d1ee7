"""One turn for one request, however often it comes: the `Idempotency-Key`, and what an answer says about its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from fastapi import Request

from trunkline.core.errors import RequestRefused
from trunkline.endpoints.base import desk_of
from trunkline.turns import Turn

RECORD_LIMIT_S: Final = 2.0
IDEMPOTENT: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 255},
            "description": "the same key and request within 24 hours is the same turn",
        }
    ]
}
"""Describes the header that `start_once` reads, for OpenAPI."""


async def start_once(request: Request, principal: str, start: Callable[[], Turn]) -> tuple[Turn, bool]:
    """Start a turn, or find the one that the same `Idempotency-Key` and request made before; True where it was found.

    A turn that failed before it said anything is not found again: whoever asks once more wants an answer.
    """
    key = request.headers.get("idempotency-key")
    if not key:
        return start(), False
    told = await _fingerprint(request)
    desk = desk_of(request)
    made = desk.repeats.find(principal, key, told)
    while made is not None:
        turn = await desk.turns.find(made, principal)
        if not turn.failed_unheard:
            return turn, True
        # The same request may have come twice at once, and the other one have started another turn meanwhile.
        newest = desk.repeats.find(principal, key, told)
        made = None if newest == made else newest
    # No await stands between the last look and this line.
    turn = start()
    made_now = desk.repeats.keep(principal, key, told, turn.id)
    await turn.shown()
    desk.repeats.record(made_now)
    with suppress(TimeoutError):  # Until the records take it, it is good in this process.
        async with asyncio.timeout(RECORD_LIMIT_S):
            await desk.turns.recorded()
    return turn, False


async def asked_before(request: Request, principal: str) -> Turn:
    """Return the turn that the same `Idempotency-Key` and request made, for a reader that has some of it.

    Nothing is started in its place: a reader would put a new answer behind a part of the old one. Raises
    `RequestRefused` without a key, or where the key is not known any more.
    """
    key = request.headers.get("idempotency-key")
    if not key:
        detail = "Last-Event-ID goes on with an answer that was asked for with an Idempotency-Key, which is missing."
        raise RequestRefused("invalid_idempotency_key", detail)
    desk = desk_of(request)
    made = desk.repeats.find(principal, key, await _fingerprint(request))
    if made is None:
        detail = "No answer was asked for with this Idempotency-Key; ask without Last-Event-ID for a new one."
        raise RequestRefused("turn_not_found", detail, status=404)
    return await desk.turns.find(made, principal)


async def _fingerprint(request: Request) -> bytes:
    """Return all that a request says about the turn it asks for."""
    ids = [request.headers.get(name, "") for name in ("x-conversation-id", "x-session-id")]
    return msgspec.json.encode([request.scope["path"], str(request.query_params), *ids]) + await request.body()


def turn_headers(turn: Turn, *, found: bool = False) -> dict[str, str]:
    """Return the headers of an answer about a turn; `found`: a request that came before had made it."""
    headers = {"x-turn-id": turn.id}
    if found:
        headers["idempotent-replayed"] = "true"
    return headers
