"""Holds every background task of a relay, so that none is lost and none outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from trunkline.telemetry import Telemetry, internal_error


class Tasks:
    """Runs coroutines until `close`. One that fails is reported and takes nothing else down with it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine; `name` says in a report what it was for."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def idle(self) -> None:
        """Let every task take its next step; for tests that wait for one."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Cancel what still runs, and wait until all of it has ended."""
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._telemetry.tell(internal_error(task.get_name(), error))
