"""The open turns: start, find, cancel, their readers, and what happens when the last reader is gone.

The library, the command line and every endpoint go through `Turns.start`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, ParamSpec

from trunkline.admission import Admission, Admitted
from trunkline.core.errors import Overloaded, TurnForgotten, TurnNotFound
from trunkline.core.events import Delta, Ended, Started, ToolCall
from trunkline.core.ids import is_turn_id, turn_id
from trunkline.core.record import TurnRecord, fold
from trunkline.core.request import LastReaderPolicy, TurnRequest
from trunkline.core.times import iso
from trunkline.log import Follower
from trunkline.pump import House, Pump
from trunkline.stores.base import STORE_FAULTS, Query, TurnLog
from trunkline.telemetry import TurnStarted, internal_error
from trunkline.upstreams import Upstream

P = ParamSpec("P")

SLOWEST_SWEEP_S: Final = 1.0
FASTEST_SWEEP_S: Final = 0.02
FORGET_BATCH: Final = 200


@dataclass(slots=True)
class _Open:
    """What is known of a turn only while it is open."""

    pump: Pump
    principal: str
    policy: LastReaderPolicy
    cancel_after_s: float
    readers: int = 0
    alone_since: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the turns of a relay, and how its readers are looked after."""

    max_open_turns: int = 2_000
    max_open_turns_per_principal: int = 1_000
    keep_alive_s: float = 15


class Turn:
    """One turn as endpoints see it: they follow it and ask it to stop, and never write to it."""

    __slots__ = ("_turns", "log")

    def __init__(self, turns: Turns, log: TurnLog) -> None:
        self._turns = turns
        self.log = log

    @property
    def id(self) -> str:
        """`turn_` and 32 hex digits."""
        return self.log.id

    @property
    def started(self) -> Started:
        """Its first event."""
        return self.log.started

    @property
    def shut_down(self) -> bool:
        """True where the relay ended it because it is going down itself."""
        last = self.log.entries[-1].event
        return isinstance(last, Ended) and last.reason == "shutdown"

    @property
    def failed_unheard(self) -> bool:
        """True where it failed, or was shut down, before it said anything."""
        if not self.log.ended or any(isinstance(entry.event, Delta | ToolCall) for entry in self.log.entries):
            return False
        last = self.log.entries[-1].event
        return isinstance(last, Ended) and (last.outcome == "failed" or last.reason == "shutdown")

    @property
    def is_read(self) -> bool:
        """True while somebody reads it."""
        return bool(self.log.followers)

    async def shown(self) -> None:
        """Wait until it is in the store: from then on it is found again, whatever happens to the relay."""
        with self._turns.house.log.follow(self.log) as follower:
            await follower.shown()

    def follow(self, after: int = 0) -> Follower:
        """Join its readers; to be closed. Raises `OffsetPastTail`."""
        return self._turns.follow(self.log, after)

    def cancel(self, heard_upto: int | None = None) -> None:
        """Ask for its end because its client wants no more of it; a turn that has ended stays as it is."""
        self._turns.cancel(self.log.id, heard_upto)

    def record(self) -> TurnRecord:
        """Fold what may be shown of it."""
        return fold(self.log.entries[: self.log.visible])


async def _at_once() -> bool:
    return True  # Nothing outlives the process.


async def _nothing_left() -> None:
    """There are no files."""


@dataclass
class Turns:
    """All turns of a relay."""

    house: House
    upstreams: dict[str, Upstream]
    admission: Admission
    limits: Limits
    wall_ms: Callable[[], int]
    recorded: Callable[[], Awaitable[bool]] = _at_once
    """Waits until what lives beside the turns, such as keys of conversations, is kept; False where it is not."""
    erased: Callable[[], Awaitable[None]] = _nothing_left
    """Waits until nothing of what was forgotten is in any file. Raises `Overloaded` where that takes too long."""
    draining: bool = False
    _open: dict[str, _Open] = field(default_factory=dict)
    _open_by: Counter[str] = field(default_factory=Counter)
    _last_id: str = ""
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    def start(
        self,
        request: TurnRequest,
        principal: str,
        endpoint: str,
        policy: LastReaderPolicy = "cancel_after",
        client_tokens: int = 0,
    ) -> Turn:
        """Start a turn; `policy` applies where the request names none. Raises `RequestRefused`, `Overloaded`.

        `client_tokens` are those of the prompt as the client's protocol counts them, if it does.
        """
        if self.draining:
            raise Overloaded("shutting_down", "The relay is shutting down and takes no new turns.")
        if fault := self.house.log.store.fault():
            raise Overloaded(fault, f"{STORE_FAULTS[fault]} No new turn is taken until that is mended.")
        principal.encode()  # Half a character in it would leave a turn that nothing can keep.
        admitted = self.admission.admit(request)
        if len(self._open) >= self.limits.max_open_turns:
            detail = f"The relay has {len(self._open)} turns open, as many as it takes."
            raise Overloaded("too_many_turns", detail)
        if self._open_by[principal] >= self.limits.max_open_turns_per_principal:
            detail = f"{principal!r} has {self._open_by[principal]} turns open, as many as one may have."
            raise Overloaded("too_many_turns", detail, status=429)
        now_ms = self.wall_ms()
        log = self.house.log.create(self._next_id(now_ms))
        started = _started(log.id, admitted, principal, endpoint, now_ms, client_tokens)
        self.house.log.append(log, [started, *admitted.notices])
        pump = Pump(self.house, log, admitted.request, admitted.routes, lambda: self._ended(log.id))
        self._open[log.id] = _Open(pump, principal, request.on_last_reader_gone or policy, request.cancel_after_s)
        self._open_by[principal] += 1
        self._quiet.clear()
        self.house.telemetry.tell(TurnStarted(log.id, started.upstream, endpoint))
        pump.start()
        return Turn(self, log)

    def _next_id(self, now_ms: int) -> str:
        """Make an id that is greater than every one before, also within a millisecond: lists are paged by it."""
        made = turn_id(now_ms, os.urandom(10))
        if made <= self._last_id:
            made = f"turn_{int(self._last_id.removeprefix('turn_'), 16) + 1:032x}"
        self._last_id = made
        return made

    async def find(self, turn: str, principal: str) -> Turn:
        """Return a principal's turn.

        Raises `TurnNotFound`, also where it is somebody else's, `TurnForgotten`, and `Overloaded`.
        """
        try:
            log = await self.house.log.store.find(turn) if is_turn_id(turn) else None
        except TurnForgotten as error:
            if error.principal != principal:
                raise TurnNotFound(turn) from None
            raise
        if log is None or log.started.principal != principal:
            raise TurnNotFound(turn)
        return Turn(self, log)

    async def list(self, query: Query) -> list[TurnRecord]:
        """Return turns without their texts, the newest first. Raises `Overloaded`."""
        return await self.house.log.store.list(query)

    def follow(self, log: TurnLog, after: int) -> Follower:
        """Count a reader in, and out again when it closes."""
        follower = self.house.log.follow(log, after, lambda: self._left(log.id))
        self.house.telemetry.readers += 1
        opened = self._open.get(log.id)
        if opened is not None:
            opened.readers += 1
            opened.alone_since = None
        return follower

    def cancel(self, turn: str, heard_upto: int | None) -> None:
        """Cancel an open turn for its client."""
        opened = self._open.get(turn)
        if opened is not None:
            opened.pump.cancel("client_cancelled", heard_upto)

    async def forget(self, turns: Sequence[Started]) -> None:
        """Erase the texts of turns, and their conversations' keys for digests; open ones are cancelled first.

        Raises `Overloaded` where that could not be done or takes too long; the relay goes on with it, and asking again
        tells whether it is done.
        """
        await self._forget(turns)
        await self.erased()

    async def _forget(self, turns: Sequence[Started]) -> None:
        for started in turns:
            self.cancel(started.turn, None)
            self.house.conversations.forget(started.principal, started.conversation_id)
        self.house.log.flush()
        await self.house.log.store.forget([(started.turn, started.principal) for started in turns])
        if not await self.recorded():
            raise Overloaded("store_unavailable", "The keys of the conversation are not erased yet; ask again.")

    async def forget_conversation(self, conversation_id: str, principal: str | None) -> int:
        """Erase all turns of a conversation, of everybody where `principal` is None; return how many there were.

        Raises as `forget`.
        """
        self.house.conversations.forget(principal, conversation_id)
        count = 0
        query = Query(principal, conversation_id, limit=FORGET_BATCH, of_any_age=True)
        while found := await self.list(query):
            await self._forget([record.started for record in found])
            count += len(found)
            query = query._replace(before=found[-1].started.turn)
        await self._forget([])
        await self.erased()
        return count

    @property
    def open_count(self) -> int:
        """How many turns are open."""
        return len(self._open)

    @property
    def sweep_s(self) -> float:
        """How often to sweep so that the shortest time-out is kept to about a quarter of itself."""
        shortest: list[float] = [min(u.timeouts.model_dump().values()) for u in self.upstreams.values()]
        quarter = min([self.limits.keep_alive_s, *shortest]) / 4
        return max(FASTEST_SWEEP_S, min(SLOWEST_SWEEP_S, quarter))

    def sweep(self) -> None:
        """Look at the clock for all turns and readers at once, so that no token needs a timer."""
        now = self.house.clock()
        for opened in list(self._open.values()):
            self._sweep_alone(self._sweep_one, opened, now)
        self._sweep_alone(self.house.log.sweep, now, self.limits.keep_alive_s)
        self._sweep_alone(self.house.log.store.sweep, self.wall_ms())

    def _sweep_alone(self, sweep: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            sweep(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - one turn, or the log, must not stop the clock of all others
            self.house.telemetry.tell(internal_error("sweep", error))

    @staticmethod
    def _sweep_one(opened: _Open, now: float) -> None:
        opened.pump.sweep(now)
        alone = opened.alone_since
        if opened.policy == "cancel_after" and alone is not None and now - alone >= opened.cancel_after_s:
            opened.pump.cancel("client_left")

    async def drain(self, limit_s: float) -> None:
        """Take no new turns, let open ones end, and cancel what is still open after `limit_s` seconds."""
        self.draining = True
        if self._open:
            try:
                async with asyncio.timeout(limit_s):
                    await self._quiet.wait()
            except TimeoutError:
                pass
        for opened in list(self._open.values()):
            opened.pump.cancel("shutdown")

    def _ended(self, turn: str) -> None:
        opened = self._open.pop(turn, None)
        if opened is not None:
            self._open_by[opened.principal] -= 1
            if not self._open_by[opened.principal]:
                del self._open_by[opened.principal]
        if not self._open:
            self._quiet.set()

    def _left(self, turn: str) -> None:
        self.house.telemetry.readers -= 1
        opened = self._open.get(turn)
        if opened is None:
            return
        opened.readers -= 1
        if opened.readers == 0:
            opened.alone_since = self.house.clock()
            if opened.policy == "cancel":
                opened.pump.cancel("client_left")


def _started(turn: str, admitted: Admitted, principal: str, endpoint: str, now_ms: int, client_tokens: int) -> Started:
    request, (upstream, model) = admitted.request, admitted.routes[0]
    return Started(
        turn=turn,
        principal=principal,
        upstream=upstream.name,
        model=model,
        created_at=iso(now_ms),
        endpoint=endpoint,
        conversation_id=request.conversation_id or "",
        session_id=request.session_id or "",
        dialog_id=request.dialog_id or "",
        prompt_id=request.prompt_id or "",
        language=request.language or "",
        prompt_tokens=admitted.prompt_tokens,
        client_tokens=0 if client_tokens == admitted.prompt_tokens else client_tokens,
    )
