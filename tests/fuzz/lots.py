"""Draws cases by lot: a number is a case, always the same one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Final

from stdnum import luhn

from fuzz import patterns
from fuzz.cases import ChainCase, MatcherCase, PatternCase
from fuzz.shrinking import Case
from guards import texts
from guards.planted import MAKERS
from trunkline.guards.rule import Action, Rule, Terms
from trunkline.guards.rules import RULES
from trunkline.guards.settings import GuardSettings

SIGNS: Final = "()[]{}|\\^$.*+?-,:=!<>#&~PabdwsDWSxuUNnr01 9éſ\u200b\n机"
MARKDOWN: Final = ("**", "*", "_", "`", "```\n", "~~", "[", "](", "](u)", ")", "# ", "> ", "- ", "| ", "\\", "<", "![")
BLANKS: Final = (" ", "  ", "\n", "\n\n\n", "\t", "\r\n", " \n ")
HALVES: Final = ("\ud83d", "\ude00")
_CATEGORY: Final = re.compile(r"\\[dswDSW]")
NAMES: Final = ("ab", "Anna", "a1", "é", "机", "Lee", "b-b", "ann lee", "1 1")


def even(value: str) -> bool:
    """A validator that takes every other length."""
    return len(value) % 2 == 0


def one_a(value: str) -> bool:
    """A validator that depends on what is inside."""
    return value.count("a") == 1


def check_digit(value: str) -> bool:
    """A validator such as cards have."""
    return luhn.is_valid("".join(filter(str.isdigit, value)))


VALIDATORS: Final = (None, None, None, even, one_a, check_digit, texts.is_lucky)


def case(number: int) -> Case:
    """Draw the case of a number."""
    rnd = Random(number)
    kind = rnd.random()
    if kind < 0.3:
        return _small(rnd)
    if kind < 0.6:
        return _any(rnd)
    if kind < 0.65:
        return _removing(rnd)
    if kind < 0.7:
        return _shipped(rnd)
    if kind < 0.85:
        return _chain(rnd)
    return _pattern(rnd)


def cuts(rnd: Random, text: str) -> tuple[str, ...]:
    """A text in pieces; some of them may be empty."""
    how = rnd.random()
    if how < 0.2 and not any("\ud800" <= char <= "\udfff" for char in text):
        return tuple(texts.tokens(text))
    pieces = texts.cuts(rnd, text, rnd.choice((1, 2, 3, 9, 20)))
    if how > 0.9:
        pieces.insert(rnd.randint(0, len(pieces)), "")
    return tuple(pieces)


def _small(rnd: Random) -> Case:
    """Few characters, so that what is drawn often matches, meets and overlaps."""
    rules = tuple(texts.small_rules(rnd))
    return MatcherCase(rules, cuts(rnd, texts.small_text(rnd)), rnd.choice((3, 50, 20_000)))


def _any(rnd: Random) -> Case:
    alphabet = rnd.choice(patterns.ALPHABETS)
    rules = _rules(rnd, alphabet, texts.ACTIONS)
    return MatcherCase(rules, cuts(rnd, patterns.text(rnd, rules, alphabet)), rnd.choice((3, 50, 20_000)))


def _removing(rnd: Random) -> Case:
    """Rules that promise that what is left of removals holds nothing to be removed."""
    alphabet = rnd.choice(patterns.ALPHABETS)
    rules = _rules(rnd, alphabet, ("remove",), tame=True)
    return MatcherCase(rules, cuts(rnd, patterns.text(rnd, rules, alphabet)), only_removals_repeat=True)


def _rules(rnd: Random, alphabet: str, actions: Sequence[Action], *, tame: bool = False) -> tuple[Rule | Terms, ...]:
    rules: list[Rule | Terms] = []
    for number in range(rnd.randint(1, 4)):
        action = rnd.choice(actions)
        if rnd.random() < 0.25:
            words = tuple("".join(rnd.choices(alphabet, k=rnd.randint(1, 4))) for _ in range(rnd.randint(1, 5)))
            rules.append(Terms(f"t{number}", words, action, whole_word=not tame and rnd.random() < 0.7))
            continue
        pattern = patterns.pattern(rnd, alphabet, tame=tame)
        cap = rnd.choice((None, None, None, 1, 2, 3, 5))
        # Both at once have no simple form in `re`: its categories are ASCII only where its folding is.
        folded = rnd.random() < 0.2 and (pattern.isascii() or not _CATEGORY.search(pattern))
        try:
            rules.append(Rule(f"r{number}", pattern, action, rnd.choice(VALIDATORS), cap=cap, ignore_case=folded))
            patterns.parse(pattern)
        except ValueError:  # such as one that matches the empty text only
            rules[-1] = Rule(f"r{number}", "a", action)
    return tuple(rules)


def _shipped(rnd: Random) -> Case:
    """Some of the rules that ship, with any action, and values of theirs."""
    names = rnd.sample(sorted(RULES), rnd.randint(1, 4))
    rules: list[Rule | Terms] = []
    for name in names:
        rule = RULES[name]
        action = rule.action if rule.action == "allow" else rnd.choice(texts.ACTIONS)
        rules.append(Rule(name, rule.pattern, action, rule.validator, cap=rule.cap))
    if rnd.random() < 0.3:
        rules.append(Terms("term", texts.TERMS, rnd.choice(texts.ACTIONS)))
    values = [MAKERS[name](rnd) for name in names if name in MAKERS and name != "private_key"]
    text = patterns.text(rnd, rules, "1a -.", values)[:90]
    return MatcherCase(tuple(rules), cuts(rnd, text))


def _chain(rnd: Random) -> Case:
    alphabet = rnd.choice(patterns.ALPHABETS)
    rules = _rules(rnd, alphabet, texts.ACTIONS)
    names = tuple(rnd.sample(NAMES, rnd.randint(0, 3)))
    parts = []
    for _ in range(rnd.randint(1, 5)):
        parts.append(patterns.text(rnd, rules, alphabet))
        parts += rnd.choices((*MARKDOWN, *BLANKS, *HALVES, *names, "a"), k=rnd.randint(0, 3))
    settings = GuardSettings(markdown=rnd.choice(("keep", "strip")), whitespace=rnd.choice(("keep", "collapse")))
    return ChainCase(settings, rules, names, cuts(rnd, "".join(parts)))


def _pattern(rnd: Random) -> Case:
    """Any signs, or a real pattern with something in it changed."""
    kind = rnd.random()
    if kind < 0.4:
        written = "".join(rnd.choices(SIGNS, k=rnd.randint(1, 24)))
    elif kind < 0.5:
        nested = rnd.randint(1, 2_000)
        written = rnd.choice(("(", "(?:", "[", "(?=", "\\", "a{9", "(a{9}")) * nested + rnd.choice(
            (")" * nested, "", "a")
        )
    else:
        alphabet = rnd.choice(patterns.ALPHABETS)
        shipped = rnd.choice(list(RULES.values())).pattern
        written = patterns.pattern(rnd, alphabet) if kind < 0.9 else shipped
        for _ in range(rnd.randint(1, 3)):
            at = rnd.randint(0, len(written))
            written = written[:at] + rnd.choice(("", *SIGNS)) + written[at + rnd.randint(0, 2) :]
    return PatternCase(written, ignore_case=rnd.random() < 0.3)
