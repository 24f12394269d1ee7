"""How platforms end an answer, and what each of their ways means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline.core.errors import REASONS
from trunkline.core.events import Ended
from trunkline.dialects.base import Loss
from trunkline.dialects.ends import body_words, finished, lost, refused


@pytest.mark.parametrize(
    ("word", "ended"),
    [
        ("stop", Ended("completed", "stop", "stop")),
        ("length", Ended("completed", "max_tokens", "length")),
        ("max_tokens", Ended("completed", "max_tokens", "length")),
        ("function_call", Ended("completed", "tool_calls", "tool_calls")),
        ("content_filter", Ended("blocked", "platform_content_filter", "content_filter")),
        ("some_new_word", Ended("completed", "stop", "stop")),
        ("abort", Ended("failed", "upstream_error", detail="finish_reason abort")),
    ],
)
def test_a_finish_reason_has_its_outcome(word: str, ended: Ended):
    assert finished(word) == ended
    assert REASONS[ended.reason].outcome == ended.outcome


@pytest.mark.parametrize(
    ("code", "reason"),
    [(4401, "upstream_auth"), (4403, "upstream_forbidden"), (4404, "upstream_error"), (4429, "rate_limited"),
     (4500, "upstream_error"), (4503, "upstream_unavailable"), (1006, "upstream_interrupted"),
     (1000, "upstream_interrupted"), (4399, "upstream_interrupted"), (4600, "upstream_interrupted"),
     (None, "upstream_interrupted")],
)  # fmt: skip
def test_a_close_code_of_the_platforms_own_is_read_as_its_http_status(code: int | None, reason: str):
    assert lost(Loss(clean=False, code=code)).reason == reason


def test_a_refusal_says_what_was_asked_the_platforms_words_and_what_to_grant():
    ended = refused(403, b'{"message":"no"}', "the role X", "quota: ")
    assert ended == Ended("failed", "upstream_forbidden", detail="quota: HTTP 403: no; grant the role X")
    assert refused(0, b"no answer within 5 s").reason == "upstream_unavailable"
    assert refused(500, b"<html>").detail == "HTTP 500"


def test_a_success_where_another_answer_was_expected_is_no_error_of_the_platform():
    ended = refused(200, b"<html>Sign in</html>", "the role X", "quota: ")
    assert ended == Ended("failed", "upstream_protocol", detail="quota: expected another answer than HTTP 200")


@pytest.mark.parametrize(
    ("body", "words"),
    [({"error": {"message": "a"}}, "a"), ({"error": "b"}, "b"), ({"detail": [{"msg": "c"}]}, "c"),
     ({"title": "Bad", "detail": "d", "message": "e"}, "d"), ({"message": "f"}, "f"), ({"error": {}}, ""), ([1], "")],
)  # fmt: skip
def test_the_words_of_an_error_are_found_in_the_usual_shapes(body: Any, words: str):
    assert body_words(json.dumps(body).encode()) == words
