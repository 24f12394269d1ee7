"""How each endpoint writes a turn: bytes and messages in, events out, with nothing of the relay's own code."""

from __future__ import annotations

import json
from typing import Any, Protocol

from kills.heard import WHOLE, Event


class Block(Protocol):
    """Reads one server-sent event: its type, its data, its id. Returns None where it tells nothing of the turn."""

    def __call__(self, kind: str, data: str, event_id: str) -> Event | None:
        """Read it."""


class EventStream:
    """Cuts a body into server-sent events. One that is not whole when the connection breaks never happened."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """Take a piece of the body."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        events = []
        for block in blocks:
            fields: dict[str, list[str]] = {}
            for line in block.decode().split("\n"):
                name, colon, value = line.partition(":")
                if colon and name:  # a line without a name is a comment
                    fields.setdefault(name, []).append(value.removeprefix(" "))
            if "data" in fields:
                read = self._block(
                    fields.get("event", ["message"])[-1], "\n".join(fields["data"]), fields.get("id", [""])[-1]
                )
                events += [read] if read else []
        return events


def native(kind: str, data: str, event_id: str) -> Event:
    """Read an event of the native form."""
    return _native("events", kind, json.loads(data), int(event_id), WHOLE)


def sentence(kind: str, data: str, event_id: str) -> Event:
    """Read an event of the native form in sentences: a sentence has an id with a part."""
    offset, dot, part = event_id.partition(".")
    return _native("sentences", kind, json.loads(data), int(offset), int(part) if dot else WHOLE)


def socket_message(message: dict[str, Any]) -> Event:
    """Read a message of a turn's own WebSocket."""
    data = {name: value for name, value in message.items() if name != "id"}
    return _native("socket", message["type"], data, message["id"], WHOLE)


def _native(form: str, kind: str, data: dict[str, Any], offset: int, part: int) -> Event:
    if data.get("type") != kind:
        raise ValueError(f"an event of type {kind!r} says that it is {data.get('type')!r}")
    text = data["text"] if kind == "delta" else ""
    words = f"{data['outcome']} {data['reason']}" if kind == "ended" else ""
    return Event(form, offset, part, kind, text, words, data)


class FrontEnd:
    """Reads `/stream`; `turn` is the turn that its first event named."""

    def __init__(self) -> None:
        self.turn = ""

    def __call__(self, kind: str, data: str, event_id: str) -> Event | None:
        """Read an event."""
        turn, _, offset = event_id.partition(".")
        if kind == "turn":
            self.turn = data
        if turn != self.turn:
            raise ValueError(f"an event of {turn!r} came on the stream of {self.turn!r}")
        if kind == "turn":
            return None
        if kind == "token":
            return Event("stream", int(offset), WHOLE, "delta", data)
        # The data of `done` is the whole text once more; that of `error` is a text in place of an answer.
        whole = {"text": data} if kind == "done" else None
        return Event("stream", int(offset), WHOLE, "ended", words=kind, data=whole)


class OpenAI:
    """Reads the chunks of a streamed completion; what they say of its end is told with `[DONE]`, which has an id."""

    def __init__(self) -> None:
        self._end = "nothing"

    def __call__(self, kind: str, data: str, event_id: str) -> Event | None:
        """Read a chunk."""
        if data == "[DONE]":
            return Event("openai", int(event_id), WHOLE, "ended", words=self._end)
        chunk = json.loads(data)
        if "error" in chunk:
            self._end = f"error {chunk['error']['code']}"
            return None
        text = ""
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            if choice["finish_reason"] is not None:
                self._end = f"finish {choice['finish_reason']}"
        return Event("openai", int(event_id), WHOLE, "delta" if text else "started", text) if event_id else None


def proxy_message(message: dict[str, Any]) -> Event | None:
    """Read a frame of `/ws`; None for the acknowledgement, and for the chunks that close the choices."""
    kind = message["type"]
    if kind == "chunk":
        if "id" not in message:
            return None
        text = "".join(choice["delta"].get("content") or "" for choice in message["data"]["choices"])
        return Event("proxy", message["id"], WHOLE, "delta", text)
    if kind in {"complete", "blocked", "error"} and "auditLog" in message:
        return Event("proxy", None, WHOLE, "ended", words=f"{kind} {message['auditLog']['reason']}")
    if kind == "handshake_ack":
        return None
    raise ValueError(f"no frame that belongs here: {json.dumps(message)[:200]}")
