"""Erases conversations that another process, the command line, asks this relay to forget."""

from __future__ import annotations

import asyncio
from typing import Final

from trunkline.core.errors import Overloaded
from trunkline.storage import Durable
from trunkline.telemetry import internal_error
from trunkline.threads import in_thread
from trunkline.turns import Turns

LOOK_EVERY_S: Final = 1.0


async def forget_as_asked(turns: Turns, durable: Durable) -> None:
    """Look for such requests about once a second, until cancelled; one that cannot be met now is tried again."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            requests = await in_thread(durable.records.asked_to_forget)
        except Overloaded:
            continue
        for request in requests:
            try:
                await turns.forget_conversation(request.conversation_id, request.principal)
                if await durable.recorder.flush():
                    await in_thread(durable.records.has_forgotten, request.number)
            except Exception as error:  # noqa: BLE001 - one that cannot be met must not stop the others
                turns.house.telemetry.tell(internal_error("forget", error))
