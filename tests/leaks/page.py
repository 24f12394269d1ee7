"""The leak report as a page for people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from guards.planted import LANGUAGES, MAKERS
from leaks.measure import Delay, Sums, Tally

ORDINARY: Final = ("ordinary: held", "ordinary: waited")
OTHERS: Final = ("each delta alone", "window of 64", "window of 128", "the whole answer at its end")
NAMES: Final = {"guard": "**the guard**"}
CUT_NAMES: Final = {
    "whole": "in one piece",
    "tokens": "a model's tokens",
    "chars": "single characters",
    "random": "1 to 9 characters",
}
LANGUAGE_NAMES: Final = {"en": "English", "de": "German", "es": "Spanish", "fr": "French"}

INTRO: Final = """\
# The leak report

Written by `make leak-report`.

A model's answer comes in pieces of a few letters. A card number comes in five or more of them, and a filter that looks
at each piece alone never sees a card number. A filter that waits for the whole answer sees everything, and the customer
sees nothing until it is there. This page measures what the relay's guard does instead: it lets each character go as
soon as nothing that may follow could make it part of something that must not be shown.

{texts:,} texts in four languages have {values:,} made-up values planted in them, of every rule that ships: cards,
accounts, addresses, identity numbers, keys. Each text is streamed four times: in one piece, by a real model's tokens,
character by character, and in pieces of one to nine characters.

- The rules find **{found:,} of the {values:,} values** ({recall}).
- Of those, **{shown:,} of {chars:,} characters** were shown, over all four ways to cut.
- **{differing:,} texts** came out otherwise, or were reported otherwise, in one cut than in another.
- In ordinary text, with nothing planted, a character waits for **{waited} tokens** on average, {most_waited} at most.
  {mistaken} words of it were taken for data.

What this says nothing about: names, street addresses and whatever else has no form of its own, and values written in
a way that no rule knows. A rule finds what looks like its numbers; the planted ones do.
"""
COMPARED: Final = """
## Beside simpler filters

The first {compared:,} texts, with the same rules and the same check digits, run by Python's `re`. The windows are as
good as a window can be: they look again with each token, and a value that has begun to leave one leaves it masked as a
whole. They lose what is longer than they are, and make every character wait, also where nothing is to be found. `re`
tries one length at each place, the guard all of them: {lost} of the values that the guard finds are none to `re` even
in one piece (they are left out of its columns).

Characters held after each token, and tokens that a character waited for, are mean / of 95 in 100 at most / most. What
the guard holds here is mostly private keys, one value in {kinds}.

"""
BY_LANGUAGE: Final = """
## By language

Held and waited as above. Among planted values, most of what is held is the value itself, until it is known to be
complete; texts with a private key, which is held for all of its length, are left out of these columns. "Ordinary" is
prose of the same language with nothing planted in it: any word could be the beginning of an e-mail address, so a word
waits for what follows it.

"""
BY_RULE: Final = """
## By rule

A value is missed where the rules do not find it in a text that comes as a whole; then all of it is shown. "Shown" are
characters of the others, where a model's tokens came one by one. "Held at most" is how much the guard ever held while
it held some of such a value: its length, and its label's.

"""
HOW: Final = """
## How to run it

    make leak-report                       # writes this page, in some minutes
    make leak-report ARGS="--texts 1000"   # a shorter look

It ends with exit code 1 where one character of a value that the rules find was shown, or one text depended on its cut.
It names each such value, and those that the rules miss. The texts are made by lot from fixed seeds
(`tests/guards/planted.py`), so the same code writes the same page. The tests run three thousand texts of it.
"""


def page(tally: Tally) -> str:
    """Return the page for docs/."""
    return (
        _intro(tally)
        + COMPARED.format(compared=tally.compared, kinds=len(MAKERS), lost=_lost(tally) or "none")
        + _table(_compared(tally))
        + BY_LANGUAGE
        + _table(_by_language(tally))
        + BY_RULE
        + _table(_by_rule(tally))
        + HOW
    )


def _intro(tally: Tally) -> str:
    each = [tally.sums["guard", how, "all"] for how in CUT_NAMES]
    ordinary = Delay()
    for delay in tally.ordinary.values():
        ordinary.add(delay)
    return INTRO.format(
        texts=tally.texts,
        values=each[0].values,
        found=each[0].values - each[0].missed,
        recall=_recall(each[0]),
        shown=sum(sums.shown for sums in each),
        chars=sum(sums.chars for sums in each),
        differing=tally.differing["guard"],
        waited=f"{mean(ordinary.waited):.1f}",
        most_waited=max(ordinary.waited),
        mistaken="No" if not tally.mistaken else tally.mistaken,
    )


def _lost(tally: Tally) -> int:
    """Values that only the guard finds."""
    return tally.sums[OTHERS[-1], "whole", "compared"].missed - tally.sums["guard", "whole", "compared"].missed


def _compared(tally: Tally) -> Iterable[Sequence[str]]:
    yield (
        "",
        *(f"shown: {cut}" for cut in CUT_NAMES.values()),
        "characters held",
        "tokens waited",
        "depend on the cut",
    )
    for name in ("guard", *OTHERS):
        delay = tally.delays[name, "compared"]
        yield (
            NAMES.get(name, name),
            *(_share(tally.sums[name, how, "compared"]) for how in CUT_NAMES),
            _spread(delay.held),
            _spread(delay.waited),
            f"{tally.differing[name]:,} of {tally.texts if name == 'guard' else tally.compared:,}",
        )


def _by_language(tally: Tally) -> Iterable[Sequence[str]]:
    yield ("", "values", "missed", "found", "shown", "characters held", "tokens waited", *ORDINARY)
    for language in LANGUAGES:
        sums, delay = (
            tally.sums["guard", "tokens", language],
            tally.delays["guard", f"{language} without a private key"],
        )
        ordinary = tally.ordinary[language]
        yield (
            LANGUAGE_NAMES[language],
            f"{sums.values:,}",
            f"{sums.missed:,}",
            _recall(sums),
            f"{sums.shown:,}",
            _spread(delay.held),
            _spread(delay.waited),
            _spread(ordinary.held),
            _spread(ordinary.waited),
        )


def _by_rule(tally: Tally) -> Iterable[Sequence[str]]:
    yield ("", "values", "missed", "found", "shown", "held at most", *(f"shown: {name}" for name in OTHERS))
    for rule in MAKERS:
        sums = tally.sums["guard", "tokens", rule]
        yield (
            f"`{rule}`",
            f"{sums.values:,}",
            f"{sums.missed:,}",
            _recall(sums),
            f"{sums.shown:,}",
            f"{tally.most_held['guard', rule]:,}",
            *(_percent(tally.sums[name, "tokens", rule]) for name in OTHERS),
        )


def _recall(sums: Sums) -> str:
    """Never rounded up to all of them."""
    return "100 %" if not sums.missed else f"{math.floor((1 - sums.missed / sums.values) * 10_000) / 100:.2f} %"


def _share(sums: Sums) -> str:
    return f"{sums.shown:,} of {sums.chars:,}"


def _percent(sums: Sums) -> str:
    return f"{sums.shown / sums.chars:.0%}" if sums.shown else "0"


def _spread(counts: Counter[int]) -> str:
    return f"{mean(counts):.1f} / {percentile(counts, 95)} / {max(counts, default=0)}"


def mean(counts: Counter[int]) -> float:
    """The mean of what was counted."""
    return sum(value * count for value, count in counts.items()) / max(1, counts.total())


def percentile(counts: Counter[int], percent: int) -> int:
    """The value that so many percent are not above (nearest rank)."""
    rank = -(-counts.total() * percent // 100)
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return 0


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines) + "\n"
