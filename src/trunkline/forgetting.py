"""Erases conversations that the command line asks this relay to forget, and what is owed of others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from trunkline.core.errors import Overloaded
from trunkline.storage import Durable
from trunkline.telemetry import StoreFailed, internal_error, words_of
from trunkline.threads import in_thread
from trunkline.turns import Turns

LOOK_EVERY_S: Final = 1.0


async def forget_as_asked(turns: Turns, durable: Durable) -> None:
    """Look for such requests about once a second, until cancelled; one that cannot be met now is tried again."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await in_thread(durable.records.wipe)  # where a reader was in the way, or an earlier process died
            requests = await in_thread(durable.records.asked_to_forget)
        except Overloaded:
            continue
        for request in requests:
            try:
                await turns.forget_conversation(request.conversation_id, request.principal)
                await in_thread(durable.records.has_forgotten, request.number)
            except Overloaded as error:
                turns.house.telemetry.tell(StoreFailed("forget", words_of(error)))
                with suppress(Overloaded):  # Whoever asked is told less.
                    await in_thread(durable.records.cannot_forget, request.number, error.detail)
            except Exception as error:  # noqa: BLE001 - one that cannot be met must not stop the others
                turns.house.telemetry.tell(internal_error("forget", error))
