"""Each rule of the kill test finds what it is for, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kills.checks import ENDS, Platform, faults_of_reader, faults_of_turn
from kills.heard import WHOLE, Event, Heard, Truth

TURN = "turn_01"
PIECES = ("Hel", "lo. ", "How are", " you?")
TEXT = "".join(PIECES)


def entry(offset: int, kind: str, form: str = "events", **data: Any) -> Event:
    words = f"{data['outcome']} {data['reason']}" if kind == "ended" else ""
    return Event(form, offset, WHOLE, kind, data.get("text", ""), words, {"type": kind, **data})


def told(form: str = "events", end: tuple[str, str] = ("completed", "stop"), last: int = 7) -> list[Event]:
    deltas = [entry(offset, "delta", form, text=text, choice=0) for offset, text in enumerate(PIECES, 2)]
    outcome, reason = end
    guarded = entry(6, "guarded", form, rule="card")
    ended = entry(last, "ended", form, outcome=outcome, reason=reason, finish_reason="stop")
    return [entry(1, "started", form, turn=TURN), *deltas, guarded, ended]


def in_sentences() -> list[Event]:
    parts = [(3, 1, "Hello. "), (7, 1, "How are you?")]
    return [
        entry(1, "started", "sentences", turn=TURN),
        *(Event("sentences", at, part, "delta", text, data={"text": text}) for at, part, text in parts[:1]),
        entry(6, "guarded", "sentences", rule="card"),
        *(Event("sentences", at, part, "delta", text, data={"text": text}) for at, part, text in parts[1:]),
        entry(7, "ended", "sentences", outcome="completed", reason="stop", finish_reason="stop"),
    ]


TRUTH = Truth(TURN, told(), in_sentences())
CUT = Truth(TURN, told(end=("failed", "relay_restarted"), last=2**20 + 6))
SHOWN = {"id": TURN, "state": "ended", "outcome": "completed", "reason": "stop", "text": TEXT, "tail": 7}


def texts(form: str, end: Event) -> list[Event]:
    """A reader of an endpoint that tells the text and the end, and nothing else."""
    return [*(Event(form, at, WHOLE, "delta", text) for at, text in enumerate(PIECES, 2)), end]


RIGHT = {
    "events": told(),
    "socket": told("socket"),
    "sentences": in_sentences(),
    "stream": texts("stream", Event("stream", 7, WHOLE, "ended", words="done", data={"text": TEXT})),
    "proxy": texts("proxy", Event("proxy", None, WHOLE, "ended", words="complete stop")),
    "openai": texts("openai", Event("openai", 7, WHOLE, "ended", words="finish stop")),
}


@pytest.mark.parametrize("form", RIGHT)
def test_a_reader_that_has_it_all_is_right(form):
    assert list(faults_of_reader(Heard("reader", TURN, events=RIGHT[form]), TRUTH)) == []


def test_a_reader_that_changed_the_endpoint_in_the_middle_is_right():
    mixed = [*RIGHT["events"][:2], *RIGHT["stream"][1:3], *RIGHT["socket"][4:6], RIGHT["proxy"][-1]]
    assert list(faults_of_reader(Heard("reader", TURN, events=mixed), TRUTH)) == []


def test_a_reader_that_began_in_the_middle_is_right():
    assert list(faults_of_reader(Heard("reader", TURN, after=3, events=RIGHT["events"][3:]), TRUTH)) == []


def drop(place: int) -> Callable[[list[Event]], list[Event]]:
    return lambda events: events[:place] + events[place + 1 :]


def again(place: int, offset: int | None = None) -> Callable[[list[Event]], list[Event]]:
    """Repeat an event, with another offset where one is given."""

    def broken(events: list[Event]) -> list[Event]:
        event = events[place] if offset is None else events[place]._replace(offset=offset)
        return [*events[: place + 1], event, *events[place + 1 :]]

    return broken


def change(place: int, **fields: Any) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [*events[:place], events[place]._replace(**fields), *events[place + 1 :]]


OTHER = {"type": "delta", "text": "How are", "choice": 1}
WRONG = {
    "lost a piece": (drop(2), "has another text from character 3 on"),
    "lost the last piece": (drop(4), "has another text from character 14 on"),
    "lost an event without a text": (drop(5), "an event is missing"),
    "lost the beginning": (drop(0), "an event is missing"),
    "has a piece twice": (again(2), "has another text from character 7 on"),
    "has an offset twice": (again(5), "offsets do not increase"),
    "went back": (lambda events: [*events[:3], *events[2:]], "offsets do not increase"),
    "has one offset as two events": (change(3, offset=3), "offsets do not increase"),
    "has a changed text": (change(3, text="How is"), "an event is another one now"),
    "has a changed text, and all of it": (change(3, text="How is"), "has another text from character 11 on"),
    "has an event of another kind": (change(3, kind="usage"), "an event is another one now"),
    "has a changed field": (change(3, data=OTHER), "an event is another one now"),
    "has an event that is gone": (change(5, offset=2**20), "an event is gone"),
    "was told no end": (drop(6), "was never told the end"),
    "was told the end twice": (again(6), "was told several ends"),
    "was told another end": (change(6, words="failed relay_restarted"), "was told another end"),
    "heard something after the end": (again(6, 8), "something came after the end"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_reader_is_found_out_that(name):
    broken, what = WRONG[name]
    found = faults_of_reader(Heard("reader", TURN, events=broken(told())), TRUTH)
    assert what in [fault.what for fault in found]


@pytest.mark.parametrize(
    ("form", "broken", "what"),
    [
        ("stream", change(-1, data={"text": TEXT + "!"}), "`done` has another text from character 19 on"),
        ("stream", change(-1, words="error", data=None), "was told another end"),
        ("proxy", change(-1, words="error relay_restarted"), "was told another end"),
        ("openai", change(-1, words="finish length"), "was told another end"),
        ("sentences", drop(1), "an event is missing"),
        ("sentences", change(1, part=2), "an event is gone"),
        ("sentences", change(1, data={"text": "Hello. ", "choice": 1}), "an event is another one now"),
        ("proxy", drop(0), "has another text from character 0 on"),
    ],
)
def test_so_is_one_of_another_endpoint(form, broken, what):
    found = faults_of_reader(Heard("reader", TURN, events=broken(RIGHT[form])), TRUTH)
    assert what in [fault.what for fault in found]


def test_one_that_began_in_the_middle_must_not_get_what_it_has():
    found = faults_of_reader(Heard("reader", TURN, after=3, events=RIGHT["events"][2:]), TRUTH)
    assert "had it already" in [fault.what for fault in found]


def test_one_that_gave_up_says_why():
    heard = Heard("reader", TURN, events=RIGHT["events"][:3], fault="status 404")
    assert [(fault.what, fault.came) for fault in faults_of_reader(heard, TRUTH)] == [("gave up", "status 404")]


def test_a_fault_names_all_that_is_needed_to_look_for_it():
    fault = next(iter(faults_of_reader(Heard("seventh reader", TURN, events=drop(2)(told())), TRUTH)))
    assert all(words in fault.told() for words in (TURN, "seventh reader", "expected", "came", "Hello. How", "HelHow"))


# The turn itself


def test_a_turn_that_is_whole_is_right():
    assert list(faults_of_turn(TRUTH, SHOWN, Platform([TEXT], [TEXT]))) == []


def test_a_turn_that_was_cut_is_right_with_less_than_the_platform_sent():
    shown = SHOWN | {"outcome": "failed", "reason": "relay_restarted", "tail": 2**20 + 6}
    assert list(faults_of_turn(CUT, shown, Platform([TEXT + " And more"]))) == []


def turn_of(events: list[Event]) -> Truth:
    return replace(TRUTH, events=events)


CANCELLED = turn_of(told(end=("cancelled", "client_left")))
TURNS = {
    "is short and completed": (TRUTH, [TEXT], [TEXT + " And more"], "is not what was generated from character 19 on"),
    "is another": (TRUTH, [], ["Something else"], "is not what was generated from character 0 on"),
    "is cut, and longer": (CUT, [TEXT[:-1]], [], "has what was never generated from character 18 on"),
    "is cut, and another": (CUT, ["Hello! How are you?"], [], "has what was never generated from character 5 on"),
    "ended as it may not": (CANCELLED, [TEXT], [TEXT], "ended otherwise"),
    "does not end": (turn_of(told()[:-1]), [TEXT], [TEXT], "was never told the end"),
    "ends twice": (turn_of(again(6, 8)(told())), [TEXT], [TEXT], "was told several ends"),
    "has an offset twice": (turn_of(change(3, offset=3)(told())), [TEXT], [TEXT], "offsets do not increase"),
    "does not begin": (turn_of(drop(0)(told())), [TEXT], [TEXT], "does not begin"),
    "is somebody else's": (turn_of(change(0, data={"turn": "turn_02"})(told())), [TEXT], [TEXT], "does not begin"),
    "is empty": (turn_of([]), [], [], "does not begin"),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_turn_is_found_out_that(name):
    truth, begun, whole, what = TURNS[name]
    assert what in [fault.what for fault in faults_of_turn(truth, SHOWN, Platform(begun, whole))]


@pytest.mark.parametrize("name", SHOWN)
def test_what_the_route_shows_of_a_turn_is_compared(name):
    found = [fault.what for fault in faults_of_turn(TRUTH, SHOWN | {name: "x"}, Platform([], [TEXT]))]
    assert found == [f"`{name}` is another"]


def test_a_turn_may_be_cancelled_where_somebody_cancels_it():
    truth = turn_of(told(end=("cancelled", "client_cancelled")))
    shown = SHOWN | {"outcome": "cancelled", "reason": "client_cancelled"}
    assert list(faults_of_turn(truth, shown, Platform([TEXT]), ENDS | {"cancelled client_cancelled"})) == []
    assert [fault.what for fault in faults_of_turn(truth, shown, Platform([TEXT]))] == ["ended otherwise"]
