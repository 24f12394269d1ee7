"""Says an answer in messages: which piece comes when, with the faults that change that, on a WebSocket that is open."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from trunkline.simulators.answer import Answer
from trunkline.simulators.exchange import Exchange, StruckError
from trunkline.simulators.faults import Faults
from trunkline.simulators.play import Pace
from trunkline.simulators.web_socket import HangUpError, WebSocket

JsonObject = dict[str, object]
APOLOGY = "The model failed while answering jane.doe@example.com. Please try again."
_BAD_JSON = '{"delta":"never","token":"never","tokens":["never'
_NOT_AN_OBJECT = "[1,2]"
_KEYLESS: JsonObject = {"status": "alive"}
_STRIKE_AFTER = (
    "bad-json-after",
    "not-an-object-after",
    "keyless-after",
    "error-after",
    "half-event-after",
    "reset-after",
    "close-after",
    "stall-after",
)
_MB = 1 << 20
_HALF = re.compile("[\ud800-\udfff]")


class Wire(Protocol):
    """How a platform writes the messages of one answer; a place counts the answer's pieces from 0.

    `sequenced` says whether messages have sequence numbers; `after_error` is the close code that follows an error.
    """

    sequenced: bool
    after_error: int

    def piece(self, place: int) -> JsonObject:
        """Give the message with the piece at `place`."""
        ...

    def end(self, place: int | None) -> JsonObject:
        """Give the end mark; where there is a `place`, with the piece there."""
        ...

    def late(self) -> JsonObject:
        """Give a message with text that follows the end mark and should not."""
        ...

    def noise(self) -> list[JsonObject]:
        """Give messages that a client has to pass over."""
        ...

    def error(self) -> JsonObject:
        """Give the message that says that the platform has failed."""
        ...


@dataclass(frozen=True, slots=True)
class Say:
    """Say one message, a string as it stands; `place` is the piece that it carries."""

    message: JsonObject | str
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Pad:
    """Say one message of `megabytes`."""

    megabytes: int


@dataclass(frozen=True, slots=True)
class Break:
    """Break off for the fault `word`, after half of `half`; `code` is for the close frame where there is one."""

    word: str
    how: Literal["reset", "close", "stall", "hang_up"]
    code: int = 1000
    half: JsonObject | None = None


Step = Say | Pad | Break


async def speak(
    exchange: Exchange, web_socket: WebSocket, answer: Answer, wire: Wire, interval_ms: float, start: int = 0
) -> None:
    """Say `answer` from the piece at `start` on, one every `interval_ms`, and stay until the client leaves.

    Raises what `WebSocket` does, and `StruckError` where a fault breaks the connection.
    """
    faults, entry = exchange.faults, exchange.entry
    entry.means(answer)
    await web_socket.begin()
    await web_socket.pause((faults.number("slow-first") or 0) / 1000)
    pace = Pace(faults, interval_ms, web_socket.pause)
    for step in script(answer, wire, faults, exchange.rng, start):
        match step:
            case Say(message, place):
                if place is not None:
                    await pace.next()
                sent = partial(entry.said, place) if place is not None else None
                await web_socket.say(_text(message, faults), sent)
            case Pad(megabytes):
                head, tail = _text({"padding": "@"}, faults).split("@")
                await web_socket.say_padded(head, tail, megabytes * _MB)
            case Break():
                await _break(web_socket, step, faults)
    await web_socket.flush()
    web_socket.told_all = True
    if faults.has("closes"):
        raise HangUpError(1000, ended="completed")
    await web_socket.until_left()


def script(answer: Answer, wire: Wire, faults: Faults, rng: random.Random, start: int) -> Iterator[Step]:
    """Give the steps of what is to be said from the piece at `start` on; after a `Break` nothing is to follow."""
    if megabytes := faults.number("huge-line"):
        yield Pad(megabytes)
    said = 0
    yield from _strikes(said, wire, faults)
    for place in _places(answer, wire, faults, rng, start):
        if faults.has("metadata"):
            yield from map(Say, wire.noise())
        if place == _END:
            yield from _ending(answer, wire, faults, start)
            continue
        yield Say(wire.piece(place), place)
        said += 1
        yield from _strikes(said, wire, faults)
    if faults.has("after-finish"):
        yield Say(wire.late())


_END = -1


def _places(answer: Answer, wire: Wire, faults: Faults, rng: random.Random, start: int) -> list[int]:
    """Give the places of the pieces in the order in which they are to be said, and among them `_END`."""
    last = len(answer.pieces) - 1
    places = list(range(start, last if faults.has("finish-with-text") else last + 1))
    if not wire.sequenced:
        return [*places, _END]
    gap = faults.number("gap")
    places = [place for place in places if place != gap]
    places.insert(len(places) - min(len(places), faults.number("early-end") or 0), _END)
    if window := faults.number("reorder"):
        blocks = [places[begin : begin + window] for begin in range(0, len(places), window)]
        places = [place for block in blocks for place in rng.sample(block, len(block))]
    if faults.has("duplicates"):
        places = [place for at, place in enumerate(places) for place in _twice(places, at, rng)]
    return places


def _twice(places: list[int], at: int, rng: random.Random) -> list[int]:
    """Give the place at `at`, and every third time once more, or again one that came a little earlier."""
    again = places[rng.randint(max(0, at - 3), at)]
    return [places[at], again] if at % 3 == 0 else [places[at]]


def _ending(answer: Answer, wire: Wire, faults: Faults, start: int) -> Iterator[Step]:
    if faults.has("no-end"):
        yield Break("no-end", "hang_up")
        return
    last = len(answer.pieces) - 1
    place = last if faults.has("finish-with-text") and last >= start else None
    yield Say(wire.end(place), place)
    if faults.has("double-done"):
        yield Say(wire.end(place))


def _strikes(said: int, wire: Wire, faults: Faults) -> Iterator[Step]:
    """Let the faults strike that do so after `said` pieces."""
    for word in _STRIKE_AFTER:
        if faults.number(word) == said:
            yield from _strike(word, wire)
    code, _, after = (faults.text("close-frame") or "").partition("/")
    if code and int(after) == said:
        yield Break("close-frame", "hang_up", int(code))


def _strike(word: str, wire: Wire) -> Iterator[Step]:
    match word:
        case "reset-after":
            yield Break(word, "reset")
        case "close-after":
            yield Break(word, "close")
        case "stall-after":
            yield Break(word, "stall")
        case "half-event-after":
            yield Break(word, "close", half=wire.end(None))
        case "error-after":
            yield Say(wire.error())
            yield Break(word, "hang_up", wire.after_error)
        case "bad-json-after":
            yield Say(_BAD_JSON)
        case "not-an-object-after":
            yield Say(_NOT_AN_OBJECT)
        case "keyless-after":
            yield Say(_KEYLESS)
        case _:
            raise AssertionError(f"{word} does not strike after a number of pieces")


async def _break(web_socket: WebSocket, step: Break, faults: Faults) -> None:
    """Break off; raises what ends the connection."""
    if step.half is not None:
        await web_socket.say_half(_text(step.half, faults))
    await web_socket.flush()
    match step.how:
        case "stall":
            await web_socket.until_left()
        case "hang_up":
            raise HangUpError(step.code, ended=f"fault:{step.word}")
        case "reset" | "close":
            raise StruckError(step.word, step.how)


def _text(message: JsonObject | str, faults: Faults) -> str:
    if isinstance(message, str):
        return message
    # Only an escape can carry half a character, which a turn that was cut so has on its later connections too.
    escapes = faults.has("ascii", "lone-surrogates", "dangling-surrogate")
    text = json.dumps(message, ensure_ascii=escapes, separators=(",", ":"))
    return text if text.isascii() or not _HALF.search(text) else json.dumps(message, separators=(",", ":"))
