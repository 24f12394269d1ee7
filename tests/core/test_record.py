"""The fold of a turn equals what one finds by searching its events for each thing alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.events import AnyEvent, Delta, Ended, Entry, Guarded, Notice, Started, ToolCall, Usage
from trunkline.core.record import ChoiceRecord, ToolCallRecord, TurnRecord, fold

STARTED = Started(turn="t", principal="p", upstream="u", model="m", created_at="now", endpoint="native")
ENDED = Ended("completed", "stop", "stop")


def entries(*events: AnyEvent, first_offset: int = 1) -> list[Entry]:
    return [Entry(offset, 1_000 + 10 * n, event) for n, (offset, event) in enumerate(enumerate(events, first_offset))]


def test_a_short_turn_reads_as_one_value():
    record = fold(
        entries(
            STARTED,
            Delta("Hm.", 0, "reasoning"),
            Delta("Hel", 0),
            Notice("reconnected"),
            Delta("lo", 0),
            Delta("Hallo", 1),
            Usage(1, 2, 3, "platform"),
            ENDED,
        )
    )
    assert record == TurnRecord(
        started=STARTED,
        tail=8,
        choices={0: ChoiceRecord(answer="Hello", reasoning="Hm."), 1: ChoiceRecord(answer="Hallo")},
        usage=Usage(1, 2, 3, "platform"),
        ended=ENDED,
        started_ms=1_000,
        first_delta_ms=1_010,
        ended_ms=1_070,
    )
    assert record.text == "Hello"


def test_an_open_turn_has_no_end():
    record = fold(entries(STARTED))
    assert record == TurnRecord(STARTED, tail=1, started_ms=1_000)
    assert record.text == ""


def test_a_tool_call_is_put_together_from_its_pieces():
    record = fold(
        entries(
            STARTED,
            ToolCall(0, 0, "call_a", "find_order", ""),
            ToolCall(0, 1, "call_b", "find_", '{"x'),
            ToolCall(0, 0, "", "", '{"order'),
            ToolCall(0, 1, "call_c", "shop", '":1}'),
            ToolCall(0, 0, "", "", '":7}'),
        )
    )
    assert record.choices[0].tool_calls == {
        0: ToolCallRecord("call_a", "find_order", '{"order":7}'),
        1: ToolCallRecord("call_b", "find_shop", '{"x":1}'),
    }


def test_filler_of_the_relay_is_no_part_of_the_answer():
    record = fold(entries(STARTED, Delta("One moment. ", 0, "relay"), Delta("Hello", 0), Delta("No.", 0, "refusal")))
    assert record.choices[0] == ChoiceRecord(answer="Hello", refusal="No.", relay="One moment. ")
    assert record.text == "Hello"


def test_offsets_may_jump():
    jumped = [Entry(1, 0, STARTED), Entry(1_048_577, 5, Ended("failed", "relay_restarted"))]
    assert fold(jumped).tail == 1_048_577


@pytest.mark.parametrize("events", [[], [Delta("Hel", 0)], [ENDED]], ids=["none", "a delta", "an end"])
def test_a_fold_that_does_not_begin_at_the_start_is_refused(events: list[AnyEvent]):
    with pytest.raises(ValueError, match="begin with Started"):
        fold(entries(*events))


small = st.integers(0, 2)
words = st.text("ab ", max_size=3)
between = st.one_of(
    st.builds(Delta, words, small, st.sampled_from(["answer", "reasoning", "refusal", "relay"])),
    st.builds(ToolCall, small, small, words, words, words),
    st.builds(Usage, small, small, small, st.just("relay")),
    st.just(Notice("reconnected")),
    st.just(Guarded("card", "mask", 0, 1, 0, 6)),
)


def model(turn: list[Entry]) -> TurnRecord:
    """Each part found by a search of its own."""
    events = [entry.event for entry in turn]
    texts = [event for event in events if isinstance(event, Delta)]
    calls = [event for event in events if isinstance(event, ToolCall)]
    choices = {}
    for choice in {event.choice for event in (*texts, *calls)}:
        record = ChoiceRecord()
        for channel in ("answer", "reasoning", "refusal", "relay"):
            text = "".join(e.text for e in texts if e.choice == choice and e.channel == channel)
            setattr(record, channel, text)
        for index in {e.index for e in calls if e.choice == choice}:
            pieces = [e for e in calls if e.choice == choice and e.index == index]
            record.tool_calls[index] = ToolCallRecord(
                id=next((e.call_id for e in pieces if e.call_id), ""),
                name="".join(e.name for e in pieces),
                arguments="".join(e.arguments for e in pieces),
            )
        choices[choice] = record
    ended = isinstance(events[-1], Ended)
    return TurnRecord(
        started=events[0],
        tail=turn[-1].offset,
        choices=choices,
        usage=next((e for e in reversed(events) if isinstance(e, Usage)), None),
        ended=events[-1] if ended else None,
        started_ms=turn[0].at_ms,
        first_delta_ms=next((e.at_ms for e in turn if isinstance(e.event, Delta)), None),
        ended_ms=turn[-1].at_ms if ended else None,
    )


@settings(deadline=None)
@given(st.lists(between, max_size=25), st.sampled_from([[], [ENDED]]), st.integers(1, 2**40))
def test_the_fold_of_any_turn_equals_the_naive_model(middle: list[AnyEvent], end: list[AnyEvent], first_offset: int):
    turn = entries(STARTED, *middle, *end, first_offset=first_offset)
    assert fold(turn) == model(turn)
    assert fold(iter(turn)) == model(turn)
