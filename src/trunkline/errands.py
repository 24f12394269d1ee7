"""What a turn has under way: its alarms, and the one call or connection that is being made for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from trunkline.tasks import Tasks


class Errands:
    """Lets a turn wait for things, until `stop`: nothing that was begun for a turn may outlive it."""

    __slots__ = ("_alarms", "_clock", "_running", "_tasks")

    def __init__(self, tasks: Tasks, clock: Callable[[], float]) -> None:
        self._tasks = tasks
        self._clock = clock
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._running: asyncio.Task[None] | None = None

    def run(self, errand: Coroutine[Any, Any, None], name: str) -> None:
        """Make a call or a connection. A turn makes one at a time: a new one takes an old one's place."""
        self._break_off()
        self._running = self._tasks.spawn(errand, name)

    def alarm(self, name: str, at: float, ring: Callable[[], None]) -> None:
        """Ring at a time of the clock; a second alarm of a name replaces the first."""
        if name in self._alarms:
            self._alarms.pop(name).cancel()
        delay = max(0.0, at - self._clock())
        self._alarms[name] = asyncio.get_running_loop().call_later(delay, ring)

    def stop(self) -> None:
        """Take every alarm back, and break off what is under way; the errand that calls this goes on to its end."""
        self._break_off()
        for handle in self._alarms.values():
            handle.cancel()
        self._alarms.clear()

    def _break_off(self) -> None:
        running, self._running = self._running, None
        if running is not None and running is not asyncio.current_task():
            running.cancel()
