"""The guard chain, with stages small enough to be seen through: what is released, what is held, and what ends it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.events import AnyEvent, Delta, Guarded, Notice, ToolCall
from trunkline.guards.base import Stage
from trunkline.guards.screen import Screen


class Made:
    """Makes the same stages for every text."""

    def __init__(self, stages) -> None:
        self._stages = stages
        self.fault: Exception | None = None

    def text(self) -> list[Stage]:
        return [make() for make in self._stages]

    arguments = word = text


class Timeless(Screen):
    """A screen for those who do not ask how long text was held."""

    def screen(self, events, now: float = 0.0):
        return super().screen(events, now)

    def finish(self, reason, now: float = 0.0):
        return super().finish(reason, now)


class Pass:
    """Releases what it is fed; the ground for the others."""

    def __init__(self) -> None:
        self.found: list[Guarded] = []
        self.blocked = False
        self.kept = ""

    @property
    def held(self) -> int:
        return len(self.kept)

    def feed(self, text: str) -> str:
        return text

    def finish(self) -> str:
        kept, self.kept = self.kept, ""
        return kept


class Hold(Pass):
    """Holds back the last `n` characters."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def feed(self, text: str) -> str:
        text = self.kept + text
        cut = max(0, len(text) - self.n)
        self.kept = text[cut:]
        return text[:cut]


class Find(Pass):
    """Looks for a word, over any cut, holding what may be its beginning; `act` says what the word becomes."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word

    def act(self) -> str:
        raise NotImplementedError

    def feed(self, text: str) -> str:
        if self.blocked:
            return ""
        if not self.kept and not set(text) & set(self.word):
            return text
        text, released = self.kept + text, ""
        while self.word in text and not self.blocked:
            before, _, text = text.partition(self.word)
            released += before + self.act()
        may_begin = range(min(len(self.word) - 1, len(text)), 0, -1)
        size = 0 if self.blocked else next((n for n in may_begin if text.endswith(self.word[:n])), 0)
        self.kept = text[len(text) - size :]
        return released if self.blocked else released + text[: len(text) - size]


class Mask(Find):
    """Replaces the word, and reports it."""

    def __init__(self, word: str, by: str = "[***]") -> None:
        super().__init__(word)
        self.by = by

    def act(self) -> str:
        self.found.append(Guarded("word", "mask", 0, len(self.word), 0, len(self.by)))
        return self.by


class Block(Find):
    """Ends the turn at the word, and reports it."""

    def act(self) -> str:
        self.blocked = True
        self.found.append(Guarded("word", "block", 0, len(self.word), 0, 0))
        return ""


class Raise(Pass):
    """Fails at a word, or at the end, and quotes the text in doing so."""

    def __init__(self, word: str = "") -> None:
        super().__init__()
        self.word = word

    def feed(self, text: str) -> str:
        if self.word and self.word in text:
            raise ValueError(f"cannot read {text!r}")
        return text

    def finish(self) -> str:
        if not self.word:
            raise ValueError("cannot end")
        return ""


MASKED = Guarded("word", "mask", 0, 6, 0, 5)
BLOCKED = Guarded("word", "block", 0, 6, 0, 0)


def screen_of(*stages: Callable[[], Stage]) -> Screen:
    return Timeless(Made(stages))


def deltas(*texts: str, choice: int = 0) -> list[AnyEvent]:
    return [Delta(text, choice) for text in texts]


def said(events: list[AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


# What passes


@pytest.mark.parametrize(
    "stages", [(), (Pass,), (Pass, Pass), (lambda: Mask("secret"),)], ids=["none", "1", "2", "mask"]
)
def test_untouched_events_are_the_same_objects_in_their_order(stages):
    given = [
        Delta("ok ", 0),
        Notice("reconnected"),
        Delta("o", 0, "reasoning"),
        ToolCall(0, 0, "call_1"),
        Delta("k", 1),
    ]
    released = screen_of(*stages).screen(given)
    assert len(released) == len(given)
    assert all(a is b for a, b in zip(released, given, strict=True))


def test_what_is_held_is_released_piece_by_piece_and_at_the_end():
    screen = screen_of(lambda: Hold(3))
    assert screen.screen(deltas("He")) == []
    assert screen.screen(deltas("llo")) == deltas("He")
    assert screen.screen(deltas(", you")) == deltas("llo, ")
    assert screen.finish("stop") == deltas("you")
    assert not screen.blocked


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_held_text_is_released_after_a_proper_end(reason: str):
    screen = screen_of(lambda: Hold(3))
    screen.screen(deltas("Hello"))
    assert screen.finish(reason) == deltas("llo")


@pytest.mark.parametrize(
    "reason",
    ["max_tokens", "end_without_reason", "platform_content_filter", "client_cancelled", "client_left", "shutdown",
     "upstream_interrupted", "turn_timeout", "answer_too_long", "internal_error"],
)  # fmt: skip
def test_held_text_is_dropped_and_counted_after_any_other_end(reason: str):
    screen = screen_of(lambda: Hold(3), lambda: Hold(1))
    screen.screen([Delta("Hello", 0), Delta("Hallo!", 1), Delta("Hm", 0, "reasoning")])
    assert screen.finish(reason) == [Notice("held_dropped", "10 characters")]


@pytest.mark.parametrize("reason", ["stop", "max_tokens"])
def test_where_nothing_is_held_the_end_adds_nothing(reason: str):
    screen = screen_of(Pass)
    screen.screen(deltas("Hello"))
    assert screen.finish(reason) == []
    assert screen_of(Pass).finish(reason) == []


def test_a_delta_that_becomes_empty_is_left_out():
    assert screen_of(lambda: Mask("secret", by="")).screen(deltas("secret")) == [Guarded("word", "mask", 0, 6, 0, 0)]


def test_a_report_follows_the_text_it_is_about_and_comes_once():
    screen = screen_of(lambda: Mask("secret"))
    assert screen.screen(deltas("a sec", "ret b", " c")) == [*deltas("a ", "[***] b"), MASKED, *deltas(" c")]
    assert screen.screen(deltas(" d")) == deltas(" d")
    assert screen.finish("stop") == []


def test_every_choice_and_channel_has_a_chain_of_its_own():
    screen = screen_of(lambda: Mask("secret"))
    released = screen.screen([Delta("sec", 0), Delta("ret", 1), Delta("ret", 0, "reasoning"), Delta("sec", 1)])
    assert released == [Delta("ret", 1), Delta("ret", 0, "reasoning")]
    assert screen.screen([Delta("ret", 0)]) == [Delta("[***]", 0), MASKED]
    assert screen.finish("stop") == [Delta("sec", 1)]


def test_what_one_stage_releases_the_next_one_sees():
    screen = screen_of(lambda: Mask("secret", by="public"), lambda: Mask("public"), lambda: Hold(2))
    released = screen.screen(deltas("a sec", "ret b")) + screen.finish("stop")
    assert said(released) == "a [***] b"
    assert [event.rule for event in released if isinstance(event, Guarded)] == ["word", "word"]


def test_what_a_stage_holds_to_the_end_goes_through_the_stages_after_it():
    screen = screen_of(lambda: Hold(6), lambda: Mask("secret"), lambda: Hold(2))
    assert screen.screen(deltas("a secret")) == []
    assert screen.finish("stop") == [*deltas("a [***]"), MASKED]


# Halves of characters


def test_half_a_character_in_what_a_tool_is_called_is_replaced_and_a_whole_one_joined():
    call = ToolCall(0, 1, "call_\ud83d", "look\ude00up\ud83d\ude00", "{}")
    assert screen_of().screen([call]) == [ToolCall(0, 1, "call_\ufffd", "look\ufffdup\U0001f600", "{}")]


def test_what_is_looked_at_of_a_tools_name_is_what_is_released_of_it():
    screen = screen_of(lambda: Block("\ufffdx"))
    assert screen.screen([ToolCall(0, 0, name="\ud83d"), ToolCall(0, 0, name="x")])[0] == ToolCall(0, 0, name="\ufffd")
    assert screen.blocked == "guard_rule"


def test_a_call_of_which_only_the_id_came_is_mended_too():
    assert screen_of(lambda: Hold(3)).screen([ToolCall(0, 0, "\ud83d", arguments="{}")]) == [ToolCall(0, 0, "\ufffd")]


def test_half_a_character_in_a_notice_is_replaced():
    assert screen_of().screen([Notice("not_sent", "a, \ud83d")]) == [Notice("not_sent", "a, \ufffd")]


# What blocks


def test_a_block_releases_what_precedes_it_and_nothing_after():
    screen = screen_of(lambda: Block("secret"))
    released = screen.screen([Delta("ok, a sec", 0), Delta("ret b", 0), Delta(" c", 0), Notice("reconnected")])
    assert released == [*deltas("ok, a "), BLOCKED]
    assert screen.blocked == "guard_rule"
    assert screen.finish("stop") == []


def test_a_block_inside_one_delta_releases_its_beginning():
    screen = screen_of(Pass, lambda: Block("secret"), Pass)
    assert screen.screen(deltas("a secret b")) == [*deltas("a "), BLOCKED]
    assert screen.blocked == "guard_rule"


@pytest.mark.parametrize("blocker", [lambda: Block("secret"), lambda: Raise("secret")], ids=["a rule", "an exception"])
@pytest.mark.parametrize(
    "later",
    [
        deltas("more"),
        deltas("more", choice=1),
        [Delta("more", 0, "reasoning")],
        [Notice("reconnected")],
        [ToolCall(0, 0)],
    ],
    ids=["the same text", "another choice", "another channel", "a notice", "a tool call"],
)
def test_whatever_comes_after_a_block_is_swallowed_also_in_a_later_read(blocker, later):
    screen = screen_of(blocker)
    screen.screen(deltas("a secret"))
    assert screen.blocked
    assert screen.screen(later) == []


def test_a_block_in_one_choice_drops_what_the_others_hold():
    screen = screen_of(lambda: Block("secret"), lambda: Hold(2))
    assert screen.screen([Delta("Hello", 0), Delta("a secret", 1)]) == [Delta("Hel", 0), BLOCKED]
    assert screen.finish("stop") == [Notice("held_dropped", "4 characters")]


def test_a_block_may_come_as_late_as_the_end():
    screen = screen_of(lambda: Hold(9), lambda: Block("secret"))
    assert screen.screen(deltas("Hello a secret")) == deltas("Hello")
    assert screen.finish("stop") == [*deltas(" a "), BLOCKED]
    assert screen.blocked == "guard_rule"


@pytest.mark.parametrize("last", [lambda: Block("secret"), lambda: Raise("secret")], ids=["a rule", "an exception"])
def test_a_block_at_the_end_drops_and_counts_what_the_other_choices_hold(last):
    screen = screen_of(lambda: Hold(6), last)
    screen.screen([Delta("secret", 0), Delta("Hello!", 1)])
    released = screen.finish("stop")
    assert said(released) == ""
    assert Notice("held_dropped", "6 characters") in released


# What fails


def test_an_exception_blocks_and_releases_nothing_of_its_piece(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    screen = screen_of(lambda: Mask("ok"), lambda: Raise("secret"))
    released = screen.screen(deltas("fine, ", "ok a secret b", " c"))
    assert released == deltas("fine, ")
    assert screen.blocked == "guard_error"
    assert screen.finish("stop") == []
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_an_exception_drops_what_was_held():
    screen = screen_of(lambda: Raise("secret"), lambda: Hold(3))
    assert screen.screen(deltas("Hello", "secret")) == deltas("He")
    assert screen.finish("stop") == [Notice("held_dropped", "3 characters")]


def test_an_exception_at_the_end_releases_nothing_of_its_chain():
    screen = screen_of(lambda: Hold(3), Raise)
    assert screen.screen(deltas("Hello")) == deltas("He")
    assert said(screen.finish("stop")) == ""
    assert screen.blocked == "guard_error"


@pytest.mark.parametrize(
    ("stages", "event"),
    [
        ((lambda: Raise("secret"),), Delta("a secret", 0)),
        ((lambda: Raise("secret"),), ToolCall(0, 0, arguments="a secret")),
        ((lambda: Raise("secret"),), ToolCall(0, 0, name="a secret")),
        ((Raise,), Delta("a", 0)),
        ((Raise,), ToolCall(0, 0, name="a")),
    ],
)
def test_what_failed_is_there_to_be_told(stages, event: AnyEvent):
    screen = screen_of(*stages)
    assert screen.fault is None
    screen.screen([event])
    screen.finish("stop")
    assert isinstance(screen.fault, ValueError)
    assert screen.blocked == "guard_error"


def test_what_failed_over_a_platforms_words_is_there_to_be_told_too():
    screen = screen_of(lambda: Raise("secret"))
    screen.words("a secret")
    assert isinstance(screen.fault, ValueError)


@pytest.mark.parametrize("stages", [(), (lambda: Block("secret"),), (lambda: Mask("secret"),)])
def test_where_nothing_failed_there_is_no_fault(stages):
    screen = screen_of(*stages)
    screen.screen([ToolCall(0, 0, name="a secret"), Delta("a secret", 0)])
    screen.finish("stop")
    screen.words("a secret")
    assert screen.fault is None


# Any cut


@settings(deadline=None)
@given(st.text("sect a", max_size=40), st.lists(st.integers(0, 40), max_size=8), st.integers(0, 4))
def test_released_text_and_end_do_not_depend_on_the_cuts(text: str, places: list[int], hold: int):
    def run(pieces: list[str]) -> tuple[str, str, list[AnyEvent]]:
        screen = screen_of(lambda: Mask("at"), lambda: Block("sec"), lambda: Hold(hold))
        released = screen.screen(deltas(*pieces))
        released += screen.finish("stop")
        return said(released), screen.blocked, [event for event in released if isinstance(event, Guarded)]

    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    cut = [text[a:b] for a, b in pairwise(edges)]
    (released, blocked, found), (whole, whole_blocked, whole_found) = run(cut), run([text])
    assert blocked == whole_blocked == ("guard_rule" if "sec" in text.replace("at", "[***]") else "")
    assert released == whole
    assert blocked or found == whole_found


# A platform's words


def test_words_are_screened_as_a_text_of_their_own():
    screen = screen_of(lambda: Mask("secret"))
    assert screen.screen(deltas("a sec")) == deltas("a ")
    assert screen.words("no secret model") == "no [***] model"
    assert screen.words("") == ""
    assert screen.screen(deltas("ret b")) == [*deltas("[***] b"), MASKED]


def test_what_a_stage_holds_of_words_comes_out_too():
    assert screen_of(lambda: Hold(4), lambda: Mask("secret")).words("no secret") == "no [***]"


@pytest.mark.parametrize("stages", [(lambda: Block("secret"),), (lambda: Raise("secret"),), (Raise,)])
def test_words_that_a_guard_blocks_are_withheld(stages):
    screen = screen_of(*stages)
    assert screen.words("no secret model") == "withheld by a guard"
    assert not screen.blocked


def test_words_are_cut_to_200_characters():
    screen = screen_of()
    assert screen.words("x" * 200) == "x" * 200
    assert screen.words("x" * 201) == "x" * 199 + "…"
    assert len(screen.words("🙂" * 10_000)) == 200


def test_what_is_cut_off_was_screened_first():
    assert screen_of(lambda: Mask("secret")).words("x" * 195 + "secret") == "x" * 195 + "[***]"


@pytest.mark.parametrize("character", "\0\a\b\t\n\v\f\r\x1b\x7f\x85\u200b\u2028\u2029\u202e\ufeff\ud83d", ids=ascii)
def test_control_characters_in_words_become_spaces(character: str):
    assert screen_of().words(f"no{character}model") == "no model"


def test_words_in_any_script_stay():
    assert screen_of().words("größer, 日本語, 🙂") == "größer, 日本語, 🙂"
