"""The store that lives and dies with the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from trunkline.core.errors import TurnForgotten
from trunkline.stores.base import Publish, StoreSettings, TurnLog


class MemoryStore:
    """Keeps turns in a dictionary, ended ones up to a number and an age."""

    MAX_FORGOTTEN = 100_000  # bounds the memory of turns that are gone

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._turns: dict[str, TurnLog] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._forgotten: OrderedDict[str, str] = OrderedDict()  # whose they were

    def add(self, turn: TurnLog) -> None:
        """Take in a new turn."""
        self._turns[turn.id] = turn

    def write(self, turns: list[TurnLog], publish: Publish) -> None:
        """Count the entries as written, and publish at once: they are as safe as this process is."""
        for turn in turns:
            turn.written = len(turn.entries)
        publish(turns)
        for turn in turns:
            if turn.ended and turn.id in self._turns:
                self._ended[turn.id] = turn.entries[-1].at_ms

    def find(self, turn_id: str) -> TurnLog | None:
        """Look the turn up."""
        if turn_id in self._forgotten:
            raise TurnForgotten(turn_id, self._forgotten[turn_id])
        return self._turns.get(turn_id)

    def logs(self) -> Iterable[TurnLog]:
        """Return all turns; ids grow with time, so that the dictionary's order is theirs."""
        return reversed(self._turns.values())

    def forget(self, turn_id: str) -> None:
        """Drop the turn."""
        turn = self._turns.pop(turn_id, None)
        if turn is not None:
            self._ended.pop(turn_id, None)
            self._forgotten[turn_id] = turn.started.principal if turn.entries else ""
            if len(self._forgotten) > self.MAX_FORGOTTEN:
                self._forgotten.popitem(last=False)

    def sweep(self, now_ms: int) -> None:
        """Drop ended turns, the oldest first."""
        oldest_ms = now_ms - self._settings.retention_s * 1_000
        while self._ended:
            turn_id, ended_ms = next(iter(self._ended.items()))
            if ended_ms >= oldest_ms and len(self._ended) <= self._settings.max_turns:
                break
            self.forget(turn_id)
