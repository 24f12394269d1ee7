"""The three platforms that stream over a WebSocket, as cheaply: the calls beside it, and what each of them says on it.

Frames are put together here, so that a token costs no more than that. Nothing goes wrong on these wires; who does not
keep to them is dropped.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from bench.speech import PROMPT_TOKENS, Answer, Asked, Form, Speaker

# Calls, and the token that each of them and each stream must show

_BEARER: Final = b"Bearer bench-token"
_TOKEN: Final = b'{"access_token":"bench-token","token_type":"bearer","expires_in":3600}'
_CALLS: Final[Mapping[tuple[bytes, bytes], bytes]] = {
    (b"POST", b"/oauth/token"): _TOKEN,
    (b"POST", b"/api/v2/oauth/token"): _TOKEN,
    (b"GET", b"/api/v2/ai/models/bench-model/quotas"): (
        b'{"available_slots":1000,"max_concurrent":100000,"model_status":"AVAILABLE"}'
    ),
    (b"PUT", b"/api/v2/llm/gateway/config"): b"{}",
}
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
UNAUTHORIZED: Final = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"


def is_known(authorization: bytes) -> bool:
    """Whether who shows this has asked for a token."""
    return authorization == _BEARER


def answer_to(method: bytes, path: bytes, authorization: bytes) -> bytes | None:
    """Return the response to a plain call, or None where nothing is called so."""
    body = _CALLS.get((method, path))
    if body is None:
        return None
    if body is not _TOKEN and not is_known(authorization):
        return UNAUTHORIZED
    return _OK % (len(body), body)


# Frames (RFC 6455)

_ACCEPT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_LENGTH_16, _LENGTH_64 = 126, 127


def upgrade(key: bytes) -> bytes:
    """Return the response that opens a WebSocket (section 4.2.2)."""
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest())
    switching = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    return switching + b"sec-websocket-accept: %b\r\n\r\n" % accept


def _frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """Return a whole frame of less than 64 KiB."""
    size = len(payload)
    if size < _LENGTH_16:
        return b"%c%c%b" % (_FINAL | opcode, size, payload)
    return b"%c%c%b%b" % (_FINAL | opcode, _LENGTH_16, size.to_bytes(2), payload)


def _take_frame(data: bytearray) -> tuple[int, bytes] | None:
    """Take the first frame off what a client sent (section 5.2), once it is whole: its opcode and its payload.

    Raises `ValueError` where it has no mask or is a fragment, which no message to these platforms needs to be.
    """
    if len(data) < 2:  # noqa: PLR2004 - the shortest head
        return None
    if not data[0] & _FINAL or not data[1] & _MASKED:
        raise ValueError("expected a whole message with a mask")
    size = data[1] & ~_MASKED
    at = 2 + {_LENGTH_16: 2, _LENGTH_64: 8}.get(size, 0)
    if at > 2:  # noqa: PLR2004
        if len(data) < at:
            return None
        size = int.from_bytes(data[2:at])
    end = at + 4 + size
    if len(data) < end:
        return None
    mask, masked = data[at : at + 4], data[at + 4 : end]
    opcode = data[0] & 0x0F
    del data[:end]
    return opcode, bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))


# What is heard and said

_USAGE: Final = b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}'


def _usage(count: int) -> bytes:
    return _USAGE % (PROMPT_TOKENS, count, PROMPT_TOKENS + count)


class Turn(NamedTuple):
    """What a client asked for, and how it is to be said."""

    asked: Asked
    form: Form


Hear = Callable[[bytes], bytes | Turn]
"""Takes a client's message; returns what it is answered, or the turn that it begins. Raises `msgspec.MsgspecError`."""


class _Completion(msgspec.Struct):
    event_type: Literal["ai:chat:completion"]
    conversation_context: _Context
    model_id: Literal["bench-model"]
    max_tokens: int
    stream_mode: Literal["delta"]


class _Context(msgspec.Struct):
    conversation_id: str
    turn_id: str


class _Subscription(msgspec.Struct):
    subscriptions: tuple[_Completion]


class _ConversationsForm(Form):
    """Numbered events, the last of which only ends."""

    def __init__(self, conversation_id: str) -> None:
        metadata = (
            b'{"model_id":"bench-model","conversation_id":%b,"latency_ms":12,"throughput_tps":50.0,"sequence":%%d}'
        ) % msgspec.json.encode(conversation_id)
        event = b'{"event_type":"ai:chat:completion","delta":"%%b","finish_reason":"%b","metadata":%b}'
        self._event = event % (b"", metadata)
        self._last = event % (b"stop", metadata)

    def head(self) -> bytes:
        return b""

    def piece(self, index: int, word: bytes) -> bytes:
        return _frame(self._event % (word, index))

    def end(self, count: int) -> bytes:
        return _frame(self._last % (b"", count))


def _hear_conversations(message: bytes) -> Turn:
    (completion,) = msgspec.json.decode(message, type=_Subscription).subscriptions
    conversation_id = completion.conversation_context.conversation_id
    return Turn(Asked.read(conversation_id), _ConversationsForm(conversation_id))


class _Init(msgspec.Struct, tag_field="action", tag="init_stream"):
    protocol_version: Literal["v2"]


class _Message(msgspec.Struct):
    content: str


class _Prompt(msgspec.Struct):
    messages: list[_Message]


class _Parameters(msgspec.Struct):
    temperature: list[float]
    max_tokens: int
    stream: Literal[True]


class _Request(msgspec.Struct):
    model: Literal["bench-model"]
    prompt_id: str
    parameters: _Parameters
    context: _Prompt


class _GatewayForm(Form):
    """Frames that all tell of the usage so far."""

    def head(self) -> bytes:
        return b""

    def piece(self, index: int, word: bytes) -> bytes:
        return _frame(b'{"token":"%b","finish_reason":null,%b}' % (word, _usage(index + 1)))

    def end(self, count: int) -> bytes:
        return _frame(b'{"token":"","finish_reason":"stop",%b}' % _usage(count))


_READY: Final = b'{"status":"stream_ready"}'


def _hear_gateway(message: bytes) -> bytes | Turn:
    if b'"action"' in message:
        msgspec.json.decode(message, type=_Init)
        return _READY
    request = msgspec.json.decode(message, type=_Request)
    return Turn(Asked.read(request.context.messages[-1].content), _GatewayForm())


class _Opening(msgspec.Struct):
    dialog_id: str
    session_id: str
    input: str


class _CognigyForm(Form):
    """Arrays of one token; the last message has none, and the usage."""

    def head(self) -> bytes:
        return b""

    def piece(self, index: int, word: bytes) -> bytes:
        return _frame(b'{"tokens":["%b"],"done":false,"error":""}' % word)

    def end(self, count: int) -> bytes:
        return _frame(b'{"tokens":[],"done":true,%b,"error":""}' % _usage(count))


def _hear_cognigy(message: bytes) -> Turn:
    return Turn(Asked.read(msgspec.json.decode(message, type=_Opening).input), _CognigyForm())


STREAMS: Final[Mapping[bytes, Hear]] = {
    b"/api/v2/conversations/websocket": _hear_conversations,
    b"/api/v2/ai/llm/gateway/completions/stream": _hear_gateway,
    b"/api/v2/llm/stream": _hear_cognigy,
}
"""What listens at which path."""


class Socket(Speaker):
    """One WebSocket from its upgrade on: it listens until it knows what to say, says it, and waits for the good-bye."""

    def __init__(self, hear: Hear, transport: asyncio.Transport, held: set[Answer]) -> None:
        """Take over a transport."""
        super().__init__(held)
        self._hear = hear
        self._transport = transport
        self._rest = bytearray()

    def data_received(self, data: bytes) -> None:
        """Read messages; what is none of this wire closes the connection."""
        self._rest += data
        try:
            while (frame := _take_frame(self._rest)) is not None:
                self._take(*frame)
        except (msgspec.MsgspecError, ValueError):
            self._transport.close()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._transport.write(_frame(payload, _PONG))
        elif opcode == _CLOSE:
            self._transport.write(_frame(payload, _CLOSE))
            self._transport.close()
        elif opcode == _TEXT:
            heard = self._hear(payload)
            if isinstance(heard, Turn):
                self.speak(heard.asked, heard.form, self._transport)
            else:
                self._transport.write(_frame(heard))
