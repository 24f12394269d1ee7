"""A very cheap platform: it streams the bench's text as OpenAI's server-sent events, or over a WebSocket.

`speech.py` says how it is asked for; answers that are held fall silent until somebody asks for `RELEASE`: then all that
are silent go on.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Final

import httptools
import msgspec
import uvloop

from bench.speech import PROMPT_TOKENS, Answer, Asked, Form, Speaker
from bench.text import TOKEN_CHARS
from bench.upstream_sockets import STREAMS, UNAUTHORIZED, Socket, answer_to, is_known, upgrade

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


def _framed(data: bytes) -> bytes:
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


def _said(content: bytes) -> bytes:
    return _framed(_CHUNK % (_CHOICE % (b'{"content":"%b"}' % content, b"null"), b""))


# A token's event is made once; only the token itself changes.
_MARK: Final = b"@" * TOKEN_CHARS
_BEFORE, _AFTER = _said(_MARK).split(_MARK)
_ROLE: Final = _framed(_CHUNK % (_CHOICE % (b'{"role":"assistant","content":""}', b"null"), b""))


class _Events(Form):
    """Server-sent events in chunks: a role, the text, why it ended, the usage, and `[DONE]`."""

    def head(self) -> bytes:
        return _HEAD + _ROLE

    def piece(self, index: int, word: bytes) -> bytes:
        return _BEFORE + word + _AFTER if len(word) == TOKEN_CHARS else _said(word)

    def end(self, count: int) -> bytes:
        usage = b',"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}'
        finish = _framed(_CHUNK % (_CHOICE % (b"{}", b'"stop"'), b""))
        counted = _framed(_CHUNK % (b"", usage % (PROMPT_TOKENS, count, PROMPT_TOKENS + count)))
        return finish + counted + _framed(b"[DONE]") + b"0\r\n\r\n"


_EVENTS: Final = _Events()


class Connection(Speaker):
    """One HTTP connection: requests one after another, each answered with a stream, a call's answer, or `RELEASE`.

    A request for a WebSocket turns it into one.
    """

    def __init__(self, held: set[Answer]) -> None:
        """Share with the other connections the answers that wait to be released."""
        super().__init__(held)
        self._path = b""
        self._headers: dict[bytes, bytes] = {}
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Read requests; what is none closes the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgraded:
            self._upgrade(data[upgraded.args[0] :])
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._path = b""
        self._headers.clear()
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        """Gather the path."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Gather the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer a request."""
        if self._parser.should_upgrade():
            return
        if self._path.decode() == RELEASE:
            self._release()
        elif (answer := answer_to(self._parser.get_method(), self._path, self._authorization)) is not None:
            self._transport.write(answer)
        else:
            prompt = msgspec.json.decode(self._body, type=_Request).messages[-1].content
            self.speak(Asked.read(prompt), _EVENTS, self._transport)

    @property
    def _authorization(self) -> bytes:
        return self._headers.get(b"authorization", b"")

    def _upgrade(self, rest: bytes) -> None:
        """Become a WebSocket, where there is one at this path for who has a token."""
        hear = STREAMS.get(self._path)
        if hear is None or not is_known(self._authorization):
            self._transport.write(UNAUTHORIZED)
            self._transport.close()
            return
        self._transport.write(upgrade(self._headers[b"sec-websocket-key"]))
        socket = Socket(hear, self._transport, self._held)
        self._transport.set_protocol(socket)
        socket.data_received(rest)

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
