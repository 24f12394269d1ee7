"""The OpenAI dialect as scripts: what a server sends, and the events and commands that it amounts to."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

import pytest

from dialects.openai_wire import BROKEN, CLEAN, DONE, STOPPED, UNREADABLE, choice, chunk, data, failed
from dialects.playbook import LastWords, ask
from trunkline.core.events import Delta, Ended, Notice, ToolCall, Usage
from trunkline.dialects.base import Loss, Open
from trunkline.dialects.openai_chat import OpenAIChat

# The request


def body_of(dialect: OpenAIChat, **fields: Any) -> dict[str, Any]:
    (opened,) = dialect.start(ask(**fields), 0.0)
    assert isinstance(opened, Open)
    assert (opened.method, opened.path) == ("POST", "/chat/completions")
    assert opened.headers == {"content-type": "application/json", "accept": "text/event-stream"}
    return json.loads(opened.body)


def test_the_least_request_asks_for_a_stream_with_usage():
    assert body_of(OpenAIChat(), input="hi", model="gpt-4o") == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_parameters_and_options_are_passed_on():
    sent = {"temperature": 0.0, "max_tokens": 7, "stop": ["END"]}
    options = {"tools": [{"type": "function"}], "seed": 7, "response_format": {"type": "json_object"}}
    body = body_of(OpenAIChat(), **sent, options=options)
    assert body | sent | options == body


def test_messages_go_out_as_they_came():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function"}]},
        {"role": "tool", "content": "7", "tool_call_id": "call_1"},
        {"role": "user", "content": [{"type": "text", "text": "größer 🙂"}]},
    ]
    assert body_of(OpenAIChat(), messages=messages)["messages"] == messages


def test_options_cannot_turn_the_stream_off_or_change_the_model():
    body = body_of(OpenAIChat(), options={"stream": False, "model": "dear", "messages": [], "stream_options": {}})
    assert (body["stream"], body["model"], len(body["messages"])) == (True, "gpt-4o", 1)
    assert body["stream_options"] == {"include_usage": True}


def test_a_preset_may_leave_out_the_stream_options_and_have_another_path():
    (opened,) = OpenAIChat(path="/completions", include_usage=False).start(ask(), 0.0)
    assert opened.path == "/completions"
    assert "stream_options" not in json.loads(opened.body)


# An answer


def test_an_answer_from_the_role_to_the_end_mark(play):
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}
    script = play() >> chunk(role="assistant") >> chunk("", role="assistant")
    script >> 0.2 >> chunk("Hel") << Delta("Hel", 0) >> 0.3 >> chunk("lo") << Delta("lo", 0)
    script >> chunk(finish="stop") >> data(usage) << Usage(9, 2, 11, "platform") >> DONE << STOPPED


def test_empty_null_and_missing_deltas_say_nothing(play):
    script = play() >> data({"choices": [{"index": 0, "delta": {"content": None, "tool_calls": None}}]})
    script >> data({"choices": [{"index": 0, "delta": {}}]}) >> data({"choices": [{"index": 0, "delta": None}]})
    script >> data({"choices": [{}]}) >> data({"choices": []}) >> data({"choices": None}) >> data({})
    script >> chunk("") >> chunk("Hello", finish="stop") << Delta("Hello", 0) >> DONE << STOPPED


def test_azures_first_chunk_has_no_choices(play):
    script = play() >> data({"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "usage": None})
    script >> chunk("Hello", finish="stop") << Delta("Hello", 0) >> DONE << STOPPED


def test_one_read_may_bring_everything(play):
    play() >> chunk("Hel") + chunk("lo", finish="stop") + DONE << Delta("Hel", 0) << Delta("lo", 0) << STOPPED


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_and_refusal_are_channels_of_their_own(play, field):
    script = play() >> chunk(**{field: "Hm."}) << Delta("Hm.", 0, "reasoning") >> chunk("No") << Delta("No", 0)
    script >> chunk(refusal="Sorry.") << Delta("Sorry.", 0, "refusal") >> chunk(finish="stop") >> DONE << STOPPED


def test_a_server_that_sends_both_names_of_reasoning_is_heard_once(play):
    play() >> chunk(reasoning_content="Hm.", reasoning="Hm.") << Delta("Hm.", 0, "reasoning")


def test_tool_calls_come_in_pieces(play):
    first = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "find", "arguments": ""}}
    second = {"index": 1, "id": "call_b", "type": "function", "function": {"name": "shop", "arguments": "{}"}}
    script = play() >> chunk(tool_calls=[first]) << ToolCall(0, 0, "call_a", "find", "")
    script >> chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]) << ToolCall(0, 0, "", "", '{"a"')
    script >> chunk(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}, second])
    script << ToolCall(0, 0, "", "", ":1}") << ToolCall(0, 1, "call_b", "shop", "{}")
    script >> chunk(tool_calls=[{"index": 1, "function": None}]) << ToolCall(0, 1)
    script >> chunk(finish="tool_calls") >> DONE << Ended("completed", "tool_calls", "tool_calls")


def test_several_choices_run_side_by_side_and_end_together(play):
    script = play(options={"n": 2}) >> data({"choices": [choice("A", 0), choice("B", 1)]})
    script << Delta("A", 0) << Delta("B", 1) >> chunk(finish="stop") >> chunk("b", 1) << Delta("b", 1)
    script >> chunk(index=1, finish="stop") >> DONE << Ended("completed", "stop", "stop", ("stop", "stop"))


FINISHES = [
    ("stop", "completed", "stop", "stop"),
    ("length", "completed", "max_tokens", "length"),
    ("max_tokens", "completed", "max_tokens", "length"),
    ("tool_calls", "completed", "tool_calls", "tool_calls"),
    ("function_call", "completed", "tool_calls", "tool_calls"),
    ("content_filter", "blocked", "platform_content_filter", "content_filter"),
    ("eos", "completed", "stop", "stop"),
    ("", "completed", "end_without_reason", ""),
    (None, "completed", "end_without_reason", ""),
]


@pytest.mark.parametrize(("sent", "outcome", "reason", "finish"), FINISHES)
def test_a_finish_reason_has_its_end(play, sent, outcome, reason, finish):
    play() >> chunk("Hello", finish=sent) << Delta("Hello", 0) >> DONE << Ended(outcome, reason, finish)


MIXED = [
    (("stop", "length"), "completed", "max_tokens", "length"),
    (("tool_calls", "stop"), "completed", "tool_calls", "tool_calls"),
    (("length", "content_filter"), "blocked", "platform_content_filter", "content_filter"),
    (("stop", ""), "completed", "stop", "stop"),
    (("", ""), "completed", "end_without_reason", ""),
]


@pytest.mark.parametrize(("sent", "outcome", "reason", "finish"), MIXED)
def test_the_gravest_of_several_finish_reasons_is_the_turns(play, sent, outcome, reason, finish):
    script = play(options={"n": 2}) >> chunk("A", 0, sent[0]) << Delta("A", 0) >> chunk("B", 1, sent[1])
    script << Delta("B", 1) >> DONE << Ended(outcome, reason, finish, sent)


def test_the_first_finish_reason_of_a_choice_is_its_own(play):
    script = play() >> chunk("Hello", finish="length") << Delta("Hello", 0) >> chunk(finish="stop")
    script >> DONE << Ended("completed", "max_tokens", "length")


def test_a_total_is_the_platforms_where_it_gives_one_and_else_the_sum(play):
    # Some servers count tokens of reasoning in the total alone.
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 15}
    play() >> data({"choices": [], "usage": usage}) << Usage(9, 2, 15, "platform")
    (
        play()
        >> data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
        << Usage(9, 2, 11, "platform")
    )


@pytest.mark.parametrize("count", [-5, 1e30, 10**23, 1 << 53, "7", True, [7]], ids=repr)
def test_a_count_that_is_none_is_not_taken_and_costs_no_text(play, count):
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    script = play() >> data({"choices": [choice("Hello", finish="stop")], "usage": usage})
    script << Delta("Hello", 0) << Usage(0, 3, 3, "platform") >> DONE << STOPPED


@pytest.mark.parametrize("usage", [7, "7", [], {}, {"prompt_tokens": -1}], ids=repr)
def test_usage_that_counts_nothing_is_none(play, usage):
    script = play() >> data({"choices": [choice("Hello", finish="stop")], "usage": usage})
    script << Delta("Hello", 0) >> DONE << STOPPED


# The end


def test_a_finish_reason_and_a_clean_end_are_a_whole_answer_with_a_notice(play):
    script = play() >> chunk("Hello", finish="stop") << Delta("Hello", 0)
    script >> CLEAN << Notice("no_end_mark", ANY) << STOPPED


def test_a_clean_end_is_not_enough_while_a_choice_is_open(play):
    script = play(options={"n": 2}) >> chunk("A", 0, "stop") << Delta("A", 0)
    script >> CLEAN << failed("upstream_interrupted")
    script = play(options={"n": 2}) >> chunk("A", 0, "stop") + chunk("B", 1) << Delta("A", 0) << Delta("B", 1)
    script >> CLEAN << failed("upstream_interrupted")


@pytest.mark.parametrize("loss", [CLEAN, BROKEN], ids=["cleanly", "broken off"])
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b": hi\n\n",
        b": hi\n\n" * 3,
        b": hi",
        b"id: 1\n\n",
        data({"choices": []}),
        chunk(role="assistant"),
        chunk("Hel")[:9],
    ],
    ids=["nothing", "a comment", "comments", "half a comment", "an id", "no choices", "the role", "half an event"],
)
def test_a_stream_that_ends_before_any_text_is_interrupted(play, sent, loss):
    play() >> sent >> loss << failed("upstream_interrupted")


def test_a_stream_that_breaks_off_is_interrupted_before_and_after_its_finish_reason(play):
    play() >> chunk("Hel") << Delta("Hel", 0) >> CLEAN << failed("upstream_interrupted")
    play() >> chunk("Hel") << Delta("Hel", 0) >> BROKEN << failed("upstream_interrupted", "the connection was reset")
    play() >> chunk("Hel", finish="stop") << Delta("Hel", 0) >> BROKEN << failed("upstream_interrupted")


def test_a_loss_has_the_sources_reason_where_it_gives_one(play):
    play() >> Loss(clean=False, reason="connect_timeout", detail="5 s") << failed("connect_timeout", "5 s")


def test_half_an_event_is_dropped_at_the_end(play):
    play() >> chunk("Hel") + chunk("lo")[:-1] << Delta("Hel", 0) >> CLEAN << failed("upstream_interrupted")
    (
        play()
        >> chunk("Hello", finish="stop") + DONE[:-1]
        << Delta("Hello", 0)
        >> CLEAN
        << Notice("no_end_mark", ANY)
        << STOPPED
    )


def test_nothing_follows_the_end_mark(play):
    play() >> chunk("Hel", finish="stop") + DONE + chunk("lo") + DONE << Delta("Hel", 0) << STOPPED


def test_content_after_the_finish_reason_is_dropped_and_counted(play):
    script = play() >> chunk("Hel", finish="stop") << Delta("Hel", 0) >> chunk("lo!") >> chunk("") >> chunk("??")
    script >> DONE << STOPPED >> LastWords() << Notice("dropped", "characters: 5 after the finish reason")


@pytest.mark.parametrize(
    "delta",
    [{"reasoning": "Hm."}, {"refusal": "No."}, {"tool_calls": [{"index": 0, "function": {"arguments": "{1}"}}]}],
    ids=["reasoning", "refusal", "tool call"],
)
def test_whatever_is_dropped_after_the_finish_reason_is_counted(play, delta):
    script = play() >> chunk("Hel", finish="stop") << Delta("Hel", 0) >> chunk(**delta)
    script >> DONE << STOPPED >> LastWords() << Notice("dropped", "characters: 3 after the finish reason")


def test_a_finish_reason_ends_its_own_choice_only(play):
    script = play(options={"n": 2}) >> chunk("A", 0, "stop") << Delta("A", 0) >> chunk("B", 1, "stop") << Delta("B", 1)
    script >> chunk("x", 1) >> DONE << ANY >> LastWords() << Notice("dropped", "characters: 1 after the finish reason")


# A whole answer


def whole(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}).encode()


def test_a_server_that_ignores_stream_answers_whole(play):
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    body = whole({"role": "assistant", "content": "Hello"}, usage=usage)
    script = play("application/json; charset=utf-8") >> body[:7] >> body[7:]
    script >> CLEAN << Notice("not_streamed", ANY) << Delta("Hello", 0) << Usage(9, 2, 11, "platform") << STOPPED


def test_the_tool_calls_of_a_whole_answer_stay_apart(play):
    # In this form the platform gives them no index: their place in the list is it.
    calls = [{"id": f"call_{name}", "function": {"name": name, "arguments": "{}"}} for name in "ab"]
    script = play("application/json") >> whole({"content": None, "tool_calls": calls}, "tool_calls") >> CLEAN
    script << Notice("not_streamed", ANY) << ToolCall(0, 0, "call_a", "a", "{}") << ToolCall(0, 1, "call_b", "b", "{}")
    script << Ended("completed", "tool_calls", "tool_calls")


def test_a_whole_answer_that_is_none_is_told_apart(play):
    play("application/json") >> whole({"content": "Hello"})[:-5] >> CLEAN << UNREADABLE
    play("application/json") >> CLEAN << UNREADABLE
    play("application/json") >> b"{}" >> CLEAN << UNREADABLE
    play("application/json") >> b'{"error":{"message":"no"}}' >> CLEAN << failed("upstream_error", "no")
    play("application/json") >> whole({"content": "Hello"}) >> BROKEN << failed("upstream_interrupted")
    play("application/json") >> b" " * (4 << 20) >> b" " << UNREADABLE


def test_half_a_character_comes_as_it_is_for_the_guards_to_join(play):
    halves = [rb'data: {"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}' + b"\n\n",
              rb'data: {"choices":[{"index":0,"delta":{"content":"\uDE00!"}}]}' + b"\n\n"]  # fmt: skip
    play() >> halves[0] << Delta("\ud83d", 0) >> halves[1] << Delta("\ude00!", 0)


def test_what_is_no_json_stays_none_with_half_a_character_in_it(play):
    play() >> rb'data: {"choices":[{"delta":{"content":"\ud83d}}' + b"\n\n" << UNREADABLE
