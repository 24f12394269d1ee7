"""A very cheap OpenAI-compatible platform: it streams the bench's text as server-sent events.

What it says is asked for in the prompt, which every kind of client can send: `tokens=300 interval_us=20000` paces it,
`interval_us=0` sends as fast as the reader takes it. With `hold=1` it falls silent after the first token, until
somebody asks for `RELEASE`: then all that are silent go on.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import zlib
from typing import Final

import httptools
import msgspec
import uvloop

from bench.text import TOKEN_CHARS, closing, now_us, token

BURST_TOKENS: Final = 8  # written at once where nothing paces them
MAX_LIFE_S: Final = 900  # a bench that was killed leaves nothing running
RELEASE: Final = "/release"
_RELEASED: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_CHUNK: Final = (
    b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-model",'
    b'"system_fingerprint":"fp_bench","choices":[%b]%b}'
)
_CHOICE: Final = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}'


class _Message(msgspec.Struct):
    content: str = ""


class _Request(msgspec.Struct):
    messages: list[_Message]


class Asked(msgspec.Struct):
    """What a prompt asks for."""

    tokens: int
    interval_us: int = 0
    hold: bool = False

    def prompt(self) -> str:
        """Return the prompt that asks for it."""
        return f"tokens={self.tokens} interval_us={self.interval_us} hold={int(self.hold)}"

    @classmethod
    def read(cls, body: bytes) -> Asked:
        """Read it from the last message of a chat completion request."""
        prompt = msgspec.json.decode(body, type=_Request).messages[-1].content
        return msgspec.convert(dict(re.findall(r"(\w+)=(\d+)", prompt)), cls, strict=False)


def _framed(data: bytes) -> bytes:
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


def _said(content: bytes) -> bytes:
    return _framed(_CHUNK % (_CHOICE % (b'{"content":"%b"}' % content, b"null"), b""))


# A token's event is made once; only the token itself changes.
_MARK: Final = b"@" * TOKEN_CHARS
_BEFORE, _AFTER = _said(_MARK).split(_MARK)
_ROLE: Final = _framed(_CHUNK % (_CHOICE % (b'{"role":"assistant","content":""}', b"null"), b""))


def _end(checksum: int, tokens: int) -> bytes:
    usage = b',"usage":{"prompt_tokens":7,"completion_tokens":%d,"total_tokens":%d}' % (tokens, tokens + 7)
    finish = _framed(_CHUNK % (_CHOICE % (b"{}", b'"stop"'), b""))
    return _said(closing(checksum)) + finish + _framed(_CHUNK % (b"", usage)) + _framed(b"[DONE]") + b"0\r\n\r\n"


class Answer:
    """One answer on its way into a transport."""

    def __init__(self, asked: Asked, transport: asyncio.Transport) -> None:
        self._asked = asked
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._index = 0
        self._checksum = 0
        self._timer: asyncio.Handle | None = None
        self._paused = False
        self._released = False
        transport.write(_HEAD + _ROLE)
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
        return _BEFORE + word + _AFTER

    def _tick(self) -> None:
        if self._index == self._asked.tokens:
            self._transport.write(_end(self._checksum, self._index))
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
            self._transport.write(_end(self._checksum, self._index))
        else:
            self._timer = self._loop.call_soon(self._burst)


class Connection(asyncio.Protocol):
    """One HTTP connection: requests one after another, each answered with a stream, or `RELEASE`."""

    def __init__(self, held: set[Answer]) -> None:
        """Share with the other connections the answers that wait to be released."""
        self._held = held
        self._path = b""
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._answer: Answer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

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

    def data_received(self, data: bytes) -> None:
        """Read requests; what is none closes the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._path = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        """Gather the path."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Gather the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer a request."""
        if self._path.decode() == RELEASE:
            self._release()
            return
        asked = Asked.read(bytes(self._body))
        self._answer = Answer(asked, self._transport)
        if asked.hold:
            self._held.add(self._answer)

    def _release(self) -> None:
        released = [*self._held]
        self._held.clear()
        for answer in released:
            answer.release()
        self._transport.write(_RELEASED)


async def main(port: int) -> None:
    """Serve on a loopback port until stopped."""
    held: set[Answer] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(held), "127.0.0.1", port, backlog=4_096)
    gc.freeze()
    async with server:
        await asyncio.sleep(MAX_LIFE_S)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
