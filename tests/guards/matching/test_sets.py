"""Questions about characters as bits: each bit against a plain search in the set's ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.guards.matching.sets import OUTSIDE_WORD, TERM_WORD, Condition, Sets
from trunkline.guards.matching.syntax import WORD, CharSet, Context, cases, union
from trunkline.guards.matching.view import is_word

RANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60))).map(
    lambda pairs: union((first, first + more) for first, more in pairs)
)
SETS = st.lists(st.builds(CharSet, RANGES, st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(SETS, st.lists(st.characters(max_codepoint=400)))
def test_a_bit_says_whether_the_set_has_the_character(charsets: list[CharSet], chars: list[str]) -> None:
    sets = Sets()
    bits = [sets.bit(charset) for charset in charsets]
    for char in chars:
        answers = sets.of(char)
        assert bool(answers & TERM_WORD) is is_word(char)
        for charset, bit in zip(charsets, bits, strict=True):
            codes = cases(char) if charset.ignore_case else (ord(char),)
            has = any(first <= code <= last for code in codes for first, last in charset.ranges)
            assert bool(answers & bit) is (has is not charset.negated)


def test_equal_sets_share_a_bit_and_later_ones_are_known_too() -> None:
    sets = Sets()
    assert sets.bit(CharSet(WORD)) == sets.bit(CharSet(WORD)) != sets.bit(CharSet(WORD, negated=True))
    before = sets.of("a")
    late = sets.bit(CharSet(((97, 97),)))
    assert sets.of("a") == before | late


def test_a_condition_asks_for_a_character_for_another_or_for_a_change() -> None:
    sets = Sets()
    assert sets.condition(None) is None
    wanted = sets.condition(Context(CharSet(WORD)))
    unwanted = sets.condition(Context(CharSet(WORD), wanted=False))
    boundary = sets.condition(Context(CharSet(WORD), boundary=True))
    word, blank, edge = sets.of("a"), sets.of(" "), 0
    table = [
        (wanted, word, word, True),
        (wanted, blank, word, False),
        (wanted, edge, word, False),
        (unwanted, word, word, False),
        (unwanted, blank, word, True),
        (unwanted, edge, word, True),
        (boundary, word, word, False),
        (boundary, blank, word, True),
        (boundary, word, blank, True),
        (boundary, edge, blank, False),
        (OUTSIDE_WORD, word, word, False),
        (OUTSIDE_WORD, sets.of("机"), word, True),
    ]
    for condition, beside, inside, holds in table:
        assert isinstance(condition, Condition)
        assert condition.holds(beside, inside) is holds
