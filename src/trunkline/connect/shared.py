"""Answers that turns share: a call that somebody has just made, or is making, is not made again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final, cast

from trunkline.connect.errors import CannotAsk
from trunkline.connect.http import Answer

MAX_KEPT: Final = 10_000  # bounds what clients that name ever new topics can fill
_GOOD: Final = range(200, 300)

Key = tuple[str, str, str]


OnWait = Callable[[float], None]
"""Is told of the seconds that a call has to wait before it is made; raises `CannotAsk` where that is too long."""
Make = Callable[[OnWait], Awaitable[Answer]]


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody who waits for a call, unless that takes too long."""

    on_wait: OnWait
    gives_up: asyncio.Future[None]

    def hear(self, wait_s: float) -> None:
        try:
            self.on_wait(wait_s)
        except CannotAsk as error:
            if not self.gives_up.done():
                self.gives_up.set_exception(error)


@dataclass(slots=True)
class _Flight:
    """A call under way, or in the queue of its key, and who waits for what comes of it."""

    task: asyncio.Task[Answer] | None = None
    waiters: list[_Waiter] = field(default_factory=list)
    until: float = 0.0
    """Until when it waits for its place."""

    @property
    def is_over(self) -> bool:
        return self.task is None or self.task.done()

    def wait(self, wait_s: float, now: float) -> None:
        """Tell all who wait. Raises `CannotAsk` where that is too long for each of them."""
        self.until = now + wait_s
        for waiter in self.waiters:
            waiter.hear(wait_s)
        if self.waiters and all(waiter.gives_up.done() for waiter in self.waiters):
            self.waiters[0].gives_up.result()


@dataclass(slots=True)
class _Kept:
    """The newest answer of a key with what it was asked with, and by body the calls that are to bring another one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    flights: dict[bytes | None, _Flight] = field(default_factory=dict)
    body: bytes | None = None
    answer: Answer | None = None
    at: float = 0.0

    def answer_to(self, body: bytes | None, since: float) -> Answer | None:
        """Return the answer where it is a good one to this body, and not from before that time."""
        if self.answer is None or self.body != body or self.answer.status not in _GOOD or self.at < since:
            return None
        return self.answer


class SharedAnswers:
    """Keeps the newest answer of each key; of those who ask at once one makes the call, the others wait for it.

    The calls of one key are made one after the other, in the order in which their bodies were first asked for. Who is
    cancelled leaves at once, also out of the queue, and a call that is then of no use to anybody is not made, or
    stopped where it was under way. One that others with the same body still wait for goes on for them, whoever began.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._tasks: set[asyncio.Task[Answer]] = set()  # holds those that were stopped until they have ended

    async def get(self, key: Key, body: bytes | None, fresh_s: float, call: Make, on_wait: OnWait) -> Answer:
        """Return the kept answer to the same `body` if it is good and at most `fresh_s` old, else what a call brings.

        Those who wait for a call take what comes of it, good or bad, and hear what it raises. Each is told of the time
        that it waits for its place, and may give up for itself.
        """
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        answer = kept.answer_to(body, self._clock() - fresh_s)
        if answer is not None:
            return answer
        flight = kept.flights.get(body)
        if flight is None or flight.is_over:
            flight = kept.flights[body] = _Flight()
            flight.task = self._take_off(self._fly(kept, body, call, flight))
        left_s = flight.until - self._clock()
        if left_s > 0:
            on_wait(left_s)
        waiter = _Waiter(on_wait, asyncio.get_running_loop().create_future())
        flight.waiters.append(waiter)
        task = cast("asyncio.Task[Answer]", flight.task)
        try:
            await asyncio.wait((task, waiter.gives_up), return_when=asyncio.FIRST_COMPLETED)
            if waiter.gives_up.done():
                waiter.gives_up.result()
            return task.result()
        finally:
            waiter.gives_up.cancel()
            flight.waiters.remove(waiter)
            if not flight.waiters:
                task.cancel()
                if kept.flights.get(body) is flight:
                    del kept.flights[body]
                self._forget()

    def _take_off(self, flight: Coroutine[None, None, Answer]) -> asyncio.Task[Answer]:
        task = asyncio.get_running_loop().create_task(flight, name="shared.call")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Answer]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever still waits hears it; where all have given up nobody does.

    async def _fly(self, kept: _Kept, body: bytes | None, call: Make, flight: _Flight) -> Answer:
        async with kept.lock:
            kept.answer = None  # What the platform holds from here on is not known until the call has an answer.
            kept.answer = answer = await call(lambda wait_s: flight.wait(wait_s, self._clock()))
            kept.body, kept.at = body, self._clock()
            return answer

    def _forget(self) -> None:
        """Drop the least recently used keys over the bound; one that is waited for stays."""
        while len(self._kept) > MAX_KEPT:
            oldest = next((key for key, kept in self._kept.items() if not kept.flights), None)
            if oldest is None:
                return
            del self._kept[oldest]
