"""Requests that come twice: the same key and body, or the same question a moment later, mean the same turn."""

from __future__ import annotations

import pytest

from trunkline import repeats as module
from trunkline.core.errors import RequestRefused
from trunkline.repeats import IDEMPOTENCY_MS, JOIN_MS, Question, Repeats


class Clock:
    now = 0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def repeats(clock):
    return Repeats(clock)


def test_the_same_key_and_body_is_the_same_turn_for_a_day(repeats, clock):
    assert repeats.find("p", "k", b"body") is None
    repeats.keep("p", "k", b"body", "t1")
    clock.now = IDEMPOTENCY_MS - 1
    assert repeats.find("p", "k", b"body") == "t1"
    clock.now = IDEMPOTENCY_MS + 1
    assert repeats.find("p", "k", b"other") is None


def test_another_body_is_refused_and_another_principal_is_not_met(repeats):
    repeats.keep("p", "k", b"body", "t1")
    assert repeats.find("q", "k", b"body") is None
    with pytest.raises(RequestRefused) as refused:
        repeats.find("p", "k", b"other")
    assert (refused.value.status, refused.value.code) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["é", "a\nb", "x" * 256])
def test_a_key_is_short_and_printable(repeats, key):
    with pytest.raises(RequestRefused, match="printable"):
        repeats.find("p", key, b"body")


def test_only_so_many_keys_are_kept(repeats, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    for n in range(3):
        repeats.keep("p", f"k{n}", b"", f"t{n}")
    assert [repeats.find("p", f"k{n}", b"") for n in range(3)] == [None, "t1", "t2"]


def test_a_question_is_joined_until_it_is_answered_or_too_old(repeats, clock):
    question = Question("p", "s", "d", "hi", "")
    assert repeats.unanswered(question) is None
    repeats.asked(question, "t1")
    assert repeats.unanswered(question) == "t1"
    assert repeats.unanswered(question._replace(principal="q")) is None
    repeats.answered(question, "t0")
    assert repeats.unanswered(question) == "t1"
    repeats.answered(question, "t1")
    assert repeats.unanswered(question) is None
    repeats.asked(question, "t2")
    clock.now = JOIN_MS + 1
    assert repeats.unanswered(question) is None


def test_only_so_many_questions_are_kept(repeats, monkeypatch):
    monkeypatch.setattr(module, "MAX_QUESTIONS", 2)
    questions = [Question("p", "s", "d", str(n), "") for n in range(3)]
    for question in questions:
        repeats.asked(question, question.input)
    assert [repeats.unanswered(question) for question in questions] == [None, "1", "2"]


def test_what_was_made_before_a_restart_is_found_after_it(clock):
    recorded = []
    before = Repeats(clock, record=recorded.append, key=b"key")
    for key, body, turn in [("k1", b"one", "t1"), ("k2", b"two", "t2")]:
        made = before.keep("p", key, body, turn)
        assert made not in recorded, "first its turn has to be in its log"
        before.record(made)
    after = Repeats(clock, recorded, key=b"key")
    assert after.find("p", "k1", b"one") == "t1"
    assert after.find("q", "k1", b"one") is None
    with pytest.raises(RequestRefused):
        after.find("p", "k2", b"one")
    clock.now = IDEMPOTENCY_MS + 1
    assert after.find("p", "k2", b"two") is None


def test_what_is_kept_of_a_request_says_nothing_to_those_who_guess_it_without_the_key(clock):
    words, question = b"my PIN is 4711", Question("p", "s", "d", "my PIN is 4711", "")
    told = []
    for key in (b"one", b"other", None, None):
        repeats = Repeats(clock, key=key)
        made = repeats.keep("p", "k", words, "t1")
        told.append((made.key, made.about, repeats.digest(question)))
    assert all(len({kept[n] for kept in told}) == 4 for n in range(3)), "each differs with the key, and none has none"
    again = Repeats(clock, key=b"one")
    made = again.keep("p", "k", words, "t1")
    assert (made.key, made.about, again.digest(question)) == told[0]


def test_a_key_whose_turn_was_forgotten_still_means_that_turn_whatever_it_comes_with(clock):
    recorded = []
    before = Repeats(clock, record=recorded.append, key=b"key")
    before.record(before.keep("p", "k", b"body", "t1"))
    after = Repeats(clock, [recorded[0]._replace(about=b"")], key=b"key")
    assert after.find("p", "k", b"body") == after.find("p", "k", b"other") == "t1"
