"""Genesys Cloud's LLM gateway: a handshake in a message, one request, and frames with tokens, over a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkline.core.events import Delta, Notice
from trunkline.core.foreign_json import UNREADABLE, reader
from trunkline.dialects.asked import unsent
from trunkline.dialects.base import Ask, Item, Loss, Open, Send, Setup, WakeAt
from trunkline.dialects.ends import error_words, failed, finished, lost, refused
from trunkline.dialects.tally import Tally
from trunkline.dialects.usage import usage_of

MAX_TOKENS: Final = 1_024
TEMPERATURE: Final = (0.7,)
SCOPES: Final = "the scopes ai:llm:gateway:use ai:llm:gateway:stream ai:llm:prompt:read"
MAX_REJECTION: Final = 200
_INIT: Final = msgspec.json.encode({"action": "init_stream", "protocol_version": "v2"})
_KEYS: Final = ("token", "finish_reason", "usage")


class _Frame(msgspec.Struct):
    """A frame; a key that it lacks is UNSET."""

    token: Any = UNSET
    finish_reason: Any = UNSET
    usage: Any = UNSET
    error: Any = UNSET
    message: Any = UNSET


class _Greeting(msgspec.Struct):
    status: Any = None
    message: Any = None
    error: Any = None


_read_frame = reader(_Frame)
_read_greeting = reader(_Greeting)


class GenesysGateway:
    """One answer: `init_stream`, `stream_ready`, the request, and frames up to a finish reason."""

    def __init__(self, setup: Setup) -> None:
        """Take what the settings say."""
        self._settings = setup.settings
        self._path = setup.paths["stream"]
        self._request = b""
        self._ready = False
        self._handshake_by: float | None = None
        self._lacking = Tally("incomplete_frames", "frames")

    def start(self, ask: Ask, now: float) -> list[Item]:
        """Ask for the WebSocket; the request goes out after the handshake."""
        prompt_id = ask.request.prompt_id or self._settings.prompt_id
        if not prompt_id:
            return [failed("upstream_error", "the platform needs a prompt_id, and the request has none")]
        self._request = msgspec.json.encode(self._completion(ask, prompt_id))
        sent = {"system", "history", "input", "temperature", "max_tokens", "stop"}
        if not self._settings.messages_field:
            sent -= {"history", "input"}
        return [*unsent(ask.request, sent), Open("GET", self._path)]

    def _completion(self, ask: Ask, prompt_id: str) -> Any:
        request, settings = ask.request, self._settings
        temperature = settings.temperature or TEMPERATURE
        parameters: dict[str, Any] = {
            "temperature": temperature if request.temperature is None else [request.temperature],
            "max_tokens": request.max_tokens or settings.max_tokens or MAX_TOKENS,
            "stream": True,
        }
        if request.stop:
            parameters["stop_sequences"] = [request.stop] if isinstance(request.stop, str) else request.stop
        prompt = request.prompt()
        system = [message.text() for message in prompt if message.is_system]
        context: dict[str, Any] = {"system": "\n".join(system), "format": settings.context_format}
        messages = [message for message in prompt if not message.is_system]
        if settings.messages_field and messages:
            context["messages"] = [{"role": message.role, "content": message.text()} for message in messages]
        return {"model": ask.model, "prompt_id": prompt_id, "parameters": parameters, "context": context}

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        """Begin the handshake."""
        self._handshake_by = now + self._settings.ready_s
        return [WakeAt(self._handshake_by), Send(_INIT)]

    def receive(self, data: bytes, now: float) -> list[Item]:
        """Take the answer to the handshake, then frames."""
        if not self._ready:
            return self._greeted(data)
        try:
            frame = _read_frame(data)
        except UNREADABLE:
            return [failed("upstream_protocol", "expected a frame with token, finish_reason and usage, got no frame")]
        lacking = [key for key in _KEYS if getattr(frame, key) is UNSET]
        if lacking:
            if len(lacking) == len(_KEYS):
                return [_keyless(frame)]
            for key in lacking:
                self._lacking.add(f"lacked {key}")
        items: list[Item] = []
        if isinstance(frame.token, str) and frame.token:
            items.append(Delta(frame.token, 0))
        usage = usage_of(frame.usage)
        if usage is not None:
            items.append(usage)
        if isinstance(frame.finish_reason, str) and frame.finish_reason:
            items.append(finished(frame.finish_reason))
        return items

    def _greeted(self, data: bytes) -> list[Item]:
        try:
            greeting = _read_greeting(data)
        except UNREADABLE:
            words = data[:MAX_REJECTION].decode("utf-8", "replace")
            return [failed("handshake_rejected", f"expected stream_ready, got {words!r}")]
        if greeting.status != "stream_ready":
            words = error_words((greeting.error, greeting.message))
            status = str(greeting.status)[:MAX_REJECTION]
            detail = f"{status}: {words}" if words else f"expected stream_ready, got {status!r}"
            return [failed("handshake_rejected", detail)]
        self._ready, self._handshake_by = True, None
        return [Send(self._request, asks=True)]

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Map an HTTP error to its reason."""
        return [refused(status, body, SCOPES)]

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Never asked for: this dialect makes no calls."""
        raise AssertionError(f"genesys_gateway made no call {call!r}")

    def closed(self, loss: Loss, now: float) -> list[Item]:
        """A link that is gone before a finish reason is an interruption, however it was closed."""
        return [lost(loss)]

    def wake(self, now: float) -> list[Item]:
        """See whether the handshake has come to its end."""
        if self._handshake_by is None or now < self._handshake_by:
            return []
        return [failed("handshake_timeout", f"no stream_ready within {self._settings.ready_s:g} s")]

    def last_words(self) -> list[Notice]:
        """Say how many frames lacked which key."""
        return self._lacking.notices()


def _keyless(frame: _Frame) -> Item:
    """Return the end that a frame without any key of the wire means: an error object, or nothing that is known."""
    words = error_words((frame.error, frame.message))
    if frame.error is not UNSET:
        return failed("upstream_error", words or "an error without words")
    return failed("upstream_protocol", "expected a frame with token, finish_reason or usage, got one with none of them")
