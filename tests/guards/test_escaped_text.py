"""Escapes, places and the order of reports, for one text and chains of several stages."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.events import Guarded
from trunkline.guards.actions import Secrets
from trunkline.guards.base import Stage
from trunkline.guards.escaped_text import EscapedText, Places
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.rule import Action, Rule
from trunkline.guards.surrogates import SurrogateJoin

Found = tuple[str, str, int, int, int, int]
WHOLE_ESCAPES = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|.", re.DOTALL)


def run(stages: Sequence[Stage], pieces: Sequence[str], *, quoted: bool = True) -> tuple[str, list[Found], bool]:
    text = EscapedText(stages, 0, 0, quoted=quoted)
    released = "".join(map(text.feed, pieces)) + text.finish()
    found = [(e.rule, e.action, e.start, e.end, e.offset, e.length) for e in text.found]
    return released, found, text.blocked


def chain(*rules: Rule) -> list[Stage]:
    return [SurrogateJoin(), Matcher(Automaton(rules), Secrets(b"key"))]


def pieces_of(raw: str) -> list[str]:
    """As small as they may be: no escape in two pieces."""
    return WHOLE_ESCAPES.findall(raw)


# Places


def test_places_outside_of_stretches_are_as_far_apart_as_in_the_other_text():
    places = Places(10)
    places.add((2, 5), (12, 13))
    places.add((7, 7), (15, 18))
    assert [places.forward(place) for place in (0, 1, 2, 5, 6, 8)] == [10, 11, 12, 13, 14, 19]
    assert [places.back(place) for place in (10, 11, 12, 13, 14, 19)] == [0, 1, 2, 5, 6, 8]


def test_a_place_within_a_stretch_is_its_beginning_or_its_end():
    places = Places()
    places.add((2, 5), (2, 3))
    places.add((9, 10), (7, 17))
    assert [(places.forward(place), places.forward(place, end=True)) for place in (2, 3, 4, 5)] == [
        (2, 2), (2, 3), (2, 3), (3, 3),
    ]  # fmt: skip
    assert [(places.back(place), places.back(place, end=True)) for place in (7, 8, 16, 17)] == [
        (9, 9), (9, 10), (9, 10), (10, 10),
    ]  # fmt: skip


def test_what_begins_where_something_vanished_begins_after_it_and_what_ends_there_ends_before_it():
    places = Places()
    places.add((3, 8), (3, 3))
    assert places.back(3) == 8
    assert places.back(3, end=True) == 3


def test_forgotten_stretches_leave_the_later_places_as_they_are():
    places = Places(1)
    for n in range(100):
        places.add((2 * n, 2 * n + 1), (7 * n + 1, 7 * n + 7))
    kept = [places.forward(place) for place in range(199, 210)]
    places.forget()
    assert len(places) == 1
    assert [places.forward(place) for place in range(199, 210)] == kept


# Spelling

SECRET = Rule("secret", "s@b", replacement='<"\\\n>')


@pytest.mark.parametrize(
    "raw",
    ["", "abc", r"\"\\\/\b\f\n\r\t", r"\u00e9\u00C9é", r"\ud83d\ude00\uD83D\uDE00😀", r"s@\/b", r"\u0073\u0040"],
)
def test_an_unchanged_text_is_spelled_as_it_came(raw):
    assert run(chain(SECRET), [raw]) == (raw, [], False)
    assert run(chain(SECRET), pieces_of(raw)) == (raw, [], False)


@pytest.mark.parametrize("secret", ["s@b", r"s\u0040b", r"\u0073\u0040\u0062", "s\uff20b", "s\\uFF20b", r"s\u200b@b"])
def test_a_match_is_found_in_any_spelling_and_what_follows_is_spelled_anew(secret):
    raw = rf"\/ {secret} \/\"\\\n\u00e9\u2028"
    expected = '\\/ <\\"\\\\\\n> /\\"\\\\\\né\u2028'
    found = [("secret", "mask", 3, 3 + len(secret), 3, 8)]
    assert run(chain(SECRET), [raw]) == (expected, found, False)
    assert run(chain(SECRET), pieces_of(raw)) == (expected, found, False)


def test_outside_of_quotes_only_the_backslash_is_escaped():
    raw = r'"s@b" \" \\ \q \u005cu0040'
    assert run(chain(SECRET), [raw], quoted=False)[0] == '"<"\\\\\n>" " \\\\ q \\\\u0040'
    assert run(chain(SECRET), [raw.replace("s", "")], quoted=False)[0] == raw.replace("s", "")


def test_a_lone_half_is_replaced_by_a_chain_that_joins_halves_and_stays_escaped_without_one():
    raw = r"\/\ude00\/\ud83d\/"
    assert run(chain(SECRET), [raw])[0] == "\\/\ufffd/\ufffd/"
    alone = [Matcher(Automaton([SECRET]), Secrets(b"key"))]
    assert run(alone, [raw])[0] == raw
    alone = [Matcher(Automaton([SECRET]), Secrets(b"key"))]
    assert run(alone, ["s@b" + raw])[0] == r"<\"\\\n>/\ude00/\ud83d/"


def test_the_very_spelling_ends_where_a_replacement_begins_though_it_begins_like_the_match():
    rule = Rule("bracket", r"\[x", replacement="[y]")
    assert run(chain(rule), [r"\u005bx"])[0] == "[y]"
    same = Rule("same", "ab", replacement="ab")
    assert run(chain(same), [r"\u0061b"])[0] == "ab"


def test_places_of_many_escapes_are_forgotten_while_nothing_is_held():
    text = EscapedText(chain(SECRET), 0, 0, quoted=True)
    for _ in range(1000):
        text.feed(r"\u00e9\n")
    assert len(text._input.places) < 100
    assert len(text._output.places) < 100
    text.feed(r"s\u0040b.")
    text.feed(r"\u00e9\n" * 1000 + r"s\u0040")
    text.feed("b.")
    assert [(e.start, e.end, e.offset) for e in text.found] == [(8000, 8008, 8000), (16009, 16017, 11009)]


# Several stages


def matchers(*rules: Sequence[Rule]) -> list[Stage]:
    return [Matcher(Automaton(each), Secrets(b"key")) for each in rules]


def test_reports_of_several_stages_come_in_the_order_of_the_text_and_in_its_places():
    def stages() -> list[Stage]:
        return matchers([Rule("name", "Ann", replacement="[NAME NAME]")], [Rule("mail", r"\w+@\w+")])

    raw = r"a@b \u0041nn c\u0040d Ann"
    released = "[MAIL] [NAME NAME] [MAIL] [NAME NAME]"
    found = [("mail", "mask", 0, 3, 0, 6), ("name", "mask", 4, 12, 7, 11), ("mail", "mask", 13, 21, 19, 6),
             ("name", "mask", 22, 25, 26, 11)]  # fmt: skip
    assert run(stages(), [raw]) == (released, found, False)
    assert run(stages(), pieces_of(raw)) == (released, found, False)


def test_a_report_is_of_what_is_left_of_a_replacement_after_the_later_stages():
    stages = matchers([Rule("name", "Ann", replacement="x@y")], [Rule("mail", r"\w+@\w+", replacement="m")])
    assert run(stages, ["an Ann!"]) == ("an m!", [("name", "mask", 3, 6, 3, 1), ("mail", "mask", 3, 6, 3, 1)], False)


def test_a_flag_that_is_not_released_yet_is_not_reported_yet():
    text = EscapedText(matchers([Rule("flagged", "abc", "flag")], [Rule("held", "cd")]), 0, 0, quoted=True)
    assert text.feed("abc") == "ab"
    assert text.found == []
    assert text.feed("e") == "ce"
    assert text.found == [Guarded("flagged", "flag", 0, 3, 0, 3, text.found[0].digest)]


def test_what_an_early_stage_found_after_a_block_of_a_later_one_is_not_reported():
    def stages() -> list[Stage]:
        return matchers([Rule("name", "Ann")], [Rule("stop", "stop", "block")])

    expected = ("[NAME] ", [("name", "mask", 0, 3, 0, 6), ("stop", "block", 4, 8, 7, 0)], True)
    assert run(stages(), ["Ann stop Ann"]) == expected
    assert run(stages(), list("Ann stop Ann")) == expected


@pytest.mark.parametrize("after", ["", "."])
def test_what_a_later_stage_holds_when_an_earlier_one_blocks_is_dropped_also_at_the_end(after):
    stages = matchers([Rule("stop", "stop(?!x)", "block")], [Rule("held", "a +z")])
    assert run(stages, [f"b a stop{after}"]) == ("b ", [("stop", "block", 4, 8, 2, 0)], True)


ACTIONS: list[Action] = ["mask", "remove", "flag", "allow", "block", "partial"]
WORDS = st.text("abc", min_size=1, max_size=3)
RULES = st.builds(
    Rule, st.sampled_from(["r", "s"]), WORDS, st.sampled_from(ACTIONS), replacement=st.text("abc", max_size=4)
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(RULES, max_size=2), max_size=3), st.text("abcd", max_size=14), st.randoms(use_true_random=False)
)
def test_no_cut_changes_text_or_reports_of_any_chain(rules: list[list[Rule]], text: str, random: Random):
    units = [random.choice((char, f"\\u{ord(char):04x}")) for char in text]
    raw = "".join(units)
    whole = run(matchers(*rules), [raw])
    released, found, blocked = whole
    assert run(matchers(*rules), units) == whole
    places = sorted(random.sample(range(len(units) + 1), min(2, len(units))))
    pieces = ["".join(each) for each in cut_list(units, places)]
    assert run(matchers(*rules), pieces) == whole
    assert [start for _, _, start, *_ in found] == sorted(start for _, _, start, *_ in found)
    assert all(0 <= start <= end <= len(raw) for _, _, start, end, *_ in found)
    assert all(0 <= offset <= offset + size <= len(released) for *_, offset, size in found)
    assert blocked is any(action == "block" for _, action, *_ in found)
    assert json.loads(f'"{released}"') == by_hand(matchers(*rules), text)


def cut_list(units: list[str], places: list[int]) -> list[list[str]]:
    return [units[a:b] for a, b in zip([0, *places], [*places, len(units)], strict=True)]


def by_hand(stages: Sequence[Stage], text: str) -> str:
    """What the stages make of a whole text, one after the other; after a block in one, no other gets an end."""
    ended = True
    for stage in stages:
        text = stage.feed(text) + (stage.finish() if ended else "")
        ended = ended and not stage.blocked
    return text
