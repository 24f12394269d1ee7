"""Server-sent events by the WHATWG rules (HTML standard, section 9.2): bytes to events, and back."""

from __future__ import annotations

from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_FIELDS: Final = frozenset({b"data", b"event", b"id", b"retry"})
MAX_RETRY_DIGITS: Final = 12  # some thirty years; a longer number is no wish but an attack


class SseEvent(msgspec.Struct, gc=False):
    """One dispatched event. `data` is UTF-8 as it came; a reader that wants text replaces what is invalid in it."""

    data: bytes
    type: str = "message"
    last_id: str = ""


class SseDecoder:
    """Events out of any cut of a stream's bytes, also inside a character or between CR and LF.

    An event longer than `max_event_bytes` (a security limit, counted without its blank line) ends the stream:
    `overflowed` turns true, the events before it are returned, and nothing after it is.
    """

    __slots__ = (
        "_begun", "_last_id", "_max_event_bytes", "_recognised", "_skip_lf", "_tail", "overflowed", "retry_ms",
    )  # fmt: skip

    def __init__(self, max_event_bytes: int = 1 << 20) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail = bytearray()
        self._begun = False
        self._skip_lf = False
        self._last_id = ""
        self._recognised = False
        self.retry_ms: int | None = None
        self.overflowed = False

    @property
    def recognised(self) -> bool:
        """Whether anything so far looked like an event stream: a comment, or a field that the standard knows."""
        return self._recognised or _is_known(bytes(self._tail[:100]))

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes; return the events that they complete. An unfinished event at the end is never one."""
        if self.overflowed:
            return []
        if not self._begun:
            data = self._without_bom(data)
        if self._skip_lf or b"\r" in data:
            data = self._with_lf_only(data)
        tail = self._tail
        if not tail:
            blocks = data.split(b"\n\n")
            tail += blocks.pop()
        else:
            # Only the new bytes, and one before them, can hold the blank line: a long event costs no second search.
            since = len(tail) - 1
            tail += data
            if tail.find(b"\n\n", since) < 0:
                blocks = []
            else:
                blocks = bytes(tail).split(b"\n\n")
                self._tail = tail = bytearray(blocks.pop())
        events: list[SseEvent] = []
        for block in blocks:
            if len(block) > self._max_event_bytes:
                self.overflowed = True
                break
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(SseEvent(block[6:], last_id=self._last_id))
                self._recognised = True
            else:
                self._interpret(block, events)
        # One byte more than the limit may be the first half of the blank line.
        if len(tail) > self._max_event_bytes and (len(tail) > self._max_event_bytes + 1 or not tail.endswith(b"\n")):
            self.overflowed = True
        return events

    def _without_bom(self, data: bytes) -> bytes:
        """Strip the one byte order mark that may lead the stream; it may come in pieces."""
        data = bytes(self._tail) + data
        self._tail.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._tail += data
            return b""
        self._begun = True
        return data.removeprefix(_BOM)

    def _with_lf_only(self, data: bytes) -> bytes:
        """Turn CR and CRLF into LF. A CR at the end counts at once; an LF that follows it later belongs to it."""
        if self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            self._skip_lf = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _interpret(self, block: bytes, events: list[SseEvent]) -> None:
        """Interpret the lines of one event (section 9.2.6) and append it where it has data."""
        data: list[bytes] = []
        kind = ""
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            self._recognised = self._recognised or _is_known(line)
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"event":
                kind = value.decode("utf-8", "replace")
            elif name == b"id" and b"\0" not in value:
                self._last_id = value.decode("utf-8", "replace")
            elif name == b"retry" and value.isdigit():
                digits = value.lstrip(b"0") or b"0"
                if len(digits) <= MAX_RETRY_DIGITS:
                    self.retry_ms = int(digits)
        if data:
            events.append(SseEvent(b"\n".join(data), kind or "message", self._last_id))


def _is_known(line: bytes) -> bool:
    """Tell whether a line is one that an event stream has: a field of the standard, or a plain comment."""
    name, colon, words = line.partition(b":")
    if name:
        return name in _FIELDS
    return bool(colon) and words.isascii() and b"\0" not in words


def encode(kind: bytes, data: bytes, offset: bytes) -> bytes:
    """Write one event; `data` has no line end in it.

    The id comes last: a client that takes an id as soon as it has read the line loses nothing when the connection
    breaks between the two.
    """
    return b"event: %b\ndata: %b\nid: %b\n\n" % (kind, data, offset)


KEEP_ALIVE: Final = b": keep-alive\n\n"
