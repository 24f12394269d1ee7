"""An archive in a dictionary, which can be told to fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trunkline.core.errors import DatabaseError, TurnForgotten
from trunkline.core.events import Ended, Entry
from trunkline.core.record import TurnRecord, outline
from trunkline.stores.base import Query


class DictArchive:
    """Keeps turns in the order they came. While `fault` is set every call raises it."""

    def __init__(self) -> None:
        self.turns: dict[str, list[Entry]] = {}
        self.forgotten: dict[str, str] = {}
        self.fault: Exception | None = None
        self.poisonous: set[str] = set()
        self.calls: list[str] = []
        self.before_returning: Callable[[str], None] = lambda call: None

    def is_down(self) -> None:
        self.fault = DatabaseError("The database does not answer.")

    def is_back(self) -> None:
        self.fault = None

    def _meet(self, call: str) -> None:
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault

    def keep(self, turn_id: str, entries: Sequence[Entry]) -> None:
        self._meet("keep")
        if turn_id in self.poisonous:
            raise ValueError("this turn cannot be kept")
        if not isinstance(entries[-1].event, Ended):
            raise ValueError("the turn is open")  # noqa: TRY004 - as the records do
        if turn_id not in self.forgotten:
            self.turns.setdefault(turn_id, list(entries))

    def find(self, turn_id: str) -> list[Entry] | None:
        self._meet("find")
        if turn_id in self.forgotten:
            raise TurnForgotten(turn_id, self.forgotten[turn_id])
        found = self.turns.get(turn_id)
        self.before_returning("find")
        return found

    def known(self, turn_ids: Sequence[str]) -> dict[str, bool]:
        self._meet("known")
        return {
            turn_id: turn_id in self.turns for turn_id in turn_ids if turn_id in self.turns or turn_id in self.forgotten
        }

    def list(self, query: Query) -> list[TurnRecord]:
        self._meet("list")
        records = [outline(entries[0], entries[-1]) for entries in self.turns.values()]
        found = sorted((r for r in records if query.asks_for(r)), key=lambda r: r.started.turn, reverse=True)
        self.before_returning("list")
        return found[: query.limit]

    def forget(self, turns: Sequence[tuple[str, str]], now_ms: int) -> None:
        self._meet("forget")
        for turn_id, principal in turns:
            self.turns.pop(turn_id, None)
            self.forgotten[turn_id] = principal
        self.before_returning("forget")
        if self.fault is not None:
            raise self.fault

    def expire(self, ended_before_ms: int, now_ms: int, limit: int) -> int:
        self._meet("expire")
        old = [turn_id for turn_id, entries in self.turns.items() if entries[-1].at_ms < ended_before_ms][:limit]
        self.forget([(turn_id, "") for turn_id in old], now_ms)
        return len(old)

    def close(self) -> None:
        self._meet("close")
