"""Events are frozen, have one native JSON form, and come back from it as they were."""

from __future__ import annotations

import gc
import json
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.errors import Outcome
from trunkline.core.events import (
    AnyEvent,
    Channel,
    Delta,
    Ended,
    Entry,
    Guarded,
    Notice,
    Started,
    ToolCall,
    Usage,
    decode_event,
    event_name,
)

texts = st.text(max_size=20)
numbers = st.integers(0, 2**53)
usages = st.builds(Usage, numbers, numbers, numbers, st.sampled_from(["platform", "relay"]))
starts = st.builds(
    Started,
    **{name: numbers if name.endswith("_tokens") else texts for name in Started.__struct_fields__},
)
events = st.one_of(
    starts,
    st.builds(Delta, texts, numbers, st.sampled_from(typing.get_args(Channel))),
    st.builds(ToolCall, numbers, numbers, texts, texts, texts),
    st.builds(Guarded, texts, texts, numbers, numbers, numbers, numbers, texts),
    usages,
    st.builds(Notice, texts, texts),
    st.builds(
        Ended,
        st.sampled_from(typing.get_args(Outcome)),
        texts,
        texts,
        st.lists(texts, max_size=3).map(tuple),
        texts,
        st.none() | numbers,
        st.none() | usages,
    ),
)

STARTED = Started(turn="t1", principal="p", upstream="u", model="m", created_at="now", endpoint="e")
WIRE: dict[str, tuple[AnyEvent, str]] = {
    "started": (
        STARTED,
        '{"type":"started","turn":"t1","principal":"p","upstream":"u","model":"m","created_at":"now","endpoint":"e"}',
    ),
    "delta": (Delta("Hel", 0), '{"type":"delta","text":"Hel","choice":0}'),
    "delta of another channel": (
        Delta("Hm", 1, "reasoning"),
        '{"type":"delta","text":"Hm","choice":1,"channel":"reasoning"}',
    ),
    "tool_call": (
        ToolCall(0, 1, "call_7", "find", '{"a'),
        '{"type":"tool_call","choice":0,"index":1,"call_id":"call_7","name":"find","arguments":"{\\"a"}',
    ),
    "guarded": (
        Guarded("card", "mask", 17, 36, 17, 6),
        '{"type":"guarded","rule":"card","action":"mask","start":17,"end":36,"offset":17,"length":6}',
    ),
    "usage": (
        Usage(9, 41, 50, "platform"),
        '{"type":"usage","prompt_tokens":9,"completion_tokens":41,"total_tokens":50,"counted_by":"platform"}',
    ),
    "notice": (
        Notice("held_dropped", "3 characters"),
        '{"type":"notice","kind":"held_dropped","detail":"3 characters"}',
    ),
    "ended": (
        Ended("completed", "stop", "stop"),
        '{"type":"ended","outcome":"completed","reason":"stop","finish_reason":"stop"}',
    ),
    "ended of several choices": (
        Ended("completed", "stop", "stop", ("stop", "")),
        '{"type":"ended","outcome":"completed","reason":"stop","finish_reason":"stop","finish_reasons":["stop",""]}',
    ),
    "ended of a call that was barged into": (
        Ended("cancelled", "client_cancelled", heard_upto=0),
        '{"type":"ended","outcome":"cancelled","reason":"client_cancelled","heard_upto":0}',
    ),
}


@pytest.mark.parametrize("name", WIRE)
def test_an_event_has_one_form_on_the_wire_and_leaves_its_defaults_out(name):
    event, wire = WIRE[name]
    assert Entry(1, 0, event).json.decode() == wire
    assert decode_event(wire.encode()) == event
    assert event_name(event) == json.loads(wire)["type"] == name.split()[0]


@settings(deadline=None)
@given(events)
def test_every_event_comes_back_from_its_json_as_it_was(event: AnyEvent):
    written = Entry(1, 0, event).json
    read = decode_event(written)
    assert read == event
    assert type(read) is type(event)
    assert json.loads(written)["type"] == event_name(event)


@given(events)
def test_the_json_of_an_event_is_one_line(event: AnyEvent):
    assert not set(b"\r\n") & set(Entry(1, 0, event).json)


@pytest.mark.parametrize("name", WIRE)
def test_an_event_is_frozen(name):
    event, _ = WIRE[name]
    for field in event.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(event, field, getattr(event, field))


def test_every_type_of_event_is_known_by_its_own_name():
    kinds = typing.get_args(AnyEvent)
    names = [kind.__struct_config__.tag for kind in kinds]
    assert names == ["started", "delta", "tool_call", "guarded", "usage", "notice", "ended"]
    assert {name.split()[0] for name in WIRE} == set(names)


def test_started_has_no_room_for_the_text_of_a_message():
    assert set(Started.__struct_fields__) == {
        "turn", "principal", "upstream", "model", "created_at", "endpoint", "conversation_id", "session_id",
        "dialog_id", "prompt_id", "language", "prompt_tokens", "client_tokens",
    }  # fmt: skip


def test_the_collector_has_nothing_to_do_with_events():
    assert not gc.is_tracked(Delta("Hel", 0))
    assert not gc.is_tracked(Entry(1, 0, Delta("Hel", 0)))


def test_an_entry_is_encoded_once():
    entry = Entry(1, 0, Delta("Hel", 0))
    assert entry.json is entry.json


NONE_OF_OURS = {
    "nothing": b"",
    "half a JSON": b'{"type":"delta"',
    "an array": b"[]",
    "no type": b'{"text":"Hel","choice":0}',
    "an unknown type": b'{"type":"deltas","text":"Hel","choice":0}',
    "a missing field": b'{"type":"delta","text":"Hel"}',
    "a field of another type": b'{"type":"delta","text":"Hel","choice":"0"}',
    "an unknown channel": b'{"type":"delta","text":"Hel","choice":0,"channel":"shouting"}',
    "an unknown outcome": b'{"type":"ended","outcome":"finished","reason":"stop"}',
    "a text that is no UTF-8": b'{"type":"delta","text":"\xff","choice":0}',
    "JSON without a bottom": b'{"type":"delta","text":"Hel","choice":0,"x":' + b"[" * 100_000,
}


@pytest.mark.parametrize("name", NONE_OF_OURS)
def test_what_is_no_event_is_refused_by_the_documented_error(name):
    with pytest.raises(msgspec.DecodeError):
        decode_event(NONE_OF_OURS[name])


def test_an_event_of_a_newer_relay_may_have_more_fields():
    assert decode_event(b'{"type":"delta","text":"Hel","choice":0,"mood":"glad"}') == Delta("Hel", 0)
