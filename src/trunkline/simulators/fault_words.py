"""The fault words: one closed table of everything that can be made to go wrong, by what it strikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_MAX_COUNT = 1_000_000
_MAX_MS = 600_000
_MAX_MB = 1024  # bounds one line, which is generated, never held
_MAX_TEXT = 2048  # bounds one header value


@dataclass(frozen=True, slots=True)
class Value:
    """What follows a word and its `=`: `sign` stands for it where people read, `read` raises `ValueError`."""

    sign: str
    read: Callable[[str], int | str]


def _whole(value: str, low: int, high: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(high)) and low <= int(value) <= high):
        raise ValueError(f"a whole number from {low} to {high}")
    return int(value)


def _number(sign: str, low: int, high: int) -> Value:
    return Value(sign, lambda value: _whole(value, low, high))


_count = _number("N", 0, _MAX_COUNT)
_size = _number("N", 1, _MAX_COUNT)
_seconds = _number("S", 0, _MAX_COUNT)
_milliseconds = _number("MS", 0, _MAX_MS)
_megabytes = _number("MB", 1, _MAX_MB)
_status = _number("CODE", 400, 599)


def _read_lifetime(value: str) -> str:
    if not (value.isascii() and value.replace(".", "", 1).isdigit() and 0 <= float(value) <= _MAX_COUNT):
        raise ValueError(f"a number from 0 to {_MAX_COUNT}")
    return value


def _read_budget(value: str) -> str:
    remaining, slash, reset = value.partition("/")
    if not slash:
        raise ValueError("REMAINING/RESET, two whole numbers")
    return f"{_count.read(remaining)}/{_count.read(reset)}"


def _read_close_frame(value: str) -> str:
    code, slash, after = value.partition("/")
    if not slash:
        raise ValueError("CODE/N, two whole numbers")
    number = _whole(code, 1000, 4999)
    # Some codes stand for what happened without a frame, and some belong to nobody (RFC 6455 section 7.4).
    if number in {1004, 1005, 1006} or 1014 < number < 3000:  # noqa: PLR2004 - the ranges of the RFC
        raise ValueError("a CODE that a close frame may carry")
    return f"{number}/{_count.read(after)}"


def _read_cut(value: str) -> str:
    return value if value in {"whole", "bytes", "random"} else str(_whole(value, 1, _MAX_COUNT))


def _read_text(value: str) -> str:
    # A control character in a header value would be another fault than the one that was asked for.
    if not value or len(value) > _MAX_TEXT or not (value.isascii() and value.isprintable()):
        raise ValueError(f"1 to {_MAX_TEXT} printable ASCII characters")
    return value


def _one_of(sign: str, *words: str) -> Value:
    def read(value: str) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return value

    return Value(sign, read)


def _text(sign: str) -> Value:
    return Value(sign, _read_text)


_lifetime = Value("S", _read_lifetime)
_budget = Value("REMAINING/RESET", _read_budget)
_close_frame = Value("CODE/N", _read_close_frame)
_cut = Value("HOW", _read_cut)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what it does, and its value (`None`: the word stands alone)."""

    doc: str
    value: Value | None = None

    def written(self, word: str) -> str:
        """Return how it is asked for: `reset`, or `reset-after=N`."""
        return word if self.value is None else f"{word}={self.value.sign}"


FAULTS: dict[str, Fault] = {
    # the connection
    "refuse": Fault("the connection is closed without any byte"),
    "stall": Fault("the request is accepted and never answered"),
    "reset-after": Fault("after N pieces the connection is reset (RST)", _count),
    "close-after": Fault("after N pieces the connection is closed (FIN) without the final chunk", _count),
    "stall-after": Fault("after N pieces nothing more is sent; the connection stays until the client leaves", _count),
    "close-idle": Fault("the keep-alive connection is closed right after the answer ended"),
    "stale": Fault("the connection stays open and is reset at the next request on it, before any byte of an answer"),
    # time
    "slow-headers": Fault("the headers come MS milliseconds late", _milliseconds),
    "slow-first": Fault("the headers come at once, the first byte of the body MS milliseconds later", _milliseconds),
    "drip": Fault("MS milliseconds pass between two writes of the body", _milliseconds),
    "flood": Fault("the text comes as fast as the socket takes it, whatever the interval"),
    # another answer than the one asked for
    "unauthorized-once": Fault(
        "a 401 although the token is good, which is revoked from then on; where a message asks for it, only the first"
        " request with that body gets it"
    ),
    "status": Fault("an error with status CODE, 400 to 599", _status),
    "retry-after": Fault(
        "a Retry-After header, V seconds or a date as it stands; alone it means status=429", _text("V")
    ),
    "retry-after-date": Fault("a Retry-After header, the date S seconds ahead; alone it means status=429", _seconds),
    "redirect": Fault("a 307 to URL", _text("URL")),
    "html": Fault("a 200 with an HTML page"),
    "garbage": Fault("a 200 event stream of binary bytes that are no events"),
    "json": Fault("a whole JSON completion although a stream was asked for"),
    "limit-headers": Fault("a good answer has rate limit headers that say REMAINING/RESET, in seconds", _budget),
    # events that should not be there, or not like this
    "bad-json-after": Fault("after N pieces an event whose data is no JSON; the stream goes on", _count),
    "not-an-object-after": Fault("after N pieces an event whose data is [1,2]; the stream goes on", _count),
    "half-event-after": Fault("after N pieces half an event, then a clean end of the body", _count),
    "error-after": Fault("after N pieces an error object (with an e-mail address in its words), then [DONE]", _count),
    "error-event-after": Fault("after N pieces an error object in an `event: error`, then a clean end", _count),
    "huge-line": Fault("ahead of the text one data line of MB megabytes, in bounded writes", _megabytes),
    "comments": Fault("comments between the events and inside them"),
    "metadata": Fault("events of other types, id and retry fields, chunks without choices"),
    "empty-deltas": Fault("deltas without text in between"),
    "null-deltas": Fault("deltas that are null, or whose content is null, in between"),
    "no-role": Fault("no first chunk with the role"),
    # the end
    "no-done": Fault("a finish_reason but no [DONE], then a clean end"),
    "no-finish": Fault("[DONE] without any finish_reason"),
    "no-end": Fault("neither finish_reason nor [DONE], then a clean end"),
    "double-done": Fault("[DONE] twice"),
    "after-finish": Fault("content after the finish_reason; the ledger does not count it as text"),
    "finish": Fault("the finish_reason is REASON", _text("REASON")),
    "no-usage": Fault("no usage although it was asked for"),
    "usage-each": Fault("usage in every chunk"),
    # how the events are written
    "bom": Fault("a byte order mark ahead of the first event"),
    "cr": Fault("lines end with CR"),
    "crlf": Fault("lines end with CRLF"),
    "no-space": Fault("no space after `data:`"),
    "multi-line": Fault("the data of a chunk on several `data:` lines"),
    "ascii": Fault("characters outside ASCII as \\u escapes, pairs of surrogates where it takes two"),
    # how the body is carried
    "gzip": Fault("a gzip body although identity was asked for"),
    "content-length": Fault("neither chunked nor a length: the body ends where the connection is closed"),
    "cut": Fault("the body in writes of `whole`, `bytes` (one each), `random` or N bytes, wherever they fall", _cut),
    # what is said
    "reasoning": Fault("reasoning_content deltas ahead of the text"),
    "refusal": Fault("a refusal instead of content"),
    "tool-calls": Fault("two tool calls with their arguments in pieces, instead of content"),
}

SOCKET_FAULTS: dict[str, Fault] = {
    # the connection
    "close-frame": Fault(
        "after N pieces a close frame with CODE; codes without a frame are reset-after's", _close_frame
    ),
    "late-101": Fault("the 101 that opens the WebSocket comes MS milliseconds late; a refusal does not", _milliseconds),
    "no-pong": Fault("pings are not answered"),
    "pings": Fault("the platform pings with every message, between its fragments where it has some"),
    "fragments": Fault("every message in frames of N bytes", _size),
    "revoked": Fault(
        "the token is revoked as soon as the WebSocket is open, so that the next connection needs another"
    ),
    "closes": Fault("right after the end mark the platform closes with 1000; else it leaves that to the client"),
    # the order, on a wire with sequence numbers
    "duplicates": Fault("some pieces come twice"),
    "reorder": Fault("pieces and end mark come in another order, each within a window of N", _size),
    "early-end": Fault("the end mark overtakes the last N pieces", _size),
    "gap": Fault("the piece with the sequence number N is never sent", _count),
    "no-sequence": Fault(
        "a turn without sequence numbers, on later connections too; nothing is doubled, reordered or left out then"
    ),
    "unnumbered": Fault("the event that would have the sequence number N has none", _count),
    "unnumbered-end": Fault("the end mark has no sequence number"),
    "replay": Fault(
        "how later connections of a turn go on, from this one on: from_start, continues, none (nothing is said) or"
        " other (from the start, but another text)",
        _one_of("HOW", "from_start", "continues", "none", "other"),
    ),
    # messages
    "missing-key": Fault(
        "messages lack a key, always or by lot: token (where it is empty), finish_reason, usage, any",
        _one_of("KEY", "token", "finish_reason", "usage", "any"),
    ),
    "keyless-after": Fault("after N pieces a message without any key of the wire; the stream goes on", _count),
    "handshake": Fault(
        "the first message is met with words (rejected), no JSON (garbage), another status (other) or nothing (silent)",
        _one_of("HOW", "rejected", "garbage", "other", "silent"),
    ),
    "speaks-first": Fault("the platform begins at once and takes no opening message"),
    "finish-with-text": Fault("the end mark carries the last piece"),
    "usage-before": Fault("usage comes with the last piece and not with the end mark"),
    # characters
    "lone-surrogates": Fault("a character outside the basic plane is cut between its two surrogates"),
    "dangling-surrogate": Fault("ahead of the end mark the first half of a character, which the ledger does not count"),
    "byte-tokens": Fault("tokens as a model has them, each byte as the character of its number"),
}

QUOTA_FAULTS: dict[str, Fault] = {
    "quota-slots": Fault("the answer about a quota says N available slots", _count),
    "quota-model-status": Fault("the answer about a quota says that the model is TEXT", _text("TEXT")),
}

TOKEN_FAULTS: dict[str, Fault] = {
    "token-expires": Fault("the token expires after S seconds, which may be a fraction", _lifetime),
    "token-missing-scope": Fault("the token lacks SCOPE although it was asked for", _text("SCOPE")),
    "token-status": Fault("an error with status CODE, 400 to 599, instead of a token", _status),
    "token-retry-after": Fault(
        "a Retry-After header, V seconds or a date; alone it means token-status=429", _text("V")
    ),
    "token-garbage": Fault("a 200 with an HTML page instead of a token"),
    "token-slow": Fault("the answer to a token request comes MS milliseconds late", _milliseconds),
    "token-drop": Fault("the connection of a token request is closed without any byte"),
}

MESSAGE_FAULTS = FAULTS | SOCKET_FAULTS
TABLES: dict[str, dict[str, Fault]] = {
    "An answer by HTTP, and as far as they apply one over a WebSocket": FAULTS,
    "An answer over a WebSocket": SOCKET_FAULTS,
    "A request about a quota": QUOTA_FAULTS,
    "A token request": TOKEN_FAULTS,
}
