"""Speaks with a platform as a turn would, up to the message that would ask it for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trunkline.core.events import Ended
from trunkline.core.request import TurnRequest
from trunkline.dialects.base import Ask, Call, Dialect, Item, Loss, Open, Send
from trunkline.sources.base import Source
from trunkline.upstreams import Upstream

TIMEOUT_S: Final = 20.0
MAX_WORDS: Final = 200  # as of an error that ends a turn
NOBODY: Final = "live-check"  # stands for the ids that only a real turn has


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried: what, whether it worked, what came of it or what to do about it.

    `ok` is None where trying does not tell: then the words say what to look at.
    """

    name: str
    ok: bool | None
    words: str


async def rehearse(upstream: Upstream) -> AsyncGenerator[Step, None]:
    """Make the calls that only read, then open a stream and go through its handshake. Raises `CannotAsk`.

    A step's words hold none of our credentials and no control character, and are short, whatever the platform says.
    """
    async for step in _steps(upstream):
        yield replace(step, words=_shortened(upstream.without_secrets(step.words)))


def _shortened(words: str) -> str:
    """Leave something out in the middle: what went wrong stands at the beginning, and what to do at the end."""
    half = MAX_WORDS // 2
    return words if len(words) <= MAX_WORDS else f"{words[:half]}…{words[1 - half :]}"


async def _steps(upstream: Upstream) -> AsyncGenerator[Step, None]:
    dialect, now = upstream.dialect(), asyncio.get_running_loop().time
    settings = upstream.settings
    request = TurnRequest(
        conversation_id=settings.conversation_id or NOBODY,
        dialog_id=settings.dialog_id or NOBODY,
        prompt_id=settings.prompt_id or NOBODY,
    )
    items = dialect.start(Ask(NOBODY, request, settings.model), now())
    while call := next((item for item in items if isinstance(item, Call)), None):
        if call.method != "GET":
            # It would change something on the platform: it is taken for done.
            items = dialect.answered(call.id, 200, {}, b"", now())
            continue
        status, headers, body = await upstream.call(call)
        items = dialect.answered(call.id, status, headers, body, now())
        step = _failure(call.id, items) or Step(call.id, ok=True, words=f"{call.method} was answered {status}")
        yield step
        if not step.ok:
            return
    for item in items:
        if isinstance(item, Open):
            yield await _shake_hands(upstream, dialect, item)


def _failure(name: str, items: list[Item]) -> Step | None:
    ended = next((item for item in items if isinstance(item, Ended)), None)
    return None if ended is None else Step(name, ok=False, words=ended.detail or ended.reason)


async def _shake_hands(upstream: Upstream, dialect: Dialect, opening: Open) -> Step:
    source = upstream.source()
    ear = _Ear(dialect, source)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await upstream.open(source, opening, await upstream.authorise(), ear)
            return await ear.outcome
    except TimeoutError:
        return Step("handshake", ok=False, words=f"nothing came of it within {TIMEOUT_S:g} s")
    finally:
        source.close()


class _Ear:
    """Lets the dialect answer what comes, until it would ask for an answer, or ends."""

    def __init__(self, dialect: Dialect, source: Source) -> None:
        self._dialect = dialect
        self._source = source
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Step] = self._loop.create_future()

    def opened(self, headers: Mapping[str, str]) -> None:
        """The stream is open; a platform that is told nothing would begin to speak."""
        items = self._dialect.opened(headers, self._loop.time())
        if not any(isinstance(item, Send) for item in items):
            self._settle(Step("handshake", ok=True, words="the platform took it"))
        self._go_on(items)

    def receive(self, data: bytes) -> None:
        """Take one message."""
        if not self.outcome.done():
            self._go_on(self._dialect.receive(data, self._loop.time()))

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """The platform does not want a stream."""
        self._go_on(self._dialect.refused(status, headers, body, self._loop.time()))

    def closed(self, loss: Loss) -> None:
        """The stream is over; taking it up again is no part of a rehearsal."""
        self._settle(Step("handshake", ok=False, words=loss.detail or loss.reason))

    def _go_on(self, items: list[Item]) -> None:
        for item in items:
            if isinstance(item, Send):
                if item.asks:
                    self._settle(Step("handshake", ok=True, words="the platform took it"))
                    return
                self._source.send(item.data)
        if failure := _failure("handshake", items):
            self._settle(failure)

    def _settle(self, step: Step) -> None:
        if not self.outcome.done():
            self.outcome.set_result(step)
