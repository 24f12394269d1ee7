"""Pieces by number, by replay, lost, doubled and shuffled: the text comes once and in order, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.reorder import MAX_HELD_CHARS, MAX_PIECES, DisorderError, Reorder, Replay

TEXTS = st.lists(st.text(max_size=4), min_size=1, max_size=40)


def takes(order: Reorder, *pieces: tuple[int | None, str], now: float = 0.0) -> str:
    return "".join(order.take(number, text, now) for number, text in pieces)


def reason(call: object, *given_: object, **named: object) -> str:
    with pytest.raises(DisorderError) as raised:
        call(*given_, **named)  # type: ignore[operator]
    return raised.value.reason


@given(TEXTS, st.data())
def test_whatever_the_order_and_however_often_the_text_comes_once(texts: list[str], data: st.DataObject):
    twice = [*range(len(texts)), *data.draw(st.lists(st.sampled_from(range(len(texts)))))]
    order = Reorder()
    text = ""
    for n in data.draw(st.permutations(twice)):
        assert not order.complete
        text += order.take(n, texts[n], 0.0, last=n == len(texts) - 1)
        assert "".join(texts).startswith(text)
        if order.complete:
            break
    assert text == "".join(texts)
    assert order.deadline is None


@given(TEXTS, st.integers(0, 39), st.integers(0, 39))
def test_numbers_that_are_replayed_from_anywhere_before_the_break_add_nothing(texts: list[str], cut: int, again: int):
    order = Reorder()
    numbered = list(enumerate(texts))
    text = takes(order, *numbered[:cut])
    order.lost()
    order.again(1.0)
    text += takes(order, *numbered[min(cut, again) :])
    assert text == "".join(texts)


@given(st.text(max_size=30), st.data())
def test_a_replay_from_the_start_adds_only_what_is_new_however_it_is_cut(text: str, data: st.DataObject):
    order = Reorder("from_start")
    heard = ""
    for reached in [*data.draw(st.lists(st.integers(0, len(text)), max_size=3)), len(text)]:
        for piece in cuts(data, units(text)[: len(units(text[:reached]))]):
            heard += order.take(None, piece, 0.0)
        order.lost()
        order.again(0.0)
    assert joined(heard) == text


def units(text: str) -> list[str]:
    """The UTF-16 code units of a text, each as a string: halves of characters are two of them."""
    data = text.encode("utf-16-le", "surrogatepass")
    return [data[n : n + 2].decode("utf-16-le", "surrogatepass") for n in range(0, len(data), 2)]


def cuts(data: st.DataObject, parts: list[str]) -> list[str]:
    at = sorted(data.draw(st.lists(st.integers(0, len(parts)), max_size=4)))
    return [joined("".join(parts[begin:end])) for begin, end in zip([0, *at], [*at, len(parts)], strict=True)]


def joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_a_replay_is_taken_exactly_where_it_begins_with_what_was_received(first: str, second: str):
    order = Reorder("from_start")
    order.take(None, first, 0.0)
    order.lost()
    order.again(0.0)
    if second.startswith(first):
        assert order.take(None, second, 0.0, last=True) == second[len(first) :]
        assert order.complete
    else:
        assert reason(order.take, None, second, 0.0, last=True) == "replay_mismatch"


def test_a_gap_has_its_time_and_then_ends_the_answer():
    order = Reorder(gap_s=5)
    assert takes(order, (0, "a"), (2, "c"), now=10.0) == "a"
    assert order.deadline == 15.0
    order.check(14.9)
    assert reason(order.check, 15.0) == "sequence_gap"


def test_a_gap_that_closes_leaves_its_time_to_the_next_one():
    order = Reorder(gap_s=5)
    takes(order, (1, "b"), (3, "d"), now=10.0)
    assert takes(order, (0, "a"), now=12.0) == "ab"
    assert order.deadline == 17.0
    assert takes(order, (2, "c"), now=13.0) == "cd"
    assert order.deadline is None
    order.check(1_000.0)


def test_while_there_is_no_link_the_time_of_a_gap_stands_still():
    order = Reorder(gap_s=5)
    takes(order, (1, "b"), now=10.0)
    order.lost()
    assert order.deadline is None
    order.again(60.0)
    assert order.deadline == 65.0


def test_a_piece_too_far_ahead_is_a_gap_at_once():
    order = Reorder(window=4)
    assert takes(order, (0, "a"), (4, "e")) == "a"
    assert reason(order.take, 5, "f", 0.0) == "sequence_gap"


def test_what_waits_for_a_missing_piece_is_bounded_in_characters_too():
    order = Reorder()
    order.take(1, "x" * MAX_HELD_CHARS, 0.0)
    assert reason(order.take, 2, "x", 0.0) == "sequence_gap"


def test_pieces_without_end_are_no_answer_even_where_there_is_no_text_in_them():
    order = Reorder()
    for number in range(MAX_PIECES):
        order.take(number, "", 0.0)
    assert reason(order.take, MAX_PIECES, "", 0.0) == "answer_too_long"


def test_a_number_that_comes_again_with_another_text_is_a_mismatch():
    order = Reorder()
    takes(order, (0, "a"), (2, "c"))
    assert reason(order.take, 0, "b", 0.0) == "replay_mismatch"
    assert reason(order.take, 2, "x", 0.0) == "replay_mismatch"


def test_what_is_numbered_behind_the_end_is_no_part_of_the_answer():
    order = Reorder()
    order.take(1, "", 0.0, last=True)
    assert order.take(2, "more", 0.0) == ""
    assert (order.take(0, "all", 0.0), order.complete, order.duplicates) == ("all", True, 1)


def test_an_end_without_a_number_stands_behind_all_that_has_numbers():
    order = Reorder()
    takes(order, (0, "a"), (2, "c"))
    order.take(None, "", 0.0, last=True)
    assert not order.complete
    assert order.take(1, "b", 0.0) == "bc"
    order.check(5.0)
    assert order.complete


def test_text_without_a_number_among_numbers_has_no_place():
    order = Reorder()
    order.take(0, "a", 0.0)
    assert order.take(None, "", 0.0) == ""
    assert reason(order.take, None, "b", 0.0) == "upstream_protocol"


def test_a_preface_without_text_and_number_decides_nothing():
    order = Reorder()
    order.take(None, "", 0.0)
    assert takes(order, (1, "b"), (0, "a")) == "ab"


def test_an_answer_that_began_without_numbers_stays_in_the_order_of_arrival():
    assert takes(Reorder(), (None, "a"), (7, "b"), (None, "c")) == "abc"


def test_a_platform_that_goes_on_where_it_was_is_appended():
    order = Reorder("continues")
    takes(order, (None, "ab"))
    order.lost()
    order.again(0.0)
    assert takes(order, (None, "ab")) == "ab"
    order.take(None, "", 0.0, last=True)
    assert order.complete


@pytest.mark.parametrize("replay", ["from_start", "continues", "none"])
def test_a_link_lost_before_any_text_takes_nothing_away(replay: Replay):
    order = Reorder(replay)
    order.take(None, "", 0.0)
    order.lost()
    order.again(0.0)
    assert takes(order, (None, "a")) == "a"


def test_a_platform_that_does_not_replay_is_interrupted():
    order = Reorder("none")
    takes(order, (None, "a"))
    assert reason(order.lost) == "upstream_interrupted"


def test_numbers_need_no_word_about_replay():
    order = Reorder("none")
    takes(order, (0, "a"))
    order.lost()
    order.again(0.0)
    assert takes(order, (0, "a"), (1, "b")) == "b"


def test_a_replay_that_ends_too_early_is_a_mismatch():
    order = Reorder("from_start")
    takes(order, (None, "abc"))
    order.lost()
    order.again(0.0)
    takes(order, (None, "ab"))
    assert reason(order.take, None, "", 0.0, last=True) == "replay_mismatch"


# An end mark without a number, where pieces have numbers


def test_a_piece_that_such_an_end_has_overtaken_is_part_of_the_answer():
    order = Reorder(gap_s=5)
    order.take(0, "You owe ", 1.0)
    order.take(None, "", 2.0, last=True)
    assert (order.complete, order.deadline) == (False, 7.0)
    assert order.take(1, "nothing", 3.0) == "nothing"
    assert (order.complete, order.deadline) == (False, 8.0)
    order.check(7.9)
    assert not order.complete
    order.check(8.0)
    assert (order.complete, order.deadline) == (True, None)


def test_what_such_an_end_leaves_missing_is_a_gap_like_any_other():
    order = Reorder(gap_s=5)
    order.take(0, "a", 0.0)
    order.take(None, "", 1.0, last=True)
    order.take(2, "c", 4.0)
    assert order.deadline == 9.0
    order.take(2, "c", 5.0)
    assert order.deadline == 9.0
    assert reason(order.check, 9.0) == "sequence_gap"
    assert not order.complete


@given(TEXTS, st.data())
def test_where_it_falls_among_its_pieces_changes_nothing(texts: list[str], data: st.DataObject):
    said = [*data.draw(st.permutations(range(len(texts)))), None]
    said.insert(data.draw(st.integers(0, len(texts))), said.pop())
    order = Reorder(gap_s=5)
    text = ""
    for now, n in enumerate(said):
        text += order.take(n, "" if n is None else texts[n], float(now), last=n is None)
        assert not order.complete
    assert order.deadline is not None
    order.check(order.deadline)
    assert (text, order.complete) == ("".join(texts), True)


def test_a_connection_that_is_closed_as_it_should_be_leaves_nothing_to_wait_for():
    order = Reorder()
    order.take(0, "a", 0.0)
    order.lost(clean=True)
    assert not order.complete
    order.again(0.0)
    order.take(None, "", 0.0, last=True)
    assert not order.complete
    order.lost(clean=True)
    assert order.complete


def test_a_proper_close_fills_no_gap():
    order = Reorder()
    takes(order, (0, "a"), (2, "c"))
    order.take(None, "", 0.0, last=True)
    order.lost(clean=True)
    assert not order.complete


def test_a_connection_that_is_lost_behind_it_may_have_taken_a_piece_along():
    order = Reorder(gap_s=5)
    order.take(0, "a", 0.0)
    order.take(None, "", 0.0, last=True)
    order.lost()
    assert (order.complete, order.deadline) == (False, None)
    order.again(60.0)
    order.take(0, "a", 64.0)
    order.check(68.9)
    assert not order.complete
    assert takes(order, (1, "b"), now=68.9) == "b"
    order.check(order.deadline or 0.0)
    assert order.complete


def test_two_connections_that_end_with_the_same_pieces_leave_nothing_to_wait_for():
    order = Reorder()
    for pieces in ([(0, "a")], [(0, "a"), (1, "b")], [(0, "a"), (1, "b")]):
        assert not order.complete
        order.again(0.0)
        takes(order, *pieces)
        order.take(None, "", 0.0, last=True)
        order.lost()
    assert order.complete


def test_a_connection_without_an_end_confirms_none():
    order = Reorder()
    for ends in (True, False, True):
        assert not order.complete
        order.again(0.0)
        takes(order, (0, "a"))
        if ends:
            order.take(None, "", 0.0, last=True)
        order.lost()
    assert order.complete


def test_an_end_ahead_of_everything_waits_for_what_decides_about_numbers():
    order = Reorder(gap_s=5)
    order.take(None, "", 0.0, last=True)
    assert not order.complete
    assert order.take(0, "a", 1.0) == "a"
    order.check(6.0)
    assert order.complete
    again = Reorder("from_start")
    again.take(None, "", 0.0, last=True)
    again.lost()
    again.again(0.0)
    assert (again.take(None, "a", 1.0, last=True), again.complete) == ("a", True)
    without = Reorder(gap_s=5)
    without.take(None, "", 0.0, last=True)
    assert (without.take(None, "late", 1.0), without.complete, without.duplicates) == ("", True, 1)


@pytest.mark.parametrize("replay", ["from_start", "continues"])
def test_only_what_is_new_is_progress(replay: Replay):
    order = Reorder()
    takes(order, (0, "a"), (2, "c"))
    before = order.progress
    takes(order, (0, "a"), (2, "c"))
    assert order.progress == before
    takes(order, (1, ""))
    assert order.progress > before
    order = Reorder(replay)
    takes(order, (None, "ab"))
    before = order.progress
    order.lost()
    order.again(0.0)
    takes(order, (None, ""), (None, "ab"))
    assert (order.progress == before) == (replay == "from_start")
