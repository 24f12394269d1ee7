"""Cognigy.AI's LLM stream: a dialog is configured, then arrays of tokens come over a WebSocket."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline.core.events import Delta, Notice
from trunkline.core.foreign_json import UNREADABLE, reader
from trunkline.dialects.asked import last_input, unsent
from trunkline.dialects.base import Ask, Call, Item, Loss, Open, Send, Setup
from trunkline.dialects.ends import error_words, failed, finished, lost, refused
from trunkline.dialects.tally import Tally
from trunkline.dialects.usage import usage_of

MAX_TOKENS: Final = 1_024
TEMPERATURE: Final = 0.7
CONFIGURED_FOR_S: Final = 3_600.0  # a tenant that was set up anew meanwhile is configured again at last
SCOPES: Final = "the scopes llm:stream bot:dialog:write api:access"
_OK: Final = range(200, 300)
_BYTE: Final = 256


class _Message(msgspec.Struct):
    tokens: Any = None
    done: Any = None
    usage: Any = None
    error: Any = None


_read = reader(_Message)


class Cognigy:
    """One answer: the dialog's configuration where it is not known yet, an opening message, and arrays of tokens."""

    def __init__(self, setup: Setup) -> None:
        """Take what the settings say."""
        self._settings = setup.settings
        self._paths: Mapping[str, str] = setup.paths
        self._opening: list[Item] = []
        self._bytes = _Bytes() if setup.settings.byte_tokens == "latin1" else None
        self._skipped = Tally("skipped", "messages")

    def start(self, ask: Ask, now: float) -> list[Item]:
        """Configure the dialog, or open the stream at once where that is switched off."""
        request, settings = ask.request, self._settings
        dialog = request.dialog_id or settings.dialog_id
        if not dialog:
            return [failed("upstream_error", "the platform needs a dialog_id, and the request has none")]
        sent = set()
        if settings.opening:
            sent.add("input")
            opening = {
                "dialog_id": dialog,
                "session_id": request.session_id or ask.turn_id,
                "input": last_input(request) or "",
            }
            self._opening = [Send(msgspec.json.encode(opening), asks=True)]
        if not settings.configure:
            return [*unsent(request, sent), self._open()]
        preset = (settings.temperature or (TEMPERATURE,))[0]
        config = {
            "streaming": True,
            "model": ask.model,
            "temperature": preset if request.temperature is None else request.temperature,
            "max_tokens": request.max_tokens or settings.max_tokens or MAX_TOKENS,
            "dialog_id": dialog,
        }
        call = Call("config", "PUT", self._paths["config"], config, fresh_s=CONFIGURED_FOR_S, topic=dialog)
        return [*unsent(request, sent | {"temperature", "max_tokens"}), call]

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Go on where the dialog is configured."""
        return [self._open()] if status in _OK else [refused(status, body, SCOPES, "config: ")]

    def _open(self) -> Item:
        return Open("GET", self._paths["stream"])

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        """Say what the customer said, where the platform waits for it."""
        return self._opening

    def receive(self, data: bytes, now: float) -> list[Item]:
        """Take one array of tokens."""
        try:
            message = _read(data)
        except UNREADABLE:
            return [failed("upstream_protocol", "expected a message with tokens, got none")]
        items: list[Item] = []
        usage = usage_of(message.usage)
        if usage is not None:
            items.append(usage)
        if message.error:
            return [*items, failed("upstream_error", error_words((message.error,)) or "an error without words")]
        if message.tokens is None and message.done is None:
            self._skipped.add("without tokens and done")
        tokens = message.tokens if isinstance(message.tokens, list) else []
        text = "".join(token for token in tokens if isinstance(token, str))
        if self._bytes is not None:
            text = self._bytes.feed(text, final=message.done is True)
        if text:
            items.append(Delta(text, 0))
        if message.done is True:
            # The platform says no more than that the answer is whole.
            items.append(finished("stop"))
        return items

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Map an HTTP error to its reason."""
        return [refused(status, body, SCOPES)]

    def closed(self, loss: Loss, now: float) -> list[Item]:
        """A link that is gone before `done` is an interruption: the wire has no way to take it up."""
        return [lost(loss)]

    def wake(self, now: float) -> list[Item]:
        """Never asked for."""
        return []

    def last_words(self) -> list[Notice]:
        """Say how many messages were skipped."""
        return self._skipped.notices()


class _Bytes:
    """Puts characters together whose bytes came as Latin-1; what cannot be bytes is text as it stands."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, text: str, *, final: bool) -> str:
        """Take the next piece; return the characters that are whole, and at the end what is left of others."""
        if all(ord(character) < _BYTE for character in text):
            return self._decoder.decode(text.encode("latin-1"), final)
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest + text
