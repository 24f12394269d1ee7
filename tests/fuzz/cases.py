"""What is tried: stages, whole chains and patterns, each with the laws that it must keep."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, TypeVar

from fuzz import patterns
from fuzz.shrinking import BrokenLaw, fewer_pieces, simpler_rules, without_some
from guards.reference import Reference
from trunkline.core.events import AnyEvent, Delta, Guarded
from trunkline.guards.actions import Secrets
from trunkline.guards.base import Stage
from trunkline.guards.chain import Guard
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.pattern import PatternError, parse
from trunkline.guards.matching.syntax import size
from trunkline.guards.rule import MAX_CAP, Rule, Terms
from trunkline.guards.screen import Screen
from trunkline.guards.settings import GuardSettings

KEY: Final = b"key"
MAX_TRIED_SIZE: Final = 400  # of an automaton that is built only to see that it can be
BESIDE: Final = ("", "", "a", "1", " ", "-", "$", "\n", "|")
CHANGING: Final = frozenset({"mask", "partial", "hash", "pseudonym", "remove"})


MakeStage = Callable[[Automaton, Secrets], Stage]


Case = TypeVar("Case", "MatcherCase", "ChainCase")


@dataclass(frozen=True)
class MatcherCase:
    """Rules and a text in pieces, held against brute force and against what the guard promises."""

    rules: tuple[Rule | Terms, ...]
    pieces: tuple[str, ...]
    max_rows: int = 20_000
    only_removals_repeat: bool = False
    """Whether these rules promise that guarding an output of nothing but removals changes nothing."""
    make: MakeStage = Matcher

    def check(self) -> None:
        automaton = Automaton(self.rules, max_rows=self.max_rows)
        text = "".join(self.pieces)
        whole = self.walk(automaton, [text])
        for pieces in (self.pieces, list(text)):
            found = self.walk(automaton, pieces)
            if found != whole:
                raise BrokenLaw("text and events are the same however the text is cut", _differ(whole, found))
        self._against_brute_force(text, whole)
        output, found, _ = whole
        if self.only_removals_repeat and found and all(event.action == "remove" for event in found):
            again = self.walk(automaton, [output])
            if again != (output, [], False):
                raise BrokenLaw("guarding the output of removals again changes nothing", _differ((output, []), again))

    def walk(self, automaton: Automaton, pieces: Sequence[str]) -> tuple[str, list[Guarded], bool]:
        """Feed the pieces; at each step what is held has its bound, and what is released is what is reported."""
        stage = self.make(automaton, Secrets(KEY))
        text = "".join(pieces)
        output, fed = "", 0
        for piece in pieces:
            output += stage.feed(piece)
            fed += len(piece)
            if stage.held > automaton.max_held:
                raise BrokenLaw("no more is held than the bound says", f"{stage.held} > {automaton.max_held}")
            if not stage.blocked:
                _expect_released(output, text[: fed - stage.held], stage.found)
        output += stage.finish()
        if stage.held:
            raise BrokenLaw("nothing is held after the end", f"{stage.held} characters")
        if stage.blocked:
            _expect_ends_before_block(output, text, stage.found)
        else:
            _expect_released(output, text, stage.found)
        return output, list(stage.found), stage.blocked

    def _against_brute_force(self, text: str, whole: tuple[str, list[Guarded], bool]) -> None:
        output, found, blocked = whole
        marks = [output[event.offset : event.offset + event.length] for event in found if event.action == "remove"]
        # One more, in case the guard removed less than it should have.
        expected = Reference(self.rules, KEY, marks=[*marks, *("" for _ in text)]).guard(text)
        seen = [(e.rule, e.action, e.start, e.end, e.offset, e.length) for e in found]
        if (output, seen, blocked) != (expected.output, expected.found, expected.blocked):
            detail = _differ((expected.output, expected.found, expected.blocked), (output, seen, blocked))
            raise BrokenLaw("it does what brute force does", detail)

    def smaller(self) -> Iterator[MatcherCase]:
        for rules in without_some(self.rules):
            if rules:
                yield replace(self, rules=rules)
        yield from with_less(self)

    def told(self) -> str:
        return f"{told_input(self)}Automaton(rules, max_rows={self.max_rows})"


@dataclass(frozen=True)
class ChainCase:
    """The stages of a turn one behind the other, as the relay runs them."""

    settings: GuardSettings
    rules: tuple[Rule | Terms, ...]
    names: tuple[str, ...]
    pieces: tuple[str, ...]

    def check(self) -> None:
        guard = Guard(self.settings, self.rules)
        text = "".join(self.pieces)
        whole = self.screened(guard, [text])
        for pieces in (self.pieces, list(text)):
            found = self.screened(guard, pieces)
            if found != whole:
                raise BrokenLaw("a chain gives the same however the text is cut", _differ(whole, found))
        alone = self.stage_by_stage(guard, text)
        if whole[0] != alone:
            raise BrokenLaw("a chain does what its stages do one after the other", _differ(alone, whole[0]))

    def screened(self, guard: Guard, pieces: Sequence[str]) -> tuple[str, list[Guarded], list[Guarded], str]:
        """Return the output, what each of the two stages that report has reported, and why it was blocked."""
        screen = Screen(guard.for_turn(Secrets(KEY), self.names))
        events: list[AnyEvent] = []
        for piece in pieces:
            events += screen.screen([Delta(piece, 0)], 0.0)
        events += screen.finish("stop", 0.0)
        output = "".join(event.text for event in events if isinstance(event, Delta))
        found = [event for event in events if isinstance(event, Guarded)]
        known = [event for event in found if event.rule == "known_term"]
        return output, [event for event in found if event.rule != "known_term"], known, screen.blocked

    def stage_by_stage(self, guard: Guard, text: str) -> str:
        for stage in guard.for_turn(Secrets(KEY), self.names).text():
            text = stage.feed(text) + stage.finish()
            if stage.blocked:
                # What later stages would have held is not released: only the beginning is known.
                return self.screened(guard, ["".join(self.pieces)])[0]
        return text

    def smaller(self) -> Iterator[ChainCase]:
        for rules in without_some(self.rules):
            yield replace(self, rules=rules)
        for names in without_some(self.names):
            yield replace(self, names=names)
        yield from with_less(self)

    def told(self) -> str:
        settings = ", ".join(
            f"{name}={value!r}" for name, value in self.settings.model_dump(exclude_unset=True).items()
        )
        return (
            f"{told_input(self)}Guard(GuardSettings({settings}), rules).for_turn(Secrets(b'key'), {list(self.names)!r})"
        )


@dataclass(frozen=True)
class PatternCase:
    """Any string as a pattern: it is refused with a reason, or means what it means to `re`."""

    pattern: str
    ignore_case: bool = False

    def check(self) -> None:
        try:
            parsed = parse(self.pattern, ignore_case=self.ignore_case)
        except PatternError as error:
            if not 0 <= error.position <= len(self.pattern):
                raise BrokenLaw("the place of a fault is in the pattern", str(error)) from None
            return
        if size(parsed.body) > MAX_TRIED_SIZE:
            return
        automaton = Automaton([Rule("rule", self.pattern, cap=MAX_CAP, ignore_case=self.ignore_case)])
        try:
            with warnings.catch_warnings(action="ignore"):
                known = re.compile(self.pattern, re.ASCII | (re.IGNORECASE if self.ignore_case else 0))
        except re.error as error:
            raise BrokenLaw("a pattern that is taken is one of `re`", str(error)) from None
        rnd = Random(self.pattern)
        for _ in range(4):
            text = rnd.choice(BESIDE) + patterns.sample(rnd, parsed.body) + rnd.choice(BESIDE)
            matcher = Matcher(automaton, Secrets(KEY))
            matcher.feed(text)
            matcher.finish()
            expected = known.search(text)
            if self.pattern.isascii() and text.isascii() and (expected is None or expected[0]):
                first = matcher.found[0].start if matcher.found else None
                if first != (None if expected is None else expected.start()):
                    detail = f"in {text!r} `re` finds {expected}, the guard finds it at {first}"
                    raise BrokenLaw("a pattern means what it means to `re`", detail)

    def smaller(self) -> Iterator[PatternCase]:
        if self.ignore_case:
            yield replace(self, ignore_case=False)
        for pattern in without_some(self.pattern):
            yield replace(self, pattern=pattern)

    def told(self) -> str:
        return f"parse({self.pattern!r}, ignore_case={self.ignore_case})"


def with_less(case: Case) -> Iterator[Case]:
    """Return the same case with fewer pieces, and with simpler rules."""
    for pieces in fewer_pieces(case.pieces):
        yield replace(case, pieces=pieces)
    for number, rule in enumerate(case.rules):
        for simpler in simpler_rules(rule):
            yield replace(case, rules=(*case.rules[:number], simpler, *case.rules[number + 1 :]))


def told_input(case: MatcherCase | ChainCase) -> str:
    """Return what a case feeds to what, as it is written in a program."""
    rules = "\n".join(f"    {told_rule(rule)}," for rule in case.rules)
    return f"rules = [\n{rules}\n]\npieces = {list(case.pieces)!r}\n"


def told_rule(rule: Rule | Terms) -> str:
    """A rule as code, without what is as it is by default."""
    if isinstance(rule, Terms):
        said = f"Terms({rule.name!r}, {rule.words!r}, {rule.action!r}"
        return said + ("" if rule.whole_word else ", whole_word=False") + ")"
    said = f"Rule({rule.name!r}, {rule.pattern!r}, {rule.action!r}"
    if rule.validator is not None:
        said += f", {getattr(rule.validator, '__qualname__', rule.validator)}"
    if rule.cap is not None:
        said += f", cap={rule.cap}"
    return said + (", ignore_case=True" if rule.ignore_case else "") + ")"


def _expect_released(output: str, text: str, found: Sequence[Guarded]) -> None:
    """The output is the text with nothing changed but what is reported."""
    read = written = 0
    for event in found:
        if event.action in CHANGING:
            if text[read : event.start] != output[written : event.offset] or event.end > len(text):
                break
            read, written = event.end, event.offset + event.length
    else:
        if text[read:] == output[written:]:
            return
    raise BrokenLaw("what is released is the text, changed as reported", f"{text!r}\n{output!r}\n{_short(found)}")


def _expect_ends_before_block(output: str, text: str, found: Sequence[Guarded]) -> None:
    """The output is that of the text up to a place at or before the match that blocked."""
    block = found[-1] if found else None
    if block is None or block.action != "block" or block.offset != len(output):
        raise BrokenLaw("what ends a text is reported last, at the output's end", f"{output!r}\n{_short(found)}")
    taken = [event for event in found if event.action in CHANGING]
    read, written = (taken[-1].end, taken[-1].offset + taken[-1].length) if taken else (0, 0)
    place = read + len(output) - written
    if place > block.start:
        raise BrokenLaw("nothing of what is blocked is released", f"{output!r}\n{_short(found)}")
    _expect_released(output, text[:place], taken)


def _short(found: object) -> object:
    if isinstance(found, Guarded):
        return (found.rule, found.action, found.start, found.end, found.offset, found.length)
    if isinstance(found, list | tuple):
        return type(found)(map(_short, found))
    return found


def _differ(expected: object, found: object) -> str:
    return f"expected {_short(expected)!r}\nfound    {_short(found)!r}"
