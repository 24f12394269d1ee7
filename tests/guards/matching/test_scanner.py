"""The exact scan, by examples: who wins, who is reported, and what becomes of the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from stdnum import luhn

from trunkline.guards.actions import Secrets
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.scanner import Scanner
from trunkline.guards.rule import Rule, Terms


def scanned(rules: Sequence[Rule | Terms], text: str) -> tuple[str, list[tuple[str, int, int, int, int]], bool]:
    """Scan character by character; return the output and the matches: rule, start, end, offset, length."""
    scanner = Scanner(Automaton(rules), Secrets(b"key"))
    output = "".join(map(scanner.scan, text)) + scanner.scan("", final=True)
    assert not scanner.held
    return output, [(e.rule, e.start, e.end, e.offset, e.length) for e in scanner.found], scanner.blocked


def card(value: str) -> bool:
    return len(value) == 16 and luhn.is_valid(value)


@pytest.mark.parametrize(
    ("rules", "text", "output"),
    [
        pytest.param([Rule("one", "ab"), Rule("two", "abc")], "xabcx", "x[TWO]x", id="the longest wins"),
        pytest.param([Rule("one", "a."), Rule("two", ".b")], "ab", "[ONE]", id="the first of equals wins"),
        pytest.param([Rule("one", "bcd"), Rule("two", "ab")], "abcd", "[TWO]cd", id="the leftmost wins"),
        pytest.param([Rule("one", "a+")], "aaab aa", "[ONE]b [ONE]", id="as long as it goes"),
        pytest.param([Rule("one", "a+", cap=2)], "aaaaa", "[ONE][ONE][ONE]", id="no longer than its cap"),
        pytest.param(
            [Rule("one", "a+", validator=lambda value: len(value) % 2 == 0)],
            "aaa",
            "[ONE]a",
            id="of all ends the longest that the validator accepts",
        ),
        pytest.param([Rule("one", "ab", validator=lambda _: False), Rule("two", "a")], "ab", "[TWO]b", id="rejected"),
        pytest.param(
            [Rule("card", r"\d{16}", validator=card)],
            "4111111111111111222",
            "[CARD]222",
            id="a card at the beginning of a longer run",
        ),
        pytest.param([Rule("one", r"(?<!\w)a(?!\w)")], "a ba a", "[ONE] ba [ONE]", id="context on both sides"),
        pytest.param([Rule("one", "a(?=b)")], "aba", "[ONE]ba", id="context is not taken"),
        pytest.param([Rule("one", "(?<=a)b")], "abb", "a[ONE]b", id="context is of the text as it came"),
        pytest.param([Rule("day", r"\d-\d", "allow"), Rule("two", r"\d")], "1-2 3", "1-2 [TWO]", id="allowed"),
        pytest.param([Rule("day", r"\d-\d", "allow"), Rule("two", r"\d-\d.")], "1-2 3", "[TWO]3", id="longer"),
        pytest.param([Terms("term", ("new york", "new"))], "New York, new, newer", "[TERM], [TERM], newer", id="terms"),
        pytest.param([Terms("term", ("a",), whole_word=False)], "banana", "b[TERM]n[TERM]n[TERM]", id="parts of words"),
        pytest.param([Terms("term", ("机密",))], "这是机密文件", "这是[TERM]文件", id="no edges without spaces"),
        pytest.param([Terms("term", ("café",))], "CAFE\u0301s cafe\u0301", "CAFE\u0301s [TERM]\u0301", id="accents"),
        pytest.param([Rule("one", "a", replacement="")], "banana", "bnn", id="nothing by choice"),
    ],
)
def test_what_matches_is_decided_by_place_length_and_order(
    rules: Sequence[Rule | Terms], text: str, output: str
) -> None:
    assert scanned(rules, text)[0] == output


def test_a_match_is_reported_in_characters_of_both_texts() -> None:
    output, found, _ = scanned([Rule("one", "ab"), Rule("two", "cd", "partial")], "x\u200ba\u200bb-cd.")
    assert output == "x\u200b[ONE]-**."
    assert found == [("one", 2, 5, 2, 5), ("two", 6, 8, 8, 2)]


def test_a_flag_reports_and_takes_nothing() -> None:
    rules = [Rule("number", r"\d+", "flag"), Rule("pin", r"2\d", validator=lambda value: value != "29")]
    output, found, _ = scanned(rules, "a123 29 x")
    assert output == "a1[PIN] 29 x"
    assert found == [("number", 1, 4, 1, 3), ("pin", 2, 4, 2, 5), ("number", 5, 7, 8, 2)]


def test_a_flag_reports_its_longest_valid_match_and_beside_any_other_rule() -> None:
    rules = [
        Rule("mask_it", "ab"),
        Rule("long", "abc+", "flag", lambda value: len(value) < 5),
        Rule("never", "x", "flag", lambda _: False),
    ]
    output, found, _ = scanned(rules, "abcccx")
    assert output == "[MASK_IT]cccx"
    assert found == [("long", 0, 4, 0, 4), ("mask_it", 0, 2, 0, 9)]


@pytest.mark.parametrize(
    ("text", "output", "match"),
    [
        ("go boom", "go ", (3, 7)),
        ("see joe.boom@ex.org", "see ", (8, 12)),
        ("see joe@boom.org", "see ", (8, 12)),
        ("see joe@ex.orgboom", "see joe@ex.org", (14, 18)),
        ("on 1-2boom", "on 1-2", (6, 10)),
        ("on 7boom9", "on 7", (4, 8)),
    ],
)
def test_a_block_is_found_inside_what_another_rule_takes(text: str, output: str, match: tuple[int, int]) -> None:
    rules = [
        Rule("email", r"(?<![\w.])[\w.]+@\w+\.[a-z]{3}(?![a-z])"),
        Rule("day", r"\d-\d", "allow"),
        Rule("odd", r"\dboom\d", "allow"),
        Rule("never", "boom", "block"),
    ]
    released, found, blocked = scanned(rules, text)
    assert blocked
    assert released == output
    assert found[-1] == ("never", *match, len(output), 0)


def test_an_allowed_span_is_released_as_far_as_no_block_can_begin_in_it() -> None:
    rules = [Rule("day", r"\d-\d+", "allow", cap=5), Rule("never", "4x", "block")]
    scanner = Scanner(Automaton(rules), Secrets(b"key"))
    assert "".join(map(scanner.scan, "1-234")) == "1-23"
    assert scanner.scan("y") == "4y"


def test_of_two_blocks_at_one_place_the_longer_is_reported() -> None:
    rules = [Rule("any", "a.*d"), Rule("short", "b", "block"), Rule("long", "bc", "block")]
    assert scanned(rules, "abcd")[1] == [("long", 1, 3, 0, 0)]


def test_a_validator_is_asked_again_for_a_block_inside_another_match() -> None:
    rules = [Rule("any", "[ab]+"), Rule("never", "b+", "block", lambda value: len(value) == 2)]
    assert scanned(rules, "abab")[0] == "[ANY]"
    assert scanned(rules, "abba")[2]


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("a damn fool", "a  fool"),
        ("53damn6-22", "53…6-22"),
        ("536-damn22", "536-…22"),
        ("536-22damn", "536-22_…"),
        ("536-22 damn", "[ID] "),
        ("damn536-22", "[ID]"),
        ("xdamn536-22", "x536-22"),
    ],
)
def test_what_is_removed_joins_no_halves(text: str, output: str) -> None:
    rules = [Rule("id", r"(?<!\w)\d{3}-\d{2}(?!\w)"), Terms("rude", ("damn",), "remove", whole_word=False)]
    assert scanned(rules, text)[0] == output
    assert scanned(rules, output)[0] == output
