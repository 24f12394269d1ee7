"""The state table of a turn: every step that is in it, and every one that is not."""

from __future__ import annotations

import re
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.events import AnyEvent, Delta, Ended, Guarded, Notice, Started, ToolCall, Usage
from trunkline.core.turn import NEXT, IllegalEvent, State, advance

STEPS: dict[str, AnyEvent] = {
    "S": Started(turn="t", principal="p", upstream="u", model="m", created_at="now", endpoint="native"),
    "d": Delta("Hel", 0),
    "t": ToolCall(0, 0),
    "g": Guarded("card", "mask", 0, 1, 0, 6),
    "u": Usage(1, 2, 3, "relay"),
    "n": Notice("reconnected"),
    "E": Ended("completed", "stop"),
}
LEGAL = {
    (State.NEW, "S"): State.OPEN,
    (State.OPEN, "d"): State.OPEN,
    (State.OPEN, "t"): State.OPEN,
    (State.OPEN, "g"): State.OPEN,
    (State.OPEN, "u"): State.OPEN,
    (State.OPEN, "n"): State.OPEN,
    (State.OPEN, "E"): State.ENDED,
}


@pytest.mark.parametrize("letter", STEPS)
@pytest.mark.parametrize("state", State)
def test_a_step_is_in_the_table_or_raises(state: State, letter: str):
    event = STEPS[letter]
    expected = LEGAL.get((state, letter))
    if expected is not None:
        assert advance(state, event) is expected
    else:
        with pytest.raises(IllegalEvent, match=f"a turn that is {state.value} cannot take a {type(event).__name__}"):
            advance(state, event)


def test_the_table_has_a_row_for_every_state_and_a_place_for_every_event():
    assert set(NEXT) == set(State)
    assert {kind for row in NEXT.values() for kind in row} == set(typing.get_args(AnyEvent))
    assert {type(event) for event in STEPS.values()} == set(typing.get_args(AnyEvent))
    assert sum(map(len, NEXT.values())) == len(LEGAL)


@given(st.text("SdtgunE", max_size=12) | st.from_regex("S[dtgun]*E?", fullmatch=True))
def test_a_turn_is_a_start_then_anything_then_exactly_one_end(letters: str):
    legal_length = len(re.match("(S[dtgun]*E?)?", letters)[0])
    state = State.NEW
    for letter in letters[:legal_length]:
        state = advance(state, STEPS[letter])
    assert (state is State.ENDED) == letters[:legal_length].endswith("E")
    if legal_length < len(letters):
        with pytest.raises(IllegalEvent):
            advance(state, STEPS[letters[legal_length]])
