"""The OpenAI chat-completions stream, as many servers speak it (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline.core.events import Channel, Delta, Ended, Notice, ToolCall
from trunkline.core.foreign_json import UNREADABLE, reader
from trunkline.core.request import Message
from trunkline.core.sse import SseDecoder, SseEvent
from trunkline.dialects.base import Ask, Item, Loss, Open
from trunkline.dialects.ends import BROKEN_OFF, ENDINGS, FINISH, error_words, refused
from trunkline.dialects.tally import Tally
from trunkline.dialects.usage import usage_of

MAX_CHOICES: Final = 128  # bounds what a stream of ever new choices would hold
MAX_TOOL_CALLS: Final = 128  # likewise
MAX_WHOLE_ANSWER_BYTES: Final = 4 << 20  # bounds what a server that ignores "stream" may send at once


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    detail: Any = None
    message: Any = None


_decode = reader(_Chunk)


class OpenAIChat:
    """One answer of an OpenAI-compatible server, streamed or, from a server that ignores `stream`, whole."""

    def __init__(
        self,
        *,
        path: str = "/chat/completions",
        include_usage: bool = True,
        fields: frozenset[str] | None = None,
        permission: str = "",
    ) -> None:
        """Take what a preset knows of its platform.

        `fields` are those that its body takes beside model, messages and stream (None: all), `permission` is what to
        grant when it answers 403.
        """
        self._path = path
        self._include_usage = include_usage
        self._fields = fields
        self._permission = permission
        self._sse = SseDecoder()
        self._whole: bytearray | None = None
        self._finish: dict[int, str | None] = {}
        self._dropped = Tally("dropped", "characters")
        self._n = 1
        self._bytes = 0

    def start(self, ask: Ask, now: float) -> list[Item]:
        """Ask for a stream, with usage where the preset says that the server knows `stream_options`."""
        request = ask.request
        asked = {**request.options}
        for name in ("temperature", "max_tokens", "stop"):
            value = getattr(request, name)
            if value is not None:
                asked[name] = value
        left_out = [] if self._fields is None else sorted(asked.keys() - self._fields)
        body: dict[str, Any] = {name: value for name, value in asked.items() if name not in left_out}
        body["model"] = ask.model
        body["messages"] = [self._message(message) for message in request.prompt()]
        body["stream"] = True
        if self._include_usage:
            body["stream_options"] = {"include_usage": True}
        n = body.get("n")
        self._n = n if isinstance(n, int) else 1
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        opening = Open("POST", self._path, headers, msgspec.json.encode(body))
        return [Notice("not_sent", ", ".join(left_out)), opening] if left_out else [opening]

    def _message(self, message: Message) -> dict[str, Any]:
        if self._fields is None:
            return message.model_dump(exclude_unset=True)
        return {"role": message.role, "content": message.text()}

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        """Decide by the content type: an event stream, one whole JSON object, or nothing that can be read."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            self._whole = bytearray()
        elif kind not in ("text/event-stream", "text/plain", "application/octet-stream", ""):
            return [_protocol(f"expected text/event-stream, got {kind[:60]!r}")]
        return []

    def receive(self, data: bytes, now: float) -> list[Item]:
        """Turn the bytes of one read into the events that they complete."""
        if self._whole is not None:
            self._whole += data
            if len(self._whole) > MAX_WHOLE_ANSWER_BYTES:
                return [_protocol(f"expected an answer of at most {MAX_WHOLE_ANSWER_BYTES} bytes, got more")]
            return []
        self._bytes += len(data)
        items: list[Item] = []
        for event in self._sse.feed(data):
            payload = event.data
            if payload == b"[DONE]":
                items.extend(self._end())
                return items
            try:
                chunk = _decode(payload)
            except UNREADABLE:
                if event.type not in ("message", "error"):
                    continue  # an event of a kind of its own, whose data need not be JSON
                items.append(_unreadable(event))
                return items
            if self._take(chunk, items, failed=event.type == "error"):
                return items
        if self._sse.overflowed:
            items.append(_protocol("expected events of at most 1 MiB, got a longer one"))
        return items

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Map an HTTP error to its reason, with the words of the server's error object where it sent one."""
        return [refused(status, body, self._permission)]

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Never asked for: this dialect makes no calls."""
        raise AssertionError(f"openai_chat made no call {call!r}")

    def closed(self, loss: Loss, now: float) -> list[Item]:
        """Tell a finished answer whose server leaves out `[DONE]` from one that broke off."""
        if self._whole is not None and loss.clean:
            return self._whole_answer(bytes(self._whole))
        if loss.clean and self._all_finished():
            return [Notice("no_end_mark", "the stream ended cleanly without [DONE]"), *self._end()]
        if loss.clean and self._bytes and not self._sse.recognised:
            return [_protocol(f"expected server-sent events, got {self._bytes} bytes that hold none")]
        detail = loss.detail or "the stream ended without its end mark"
        reason = "upstream_interrupted" if loss.clean else loss.reason
        return [Ended("failed", reason, detail=detail)]

    def wake(self, now: float) -> list[Item]:
        """Never asked for."""
        return []

    def last_words(self) -> list[Notice]:
        """Say how much followed a finish reason."""
        return self._dropped.notices()

    def _take(self, chunk: _Chunk, items: list[Item], *, failed: bool) -> bool:
        """Append what one chunk says; True when it ends the turn."""
        said_only = chunk.choices is None and chunk.usage is None and (chunk.message or chunk.detail)
        if chunk.error is not None or failed or said_only:
            items.append(Ended("failed", "upstream_error", detail=_error_words(chunk)))
            return True
        for choice in chunk.choices or ():
            if not 0 <= choice.index < MAX_CHOICES:
                items.append(_protocol(f"expected at most {MAX_CHOICES} choices, got the index {choice.index}"))
                return True
            message = choice.delta or choice.message
            if message is not None:
                if self._finish.get(choice.index) is not None:
                    # Nothing may follow a finish reason; what does is no part of the answer.
                    self._dropped.add("after the finish reason", _size(message))
                else:
                    self._finish.setdefault(choice.index, None)
                    _append_message(choice.index, message, items)
            if choice.finish_reason in BROKEN_OFF:
                items.append(Ended("failed", "upstream_error", detail=f"finish_reason {choice.finish_reason}"))
                return True
            if choice.finish_reason:
                self._finish.setdefault(choice.index, None)
                if self._finish[choice.index] is None:
                    self._finish[choice.index] = FINISH.get(choice.finish_reason, "stop")
        usage = usage_of(chunk.usage)
        if usage is not None:
            items.append(usage)
        return False

    def _all_finished(self) -> bool:
        return len(self._finish) >= self._n and all(self._finish.values())

    def _end(self) -> list[Item]:
        """The stream is complete: make the one `Ended` out of the choices' finish reasons."""
        finishes = tuple(self._finish[index] or "" for index in sorted(self._finish))
        several = finishes if len(finishes) > 1 else ()
        for finish, outcome, reason in ENDINGS:
            if finish in finishes:
                return [Ended(outcome, reason, finish, several)]
        return [Ended("completed", "end_without_reason", "", several)]

    def _whole_answer(self, body: bytes) -> list[Item]:
        items: list[Item] = []
        try:
            chunk = _decode(body)
        except UNREADABLE:
            return [_protocol("expected a chat.completion object, got JSON that is not one")]
        if self._take(chunk, items, failed=False):
            return items
        if not self._finish:
            return [_protocol("expected a chat.completion object with choices, got one without")]
        return [Notice("not_streamed", "the server sent its answer whole"), *items, *self._end()]


def _append_message(index: int, message: _Said, items: list[Item]) -> None:
    if message.content:
        items.append(Delta(message.content, index))
    reasoning = message.reasoning_content or message.reasoning
    texts: tuple[tuple[str | None, Channel], ...] = ((reasoning, "reasoning"), (message.refusal, "refusal"))
    items.extend(Delta(text, index, channel) for text, channel in texts if text)
    for place, call in enumerate(message.tool_calls or ()):
        function = call.function or _Function()
        # In a whole answer calls have no index: their place in the list is it.
        number = place if call.index is None else call.index
        if not 0 <= number < MAX_TOOL_CALLS:
            items.append(_protocol(f"expected at most {MAX_TOOL_CALLS} tool calls, got the index {number}"))
            return
        items.append(ToolCall(index, number, call.id or "", function.name or "", function.arguments or ""))


def _size(message: _Said) -> int:
    """How many characters a message holds, of whatever kind."""
    reasoning = message.reasoning_content or message.reasoning
    calls = (call.function.arguments for call in message.tool_calls or () if call.function is not None)
    return sum(len(text or "") for text in (message.content, reasoning, message.refusal, *calls))


def _unreadable(event: SseEvent) -> Ended:
    """An event that should be a chunk and is none: an error in plain words, or a stream that cannot be trusted."""
    if event.type == "error":
        return Ended("failed", "upstream_error", detail=event.data.decode("utf-8", "replace"))
    return _protocol("expected a chat.completion.chunk object, got data that is not one")


def _protocol(detail: str) -> Ended:
    return Ended("failed", "upstream_protocol", detail=detail)


def _error_words(chunk: _Chunk) -> str:
    return error_words((chunk.error, chunk.detail, chunk.message)) or "an error without words"
