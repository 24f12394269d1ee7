"""What a request may hold, at its bounds, and the prompt it amounts to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from trunkline.core.request import Message, TurnRequest

MESSAGE = {"role": "user", "content": "Where is my order?"}
IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
PARTS = [{"type": "text", "text": "What "}, IMAGE, {"type": "text", "text": "is it?"}]

GOOD: list[dict[str, Any]] = [
    {},
    {"messages": [MESSAGE]},
    {"messages": [MESSAGE] * 2_000},
    {"messages": [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant", "tool")]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]},
    {"messages": [{"role": "user", "content": PARTS}]},
    {"input": "Where is my order?"},
    {"upstream": "support", "model": "gpt-4o"},
    {"temperature": 0},
    {"temperature": 2.0},
    {"max_tokens": 1},
    {"stop": "END"},
    {"stop": ["END", "STOP"]},
    {"conversation_id": "a:b_c.d-1", "session_id": "s" * 128, "dialog_id": "d", "prompt_id": "p"},
    {"language": "zh-Hant-TW"},
    {"metadata": {str(n): "x" for n in range(16)}},
    {"on_last_reader_gone": "finish", "cancel_after_s": 0},
    {"cancel_after_s": 3_600},
    {"options": {"tools": [{"type": "function"}], "n": 2, "seed": None}},
]

BAD: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": []}),
    ("messages", {"messages": [MESSAGE] * 2_001}),
    ("messages.0.role", {"messages": [{"role": "bot", "content": "x"}]}),
    ("messages.0.role", {"messages": [{"content": "x"}]}),
    ("input", {"input": ""}),
    ("model", {"model": ""}),
    ("model", {"model": "m" * 257}),
    ("upstream", {"upstream": "u" * 129}),
    ("temperature", {"temperature": -0.1}),
    ("temperature", {"temperature": 2.1}),
    ("temperature", {"temperature": math.nan}),
    ("temperature", {"temperature": math.inf}),
    ("max_tokens", {"max_tokens": 0}),
    ("max_tokens", {"max_tokens": 1.5}),
    ("conversation_id", {"conversation_id": "a/b"}),
    ("conversation_id", {"conversation_id": "a\n"}),
    ("session_id", {"session_id": "s" * 129}),
    ("dialog_id", {"dialog_id": "../../admin"}),
    ("prompt_id", {"prompt_id": ""}),
    ("language", {"language": "de_DE"}),
    ("metadata", {"metadata": {str(n): "x" for n in range(17)}}),
    ("metadata.a", {"metadata": {"a": {"b": "c"}}}),
    ("on_last_reader_gone", {"on_last_reader_gone": "eager"}),
    ("cancel_after_s", {"cancel_after_s": -1}),
    ("cancel_after_s", {"cancel_after_s": 3_601}),
    ("cancel_after_s", {"cancel_after_s": math.nan}),
    ("tools", {"tools": []}),
]  # fmt: skip


@pytest.mark.parametrize("fields", GOOD, ids=lambda fields: "+".join(fields) or "nothing")
def test_a_request_may_hold(fields: dict[str, Any]):
    assert TurnRequest(**fields).model_dump(exclude_unset=True).keys() == fields.keys()


@pytest.mark.parametrize(("pointer", "fields"), BAD)
def test_a_request_may_not_hold_and_the_fault_is_found_at_its_place(pointer: str, fields: dict[str, Any]):
    with pytest.raises(ValidationError) as caught:
        TurnRequest(**fields)
    places = {".".join(map(str, error["loc"])) for error in caught.value.errors()}
    assert any(place == pointer or place.startswith(f"{pointer}.") for place in places), places


def test_all_faults_come_at_once():
    with pytest.raises(ValidationError) as caught:
        TurnRequest.model_validate_json('{"temperature": 3, "max_tokens": 0, "inputs": "x"}')
    assert {error["loc"] for error in caught.value.errors()} == {("temperature",), ("max_tokens",), ("inputs",)}


def test_a_prompt_is_given_once():
    with pytest.raises(ValidationError, match="either messages or input, not both"):
        TurnRequest(messages=(Message(role="user", content="x"),), input="x")


def test_a_lone_input_is_a_user_message():
    assert TurnRequest(input="hi").prompt() == (Message(role="user", content="hi"),)
    assert TurnRequest(messages=(Message(**MESSAGE),)).prompt() == (Message(**MESSAGE),)
    assert TurnRequest().prompt() == ()


def test_a_request_and_its_messages_are_frozen():
    request = TurnRequest(messages=(Message(**MESSAGE),))
    with pytest.raises(ValidationError, match="frozen"):
        request.model = "other"
    with pytest.raises(ValidationError, match="frozen"):
        request.prompt()[0].content = "other"


def test_a_message_keeps_the_fields_it_came_with():
    sent = {"role": "tool", "content": "7", "tool_call_id": "call_1", "name": "find"}
    assert Message(**sent).model_dump(exclude_unset=True) == sent
    assistant = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]}
    assert Message(**assistant).model_dump(exclude_unset=True) == assistant


@pytest.mark.parametrize(
    ("content", "text"),
    [("Hello", "Hello"), (None, ""), ("", ""), (PARTS, "What is it?"), ([], ""), ([{"type": "image_url"}], "")],
)
def test_the_text_of_a_message_is_its_words_alone(content: Any, text: str):
    assert Message(role="user", content=content).text() == text


@pytest.mark.parametrize("part", [{"text": "hi"}, {"type": "text"}, {"type": "text", "text": 7}, "hi"])
def test_a_part_says_what_it_is(part):
    with pytest.raises(ValidationError):
        Message(role="user", content=[part])
