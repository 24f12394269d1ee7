"""Token counts as platforms write them, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.core.events import Usage
from trunkline.dialects.usage import usage_of


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}, (1, 2, 9)),
        ({"prompt_tokens": 1, "completion_tokens": 2.0}, (1, 2, 3)),
        ({"completion_tokens": 2, "total_tokens": None}, (0, 2, 2)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 0}, (1, 2, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, 0, 0)),
        ({"prompt_tokens": (1 << 53) - 1, "completion_tokens": 1 << 53}, ((1 << 53) - 1, 0, (1 << 53) - 1)),
        ({"prompt_tokens": 5, "completion_tokens": -1}, (5, 0, 5)),
    ],
)
def test_what_is_counted_is_taken(value: Any, counts: tuple[int, int, int]):
    assert usage_of(value) == Usage(*counts, "platform")


@pytest.mark.parametrize(
    "value", [None, {}, [], "7", {"prompt_tokens": "7"}, {"prompt_tokens": True}, {"total_tokens": 7}]
)
def test_what_holds_no_count_is_none(value: Any):
    assert usage_of(value) is None


def test_a_number_that_is_none_is_not_taken():
    assert usage_of({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}) is None
