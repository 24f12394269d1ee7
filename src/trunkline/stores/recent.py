"""Ended turns in memory, for readers who come back: each of them rests in the archive or the journal as well."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from trunkline.core.events import Delta, ToolCall
from trunkline.stores.base import TurnLog

MAX_TURNS: Final = 200
MAX_BYTES: Final = 64 << 20
ENTRY_BYTES: Final = 320  # an entry, its event and the JSON of it, without the text
ASCII_BYTES: Final = 3  # a character, as text and as JSON
OTHER_BYTES: Final = 10  # the text as Python has it, that in UTF-8 which it keeps beside it, and the JSON


class Recent:
    """The turns that were ended or asked for last; the others go, so that they are few and none too large."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, tuple[TurnLog, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._turns)

    def __contains__(self, turn_id: object) -> bool:
        """Tell whether a turn is here."""
        return turn_id in self._turns

    def get(self, turn_id: str) -> TurnLog | None:
        """Return a turn, which is the newest from then on."""
        if turn_id not in self._turns:
            return None
        self._turns.move_to_end(turn_id)
        return self._turns[turn_id][0]

    def add(self, turn: TurnLog) -> None:
        """Take in a turn, which has ended."""
        self.drop(turn.id)
        size = weight(turn)
        self._turns[turn.id] = turn, size
        self._bytes += size
        while len(self._turns) > MAX_TURNS or self._bytes > MAX_BYTES:
            self.drop(next(iter(self._turns)))

    def drop(self, turn_id: str) -> None:
        """Let go of a turn, if it is here."""
        _, size = self._turns.pop(turn_id, (None, 0))
        self._bytes -= size

    def drop_before(self, ended_before_ms: int) -> None:
        """Let go of those that ended before a time."""
        for turn_id in [id_ for id_, (turn, _) in self._turns.items() if turn.entries[-1].at_ms < ended_before_ms]:
            self.drop(turn_id)


def weight(turn: TurnLog) -> int:
    """Return about how many bytes of memory a turn takes once somebody has read it."""
    return sum(ENTRY_BYTES + _text_bytes(entry.event) for entry in turn.entries)


def _text_bytes(event: object) -> int:
    text = event.text if isinstance(event, Delta) else event.arguments if isinstance(event, ToolCall) else ""
    return len(text) * (ASCII_BYTES if text.isascii() else OTHER_BYTES)
