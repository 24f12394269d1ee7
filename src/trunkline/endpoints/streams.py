"""Answers that follow a turn's log: streamed as server-sent events, or whole, and given up when their client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from trunkline.core.events import Delta, Ended, ToolCall
from trunkline.core.sse import KEEP_ALIVE
from trunkline.log import Follower, Lane, ReaderGone
from trunkline.stores.base import Form
from trunkline.turns import Turn

LIVE_EXTENSION: Final = "trunkline.live"
"""In the scope's extensions: a `Write` of this connection, good once the response has started."""

STREAM_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Decision(NamedTuple):
    """Whether to answer otherwise than by a stream: asked when the turn says something, or `within_s` is over.

    `other` is given the turn and, where it has ended without a text, its end; it returns None to stream.
    """

    other: Callable[[Turn, Ended | None], Response | None]
    within_s: float


class FollowResponse(Response):
    """A response that follows a turn: it notices a client that leaves, in whatever it does."""

    def __init__(self, turn: Turn, after: int) -> None:
        self.turn = turn
        self.after = after
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; a client that leaves ends it."""
        with self.turn.follow(self.after) as follower:
            watch = asyncio.ensure_future(_until_gone(receive))
            watch.add_done_callback(follower.leave)
            try:
                await follower.shown()
                await self.serve(follower, scope, send)
            except ReaderGone:
                pass
            finally:
                watch.cancel()
                if watch.done():
                    watch.result()  # what it stumbled over, if not the client's leaving

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Send the answer. Raises `ReaderGone` when there is nobody left to send it to."""
        raise NotImplementedError


class EventStream(FollowResponse):
    """A turn's entries as server-sent events, in an endpoint's form.

    With a decision the headers wait for the first event that says something, so that a platform's refusal can still be
    a status; without one nothing waits. `first` are bytes that come before all events.
    """

    def __init__(
        self,
        turn: Turn,
        after: int,
        form: Form,
        *,
        headers: Mapping[str, str],
        first: bytes = b"",
        decision: Decision | None = None,
    ) -> None:
        super().__init__(turn, after)
        self._form = form
        self._first = first
        self._decision = decision
        self._extra_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Decide, then stream until the turn has ended."""
        if self._decision is not None:
            other = self._decision.other(self.turn, await first_word(follower, self._decision.within_s))
            if other is not None:
                await other(scope, nothing_more, send)
                return
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self._extra_headers]})
        if self._first:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
        log, form = self.turn.log, self._form
        lane = live_lane(scope, form)
        while True:
            a, b = follower.take()
            if a < b:
                body = log.render(form, a, b)
            elif follower.done:
                break
            else:
                if await follower.wait(lane=lane):
                    continue
                body = KEEP_ALIVE
            if body:
                follower.spoke()
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def live_lane(scope: Scope, form: Form) -> Lane | None:
    """Return how to write to this connection without a task's turn; None where the server has no such way."""
    write = scope.get("extensions", {}).get(LIVE_EXTENSION)
    return None if write is None else Lane(form, write)


async def first_word(follower: Follower, timeout_s: float) -> Ended | None:
    """Wait for a turn's first text; return its end where it ended without any, None where text came or time is over.

    A Notice is no text: a turn that is tried again, or elsewhere, may still fail with a status of its own.
    """
    log, seen = follower.turn, 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                since, seen = seen, log.visible
                if any(isinstance(entry.event, Delta | ToolCall) for entry in log.entries[since:seen]):
                    return None
                if log.ended:
                    last = log.entries[-1].event
                    return last if isinstance(last, Ended) else None
                await follower.wait(seen)
    except TimeoutError:
        return None


async def until_ended(follower: Follower) -> None:
    """Wait until the turn has ended. Raises `ReaderGone`."""
    while not follower.done:
        a, b = follower.take()
        if a == b and not follower.done:
            await follower.wait()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def nothing_more() -> Message:
    """Receive for a response that reads nothing: its client's leaving is watched elsewhere."""
    return {"type": "http.disconnect"}
