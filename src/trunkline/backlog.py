"""Puts off what came in one piece and is too much for one tick, so that one turn's big answer holds up no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from trunkline.core.events import Delta, Ended, ToolCall
from trunkline.dialects.base import Item

SLICE_CHARS: Final = 8_192  # some 25 ms of the guards where text is at its worst for them
SLICE_ITEMS: Final = 256
MAX_ITEMS: Final = 300_000  # more than a turn's log may hold


def is_much(items: Sequence[Item]) -> bool:
    """Tell whether this is more than one tick should take. Called for every read."""
    if len(items) > SLICE_ITEMS:
        return True
    chars = 0
    for item in items:
        kind = type(item)
        if kind is Delta:
            chars += len(item.text)  # type: ignore[union-attr]
        elif kind is ToolCall:
            chars += len(item.arguments)  # type: ignore[union-attr]
    return chars > SLICE_CHARS


class Backlog:
    """Items in their order, given out in slices. Long texts are cut: a text is the concatenation of its pieces."""

    def __init__(self, limit: int) -> None:
        """Keep little more than `limit` characters, which is what the whole answer may have."""
        self._limit = limit
        self._items: deque[Item] = deque()
        self._chars = 0
        self._is_full = False

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._items)

    def put(self, items: Sequence[Item]) -> None:
        """Add what came next. Where that is over the bound, the turn's end is put in place of what follows."""
        for item in items:
            if self._is_full:
                return
            for piece in _pieces(item):
                self._items.append(piece)
                self._chars += _chars(piece)
            self._is_full = self._chars > self._limit or len(self._items) > MAX_ITEMS
            if self._is_full:
                detail = f"more than {self._limit} characters, or {MAX_ITEMS} pieces at once"
                self._items.append(Ended("failed", "answer_too_long", detail=detail))

    def take(self) -> list[Item]:
        """Give out the next slice: a text of at most `SLICE_CHARS` characters, or some smaller items."""
        taken: list[Item] = []
        chars = 0
        while self._items and len(taken) < SLICE_ITEMS:
            chars += _chars(self._items[0])
            if taken and chars > SLICE_CHARS:
                break
            taken.append(self._items.popleft())
        self._chars -= sum(map(_chars, taken))
        return taken


def _chars(item: Item) -> int:
    if isinstance(item, Delta):
        return len(item.text)
    return len(item.arguments) if isinstance(item, ToolCall) else 0


def _pieces(item: Item) -> Iterator[Item]:
    """Cut a text, or the arguments of a tool call, into slices."""
    if _chars(item) <= SLICE_CHARS:
        yield item
    elif isinstance(item, Delta):
        for at in range(0, len(item.text), SLICE_CHARS):
            yield msgspec.structs.replace(item, text=item.text[at : at + SLICE_CHARS])
    elif isinstance(item, ToolCall):
        for at in range(0, len(item.arguments), SLICE_CHARS):
            named = {} if at == 0 else {"call_id": "", "name": ""}
            piece = item.arguments[at : at + SLICE_CHARS]
            yield msgspec.structs.replace(item, arguments=piece, **named)
