"""The window: raw text and match view side by side, in pieces."""

from __future__ import annotations

from random import Random

from guards import texts
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.window import Window
from trunkline.guards.rule import Rule

CLASSES = Automaton([Rule("digits", r"\d+")]).classes


def test_what_is_transparent_has_no_place_in_the_view() -> None:
    window = Window(CLASSES)
    window.add("１\u200b2")
    window.add("\u0301x")
    assert window.raw == "１\u200b2\u0301x"
    assert window.view == ["1", "2", "x"]
    assert window.places == [0, 2, 4]
    assert window.seen[0] is window.seen[1] is CLASSES["7"]
    assert [window.place(index) for index in range(4)] == [0, 2, 4, 5]


def test_too_long_a_run_of_transparent_characters_is_a_barrier_also_over_pieces() -> None:
    for begun in range(9):
        window = Window(CLASSES, run=begun)
        window.add("\u200b" * (8 - begun))
        assert not window.seen
        window.add("\u200b\u200b1")
        assert window.seen[:2] == [CLASSES.barrier, CLASSES.barrier]
        assert window.view[2:] == ["1"]
        assert window.run == 0


def test_what_is_dropped_leaves_the_rest_as_if_it_had_come_alone() -> None:
    for seed in range(100):
        rnd = Random(seed)
        text = texts.text(rnd).replace("\u200b" * 5, "")
        window = Window(CLASSES)
        window.add(text)
        count = rnd.randint(0, len(window.seen))
        rest = Window(CLASSES)
        rest.add(window.raw[window.place(count) :])
        window.drop(count)
        assert (window.raw, window.view, window.places, window.seen) == (rest.raw, rest.view, rest.places, rest.seen)
