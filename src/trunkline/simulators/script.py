"""The script of a streamed answer: which events come in which order, with the faults that change what is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from trunkline.simulators.chunks import Chunks
from trunkline.simulators.faults import Faults
from trunkline.simulators.says import Choice, Part

DONE = "[DONE]"
ERROR = {
    "error": {
        "message": "The server had an error while answering jane.doe@example.com. Please try again.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
}
_BAD_JSON = '{"choices":[{"index":0,"delta":{"content":"never'
_STRIKE_AFTER = (
    "bad-json-after",
    "not-an-object-after",
    "error-after",
    "error-event-after",
    "half-event-after",
    "reset-after",
    "close-after",
    "stall-after",
)
_PING = ("", "ping")


@dataclass(frozen=True, slots=True)
class Say:
    """Say one event.

    `data` is a JSON value, or text that goes out as it stands, or None for an event without data; `fields` are further
    fields ahead of it, of which one without a name is a comment. `part` is what the event adds to choice `choice`.
    """

    data: object
    fields: tuple[tuple[str, str], ...] = ()
    part: Part | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Pad:
    """Say one chunk in a line of `megabytes`."""

    megabytes: int


@dataclass(frozen=True, slots=True)
class Break:
    """Break off for the fault `word`: reset, close, stall, or bring the body to a clean end, after half of `data`."""

    word: str
    how: Literal["reset", "close", "stall", "end"]
    data: object = None


Step = Say | Pad | Break


def script(choices: list[Choice], chunks: Chunks, faults: Faults) -> Iterator[Step]:
    """Give the steps of the whole stream; after a `Break` nothing is to follow."""
    text = _text(choices, chunks, finish=not faults.has("no-finish", "no-end"))
    struck = _struck(_strewn(text, chunks, faults), chunks, faults)
    return chain(_opening(choices, chunks, faults), struck, _ending(chunks, faults))


def _opening(choices: list[Choice], chunks: Chunks, faults: Faults) -> Iterator[Step]:
    if faults.has("metadata"):
        yield Say(None, fields=(("retry", "3000"),))
        yield Say({"type": "metadata", "region": "eu"}, fields=(("event", "metadata"), ("id", "0")))
        yield Say(chunks.empty())
    if not faults.has("no-role"):
        for choice in choices:
            yield Say(chunks.delta(choice.index, choice.opening))
    if megabytes := faults.number("huge-line"):
        yield Pad(megabytes)


def _text(choices: list[Choice], chunks: Chunks, *, finish: bool) -> Iterator[Say]:
    """Let the choices take turns, a piece each; a choice that has said all says how it finished."""
    open_choices = [(choice, iter(choice.parts)) for choice in choices]
    while open_choices:
        for turn in list(open_choices):
            choice, parts = turn
            if part := next(parts, None):
                yield Say(chunks.delta(choice.index, part.delta, tokens=part.tokens), part=part, choice=choice.index)
                continue
            open_choices.remove(turn)
            if finish:
                yield Say(chunks.delta(choice.index, {}, finish=choice.finish))


def _ending(chunks: Chunks, faults: Faults) -> Iterator[Step]:
    if faults.has("after-finish"):
        yield Say(chunks.delta(0, {"content": " And one more thing."}))
    if usage := chunks.usage_chunk():
        yield Say(usage)
    if faults.has("no-end"):
        yield Break("no-end", "end")
    elif not faults.has("no-done"):
        yield Say(DONE)
        if faults.has("double-done"):
            yield Say(DONE)


def _strewn(steps: Iterable[Say], chunks: Chunks, faults: Faults) -> Iterator[Step]:
    """Strew between the steps what a reader has to pass over."""
    for number, step in enumerate(steps):
        if faults.has("empty-deltas"):
            yield Say(chunks.delta(step.choice, {"content": ""} if number % 2 else {}))
        if faults.has("null-deltas"):
            yield Say(chunks.delta(step.choice, {"content": None} if number % 2 else None))
        if faults.has("comments"):
            yield Say(None, fields=(_PING,))
            step = replace(step, fields=(_PING, *step.fields))  # noqa: PLW2901
        if faults.has("metadata"):
            if number % 4 == 0:
                yield Say({"type": "ping"}, fields=(("event", "ping"),))
                yield Say(chunks.empty() if number % 8 else chunks.without_choices())
            step = replace(step, fields=(*step.fields, ("id", str(number + 1))))  # noqa: PLW2901
        yield step


def _struck(steps: Iterable[Step], chunks: Chunks, faults: Faults) -> Iterator[Step]:
    """Let the faults that count pieces strike, each as soon as its number of pieces has been said."""
    due = [(count, word) for word in _STRIKE_AFTER if (count := faults.number(word)) is not None]
    said = 0
    for word in (word for count, word in due if count == 0):
        yield from _strike(word, chunks)
    for step in steps:
        yield step
        if isinstance(step, Say) and step.part and step.part.counts:
            said += 1
            for word in (word for count, word in due if count == said):
                yield from _strike(word, chunks)


def _strike(word: str, chunks: Chunks) -> Iterator[Step]:
    match word:
        case "reset-after":
            yield Break(word, "reset")
        case "close-after":
            yield Break(word, "close")
        case "stall-after":
            yield Break(word, "stall")
        case "half-event-after":
            yield Break(word, "end", chunks.delta(0, {"content": " half of this"}))
        case "bad-json-after":
            yield Say(_BAD_JSON)
        case "not-an-object-after":
            yield Say("[1,2]")
        case "error-after":
            yield Say(ERROR)
            yield Say(DONE)
            yield Break(word, "end")
        case "error-event-after":
            yield Say(ERROR, fields=(("event", "error"),))
            yield Break(word, "end")
        case _:
            raise AssertionError(f"{word} does not strike after a number of pieces")
