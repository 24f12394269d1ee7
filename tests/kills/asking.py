"""The ways to begin a turn: over each endpoint that makes one, and again where the relay was killed meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import httpx

from kills.heard import Event, Heard
from kills.readers import FAILED, Line, Manner, Reader, Refused, stream, talk
from kills.wires import FrontEnd, OpenAI, native

Opening = AsyncGenerator[tuple[str, list[Event]], None]
"""The id of the turn as soon as it is named, and its events as they come."""


@dataclass(frozen=True)
class Asked:
    """What is asked for, and over which endpoint; `key` is an `Idempotency-Key`."""

    way: str
    prompt: str
    upstream: str
    conversation: str
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What is said beside the body."""
        return {"idempotency-key": self.key} if self.key else {}

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation."""
        return [{"role": "user", "content": self.prompt}]

    @property
    def turn_request(self) -> dict[str, str]:
        """The body of the native routes."""
        return {"upstream": self.upstream, "input": self.prompt, "conversation_id": self.conversation}


async def create(line: Line, asked: Asked) -> Opening:
    """Ask `POST /v1/turns`, which answers 201 and has nothing to read."""
    answer = await line.http.post(f"{line.relay.url}/v1/turns", json=asked.turn_request, headers=asked.headers)
    if answer.status_code != httpx.codes.CREATED:
        raise Refused(answer.status_code, answer.text)
    yield answer.json()["id"], []


async def create_stream(line: Line, asked: Asked) -> Opening:
    """Ask `POST /v1/turns?stream=true`, which answers with the native events."""
    more: dict[str, Any] = {"json": asked.turn_request, "headers": asked.headers}
    async with aclosing(stream(line, "POST", "/v1/turns?stream=true", native, **more)) as pieces:
        async for piece in pieces:
            yield piece


async def front_end(line: Line, asked: Asked) -> Opening:
    """Ask `GET /stream`, as an EventSource does for the first time."""
    query = {
        "session_id": asked.conversation,
        "dialog_id": asked.conversation,
        "input": asked.prompt,
        "upstream": asked.upstream,
    }
    more: dict[str, Any] = {"params": query, "headers": asked.headers}
    async with aclosing(stream(line, "GET", "/stream", FrontEnd(), **more)) as pieces:
        async for piece in pieces:
            yield piece


async def proxy(line: Line, asked: Asked) -> Opening:
    """Ask `WS /ws`, by `init`."""
    payload = {"modelId": asked.upstream, "messages": asked.messages, "conversationId": asked.conversation}
    async with aclosing(talk(line, {"type": "init", "payload": payload})) as pieces:
        async for piece in pieces:
            yield piece


async def openai(line: Line, asked: Asked) -> Opening:
    """Ask `POST /v1/chat/completions` for a stream."""
    body = {"model": asked.upstream, "stream": True, "messages": asked.messages}
    headers = {**asked.headers, "x-conversation-id": asked.conversation}
    more: dict[str, Any] = {"json": body, "headers": headers}
    async with aclosing(stream(line, "POST", "/v1/chat/completions", OpenAI(), **more)) as pieces:
        async for piece in pieces:
            yield piece


WAYS: Final[dict[str, Callable[[Line, Asked], Opening]]] = {
    "create": create,
    "create-stream": create_stream,
    "front-end": front_end,
    "proxy": proxy,
    "openai": openai,
}
KEYED: Final = ("create", "create-stream", "openai", "front-end")
"""The ways that take an `Idempotency-Key`."""


async def begin(
    line: Line, asked: Asked, heard: Heard, manner: Manner, named: Callable[[str], object] = lambda _: None
) -> None:
    """Begin a turn and read it to its end; `named` hears its id as soon as the relay has told it.

    A client that heard nothing asks once more: without a key that makes another turn, which is right as well.
    """
    reader = Reader(line, heard, manner)
    while not heard.turn and not heard.fault:
        try:
            async with aclosing(WAYS[asked.way](line, asked)) as pieces:
                async for turn, events in pieces:
                    if turn and not heard.turn:
                        heard.turn = turn
                        named(turn)
                    reader.hear(events)
                    if reader.leaves:
                        break
        except FAILED as error:
            reader.failed(asked.way, error)
        if not heard.turn and not heard.fault:
            await reader.wait()
    heard.tries += 1
    if not heard.ended and not heard.fault:
        await reader.wait()
    await reader.read()
