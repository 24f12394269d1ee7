"""The fault words: one closed table of everything that can be made to go wrong, and how a request's words are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from trunkline.simulators.base import UnknownWordError, nearest

Sort = Literal["platform", "token"]

_MAX_COUNT = 1_000_000
_MAX_MS = 600_000
_MAX_MB = 1024  # bounds one line, which is generated, never held
_MAX_TEXT = 2048  # bounds one header value


def _whole(value: str, low: int, high: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(high)) and low <= int(value) <= high):
        raise ValueError(f"a whole number from {low} to {high}")
    return int(value)


def _count(value: str) -> int:
    return _whole(value, 0, _MAX_COUNT)


def _milliseconds(value: str) -> int:
    return _whole(value, 0, _MAX_MS)


def _megabytes(value: str) -> int:
    return _whole(value, 1, _MAX_MB)


def _status(value: str) -> int:
    return _whole(value, 400, 599)


def _seconds(value: str) -> int:
    return _whole(value, 0, _MAX_COUNT)


def _lifetime(value: str) -> str:
    if not (value.isascii() and value.replace(".", "", 1).isdigit() and 0 <= float(value) <= _MAX_COUNT):
        raise ValueError(f"a number from 0 to {_MAX_COUNT}")
    return value


def _budget(value: str) -> str:
    remaining, slash, reset = value.partition("/")
    if not slash:
        raise ValueError("REMAINING/RESET, two whole numbers")
    return f"{_count(remaining)}/{_count(reset)}"


def _cut(value: str) -> str:
    return value if value in {"whole", "bytes", "random"} else str(_whole(value, 1, _MAX_COUNT))


def _text(value: str) -> str:
    # A control character in a header value would be another fault than the one that was asked for.
    if not value or len(value) > _MAX_TEXT or not (value.isascii() and value.isprintable()):
        raise ValueError(f"1 to {_MAX_TEXT} printable ASCII characters")
    return value


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what it does, and how its value is read (`None`: the word stands alone)."""

    doc: str
    value: Callable[[str], int | str] | None = None


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
    "retry-after": Fault("a Retry-After header, V seconds or a date as it stands; alone it means status=429", _text),
    "retry-after-date": Fault("a Retry-After header, the date S seconds ahead; alone it means status=429", _seconds),
    "redirect": Fault("a 307 to URL", _text),
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
    "finish": Fault("the finish_reason is REASON", _text),
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

TOKEN_FAULTS: dict[str, Fault] = {
    "token-expires": Fault("the token expires after S seconds, which may be a fraction", _lifetime),
    "token-missing-scope": Fault("the token lacks SCOPE although it was asked for", _text),
    "token-status": Fault("an error with status CODE, 400 to 599, instead of a token", _status),
    "token-retry-after": Fault("a Retry-After header, V seconds or a date; alone it means token-status=429", _text),
    "token-garbage": Fault("a 200 with an HTML page instead of a token"),
    "token-slow": Fault("the answer to a token request comes MS milliseconds late", _milliseconds),
    "token-drop": Fault("the connection of a token request is closed without any byte"),
}
_ALL = FAULTS | TOKEN_FAULTS


@dataclass(slots=True)
class Faults:
    """The faults of one request; a word given twice counts once, with its last value.

    Asking for a word that is not in the table is a mistake in the simulator and raises KeyError.
    """

    _values: dict[str, int | str | None] = field(default_factory=dict)

    def has(self, *words: str) -> bool:
        """Whether any of `words` is set."""
        return any(self._value(word) is not _ABSENT for word in words)

    def number(self, word: str) -> int | None:
        """Give the number that came with `word`; None where the word is not set."""
        value = self._value(word)
        return value if isinstance(value, int) else None

    def text(self, word: str) -> str | None:
        """Give the text that came with `word`; None where the word is not set."""
        value = self._value(word)
        return value if isinstance(value, str) else None

    @property
    def words(self) -> list[str]:
        """The faults as they are written in a request."""
        return [word if value is None else f"{word}={value}" for word, value in self._values.items()]

    def of(self, sort: Sort) -> Faults:
        """Give those that are for token requests, or those that are for all others."""
        table = TOKEN_FAULTS if sort == "token" else FAULTS
        return Faults({word: value for word, value in self._values.items() if word in table})

    def without(self, word: str) -> Faults:
        """Give all but `word`."""
        return Faults({other: value for other, value in self._values.items() if other != word})

    def __or__(self, other: Faults) -> Faults:
        """Give the faults of both; where both have a word, the value of `other`."""
        return Faults(self._values | other._values)

    def _value(self, word: str) -> object:
        if word not in _ALL:
            raise KeyError(word)
        return self._values.get(word, _ABSENT)


_ABSENT = object()


def parse(words: Iterable[str], known: Mapping[str, Fault] = _ALL) -> Faults:
    """Read fault words such as `reset-after=20`; raises `UnknownWordError` that names the nearest known word."""
    values: dict[str, int | str | None] = {}
    for written in words:
        word, given, value = written.strip().partition("=")
        fault = known.get(word)
        if fault is None and word in TOKEN_FAULTS:
            raise UnknownWordError(
                f'fault "{word}" is for token requests, which have no message: POST it to /_sim/faults'
            )
        if fault is None:
            raise UnknownWordError(f'unknown fault "{word}"; the nearest is "{nearest(word, known)}"')
        if fault.value is None:
            if given:
                raise UnknownWordError(f'fault "{word}" takes no value, received "{value}"')
            values[word] = None
            continue
        try:
            values[word] = fault.value(value)
        except ValueError as problem:
            raise UnknownWordError(f'fault "{word}" takes {problem}, received "{value}"') from None
    return Faults(values)


class FaultQueue:
    """The faults that wait for the next requests, each sort for itself."""

    def __init__(self) -> None:
        self._waiting: dict[Sort, tuple[Faults, int]] = {}

    def set(self, faults: Faults, requests: int = 1) -> None:
        """Let the next `requests` requests have `faults`, in place of what waited before.

        Where all of them are of one sort, what waits of the other sort stays; no faults at all clear both.
        """
        for sort in get_args(Sort):
            mine = faults.of(sort)
            if mine.words or not faults.words:
                self._waiting[sort] = (mine, requests if mine.words else 0)

    def take(self, sort: Sort = "platform") -> Faults:
        """Give the faults for one request."""
        faults, left = self._waiting.get(sort, (Faults(), 0))
        if not left:
            return Faults()
        self._waiting[sort] = (faults, left - 1)
        return faults

    def record(self) -> dict[str, object]:
        """Give what still waits, in JSON's types; of the sort `token` only where there is some."""
        platform, token = self._record("platform"), self._record("token")
        return {**platform, "token": token} if token["connections"] else platform

    def _record(self, sort: Sort) -> dict[str, object]:
        faults, left = self._waiting.get(sort, (Faults(), 0))
        return {"faults": faults.words if left else [], "connections": left}
