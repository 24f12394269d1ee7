"""Answers that turns share: a call that somebody has just made, or is making, is not made again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from trunkline.connect.http import Answer

MAX_KEPT: Final = 10_000  # bounds what clients that name ever new topics can fill
_GOOD: Final = range(200, 300)

Key = tuple[str, str, str]


@dataclass(slots=True)
class _Kept:
    """The newest answer of a key, what it was asked with, and how many wait for it or for their turn to ask."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    body: bytes | None = None
    answer: Answer | None = None
    at: float = 0.0


class SharedAnswers:
    """Keeps the newest answer of each key; of those who ask at once one makes the call, the others wait for it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    async def get(self, key: Key, body: bytes | None, fresh_s: float, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the kept answer to the same `body`, at most `fresh_s` old, else make the call. Raises what it does."""
        asked_at = self._clock()
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        kept.users += 1
        try:
            async with kept.lock:
                if kept.answer is not None and kept.body == body:
                    # Those who waited for a call take what came of it, good or bad.
                    good = kept.answer.status in _GOOD and self._clock() - kept.at <= fresh_s
                    if good or kept.at > asked_at:
                        return kept.answer
                kept.answer = None
                answer = await call()
                kept.body, kept.answer, kept.at = body, answer, self._clock()
                return answer
        finally:
            kept.users -= 1
            self._forget()

    def _forget(self) -> None:
        """Drop the least recently used keys over the bound; one that is waited for stays."""
        while len(self._kept) > MAX_KEPT:
            oldest = next((key for key, kept in self._kept.items() if not kept.users), None)
            if oldest is None:
                return
            del self._kept[oldest]
