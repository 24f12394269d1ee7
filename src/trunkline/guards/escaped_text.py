"""One text that is spelled with JSON's escapes: read without them, screened by a chain, spelled with them again."""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from trunkline.core.events import Guarded
from trunkline.guards.base import Stage

HEX: Final = "[0-9a-fA-F]"
FIRST_HALF: Final = rf"\\u[dD][89abAB]{HEX}{{2}}"
BY_CODE: Final = rf"{FIRST_HALF}\\u[dD][c-fC-F]{HEX}{{2}}|\\u{HEX}{{4}}"
_ESCAPE: Final = re.compile(rf"{BY_CODE}|\\.", re.DOTALL)
_LETTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LONE_HALF: Final = re.compile("[\ud800-\udfff]")
_MANY: Final = 64  # places that are remembered though nobody may ask for them any more; bounds the memory


class Places:
    """Which places of a text are which of another one that says something else, or more or less, in some stretches."""

    __slots__ = ("_here", "_there")

    def __init__(self, there: int = 0) -> None:
        self._here = [0]
        self._there = [there]

    def __len__(self) -> int:
        return len(self._here)

    def add(self, here: tuple[int, int], there: tuple[int, int]) -> None:
        """Add a stretch, from and to in both texts; those of before come before it, and are known."""
        self._here += here
        self._there += there

    def forward(self, place: int, *, end: bool = False) -> int:
        """Return the place in the other text, for one within a stretch where that begins.

        With `end` it is a place where something ends: for one within a stretch where that ends, and what has vanished
        at the place itself is not included.
        """
        return _across(self._here, self._there, place, end=end)

    def back(self, place: int, *, end: bool = False) -> int:
        """Return the place in this text of one in the other."""
        return _across(self._there, self._here, place, end=end)

    def forget(self) -> None:
        """Forget all stretches but the last: nobody will ask for places before its end."""
        del self._here[:-1], self._there[:-1]


def _across(here: list[int], there: list[int], place: int, *, end: bool) -> int:
    """Go from one text to the other. The known places are where stretches begin, at odd indexes, and where they end."""
    known = bisect_left(here, place) if end else bisect_right(here, place) - 1
    if known == len(here) or here[known] > place:
        known -= 1
    if known % 2 and here[known] < place:
        return there[known + 1] if end else there[known]
    return there[known] + place - here[known]


class _Spelling:
    """Follows the spelling of a text: what it says, and where in it each character stands."""

    __slots__ = ("_chars", "_size", "places")

    def __init__(self, start: int) -> None:
        self.places: Final = Places(start)
        self._chars = 0
        self._size = start

    def read(self, raw: str) -> str:
        """Read on, whole escapes only; return what it says."""
        if "\\" not in raw:
            self._chars += len(raw)
            self._size += len(raw)
            return raw
        said: list[str] = []
        at = 0
        for escape in _ESCAPE.finditer(raw):
            said += (raw[at : escape.start()], _meant(escape[0]))
            chars, size = self._chars + escape.start() - at, self._size + escape.start() - at
            at = escape.end()
            self._chars, self._size = chars + 1, size + len(escape[0])
            self.places.add((chars, self._chars), (size, self._size))
        self._chars += len(raw) - at
        self._size += len(raw) - at
        return "".join([*said, raw[at:]])


def _meant(escape: str) -> str:
    """Return the character that an escape stands for; one that JSON does not know stands for what is escaped."""
    if len(escape) == len(r"\n"):
        return _LETTERS.get(escape[1], escape[1])
    char: str = json.loads(f'"{escape}"')
    return char


class _Report(NamedTuple):
    """What a stage found, from place to place of the chain's input."""

    start: int
    stage: int
    end: int
    event: Guarded


_IN_ORDER: Final = itemgetter(0, 1)


class _Chain:
    """A chain whose reports come in the order of the text, with places in the chain's input and output.

    A report is ready once all that it is about has left the last stage: only then is it known that nothing stands
    before it, and what later stages made of its text.
    """

    __slots__ = ("_ended", "_pending", "_places", "_released", "_stages", "blocked", "unchanged")

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._places = [Places() for _ in stages]
        self._pending: list[_Report] = []
        self._released = 0
        self._ended = False
        self.blocked = False
        self.unchanged = sys.maxsize
        """So many characters at the beginning no stage says to have changed."""

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return sum(stage.held for stage in self._stages)

    @property
    def idle(self) -> bool:
        """Whether all that was fed has left and is reported."""
        return not self._pending and not self.held

    def feed(self, text: str) -> str:
        """Take the next piece; return what is released by it."""
        for number, stage in enumerate(self._stages):
            text = stage.feed(text)
            if stage.found or stage.blocked:
                self._take(number, stage)
            if not text:
                return text
        self._released += len(text)
        return text

    def finish(self) -> str:
        """The text is complete: return what was held, as far as it may be released."""
        text = ""
        for number, stage in enumerate(self._stages):
            text = stage.feed(text) + ("" if self.blocked else stage.finish())
            if stage.found or stage.blocked:
                self._take(number, stage)
        self._released += len(text)
        self._ended = True
        return text

    def reports(self) -> list[tuple[_Report, int, int]]:
        """Return what is ready, each with its start and end in the output; nothing that comes after a block."""
        pending = self._pending
        if not pending:
            return []
        pending.sort(key=_IN_ORDER)
        ready: list[tuple[_Report, int, int]] = []
        for report in pending:
            start, end = report.event.offset, report.event.offset + report.event.length
            for places in self._places[report.stage + 1 :]:
                start, end = places.forward(start), places.forward(end, end=True)
            if end > self._released and not self._ended and not self.blocked:
                break
            ready.append((report, min(start, self._released), min(end, self._released)))
            if report.event.action == "block":
                break
        del pending[: len(pending) if self.blocked else len(ready)]
        return ready

    def _take(self, number: int, stage: Stage) -> None:
        """Take the reports of a stage, and note what it changed."""
        for event in stage.found:
            start, end = event.start, event.end
            for places in reversed(self._places[:number]):
                start, end = places.back(start), places.back(end, end=True)
            self._pending.append(_Report(start, number, end, event))
            if event.action not in {"flag", "block"}:
                changed = event.offset, event.offset + event.length
                self._places[number].add((event.start, event.end), changed)
                self.unchanged = min(self.unchanged, event.offset)
        stage.found.clear()
        self.blocked = self.blocked or stage.blocked


class EscapedText:
    """Screens one text, whose spelling it takes and returns. Reports count from `start` and `offset` in the spellings.

    What is returned decodes to what the chain releases. Up to the first change it is spelled as it came, then anew:
    `quoted` as in a JSON string, else with nothing escaped but the backslash.
    """

    __slots__ = (
        "_chain", "_changed", "_input", "_output", "_quoted", "_raw", "_raw_start", "_said", "_text", "found",
    )  # fmt: skip

    def __init__(self, stages: Sequence[Stage], start: int, offset: int, *, quoted: bool) -> None:
        self.found: list[Guarded] = []
        self._chain = _Chain(stages)
        self._input = _Spelling(start)
        self._output = _Spelling(offset)
        self._quoted = quoted
        self._changed = False
        # As long as nothing is changed: what was read and is not returned yet, as it came and as it is meant.
        self._raw = ""
        self._text = ""
        self._raw_start = start
        self._said = 0  # characters that the chain released

    @property
    def blocked(self) -> bool:
        """True once a blocking rule matched; nothing more is returned then."""
        return self._chain.blocked

    @property
    def held(self) -> int:
        """How many characters are held back now, without their escapes."""
        return self._chain.held

    def feed(self, raw: str) -> str:
        """Take the next piece, whole escapes only; return the spelling of what is released by it."""
        if self.blocked:
            return ""
        text = self._input.read(raw)
        if not self._changed:
            self._raw += raw
            self._text += text
        spelled = self._spell(self._chain.feed(text))
        if len(self._input.places) > _MANY and self._chain.idle:
            self._input.places.forget()
            self._output.places.forget()
        return spelled

    def finish(self) -> str:
        """The text is complete: return what was held, as far as it may be released."""
        return "" if self.blocked else self._spell(self._chain.finish())

    def _spell(self, released: str) -> str:
        """Return the spelling of what the chain released, and take its reports."""
        spelled = self._escaped(released) if self._changed else self._as_it_came(released)
        self._output.read(spelled)
        for report, start, end in self._chain.reports():
            event = report.event
            offset = self._output.places.forward(start)
            self.found.append(
                Guarded(
                    event.rule,
                    event.action,
                    self._input.places.forward(report.start),
                    self._input.places.forward(report.end, end=True),
                    offset,
                    self._output.places.forward(end, end=True) - offset,
                    event.digest,
                )
            )
        return spelled

    def _as_it_came(self, released: str) -> str:
        """Spell what is unchanged as it came; from the first change on spell it anew."""
        if released == self._text and self._said + len(released) <= self._chain.unchanged:
            spelled, self._raw, self._text = self._raw, "", ""
            self._said += len(released)
            self._raw_start += len(spelled)
            return spelled
        unchanged = released[: self._chain.unchanged - self._said]
        size = len(unchanged) if self._text.startswith(unchanged) else _common(self._text, unchanged)
        self._said += size
        raw_size = self._input.places.forward(self._said, end=True) - self._raw_start
        spelled = self._raw[:raw_size]
        if size < len(released):
            self._changed = True
            self._raw = self._text = ""
            return spelled + self._escaped(released[size:])
        self._raw_start += raw_size
        self._raw = self._raw[raw_size:]
        self._text = self._text[size:]
        return spelled

    def _escaped(self, text: str) -> str:
        """Spell a text anew. A lone half of a surrogate pair is escaped: it could not be written as a character."""
        spelled = json.dumps(text, ensure_ascii=False)[1:-1] if self._quoted else text.replace("\\", "\\\\")
        return _LONE_HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", spelled)


def _common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning; they are not the same."""
    return next(
        (size for size, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
