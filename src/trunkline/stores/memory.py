"""The store that lives and dies with the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from trunkline.core.errors import TurnForgotten
from trunkline.core.record import TurnRecord
from trunkline.stores.base import Audience, Query, TurnLog
from trunkline.stores.settings import StoreSettings


class MemoryStore:
    """Keeps turns in a dictionary, ended ones up to a number and an age."""

    MAX_FORGOTTEN = 100_000  # bounds the memory of turns that are gone

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._turns: dict[str, TurnLog] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._forgotten: OrderedDict[str, str] = OrderedDict()  # whose they were

    def fault(self) -> str:
        """Memory takes every turn; how many are open is bounded elsewhere."""
        return ""

    def add(self, turn: TurnLog) -> None:
        """Take in a new turn."""
        self._turns[turn.id] = turn

    def write(self, turns: list[TurnLog], audience: Audience) -> None:
        """Count the entries as written, and publish at once: they are as safe as this process is."""
        for turn in turns:
            turn.written = turn.safe = len(turn.entries)
        audience.publish(turns)
        for turn in turns:
            if turn.ended and turn.id in self._turns:
                self._ended[turn.id] = turn.entries[-1].at_ms

    async def find(self, turn_id: str) -> TurnLog | None:
        """Look the turn up."""
        if turn_id in self._forgotten:
            raise TurnForgotten(turn_id, self._forgotten[turn_id])
        return self._turns.get(turn_id)

    async def list(self, query: Query) -> list[TurnRecord]:
        """Go through all turns; ids grow with time, so that the dictionary's order is theirs."""
        shown = (turn.summary() for turn in reversed(self._turns.values()) if turn.visible)
        return list(islice(filter(query.asks_for, shown), query.limit))

    async def forget(self, turns: Sequence[tuple[str, str]]) -> None:
        """Drop the turns."""
        for turn_id, _ in turns:
            self._forget(turn_id)

    def _forget(self, turn_id: str) -> None:
        turn = self._turns.pop(turn_id, None)
        if turn is not None:
            self._ended.pop(turn_id, None)
            self._forgotten[turn_id] = turn.started.principal if turn.entries else ""
            if len(self._forgotten) > self.MAX_FORGOTTEN:
                self._forgotten.popitem(last=False)

    def sweep(self, now_ms: int) -> None:
        """Drop ended turns, the oldest first."""
        oldest_ms = now_ms - self._settings.retention * 1_000
        while self._ended:
            turn_id, ended_ms = next(iter(self._ended.items()))
            if ended_ms >= oldest_ms and len(self._ended) <= self._settings.max_turns:
                break
            self._forget(turn_id)
