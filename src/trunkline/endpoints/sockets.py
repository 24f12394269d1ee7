"""What WebSocket endpoints share: a turn's entries as messages, by the live lane where the server has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.websockets import WebSocket

from trunkline.endpoints.streams import live_lane
from trunkline.log import Follower
from trunkline.stores.base import Form, TurnLog

Messages = Callable[[TurnLog, int, int], list[bytes]]
"""How an endpoint writes the entries at positions [a, b) of a turn: UTF-8 text, one item a message."""

SERVICE_RESTART: Final = 1012
"""Close code of the IANA registry: come back, here or elsewhere."""


def framed(messages: Messages) -> Form:
    """Make a form out of messages: each a whole, unmasked text frame (RFC 6455 section 5.2)."""

    def form(turn: TurnLog, a: int, b: int) -> bytes:
        return b"".join([part for message in messages(turn, a, b) for part in (_head(len(message)), message)])

    return form


def _head(size: int) -> bytes:
    if size < 126:  # noqa: PLR2004 - the lengths at which the header grows
        return bytes((0x81, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


async def send_turn(socket: WebSocket, follower: Follower, messages: Messages, frames: Form) -> None:
    """Send a turn to its end; `frames` are the same messages, framed. Raises `ReaderGone`, `WebSocketDisconnect`."""
    log = follower.turn
    lane = live_lane(socket.scope, frames)
    while True:
        a, b = follower.take()
        if a < b:
            if lane is None or not lane.write(log.render(frames, a, b)):
                for message in messages(log, a, b):
                    await socket.send_text(message.decode())
        elif follower.done:
            return
        else:
            await follower.wait(lane=lane)
