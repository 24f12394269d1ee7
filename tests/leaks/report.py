"""The leak report: planted personal data of every rule, streamed through the guard and through simpler filters.

`make leak-report` runs it at length and writes docs/leak-report.md; a test runs three thousand texts of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.plain_filters import Masked, PerDelta, PlainRules, Window
from guards.planted import LANGUAGES, planted, prose
from leaks.measure import Filter, Guarding, Place, Plain, Tally, feed_all, shown_of, streamed
from leaks.page import page
from trunkline.guard_trial import cut
from trunkline.guards.chain import Guard
from trunkline.guards.rules import RULES
from trunkline.guards.settings import GuardSettings

CUTS: Final = ("whole", "tokens", "chars", "random")
GUARD: Final = "guard"
ALL: Final = "all"
COMPARED: Final = "compared"
SHORT: Final = "without a private key"
TEXTS: Final = 10_000
COMPARED_TEXTS: Final = 400  # a filter that runs forty expressions over a window takes its time
PROSE_TEXTS: Final = 25

Filters = Mapping[str, Callable[[], Filter]]


def the_guard(settings: GuardSettings | None = None) -> Callable[[], Filter]:
    """The relay's guard, by default as it is where nothing is configured."""
    guard = Guard(settings or GuardSettings())
    return lambda: Guarding(guard)


def other_filters() -> Filters:
    """The same rules and validators, without a stream in mind."""
    rules = PlainRules(tuple(RULES.values()))
    return {
        "each delta alone": lambda: Plain(PerDelta(rules)),
        "window of 64": lambda: Plain(Window(rules, 64)),
        "window of 128": lambda: Plain(Window(rules, 128)),
        "the whole answer at its end": lambda: Plain(Window(rules, sys.maxsize)),
    }


class Text(NamedTuple):
    """A text, the values in it, and the groups that it counts for."""

    text: str
    places: list[Place]
    groups: list[str]


def run(texts: int, compared: int, guard: Callable[[], Filter], others: Filters) -> Tally:
    """Stream the texts through the guard, and the first of them through the other filters, too."""
    tally = Tally(texts, min(texts, compared))
    for number in range(texts):
        language = LANGUAGES[number % len(LANGUAGES)]
        text, places = planted(number // len(LANGUAGES), language)
        groups = [ALL, language]
        if all(rule != "private_key" for rule, _, _ in places):
            groups.append(f"{language} {SHORT}")
        if number >= compared:
            _one(tally, GUARD, guard, Text(text, places, groups))
            continue
        _one(tally, GUARD, guard, Text(text, places, [*groups, COMPARED]))
        for name, make in others.items():
            _one(tally, name, make, Text(text, places, [COMPARED]))
    for language in LANGUAGES:
        for seed in range(PROSE_TEXTS):
            screen = guard()
            tally.ordinary[language].add(streamed(screen, cut(prose(seed, language), "tokens")).delay)
            tally.mistaken += len(screen.reports)
    return tally


def _one(tally: Tally, name: str, make: Callable[[], Filter], text: Text) -> None:
    """Stream one text in every cut through one filter, in one piece first."""
    whole: Filter | None = None
    differs = False
    for how in CUTS:
        screen = make()
        pieces = cut(text.text, how, len(text.text))
        if how == "tokens":
            result = streamed(screen, pieces, text.places)
            for group in text.groups:
                tally.delays[name, group].add(result.delay)
            for (rule, _, _), most_held in zip(text.places, result.most_held, strict=True):
                tally.most_held[name, rule] = max(tally.most_held[name, rule], most_held)
        else:
            feed_all(screen, pieces)
        whole = whole or screen
        differs = differs or (screen.output, screen.reports) != (whole.output, whole.reports)
        _note(tally, (name, how), text, screen.masked, whole.masked)
    tally.differing[name] += differs


def _note(
    tally: Tally, key: tuple[str, str], text: Text, masked: Sequence[Masked], in_one_piece: Sequence[Masked]
) -> None:
    """Keep account of what was shown of the values of one text in one cut."""
    name, how = key
    for place in text.places:
        rule, start, end = place
        shown = shown_of(place, masked)
        missed = bool(shown) and shown_of(place, in_one_piece) == end - start
        for group in (*text.groups, rule):
            tally.sums[name, how, group].add(end - start, shown, missed=missed)
        if shown and name == GUARD:
            line = f"{how}: {shown} characters of {rule} {text.text[start:end]!r}"
            (tally.missed if missed else tally.leaks).append(line)


def main() -> int:
    """Run as many texts as asked for, print what leaked, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--out", type=Path, default=Path("docs/leak-report.md"))
    asked = parser.parse_args()
    tally = run(asked.texts, COMPARED_TEXTS, the_guard(), other_filters())
    asked.out.write_text(page(tally), encoding="utf-8")
    for line in (*tally.leaks, *(f"missed, {line}" for line in tally.missed if line.startswith("whole"))):
        print(line)  # noqa: T201
    differing = tally.differing[GUARD]
    print(f"{tally.texts} texts: {len(tally.leaks)} leaks, {differing} depend on the cut; see {asked.out}")  # noqa: T201
    return 1 if tally.leaks or differing else 0


if __name__ == "__main__":
    sys.exit(main())
