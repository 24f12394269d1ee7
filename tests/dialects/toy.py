"""A toy platform that is nothing like OpenAI's: a WebSocket, a handshake in two steps, a call, sleep and reconnection.

It proves that the contract of a dialect carries more than one SSE answer to one request.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trunkline.core.events import Delta, Ended, Notice
from trunkline.dialects.base import Ask, Call, Close, Item, Loss, Open, Reopen, Send, WakeAt

MAX_REOPENS = 2


class Toy:
    """Call -> open -> hello/ready -> words by number -> end; one lost link is taken up where it broke."""

    def __init__(self) -> None:
        self._turn = ""
        self._ready = False
        self._next = 0
        self._reopens = 0

    def start(self, ask: Ask, now: float) -> list[Item]:
        self._turn = ask.turn_id
        return [Call("config", "PUT", "/config", {"model": ask.model})]

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        if status != 200:
            return [Ended("failed", "quota_exceeded", detail=f"{call} answered {status}")]
        return [Open("GET", "/words", {"x-turn": self._turn}), WakeAt(now + 5)]

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        self._ready = False
        return [Send(b'{"hello":%d}' % self._next)]

    def receive(self, data: bytes, now: float) -> list[Item]:
        message = msgspec.json.decode(data)
        if message.get("ready"):
            self._ready = True
            return [WakeAt(now + 60), Send(b'{"go":true}')]
        if not self._ready:
            return [Ended("failed", "handshake_rejected", detail=str(message))]
        if message.get("end"):
            return [Ended("completed", "stop", "stop")]
        if message["n"] != self._next:
            return []
        self._next += 1
        return [Delta(message["word"], 0)]

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        return [Ended("failed", "handshake_rejected", detail=f"HTTP {status}: {body.decode()}")]

    def closed(self, loss: Loss, now: float) -> list[Item]:
        if self._reopens == MAX_REOPENS:
            return [Ended("failed", "upstream_interrupted", detail=loss.detail)]
        self._reopens += 1
        return [Notice("reconnected", f"after {loss.code}"), Reopen(now + 0.01 * self._reopens)]

    def wake(self, now: float) -> list[Item]:
        if self._ready:
            return [Close(), Ended("failed", "between_tokens_timeout")]
        return [Ended("failed", "handshake_timeout")]

    def last_words(self) -> list[Notice]:
        return []
