"""The parser: what it reads, as trees, and what it refuses, with the place and the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.guards.matching.pattern import MAX_DEPTH, MAX_STATES, PatternError, parse
from trunkline.guards.matching.syntax import WORD, Chars, CharSet, Choice, Context, Repeat, Sequence, complement


def one(chars: str) -> Chars:
    """A set of single characters that do not adjoin."""
    return Chars(CharSet(tuple((ord(char), ord(char)) for char in chars)))


A, B = one("a"), one("b")


@pytest.mark.parametrize(
    ("pattern", "body"),
    [
        ("a", A),
        ("ab", Sequence((A, B))),
        ("a|b", Choice((A, B))),
        ("(a)", A),
        ("(?:a|b)", Choice((A, B))),
        ("(?:a|)", Choice((A, Sequence(())))),
        ("a?", Repeat(A, 0, 1)),
        ("a*", Repeat(A, 0, None)),
        ("a+?", Repeat(A, 1, None)),
        ("a{3}", Repeat(A, 3, 3)),
        ("a{3,}", Repeat(A, 3, None)),
        ("a{,4}", Repeat(A, 0, 4)),
        ("a{2,4}?", Repeat(A, 2, 4)),
        ("a{x", Sequence((A, one("{"), one("x")))),
        ("a{}", Sequence((A, one("{"), one("}")))),
        (".", Chars(CharSet(complement(((10, 10),))))),
        (r"\.", one(".")),
        (r"\n", one("\n")),
        (r"\x41\u0042\U00000043", Sequence((one("A"), one("B"), one("C")))),
        (r"\w", Chars(CharSet(WORD))),
        (r"\W", Chars(CharSet(complement(WORD)))),
        ("[ac]", one("ac")),
        ("[]c]", one("]c")),
        ("[a-c]", Chars(CharSet(((97, 99),)))),
        ("[a-]", one("-a")),
        ("[-a]", one("-a")),
        (r"[a\-c]", one("-ac")),
        (r"[\b]", one("\b")),
        (r"[\d-]", Chars(CharSet(((45, 45), (48, 57))))),
        ("[^ac]", Chars(CharSet(((97, 97), (99, 99)), negated=True))),
        ("[a&&b]", Chars(CharSet(((38, 38), (97, 98))))),
        ("１", one("1")),
        ("[–]", one("-")),
    ],
)
def test_a_pattern_is_read_as_the_tree_it_means(pattern: str, body: object) -> None:
    assert parse(pattern).body == body


def test_with_ignore_case_each_set_has_both_cases() -> None:
    assert parse("a", ignore_case=True).body == Chars(CharSet(((97, 97),), ignore_case=True))


@pytest.mark.parametrize(
    ("pattern", "left", "right"),
    [
        ("a", None, None),
        (r"\ba\b", Context(CharSet(WORD), boundary=True), Context(CharSet(WORD), boundary=True)),
        ("(?<!b)a(?!b)", Context(B.chars, wanted=False), Context(B.chars, wanted=False)),
        (r"(?<=[b])a(?=\w)", Context(B.chars), Context(CharSet(WORD))),
        (r"(?<!\.)(?:a|b)", Context(one(".").chars, wanted=False), None),
    ],
)
def test_a_condition_on_either_side_is_read(pattern: str, left: Context | None, right: Context | None) -> None:
    parsed = parse(pattern)
    assert (parsed.left, parsed.right) == (left, right)


@pytest.mark.parametrize(
    ("pattern", "position", "reason"),
    [
        ("(a)\\1", 3, "reference back"),
        ("(?P<x>a)", 0, "no names"),
        ("(?P=x)", 0, "reference back"),
        ("(?>a)", 0, "atomic"),
        ("(?i)a", 0, "ignore_case"),
        ("(?#a)", 0, "comments"),
        ("(a)(?(1)b)", 3, "earlier group"),
        ("^a", 0, "anchors"),
        ("a$", 1, "anchors"),
        ("\\Aa", 0, "anchors"),
        ("a\\Z", 1, "anchors"),
        ("a\\Bb", 1, "not supported"),
        ("\\q", 0, "not supported"),
        ("a\\bb", 1, "very start or the very end"),
        ("a(?=b)c", 1, "very start or the very end"),
        ("(?:a(?!b))", 4, "very start or the very end"),
        ("(?<!ab)c", 4, "one character"),
        ("a(?!b|c)", 4, "one character"),
        ("a(?!)", 4, "one character"),
        ("(?<!a)b|c", 7, "into a group"),
        ("b|c(?!a)", 1, "into a group"),
        ("a++", 2, "possessive"),
        ("a**", 2, "two quantifiers"),
        ("*a", 0, "nothing to repeat"),
        ("a|+", 2, "nothing to repeat"),
        ("a{3,2}", 1, "least count"),
        ("a{9999999999}", 1, "far too large"),
        ("(a", 0, "not closed"),
        ("a)", 1, "closes nothing"),
        ("[a", 0, "not closed"),
        ("[", 0, "not closed"),
        ("[z-a]", 1, "backwards"),
        ("[a-\\d]", 1, "ends with one character"),
        ("[０-９]", 1, "sees U\\+FF10 as '0'"),
        ("[^\\s\\S]", 0, "no character at all"),
        ("a\\", 1, "backslash at the end"),
        ("\\x4", 0, "2 hexadecimal digits"),
        ("\\UFFFFFFFF", 0, "8 hexadecimal digits"),
        ("a\u200bb", 1, "U\\+200B is invisible"),
        ("", 0, "empty text only"),
        ("(?:a{0})\\b", 0, "empty text only"),
        ("(a{1,1000}){1,1000}", 0, "at most 10,000 are allowed"),
        ("a{4000}b{4000}", 0, "at most 10,000 are allowed"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH, "nested more than"),
    ],
)
def test_what_is_outside_the_subset_is_refused_with_its_place_and_the_reason(
    pattern: str, position: int, reason: str
) -> None:
    with pytest.raises(PatternError, match=reason) as refused:
        parse(pattern)
    assert refused.value.position == position
    assert refused.value.pattern == pattern
    assert str(refused.value).splitlines()[-1] == "  " + " " * position + "^"


def test_the_message_shows_the_pattern_with_a_mark_under_the_place() -> None:
    with pytest.raises(PatternError) as refused:
        parse("ab\n(?>c)")
    assert str(refused.value) == "an atomic group is not regular (at 3)\n  ab\ufffd(?>c)\n     ^"


@given(st.text(st.sampled_from("ab1\\[](){}|?*+.,^$-:=!<dwbx0９\u200b"), max_size=25))
def test_any_text_is_a_pattern_or_is_refused(pattern: str) -> None:
    refused = None
    try:
        parse(pattern)
    except PatternError as error:
        refused = error
    assert refused is None or 0 <= refused.position <= len(pattern)


def test_the_bound_on_states_leaves_room_for_real_patterns() -> None:
    assert MAX_STATES > 2 * 64 * 66
    parse(r"[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}")


@pytest.mark.parametrize("pattern", ["abc(?=$)", "abc(?!^)", "( )(?!+)", "(?!()", "(?<!?)a", r"[\\S- ]"])
def test_what_looks_like_something_else_is_not_taken_for_itself(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse(pattern)
