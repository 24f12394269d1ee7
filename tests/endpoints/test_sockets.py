"""Messages as frames: what goes out on the live lane is what a WebSocket client reads."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from trunkline.endpoints.sockets import framed
from trunkline.stores.base import TurnLog


@pytest.mark.parametrize("sizes", [[0], [1, 125], [126, 127], [65_535, 65_536], [3, 70_000, 5]])
def test_frames_are_read_as_the_messages_they_were(sizes):
    messages = [b"x" * size for size in sizes]
    data = framed(lambda turn, a, b: messages[a:b])(TurnLog("t"), 0, len(messages))
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN)
    client.receive_data(data)
    frames = client.events_received()
    assert [(frame.opcode, frame.fin, bytes(frame.data)) for frame in frames] == [
        (Opcode.TEXT, True, message) for message in messages
    ]
