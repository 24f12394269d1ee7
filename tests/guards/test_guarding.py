"""The whole of the guard against its promises: invariance, equality with brute force, least hold, blocks, disguises."""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards import texts
from guards.reference import Reference
from trunkline.core.events import Guarded
from trunkline.guards.actions import Secrets
from trunkline.guards.base import Stage
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.states import State
from trunkline.guards.rule import Rule, Terms
from trunkline.guards.surrogates import SurrogateJoin

Result = tuple[str, list[Guarded], bool]


def run(stage: Stage, pieces: Sequence[str]) -> Result:
    """Feed the pieces; return the output, what was found, and whether it was blocked."""
    output = "".join(map(stage.feed, pieces)) + stage.finish()
    return output, stage.found, stage.blocked


def guarded(automaton: Automaton, pieces: Sequence[str]) -> Result:
    return run(Matcher(automaton, Secrets(b"key")), pieces)


def by_brute_force(rules: Sequence[Rule | Terms], text: str, result: Result) -> Reference:
    """The reference after the whole text, told which marks `remove` left."""
    output, found, _ = result
    marks = [output[event.offset : event.offset + event.length] for event in found if event.action == "remove"]
    return Reference(rules, marks=marks).guard(text)


def assert_as_by_brute_force(rules: Sequence[Rule | Terms], text: str, result: Result) -> None:
    output, found, blocked = result
    expected = by_brute_force(rules, text, result)
    assert output == expected.output
    assert [(e.rule, e.action, e.start, e.end, e.offset, e.length) for e in found] == expected.found
    assert blocked is expected.blocked


def split_invariance(automaton: Automaton, rnd: Random, text: str) -> Result:
    whole = guarded(automaton, [text])
    for pieces in (list(text), texts.cuts(rnd, text, 3), texts.cuts(rnd, text, 9), texts.tokens(text)):
        assert guarded(automaton, pieces) == whole
    return whole


@pytest.mark.parametrize("name", texts.RULE_SETS)
def test_text_and_events_are_the_same_however_the_text_is_cut_and_are_those_of_brute_force(name: str) -> None:
    rules = texts.RULE_SETS[name]
    automaton = Automaton(rules)
    events = 0
    for seed in range(texts.TEXTS // 4):
        rnd = Random(seed)
        text = texts.text(rnd)
        whole = split_invariance(automaton, rnd, text)
        assert_as_by_brute_force(rules, text, whole)
        events += len(whole[1])
    assert events > texts.TEXTS // 8


def test_so_it_is_for_any_rules_and_with_a_row_table_that_is_flushed_again_and_again() -> None:
    events = 0
    for seed in range(texts.TEXTS):
        rnd = Random(seed)
        rules = texts.small_rules(rnd)
        automaton = Automaton(rules, max_rows=rnd.choice((3, 50, 20_000)))
        for _ in range(3):
            text = texts.small_text(rnd)
            whole = split_invariance(automaton, rnd, text)
            assert_as_by_brute_force(rules, text, whole)
            events += len(whole[1])
    assert events > texts.TEXTS


@settings(max_examples=max(100, texts.TEXTS // 10), deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_so_it_is_for_any_text_and_cuts_that_hypothesis_finds(rnd: Random, data: st.DataObject) -> None:
    rules = texts.small_rules(rnd)
    automaton = Automaton(rules)
    pieces = data.draw(st.lists(st.text(st.sampled_from(texts.SMALL), max_size=6), max_size=12))
    text = "".join(pieces)
    whole = guarded(automaton, [text])
    assert guarded(automaton, pieces) == whole
    assert_as_by_brute_force(rules, text, whole)


def way_to_match(automaton: Automaton, state: State, read: int) -> str | None:
    """The shortest text that takes a begun match to one, by breadth-first search; None where there is none."""
    queue = deque([(state, read, "")])
    visited = {state}
    while queue:
        state, read, way = queue.popleft()
        if state.accepts:
            return way
        for char in "0123456789 -.:@+()/abAZdefghijklmnoprstuvxyzcws机密":
            seen = automaton.classes[char]
            assert seen is not None
            following = automaton.states.within(automaton.states.after(state, seen), read + 1)
            if following not in visited and (following.live or following.accepts):
                visited.add(following)
                queue.append((following, read + 1, way + char))
    return None


def oldest(matcher: Matcher) -> tuple[State, int] | None:
    """The match that the first held character has begun; None where a match is chosen and its inside is not known."""
    if matcher._row is not None:
        return matcher._row.threads[0].state, matcher._row.threads[0].chars
    attempt = matcher._scanner._attempt
    assert attempt is not None
    return None if matcher._scanner._span is not None else (attempt.state, attempt.read)


def takes(rules: Sequence[Rule | Terms], automaton: Automaton, text: str, place: int, released: str) -> bool:
    """Whether the character at a place is part of a match, or of a match inside of which another one blocks."""
    guard = by_brute_force(rules, text, guarded(automaton, [text]))
    return (guard.blocked and guard.output == released) or any(m[2] <= place < m[3] for m in guard.found)


def assert_each_hold_is_needed(rules: Sequence[Rule | Terms], automaton: Automaton, text: str) -> int:
    """For each beginning of the text of which something is held: some text that follows makes a match of it."""
    holds = 0
    for size in range(1, len(text) + 1):
        matcher = Matcher(automaton, Secrets(b"key"))
        released = "".join(map(matcher.feed, text[:size]))
        if not matcher.held:
            continue
        holds += 1
        held_at = size - matcher.held
        begun = oldest(matcher)
        way = "" if begun is None else way_to_match(automaton, *begun)
        assert way is not None
        assert any(
            takes(rules, automaton, text[:size] + way + beside, held_at, released)
            for beside in ("", ".", "\n", "a", "1", "-", "机", " ", "b")
        ), (text[:size], held_at, way)
    return holds


def test_every_held_character_may_still_become_part_of_a_match() -> None:
    rules = [Rule(rule.name, rule.pattern, cap=rule.cap) for rule in texts.personal()]
    automaton = Automaton(rules)
    holds = 0
    for seed in range(max(3, texts.TEXTS // 60)):
        holds += assert_each_hold_is_needed(rules, automaton, texts.text(Random(seed)).replace("…", "")[:60])
    assert holds > 40


def test_so_may_it_under_any_rules() -> None:
    holds = 0
    for seed in range(texts.TEXTS // 3):
        rnd = Random(seed)
        rules = texts.small_rules(rnd, ("mask", "block", "remove"), validated=False)
        holds += assert_each_hold_is_needed(rules, Automaton(rules), texts.small_text(rnd)[:25])
    assert holds > texts.TEXTS


@pytest.mark.parametrize("name", texts.RULE_SETS)
def test_what_is_released_is_a_prefix_of_the_output_and_what_is_held_within_its_bound(name: str) -> None:
    automaton = Automaton(texts.RULE_SETS[name])
    for seed in range(texts.TEXTS // 4):
        text = texts.text(Random(seed))
        output, _, _ = guarded(automaton, [text])
        matcher = Matcher(automaton, Secrets(b"key"))
        released = ""
        for char in text:
            released += matcher.feed(char)
            assert output.startswith(released)
            assert matcher.held <= automaton.max_held
        assert released + matcher.finish() == output


def test_a_held_run_of_invisible_characters_is_bounded_too() -> None:
    automaton = Automaton([Rule("pair", "ab")])
    matcher = Matcher(automaton, Secrets(b"key"))
    assert automaton.max_held == 18
    released = [matcher.feed(char) for char in "a" + "\u200b" * 9]
    assert released[:-1] == [""] * 9
    assert released[-1] == "a" + "\u200b" * 9


def test_of_a_blocked_text_exactly_what_precedes_the_match_is_released_for_every_cut() -> None:
    rules = [
        *texts.acting(texts.personal(), ssn="block", email="pseudonym"),
        Terms("never", ("boom",), "block", whole_word=False),
        Rule("date", r"\d{4}-\d{2}-\d{2}", "allow"),
    ]
    automaton = Automaton(rules)
    cases = {
        "My number is 536-22-1234, thanks": "My number is ",
        "Go BO\u200bOM": "Go ",
        "write to boom@example.com": "write to ",
        "write to joe.boom@example.com": "write to ",
        "on 2024-05-03boom": "on 2024-05-03",
        "at 10.1.2.3 x ｂｏｏｍ": "at [IPV4] x ",
    }
    for text, expected in cases.items():
        for first in range(len(text) + 1):
            for second in range(first, len(text) + 1):
                matcher = Matcher(automaton, Secrets(b"key"))
                released = [matcher.feed(part) for part in (text[:first], text[first:second], text[second:])]
                assert "".join(released) + matcher.finish() == expected
                assert matcher.blocked
                assert matcher.found[-1].action == "block"
                assert not matcher.held
                assert matcher.feed("more") == matcher.finish() == ""


def test_every_cut_of_the_bytes_and_of_surrogate_halves_gives_the_same() -> None:
    automaton = Automaton(texts.RULE_SETS["masking"])
    text = "Ｍail: ａnn＠example.com 😀 机密, ٤١١١١١١١١١١١١١١١ é"
    whole = guarded(automaton, [text])
    data = text.encode()
    for cut in range(len(data) + 1):
        decoder = codecs.getincrementaldecoder("utf-8")()
        assert guarded(automaton, [decoder.decode(data[:cut]), decoder.decode(data[cut:], final=True)]) == whole
    halves = text.encode("utf-16-le")
    units = [halves[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(halves), 2)]
    joined = SurrogateJoin()
    assert guarded(automaton, [*map(joined.feed, units), joined.finish()]) == whole


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("５３６‑２２‑１２３４", "ssn"),
        ("٥٣٦-٢٢-١٢٣٤", "ssn"),
        ("5\u200b3\u00ad6-22\u2060-1234", "ssn"),
        ("536–22—1234", "ssn"),
        ("536−22-1234", "ssn"),
        ("5\u03013\u03026-22-1234", "ssn"),
        ("5\ufe0f\u20e33\ufe0f\u20e36\ufe0f\u20e3-22-1234", "ssn"),
        ("4111\u00a01111\u20091111\u30001111", "card"),
        ("𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏", "card"),
        ("ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "email"),
        ("ann﹫example․com", "email"),
        ("𝓪𝓷𝓷@𝕖xample.com", "email"),
        ("bаdwоrd", "term"),
        ("ВАDWORD", "term"),
        ("βadωord".replace("ω", "w"), "term"),
        ("b\u200ba\u200dd\u200cword", "term"),
        ("STRAẞE", "term"),
        ("CAFE\u0301", "term"),
        ("机\u3164密", "term"),
    ],
)
def test_a_disguise_hides_nothing(text: str, rule: str) -> None:
    automaton = Automaton(texts.RULE_SETS["masking"])
    output, found, _ = guarded(automaton, [f"see {text}!"])
    assert [event.rule for event in found] == [rule]
    assert output.startswith(f"see [{rule.upper()}]")
    assert output.endswith("!")
    assert guarded(automaton, [*f"see {text}!"]) == (output, found, False)


def test_guarding_an_output_again_changes_nothing_where_only_removals_happened() -> None:
    rules = texts.RULE_SETS["removing"]
    automaton = Automaton(rules)
    removed = 0
    for seed in range(texts.TEXTS):
        output, found, _ = guarded(automaton, [texts.text(Random(seed))])
        if found and all(event.action == "remove" for event in found):
            removed += 1
            assert guarded(automaton, [output]) == (output, [], False)
    assert removed > texts.TEXTS // 10


class PerDelta(Matcher):
    """Looks at each delta alone: what many products do."""

    def feed(self, text: str) -> str:
        return guarded(self._automaton, [text])[0]


class ToSpace(Matcher):
    """Holds back to the last space."""

    def __init__(self, automaton: Automaton, secrets: Secrets) -> None:
        super().__init__(automaton, secrets)
        self._kept = ""

    def feed(self, text: str) -> str:
        before, space, self._kept = (self._kept + text).rpartition(" ")
        return guarded(self._automaton, [before + space])[0]

    def finish(self) -> str:
        return guarded(self._automaton, [self._kept])[0]


class ShortWindow(ToSpace):
    """Holds back the last ten characters."""

    def feed(self, text: str) -> str:
        text = self._kept + text
        place = max(0, len(text) - 10)
        self._kept = text[place:]
        return guarded(self._automaton, [text[:place]])[0]


@pytest.mark.parametrize("wrong", [PerDelta, ToSpace, ShortWindow])
def test_guards_that_cut_corners_fail_the_test_of_invariance(wrong: Callable[[Automaton, Secrets], Matcher]) -> None:
    automaton = Automaton(texts.personal())
    text = "The card is 4111 1111 1111 1111 and the address ann.lee@example.com, thank you."
    whole, found, _ = guarded(automaton, [text])
    assert [event.rule for event in found] == ["card", "email"]
    assert "".join(run(wrong(automaton, Secrets(b"key")), texts.tokens(text))[0]) != whole


def us_per_char(automaton: Automaton, pieces: Sequence[str]) -> float:
    """The least time of three runs, so that the machine's other work counts little."""
    best = float("inf")
    for _ in range(3):
        matcher = Matcher(automaton, Secrets(b"key"))
        began = time.perf_counter()
        for piece in pieces:
            matcher.feed(piece)
        matcher.finish()
        best = min(best, time.perf_counter() - began)
    return best * 1e6 / sum(map(len, pieces))


def test_no_text_takes_much_more_time_than_prose() -> None:
    automaton = Automaton(texts.RULE_SETS["every action"][:-1])
    prose = us_per_char(automaton, texts.tokens(texts.PROSE))
    rnd = Random(1)
    adversarial = {
        "one digit": "1" * 4000,
        "rejected cards": "4111 1111 1111 1112 " * 200,
        "no address": "a@" * 2000,
        "long address": "a" * 64 + "@" + "b." * 2000,
        "dotted": "1.1.1.1.1." * 400,
        "digits": "".join(rnd.choice("0123456789 -.") for _ in range(4000)),
        "noise": "".join(rnd.choice(texts.ODD) for _ in range(4000)),
        "invisible": "1\u200b" * 2000,
        "key": "sk-" + "A1b2" * 1000,
        "removed": "secret " * 600,
    }
    cost = {name: us_per_char(automaton, texts.cuts(rnd, text, 8)) / prose for name, text in adversarial.items()}
    assert {name: round(times) for name, times in cost.items() if times > 40} == {}


def test_matches_inside_a_long_hold_are_not_looked_for_with_every_delta() -> None:
    rules = [Rule("quote", "<[^>]{0,3000}>", cap=3000), Rule("number", r"\b\d+\b")]
    automaton = Automaton(rules)
    prose = us_per_char(automaton, texts.tokens(texts.PROSE))
    assert us_per_char(automaton, texts.cuts(Random(1), "<" + "12 345 " * 400, 8)) < 40 * prose
