"""The faults of one request: how their words are read, and the queue in which they wait for their requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from trunkline.simulators.base import UnknownWordError, nearest
from trunkline.simulators.fault_words import MESSAGE_FAULTS, QUOTA_FAULTS, TOKEN_FAULTS, Fault

Sort = Literal["platform", "token", "quota", "config", "variables"]
SORTS: tuple[Sort, ...] = get_args(Sort)

_ALL = MESSAGE_FAULTS | TOKEN_FAULTS | QUOTA_FAULTS
# Words that wait for requests of their own; a word of the rest waits for any request of a platform.
_OWN: dict[Sort, Mapping[str, Fault]] = {"token": TOKEN_FAULTS, "quota": QUOTA_FAULTS}


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
        """Give those whose words are for requests of `sort`."""
        return Faults({word: value for word, value in self._values.items() if _sort(word) == sort})

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


def _sort(word: str) -> Sort:
    return next((sort for sort, table in _OWN.items() if word in table), "platform")


def parse(words: Iterable[str], known: Mapping[str, Fault] = _ALL) -> Faults:
    """Read fault words such as `reset-after=20`; raises `UnknownWordError` that names the nearest known word."""
    values: dict[str, int | str | None] = {}
    for written in words:
        word, given, value = written.strip().partition("=")
        fault = known.get(word)
        if fault is None and word in _ALL:
            raise UnknownWordError(
                f'fault "{word}" is for {_sort(word)} requests, which have no message: POST it to /_sim/faults'
            )
        if fault is None:
            raise UnknownWordError(f'unknown fault "{word}"; the nearest is "{nearest(word, known)}"')
        if fault.value is None:
            if given:
                raise UnknownWordError(f'fault "{word}" takes no value, received "{value}"')
            values[word] = None
            continue
        try:
            values[word] = fault.value.read(value)
        except ValueError as problem:
            raise UnknownWordError(f'fault "{word}" takes {problem}, received "{value}"') from None
    return Faults(values)


class FaultQueue:
    """The faults that wait for the next requests, each sort for itself."""

    def __init__(self) -> None:
        self._waiting: dict[Sort, deque[tuple[Faults, int]]] = {sort: deque() for sort in SORTS}

    def set(self, faults: Faults, requests: int = 1, at: Sort | None = None) -> None:
        """Let the next `requests` requests have `faults`, in place of what waited before.

        `at` says which requests; without it each word says so itself, what waits for requests of other sorts stays,
        and no faults at all clear everything.
        """
        self._put([(faults, requests)], at)

    def line_up(self, each: Sequence[Faults], at: Sort | None = None) -> None:
        """Let the first of the next requests have the first of `each`, the second the second; otherwise as `set`."""
        self._put([(faults, 1) for faults in each], at)

    def take(self, sort: Sort = "platform") -> Faults:
        """Give the faults for one request."""
        runs = self._waiting[sort]
        if not runs:
            return Faults()
        faults, left = runs.popleft()
        if left > 1:
            runs.appendleft((faults, left - 1))
        return faults

    def record(self) -> dict[str, object]:
        """Give what still waits, in JSON's types; of other sorts than `platform` only where there is some."""
        record = self._record("platform")
        record.update({sort: self._record(sort) for sort in SORTS if sort != "platform" and self._waiting[sort]})
        return record

    def _put(self, runs: list[tuple[Faults, int]], at: Sort | None) -> None:
        if at is not None:
            self._waiting[at] = deque(run for run in runs if len(runs) > 1 or run[0].words)
            return
        nothing = not any(faults.words for faults, _ in runs)
        for sort in SORTS:
            mine = [(faults.of(sort), requests) for faults, requests in runs]
            if nothing or any(faults.words for faults, _ in mine):
                self._waiting[sort] = deque() if nothing else deque(mine)

    def _record(self, sort: Sort) -> dict[str, object]:
        runs = [{"faults": faults.words, "connections": left} for faults, left in self._waiting[sort]]
        first: dict[str, object] = {**runs[0]} if runs else {"faults": [], "connections": 0}
        return {**first, "then": runs[1:]} if len(runs) > 1 else first
