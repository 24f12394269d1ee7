"""What the platform says, whatever its wire: a text as it is asked for, paced or as fast as the reader takes it.

It is asked for in one word, which may be a prompt or an id, since not every wire carries a prompt:
`tokens:300.interval_us:20000` paces it, `interval_us:0` sends as fast as the reader takes it. With `hold:1` the
platform falls silent after the first token, until the answer is released.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Final, Protocol

import msgspec

from bench.text import closing, now_us, token

BURST_TOKENS: Final = 8  # written at once where nothing paces them
PROMPT_TOKENS: Final = 7  # what every platform says that a prompt has


class Asked(msgspec.Struct):
    """What a word asks for."""

    tokens: int
    interval_us: int = 0
    hold: bool = False

    def word(self) -> str:
        """Return the word that asks for it."""
        return f"tokens:{self.tokens}.interval_us:{self.interval_us}.hold:{int(self.hold)}"

    @classmethod
    def read(cls, word: str) -> Asked:
        """Read it from a word that may go on after it. Raises `msgspec.ValidationError` where none asks for tokens."""
        return msgspec.convert(dict(re.findall(r"(\w+):(\d+)", word)), cls, strict=False)


class Form(Protocol):
    """How one answer looks on a wire: bytes that are written as they are."""

    def head(self) -> bytes:
        """Return what comes before the first token."""

    def piece(self, index: int, word: bytes) -> bytes:
        """Return the piece at this place, which adds a word to the text."""

    def end(self, count: int) -> bytes:
        """Return what says, after so many pieces, that the text is whole."""


class Answer:
    """One answer on its way into a transport."""

    def __init__(self, asked: Asked, form: Form, transport: asyncio.Transport) -> None:
        self._asked = asked
        self._form = form
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._index = 0
        self._checksum = 0
        self._timer: asyncio.Handle | None = None
        self._paused = False
        self._released = False
        transport.write(form.head())
        self._begun = self._loop.time()
        self._go_on()

    def _go_on(self) -> None:
        self._timer = self._loop.call_soon(self._tick if self._asked.interval_us or self._is_held else self._burst)

    @property
    def _is_held(self) -> bool:
        return self._asked.hold and not self._released

    def release(self) -> None:
        """Fall silent no more: the next token comes now, the others after it as they are paced."""
        self._released = True
        self._begun = self._loop.time() - self._index * self._asked.interval_us / 1e6
        self._go_on()

    def stop(self) -> None:
        """Say no more."""
        if self._timer is not None:
            self._timer.cancel()

    def pause(self) -> None:
        """Wait: the reader is slow. A paced answer goes on, as a platform's would."""
        self._paused = True

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused = False
        if not self._asked.interval_us and not self._is_held:
            self._timer = self._loop.call_soon(self._burst)

    def _next(self, sent_us: int) -> bytes:
        word = token(self._index, sent_us)
        self._checksum = zlib.crc32(word, self._checksum)
        self._index += 1
        return self._form.piece(self._index - 1, word)

    def _end(self) -> bytes:
        return self._form.piece(self._index, closing(self._checksum)) + self._form.end(self._index + 1)

    def _tick(self) -> None:
        if self._index == self._asked.tokens:
            self._transport.write(self._end())
            return
        self._transport.write(self._next(now_us()))
        if not self._is_held:
            self._timer = self._loop.call_at(self._begun + self._index * self._asked.interval_us / 1e6, self._tick)

    def _burst(self) -> None:
        if self._paused or self._index == self._asked.tokens:
            return
        sent_us = now_us()
        count = min(BURST_TOKENS, self._asked.tokens - self._index)
        self._transport.write(b"".join([self._next(sent_us) for _ in range(count)]))
        if self._index == self._asked.tokens:
            self._transport.write(self._end())
        else:
            self._timer = self._loop.call_soon(self._burst)


class Speaker(asyncio.Protocol):
    """A connection on which the platform gives answers, one after another."""

    def __init__(self, held: set[Answer]) -> None:
        """Share with the other connections the answers that wait to be released."""
        self._held = held
        self._answer: Answer | None = None

    def speak(self, asked: Asked, form: Form, transport: asyncio.Transport) -> None:
        """Begin an answer."""
        self._answer = Answer(asked, form, transport)
        if asked.hold:
            self._held.add(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody listens any more."""
        if self._answer is not None:
            self._answer.stop()
            self._held.discard(self._answer)

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._answer is not None:
            self._answer.pause()

    def resume_writing(self) -> None:
        """The socket takes more."""
        if self._answer is not None:
            self._answer.resume()
