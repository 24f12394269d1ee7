"""Ended turns that readers may come back for, and turns that are being read for somebody who looks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from trunkline.stores.archive import Archive
from trunkline.stores.base import TurnLog
from trunkline.stores.held import HeldTurn
from trunkline.stores.journal import Journal
from trunkline.stores.recent import Recent
from trunkline.stores.recovery import whole

Load = Callable[[], TurnLog | None]


class Shelf:
    """Turns that are not in the journal's hands: the last ones are in memory, all others are loaded."""

    def __init__(
        self, journal: Journal, archive: Archive, read: Callable[[Load], Coroutine[Any, Any, TurnLog | None]]
    ) -> None:
        """`read` does a load in a thread; what it raises, all who wait for the turn get."""
        self._journal = journal
        self._archive = archive
        self._read = read
        self._recent = Recent()
        self._loading: dict[str, asyncio.Future[TurnLog | None]] = {}

    def __contains__(self, turn_id: object) -> bool:
        """Tell whether a turn is in memory."""
        return turn_id in self._recent

    def put(self, turn: TurnLog) -> None:
        """Keep a turn that has ended, for those who come back for it."""
        self._recent.add(turn)

    def remove(self, turn_id: str) -> None:
        """Drop a turn, also one that is being loaded: nobody may find it here again."""
        self._recent.drop(turn_id)
        self._loading.pop(turn_id, None)

    def expire(self, before_ms: int) -> None:
        """Drop what ended before this time."""
        self._recent.drop_before(before_ms)

    async def find(self, turn_id: str, held: HeldTurn | None) -> TurnLog | None:
        """Return a turn; one that the journal still holds is read there. All who look for it at once share a load."""
        recent = self._recent.get(turn_id)
        if recent is not None:
            return recent
        loading = self._loading.get(turn_id)
        if loading is None:
            loading = self._loading[turn_id] = asyncio.ensure_future(self._read(partial(self._load, turn_id, held)))
            loading.add_done_callback(partial(self._loaded, turn_id))
        return await asyncio.shield(loading)

    def _loaded(self, turn_id: str, loading: asyncio.Future[TurnLog | None]) -> None:
        is_current = self._loading.get(turn_id) is loading  # Not where it was removed meanwhile.
        if is_current:
            del self._loading[turn_id]
        if not loading.cancelled() and loading.exception() is None and is_current:
            turn = loading.result()
            if turn is not None:
                self.put(turn)

    def _load(self, turn_id: str, held: HeldTurn | None) -> TurnLog | None:
        """Read a turn; runs in a thread. One that leaves the journal meanwhile is in the archive by then."""
        if held is None:
            entries = self._archive.find(turn_id)
        else:
            try:
                entries = whole(self._journal.read(held.places))
            except (FileNotFoundError, ValueError):
                entries = self._archive.find(turn_id)
                if entries is None:
                    raise
        return None if entries is None else TurnLog.of(turn_id, entries)
