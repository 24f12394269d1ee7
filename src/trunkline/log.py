"""The turn log: append buffers, the tick writes and publishes, followers read on from where they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, NamedTuple, Self

from trunkline.core.events import AnyEvent, Entry
from trunkline.stores.base import Audience, Form, Store, TurnLog

SLICE: Final = 512  # entries a follower takes at once, so that one that is far behind does not hold the loop


Write = Callable[[bytes], bool]
"""Writes to a reader's connection now; False where nothing was written, because it is full or closing."""


class ReaderGone(Exception):
    """The follower was closed from outside: its client left."""


class Lane(NamedTuple):
    """The live lane of a reader that has all there is: new entries go out as they are published, in a form."""

    form: Form
    write: Write


class Log:
    """All turns' logs over one store. `defer` runs a function at the end of the tick, as `loop.call_soon` does."""

    def __init__(
        self,
        store: Store,
        defer: Callable[[Callable[[], None]], object],
        wall_ms: Callable[[], int],
        report: Callable[[Exception], object] = repr,
    ) -> None:
        """`report` is told of faults of ours."""
        self.store = store
        self._defer = defer
        self._wall_ms = wall_ms
        self._report = report
        self._audience = Audience(self._publish, self._lose)
        self._dirty: list[TurnLog] = []
        self._armed = False
        self.followers: set[Follower] = set()

    def create(self, turn_id: str) -> TurnLog:
        """Make the log of a new turn."""
        turn = TurnLog(turn_id)
        self.store.add(turn)
        return turn

    def append(self, turn: TurnLog, events: Sequence[AnyEvent]) -> None:
        """Buffer events of a turn; they are shown after the tick's one write. Only the pump calls this."""
        turn.add(events, self._wall_ms())
        if not turn.dirty:
            turn.dirty = True
            self._dirty.append(turn)
            if not self._armed:
                self._armed = True
                self._defer(self._tick)

    def follow(self, turn: TurnLog, after: int = 0, on_close: Callable[[], object] | None = None) -> Follower:
        """Read a turn from the entry after offset `after` on; `on_close` is called once. Raises `OffsetPastTail`."""
        turn.check_offset(after)
        return Follower(self, turn, turn.position(after), on_close)

    def sweep(self, now: float, keep_alive_s: float) -> None:
        """Look after the followers, once a second: quiet ones are to say that they live."""
        for follower in list(self.followers):
            follower.sweep(now, keep_alive_s)

    def flush(self) -> None:
        """Write and publish now what waits for the end of the tick."""
        self._tick()

    def _tick(self) -> None:
        dirty, self._dirty = self._dirty, []
        self._armed = False
        if not dirty:
            return
        for turn in dirty:
            turn.dirty = False
        try:
            self.store.write(dirty, self._audience)
        except Exception as error:  # noqa: BLE001 - whatever it is, these turns must come to an end
            self._report(error)
            self._rescue(dirty)

    def _rescue(self, turns: list[TurnLog]) -> None:
        """The store broke its promise: show what it has kept, and end the turns whose entries it has not."""
        lost: list[TurnLog] = []
        for turn in turns:
            if turn.says_no_more:
                turn.written = turn.safe = len(turn.entries)
            elif turn.written < len(turn.entries):
                lost.append(turn)
        self._publish([turn for turn in turns if turn.visible < turn.safe])
        self._lose(lost)

    @staticmethod
    def _publish(turns: list[TurnLog]) -> None:
        for turn in turns:
            turn.visible = turn.safe
            for follower in turn.followers:
                follower.wake()

    def _lose(self, turns: list[TurnLog]) -> None:
        for turn in turns:
            turn.cut_back()
            if turn.on_lost is not None:
                try:
                    turn.on_lost()
                except Exception as error:  # noqa: BLE001 - a fault met here would leave the other turns without an end
                    self._report(error)


class Follower:
    """A cursor on one turn's log: old entries, then new ones, until the turn has ended. It has no queue."""

    __slots__ = (
        "_kept_alive", "_lane", "_log", "_on_close", "_spoke", "_spoke_at", "_waiter", "cursor", "gone", "turn",
    )  # fmt: skip

    def __init__(self, log: Log, turn: TurnLog, cursor: int, on_close: Callable[[], object] | None) -> None:
        self._log = log
        self.turn = turn
        self.cursor = cursor
        self.gone = False
        self._waiter: asyncio.Future[None] | None = None
        self._lane: Lane | None = None
        self._spoke = True
        self._spoke_at = 0.0
        self._kept_alive = False
        self._on_close = on_close
        turn.followers.append(self)
        log.followers.add(self)

    @property
    def done(self) -> bool:
        """True when the turn has ended and this reader has taken all of it."""
        return self.turn.ended and self.cursor == self.turn.visible

    def take(self) -> tuple[int, int]:
        """Return the positions [a, b) of the entries to read next, and move on; a == b where there are none yet.

        Raises `ReaderGone`.
        """
        if self.gone:
            raise ReaderGone
        a, b = self.cursor, self.turn.visible
        if b - a > SLICE:
            b = a + SLICE
        self.cursor = b
        return a, b

    async def wait(self, seen: int | None = None, lane: Lane | None = None) -> bool:
        """Wait until the log shows more than the position `seen` (by default, what was taken), or has ended.

        True: look again. False: nothing came for the keep-alive time. Raises `ReaderGone`.

        With a lane, new entries are written as they are published, and the wait goes on until the lane cannot: the
        connection is full, too many entries came at once, or the turn has ended. What it did not write is there to
        take, so that a reader without a lane, or one that lost it, reads the same.
        """
        if self.gone:
            raise ReaderGone
        if (self.cursor if seen is None else seen) < self.turn.visible or self.turn.ended:
            return True
        self._kept_alive = False
        # No await may stand between the look at `visible` and this line: a wake-up would be lost.
        self._waiter = asyncio.get_running_loop().create_future()
        self._lane = lane
        try:
            await self._waiter
        finally:
            self._waiter = self._lane = None
        if self.gone:
            raise ReaderGone
        return not self._kept_alive

    async def shown(self) -> None:
        """Wait until something of the turn is shown: nobody hears of one that a crash could undo.

        Raises `ReaderGone`.
        """
        while not self.turn.visible:
            await self.wait(0)

    async def entries(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Iterate over batches of entries until the turn has ended; a batch is empty where none came for a while."""
        while True:
            a, b = self.take()
            if a < b:
                self._spoke = True
                yield self.turn.entries[a:b]
            elif self.done:
                return
            elif not await self.wait():
                yield ()

    def spoke(self) -> None:
        """Something was sent to the reader: its connection is not quiet."""
        self._spoke = True

    def wake(self) -> None:
        """There is something new to look at."""
        lane = self._lane
        if lane is None or not self._ride(lane):
            self._ring()

    def _ride(self, lane: Lane) -> bool:
        """Write what is new; False where somebody must come and take it."""
        turn, a = self.turn, self.cursor
        b = turn.visible
        if b - a > SLICE or turn.ended:
            return False
        try:
            data = turn.render(lane.form, a, b)
            if data:
                if not lane.write(data):
                    return False
                self._spoke = True
        except Exception:  # noqa: BLE001 - a fault met here would stop the other readers; the taker meets it again
            return False
        self.cursor = b
        return True

    def _ring(self) -> None:
        self._lane = None
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def leave(self, *_: object) -> None:
        """The client is gone: whoever waits here gets `ReaderGone`. Leaving twice is harmless."""
        if self.gone:
            return
        self.gone = True
        self._ring()

    def sweep(self, now: float, keep_alive_s: float) -> None:
        """Wake a reader that waits and was sent nothing for `keep_alive_s`, so that it can say that it lives.

        Not every entry is sent: a form may have nothing to say of a thought, or of another choice.
        """
        if self._spoke:
            self._spoke, self._spoke_at = False, now
        elif self._waiter is not None and now - self._spoke_at >= keep_alive_s:
            self._spoke_at = now
            self._kept_alive = True
            self._ring()

    def close(self) -> None:
        """Stop following; closing twice is harmless."""
        if self in self._log.followers:
            self._log.followers.discard(self)
            self.turn.followers.remove(self)
            if self._on_close is not None:
                self._on_close()

    def __enter__(self) -> Self:
        """Follow until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following."""
        self.close()
