"""What a request asks of the simulator in its last user message: a text, its length, its pace, and faults."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from trunkline.simulators.base import Settings, UnknownWordError, nearest
from trunkline.simulators.fault_words import MESSAGE_FAULTS
from trunkline.simulators.faults import Faults, parse
from trunkline.simulators.tokens import repeat

ECHO = "echo"
_KNOWN = ("text", "fault", "tokens", "interval-ms")
_MAX_TOKENS = 100_000
_MAX_INTERVAL_MS = 60_000.0
_BEGIN = re.compile(r"(?:^|(?<=\s))sim:(?=[a-z])")
# A date in a Retry-After has spaces; no other value does.
_ITEM = re.compile(r"\s*sim:(fault=retry-after=[^;\r\n]*|[^;\s]*)[ \t]*(;|)")


@dataclass(slots=True)
class Directives:
    """What was asked for; `None` leaves the simulator's own setting. `rest` is the message without the directives."""

    rest: str
    text: str | None = None
    tokens: int | None = None
    interval_ms: float | None = None
    faults: Faults = field(default_factory=Faults)

    def words(self, settings: Settings, lead: str = "") -> str:
        """Give the text that is to be said, after `lead` and in the length that was asked for."""
        name = self.text or settings.default_text
        text = lead + (self.rest if name == ECHO else settings.texts[name])
        return text if self.tokens is None else repeat(text, self.tokens)


def read(message: str, texts: Collection[str]) -> Directives:
    """Read the directives of a message; raises `UnknownWordError` that names the nearest known word.

    The list begins at the first `sim:` that begins a word. Its items, `sim:NAME=VALUE`, are separated by `;`; it ends
    with the first item that no `;` follows, and whatever else there is belongs to the rest.
    """
    begin = _BEGIN.search(message)
    if begin is None:
        return Directives(rest=message)
    found = Directives(rest="")
    faults: list[str] = []
    at = begin.start()
    while item := _ITEM.match(message, at):
        at = item.end()
        name, _, value = item[1].strip().partition("=")
        if name == "fault":
            faults.append(value)
        else:
            _take(found, name, value, texts)
        if not item[2]:
            break
    found.faults = parse(faults, MESSAGE_FAULTS)
    found.rest = f"{message[: begin.start()].strip()} {message[at:].strip()}".strip()
    return found


def until_stop(text: str, stops: Iterable[str]) -> str:
    """Give `text` up to the first of `stops` in it."""
    ends = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return text[: min(ends)] if ends else text


def _take(found: Directives, name: str, value: str, texts: Collection[str]) -> None:
    match name:
        case "text":
            if value != ECHO and value not in texts:
                raise UnknownWordError(f'unknown text "{value}"; the nearest is "{nearest(value, {*texts, ECHO})}"')
            found.text = value
        case "tokens":
            if not (value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_TOKENS))):
                raise UnknownWordError(f'"sim:tokens" takes a whole number up to {_MAX_TOKENS}, received "{value}"')
            found.tokens = min(int(value), _MAX_TOKENS)
        case "interval-ms":
            try:
                found.interval_ms = float(value)
            except ValueError:
                found.interval_ms = math.nan
            if not 0 <= found.interval_ms <= _MAX_INTERVAL_MS:
                raise UnknownWordError(f'"sim:interval-ms" takes 0 to {_MAX_INTERVAL_MS:g}, received "{value}"')
        case _:
            raise UnknownWordError(f'unknown directive "sim:{name}"; the nearest is "sim:{nearest(name, _KNOWN)}"')
