"""Plays the script of a stream on a connection: paces it, keeps the ledger, and breaks off where the script does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from trunkline.simulators.body import Body
from trunkline.simulators.chunks import Chunks
from trunkline.simulators.exchange import Exchange, StruckError
from trunkline.simulators.faults import Faults
from trunkline.simulators.script import Break, Pad, Say, Step
from trunkline.simulators.sse import Sse

HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_MB = 1 << 20


class Pace:
    """Lets the n-th piece go out n intervals after the first, whatever the pieces before it took."""

    def __init__(self, faults: Faults, interval_ms: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._interval_s = 0.0 if faults.has("flood") else interval_ms / 1000
        self._due: float | None = None

    async def next(self) -> None:
        """Wait until the next piece is due."""
        if not self._interval_s:
            return
        now = asyncio.get_running_loop().time()
        self._due = now if self._due is None else self._due + self._interval_s
        if self._due > now:
            await self._sleep(self._due - now)


async def play(exchange: Exchange, steps: Iterator[Step], chunks: Chunks, interval_ms: float) -> None:
    """Stream the answer of one exchange; one piece is said every `interval_ms`."""
    sse = Sse(exchange.faults)
    body = await exchange.start(200, HEADERS)
    pace = Pace(exchange.faults, interval_ms, exchange.connection.sleep)
    if sse.opening:
        await body.send(sse.opening)
    for step in steps:
        match step:
            case Say():
                if step.part:
                    await pace.next()
                await body.send(sse.event(step.data, step.fields), _mark(exchange, step))
            case Pad():
                for block in sse.padded(chunks.delta(0, {}), step.megabytes * _MB):
                    await body.send(block)
            case Break():
                await _break(exchange, body, step, sse)
                return
    await body.finish()


def _mark(exchange: Exchange, say: Say) -> partial[None] | None:
    if say.part is None:
        return None
    return partial(exchange.entry.sent, say.choice, say.part.text, say.part.tokens, int(say.part.counts))


async def _break(exchange: Exchange, body: Body, step: Break, sse: Sse) -> None:
    if step.data is not None:
        event = sse.event(step.data)
        await body.send(event[: len(event) // 2])
    match step.how:
        case "end":
            await body.finish()
            exchange.entry.end(f"fault:{step.word}")
        case "stall":
            await body.flush()
            await exchange.connection.until_gone()
        case "reset" | "close":
            await body.flush()
            raise StruckError(step.word, step.how)
