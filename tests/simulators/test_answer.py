"""Answers as pieces: whatever the faults, what is on the wire adds up to the text, and the counts to its tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.simulators.answer import Answer, Piece, compose
from trunkline.simulators.faults import parse
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count

WORDS = ("lone-surrogates", "empty-deltas", "null-deltas", "byte-tokens")
some_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(sorted(TEXTS.values()))


def wire(answer: Answer) -> str:
    return "".join(token for piece in answer.pieces for token in piece.tokens or ())


@given(some_texts, st.sets(st.sampled_from(WORDS)))
def test_the_wire_adds_up_to_the_text(text: str, words: set[str]) -> None:
    answer = compose(text, "hi", None, parse(words))
    assert answer.text == text
    if "byte-tokens" in words:
        assert wire(answer).encode("latin-1").decode() == text
    else:
        assert wire(answer).encode("utf-16", "surrogatepass").decode("utf-16") == text
    completion = count(text)
    assert answer.usage(len(answer.pieces)) == {
        "prompt_tokens": 1, "completion_tokens": completion, "total_tokens": completion + 1,
    }  # fmt: skip
    assert answer.finish == "stop"


@given(some_texts, st.integers(0, 30), st.sets(st.sampled_from(WORDS)))
def test_a_limit_bounds_the_tokens(text: str, limit: int, words: set[str]) -> None:
    answer = compose(text, "", limit, parse(words))
    assert answer.usage(len(answer.pieces))["completion_tokens"] <= limit
    assert text.startswith(answer.text)
    assert (answer.finish == "length") == (count(text) > limit)


def test_pieces_are_reached_up_to_the_first_that_is_missing() -> None:
    answer = Answer([Piece((word,), word, 1) for word in "abcd"], "stop", 0)
    reached = []
    for place in (1, 0, 0, 3, 2):
        answer.said(place)
        reached.append(answer.reached)
    assert reached == [0, 2, 2, 2, 4]


@pytest.mark.parametrize(("place", "completion"), [(-1, 0), (0, 2), (1, 5), (2, 5)])
def test_usage_is_that_after_a_piece(place: int, completion: int) -> None:
    answer = Answer([Piece(("a",), "a", 2), Piece(("b",), "b", 3)], "stop", 7)
    assert answer.usage(place)["completion_tokens"] == completion
