"""Tries a guard on a text: what is released, held and reported, delta by delta, and why a candidate was rejected."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from trunkline.core.events import AnyEvent, Delta, Guarded, Notice
from trunkline.guards.actions import Secrets
from trunkline.guards.chain import Guard, rules_of
from trunkline.guards.rule import Rule, Terms
from trunkline.guards.screen import Screen
from trunkline.guards.settings import GuardSettings
from trunkline.tokens import pieces

CUTS = ("tokens", "chars", "whole", "random")


@dataclass(frozen=True, slots=True)
class Step:
    """One delta: what it was, what it released, how many characters were held after it, and what was done."""

    fed: str
    released: str
    held: int
    reports: tuple[Guarded, ...] = ()
    blocked: str = ""


@dataclass(slots=True)
class Rejected:
    """Candidates that the patterns found and the validators did not let be matches: (rule, text), each once."""

    found: dict[tuple[str, str], None] = field(default_factory=dict)

    def watch(self, rule: Rule | Terms) -> Rule | Terms:
        """Return the rule with a validator that takes note."""
        if isinstance(rule, Terms) or rule.validator is None:
            return rule
        return replace(rule, validator=self._noting(rule.name, rule.validator))

    def _noting(self, name: str, validator: Callable[[str], bool]) -> Callable[[str], bool]:
        def validate(value: str) -> bool:
            accepted = bool(validator(value))
            if not accepted:
                self.found[name, value] = None
            return accepted

        return validate


def cut(text: str, how: str, seed: int = 0) -> list[str]:
    """Cut a text as `--cut` says: `tokens`, `chars`, `whole`, `random`, or every so many characters."""
    if how == "tokens":
        return pieces(text)
    if how == "random":
        dice, cuts = random.Random(seed), []
        while text:
            size = dice.randint(1, 9)
            cuts.append(text[:size])
            text = text[size:]
        return cuts
    size = {"chars": 1, "whole": max(1, len(text))}.get(how) or int(how)
    return [text[n : n + size] for n in range(0, len(text), size)]


def guard_of(settings: GuardSettings | None, rejected: Rejected) -> Guard:
    """Make a guard whose validators tell what they reject."""
    return Guard(settings, None if settings is None else [rejected.watch(rule) for rule in rules_of(settings)])


def steps(guard: Guard, deltas: Sequence[str], key: bytes) -> Iterator[Step]:
    """Feed the deltas one by one, and close the text as a proper end does."""
    screen = Screen(guard.for_turn(Secrets(key)))
    for delta in deltas:
        yield _step(delta, screen.screen([Delta(delta, 0)], 0.0), screen)
        if screen.blocked:
            return
    yield _step("", screen.finish("stop", 0.0), screen)


def _step(fed: str, events: Sequence[AnyEvent], screen: Screen) -> Step:
    released = "".join(event.text for event in events if isinstance(event, Delta))
    reports = tuple(event for event in events if isinstance(event, Guarded))
    dropped = any(isinstance(event, Notice) for event in events)
    return Step(fed, released, 0 if dropped else screen.held, reports, screen.blocked)
