"""How a reader gets an answer: over server-sent events or a WebSocket, in OpenAI's form or in the relay's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
import msgspec
import picows

from bench.text import Proof, now_us


class Tally:
    """What all readers of a load have received since it was last cleared."""

    def __init__(self) -> None:
        self.latencies_us: list[int] = []
        """One for each token: from the platform's write to the reader's read."""
        self.first_us: list[int] = []
        """One for each answer: from the request to the first token. It is never cleared."""
        self.keep_alives = 0
        """Comments that said nothing but that the stream lives."""


class _Said(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Said


class _Event(msgspec.Struct, gc=False):
    """An OpenAI chunk, a native event, or a message of the WebSocket proxy protocol that has a chunk in `data`."""

    type: str = ""
    id: int | str | None = None
    text: str = ""
    outcome: str = ""
    choices: list[_Choice] = []
    data: _Event | None = None
    error: Any = None

    def says(self) -> str:
        """Return the text it adds to the answer."""
        if self.type == "delta":
            return self.text
        chunk = self.data or self
        return (chunk.choices[0].delta.content or "") if chunk.choices else ""


_decode: Final = msgspec.json.Decoder(_Event).decode


class Answer:
    """One answer at one reader. It is exact when all text came in its place, then the wire's own end, then nothing."""

    def __init__(self, tokens: int, tally: Tally, asked_us: int) -> None:
        loop = asyncio.get_running_loop()
        self._proof = Proof(tokens)
        self._tally = tally
        self.asked_us = asked_us
        self._last_id = -1
        self._ended = False
        self._fault = ""
        self.hang_up: Callable[[], None] = lambda: None
        """Leaves, once there is a connection to leave."""
        self.spoke: asyncio.Future[None] = loop.create_future()
        """Done with the first token, or with the end."""
        self.closed: asyncio.Future[str] = loop.create_future()
        """What was wrong with the answer; nothing where it is exact."""

    def keep_alive(self) -> None:
        """Count a comment: the relay says that the stream lives."""
        self._tally.keep_alives += 1

    def event(self, data: bytes, number: int | None, read_us: int) -> None:
        """Take the data of one server-sent event, with its id where it has one."""
        if data == b"[DONE]":
            if self._in_place(data, number):
                self._ended = True
        else:
            self._take(_decode(data), data, number, read_us)

    def message(self, data: bytes, read_us: int) -> None:
        """Take one WebSocket message, which has its number inside."""
        event = _decode(data)
        self._take(event, data, event.id if isinstance(event.id, int) else None, read_us)

    def _in_place(self, data: bytes, number: int | None) -> bool:
        """Whether something may come now, and with this number."""
        if self._ended:
            self._blame(f"{data[:60]!r} came after the end")
        elif number is not None and number <= self._last_id:
            self._blame(f"id {number} came after id {self._last_id}")
        elif number is not None:
            self._last_id = number
        return not self._fault

    def _blame(self, fault: str) -> None:
        self._fault = self._fault or fault

    def _take(self, event: _Event, data: bytes, number: int | None, read_us: int) -> None:
        if not self._in_place(data, number):
            return
        if event.error is not None or event.type == "error":
            self._blame(f"an error came: {data[:200]!r}")
        elif event.type == "complete" or (event.type == "ended" and event.outcome == "completed"):
            self._ended = True
        elif event.type == "ended":
            self._blame(f"the turn did not complete: {data[:200]!r}")
        elif piece := event.says():
            if not self.spoke.done():
                self.spoke.set_result(None)
                self._tally.first_us.append(read_us - self.asked_us)
            self._tally.latencies_us += [read_us - sent_us for sent_us in self._proof.take(piece)]

    @property
    def ended(self) -> bool:
        """Whether the wire has said that the answer is over, or nothing more of it is worth reading."""
        return self._ended or bool(self._fault)

    def close(self, fault: str = "") -> None:
        """Nothing more will come; a second close changes nothing."""
        if not self.closed.done():
            missing_end = "" if self._ended else "it never said that it had ended"
            self.closed.set_result(fault or self._fault or self._proof.finish() or missing_end)
        if not self.spoke.done():
            self.spoke.set_result(None)


class SseReader(asyncio.Protocol):
    """Sends one HTTP request and reads an event stream."""

    def __init__(self, request: bytes, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._read_us = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)
        self._answer.hang_up = transport.close

    def data_received(self, data: bytes) -> None:
        """Read on; bytes that are no HTTP or no events end the answer."""
        self._read_us = now_us()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._close(f"unreadable: {error.__context__ or error!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Judge what came."""
        self._answer.close(f"the connection was lost: {exc}" if exc else "")

    def on_headers_complete(self) -> None:
        """Refuse what is no stream."""
        status = self._parser.get_status_code()
        if status != 200:  # noqa: PLR2004 - the only status with a stream
            self._close(f"status {status}")

    def on_body(self, body: bytes) -> None:
        """Cut the stream into events (the platform and all relays write LF)."""
        *blocks, self._rest = (self._rest + body).split(b"\n\n")
        for block in blocks:
            data, number = b"", None
            for line in block.split(b"\n"):
                if line.startswith(b"data: "):
                    data = line[6:]
                elif line.startswith(b"id: "):
                    number = int(line[4:])
            if data:
                self._answer.event(data, number, self._read_us)
            elif block.startswith(b":"):
                self._answer.keep_alive()

    def on_message_complete(self) -> None:
        """The response is whole."""
        self._close()

    def _close(self, fault: str = "") -> None:
        self._answer.close(fault)
        self._transport.close()


class SocketReader(picows.WSListener):
    """Reads the messages of a WebSocket; `first` is what the client has to say to begin with."""

    def __init__(self, answer: Answer, first: bytes | None) -> None:
        super().__init__()
        self._answer = answer
        self._first = first

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Ask, where the address alone does not."""
        self._answer.hang_up = transport.disconnect
        if self._first is not None:
            transport.send(picows.WSMsgType.TEXT, self._first)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Read a message."""
        if frame.msg_type == picows.WSMsgType.TEXT:
            try:
                self._answer.message(frame.get_payload_as_bytes(), now_us())
            except (msgspec.MsgspecError, ValueError) as error:
                self._answer.close(f"unreadable: {error}")
            if self._answer.ended:
                transport.disconnect()
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Judge what came."""
        self._answer.close()


class JsonCall(asyncio.Protocol):
    """Sends one HTTP request on a connection of its own; `answered` gets the status and the whole body."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        """Gather the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Tell."""
        if not self.answered.done():
            self.answered.set_result((self._parser.get_status_code(), self._body))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nothing came."""
        if not self.answered.done():
            self.answered.set_exception(exc or ConnectionError("closed without an answer"))
