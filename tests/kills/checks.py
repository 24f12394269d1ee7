"""What must hold of a turn and of each of its readers; pure, so that each rule can be shown to find what it is for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from kills.heard import NATIVE, Event, Heard, Truth, end_words

ENDS: Final = frozenset({"completed stop", "failed relay_restarted"})
"""How a turn may end while the relay is killed again and again, and nothing else happens to it."""

SHOWN_CHARS: Final = 160


class Fault(NamedTuple):
    """Something that must not be: of which turn, at which reader, what was expected and what came instead."""

    turn: str
    reader: str
    what: str
    expected: str = ""
    came: str = ""

    def told(self) -> str:
        """Tell it to a person."""
        lines = [f"{self.what}: turn {self.turn or '(never named)'}, reader {self.reader}"]
        lines += [f"    expected  {self.expected}"] if self.expected else []
        lines += [f"    came      {self.came}"] if self.came else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Platform:
    """What the platform sent for a prompt: the text of each generation, and those of them that it said to the end.

    Where guards change what is sent, it is the text of an uninterrupted turn of the same prompt.
    """

    begun: Sequence[str]
    whole: Sequence[str] = field(default=())


def faults_of_reader(heard: Heard, truth: Truth) -> Iterator[Fault]:
    """Compare what a reader heard with the turn as it is told now."""
    if heard.fault:
        yield Fault(heard.turn, heard.name, "gave up", came=heard.fault)
    yield from _order(heard)
    yield from _ends(heard)
    for event in heard.events:
        yield from _event(heard, event, truth)
    yield from _text(heard, truth)
    yield from _gaps(heard, truth)


def _order(heard: Heard) -> Iterator[Fault]:
    """Offsets strictly increase, over all connections of a reader."""
    placed = [event for event in heard.events if event.place is not None]
    for before, event in pairwise(placed):
        if before.place is not None and event.place is not None and event.place <= before.place:
            yield Fault(heard.turn, heard.name, "offsets do not increase", f"after {before.told()}", event.told())
    if placed and placed[0].place is not None and placed[0].place[0] <= heard.after:
        yield Fault(heard.turn, heard.name, "had it already", f"after {heard.after}", placed[0].told())


def _ends(heard: Heard) -> Iterator[Fault]:
    """There is one end, and nothing after it."""
    ends = [place for place, event in enumerate(heard.events) if event.kind == "ended"]
    if not ends and not heard.fault:
        yield Fault(heard.turn, heard.name, "was never told the end", came=f"{len(heard.events)} events")
    if len(ends) > 1:
        told = "; ".join(heard.events[place].told() for place in ends)
        yield Fault(heard.turn, heard.name, "was told several ends", "one", told)
    if ends and ends[0] != len(heard.events) - 1:
        yield Fault(heard.turn, heard.name, "something came after the end", "nothing", heard.events[ends[0] + 1].told())


def _event(heard: Heard, event: Event, truth: Truth) -> Iterator[Fault]:
    """What was told once is told so always."""
    if event.kind == "ended":
        words = end_words(event.form, truth.end)
        if event.words != words:
            yield Fault(heard.turn, heard.name, "was told another end", words, event.words)
        if event.form == "stream" and event.data is not None and event.data["text"] != truth.text:
            yield _other_text(heard, truth.text, event.data["text"], "`done` has another text")
    known = truth.by_place.get(event.place) if event.form == "sentences" else truth.by_offset.get(event.offset)
    if event.offset is None:
        return
    if known is None:
        yield Fault(heard.turn, heard.name, "an event is gone", event.told(), f"nothing at {event.offset}")
    elif known.kind != event.kind or known.text != event.text:
        yield Fault(heard.turn, heard.name, "an event is another one now", event.told(), known.told())
    elif event.form in {*NATIVE, "sentences"} and known.data != event.data:
        yield Fault(heard.turn, heard.name, "an event is another one now", str(event.data), str(known.data))


def _text(heard: Heard, truth: Truth) -> Iterator[Fault]:
    """What a reader has is the turn's text from where it began; all of it, once it was told the end."""
    expected, came = truth.text_after(heard.after), heard.text
    if came != expected if heard.ended else not expected.startswith(came):
        yield _other_text(heard, expected, came, "has another text")


def _gaps(heard: Heard, truth: Truth) -> Iterator[Fault]:
    """A reader of one form has each event that this form has."""
    if not heard.ended:
        return
    forms = {event.form for event in heard.events}
    there: Iterable[Event] = ()
    if forms <= NATIVE:
        there = truth.events
    elif forms == {"sentences"}:
        there = truth.sentences
    has = {event.place for event in heard.events}
    for event in there:
        if event.offset is not None and event.offset > heard.after and event.place not in has:
            yield Fault(heard.turn, heard.name, "an event is missing", event.told(), "nothing")


def _other_text(heard: Heard, expected: str, came: str, what: str) -> Fault:
    at = next(
        (n for n, (a, b) in enumerate(zip(expected, came, strict=False)) if a != b), min(len(expected), len(came))
    )
    cut = slice(max(0, at - 20), at + SHOWN_CHARS)
    return Fault(
        heard.turn,
        heard.name,
        f"{what} from character {at} on",
        f"{len(expected)} characters, here {expected[cut]!r}",
        f"{len(came)} characters, here {came[cut]!r}",
    )


def faults_of_turn(
    truth: Truth, shown: dict[str, Any], platform: Platform, ends: frozenset[str] = ENDS
) -> Iterator[Fault]:
    """Look at a turn itself: its order, its end, its text beside the platform's, and `GET /v1/turns/{id}`."""
    full = Heard("full read", truth.turn, events=list(truth.events))
    yield from _order(full)
    yield from _ends(full)
    first = truth.events[0] if truth.events else None
    if first is None or first.kind != "started" or (first.data or {}).get("turn") != truth.turn:
        yield Fault(truth.turn, full.name, "does not begin", "started", first.told() if first else "nothing")
    words = f"{truth.end.get('outcome')} {truth.end.get('reason')}"
    if words not in ends:
        yield Fault(truth.turn, full.name, "ended otherwise", " or ".join(sorted(ends)), f"{words} {truth.end}")
    yield from _beside_platform(truth, full, platform)
    amounts = {
        "id": truth.turn,
        "state": "ended",
        "outcome": truth.end.get("outcome"),
        "reason": truth.end.get("reason"),
        "text": truth.text,
        "tail": truth.events[-1].offset if truth.events else 0,
    }
    for name, value in amounts.items():
        if shown.get(name) != value:
            yield Fault(truth.turn, "GET /v1/turns/{id}", f"`{name}` is another", repr(value), repr(shown.get(name)))


def _beside_platform(truth: Truth, full: Heard, platform: Platform) -> Iterator[Fault]:
    if truth.end.get("outcome") == "completed":
        if truth.text not in platform.whole:
            yield _other_text(full, max(platform.whole, key=len, default=""), truth.text, "is not what was generated")
    elif not any(text.startswith(truth.text) for text in (*platform.begun, *platform.whole)):
        sent = max((*platform.begun, *platform.whole), key=len, default="")
        yield _other_text(full, sent, truth.text, "has what was never generated")
