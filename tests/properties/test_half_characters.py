"""Whatever string of a platform, or of a client, holds half a character: all that goes into the log can be encoded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.playbook import ask
from stores.writing import started
from trunkline.core.events import Ended, Entry, Usage, decode_event
from trunkline.dialects.base import Command, Dialect, Item, Loss, Setup
from trunkline.dialects.cognigy import Cognigy
from trunkline.dialects.genesys_conversations import GenesysConversations
from trunkline.dialects.genesys_gateway import GenesysGateway
from trunkline.dialects.openai_chat import OpenAIChat
from trunkline.dialects.presets import PRESETS
from trunkline.dialects.settings import WireSettings
from trunkline.guards.actions import Secrets
from trunkline.guards.chain import Guard
from trunkline.guards.screen import Screen
from trunkline.guards.settings import GuardSettings
from trunkline.stores.base import TurnLog

HALVES = ["\ud83d", "\ude00", "a\ud83d", "\udfffz", "\ud83d\ude00", "\ude00\ud83d"]
GUARDS = [Guard(None), Guard(GuardSettings(), None), Guard(GuardSettings(tool_arguments="pass"))]

CALL = {"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": '{"order": "7"}'}}
SAID = {"content": "Hi", "reasoning_content": "Hm", "refusal": "No", "tool_calls": [CALL]}
OPENAI = [
    {"choices": [{"index": 0, "delta": SAID, "finish_reason": None}], "usage": {"prompt_tokens": 7, "kind": "x"}},
    {"choices": [{"index": 1, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {"error": {"message": "no such model", "code": "x"}},
    {"detail": [{"msg": "no such field"}]},
    {"message": "overloaded"},
]
COGNIGY = [{"tokens": ["Hi", " you"], "done": False, "error": ""}, {"tokens": [], "done": False, "error": "gone"}]
FRAMES = [
    {"status": "stream_ready", "message": "welcome"},
    {"token": "Hi", "finish_reason": "", "usage": None},
    {"token": "Hi", "finish_reason": "stop"},
    {"error": {"message": "gone"}, "message": "gone"},
]
EVENTS = [
    {"event_type": "ai:chat:completion", "delta": "Hi", "finish_reason": "", "metadata": {"conversation_id": "c-1"}},
    {"event_type": "error", "error": {"message": "gone"}, "message": "gone"},
]


def torn(value: Any) -> st.SearchStrategy[Any]:
    """A value in which any string, or none, is one with halves of characters."""
    match value:
        case str():
            return st.sampled_from([value, *HALVES])
        case list():
            return st.tuples(*map(torn, value)).map(list)
        case dict():
            return st.fixed_dictionaries({name: torn(one) for name, one in value.items()})
        case _:
            return st.just(value)


def of_wire(preset: str, kind: Any) -> Dialect:
    dialect: Dialect = kind(Setup(PRESETS[preset].paths, WireSettings(prompt_id="p-1", dialog_id="d-1")))
    return dialect


def encoded(items: Iterable[Item], guard: Guard) -> None:
    """Take a turn's items into its log, as the pump does, and read back what is there."""
    screen, turn = Screen(guard.for_turn(Secrets(b"key"))), TurnLog("turn_1")
    turn.add([started(1)], 1)
    for item in items:
        if isinstance(item, Ended):
            last = msgspec.structs.replace(item, detail=screen.words(item.detail))
            turn.add([*screen.finish(item.reason, 0.0), last], 1)
            break
        if not isinstance(item, Command | Usage):
            turn.add(screen.screen([item], 0.0), 1)
    for entry in turn.entries:
        assert decode_event(Entry(1, 1, entry.event).json) == entry.event


@pytest.mark.parametrize(
    ("preset", "kind", "wire"),
    [
        ("openai", None, OPENAI),
        ("cognigy", Cognigy, COGNIGY),
        ("genesys-gateway", GenesysGateway, FRAMES),
        ("genesys-conversations", GenesysConversations, EVENTS),
    ],
)
@settings(deadline=None, max_examples=100)
@given(data=st.data(), guard=st.sampled_from(GUARDS))
def test_what_a_platform_says_in_halves_of_characters_can_be_encoded(
    preset: str, kind: Any, wire: list[Any], guard: Guard, data: st.DataObject
):
    dialect = OpenAIChat() if kind is None else of_wire(preset, kind)
    items = [*dialect.start(ask("gpt", conversation_id="c-1"), 0.0), *dialect.opened({}, 0.0)]
    for n, payload in enumerate(data.draw(st.lists(st.sampled_from(wire).flatmap(torn), max_size=6))):
        message = json.dumps(payload).encode()
        items += dialect.receive(b"data: %b\n\n" % message if kind is None else message, float(n))
    items += dialect.closed(Loss(clean=True, detail=data.draw(torn("gone"))), 9.0)
    encoded([*items, Ended("failed", "upstream_interrupted")], guard)


@settings(deadline=None)
@given(st.dictionaries(torn("seed"), torn("x"), min_size=1), st.sampled_from(GUARDS))
def test_what_a_client_asks_for_in_halves_of_characters_can_be_encoded(options: dict[str, Any], guard: Guard):
    dialect = OpenAIChat(fields=frozenset())
    items = dialect.start(ask(options=options), 0.0)
    assert "not_sent" in repr(items)
    encoded([*items, Ended("failed", "upstream_interrupted")], guard)


@settings(deadline=None)
@given(torn({"message": "no such model"}), st.sampled_from(GUARDS))
def test_an_http_error_in_halves_of_characters_can_be_encoded(body: Any, guard: Guard):
    encoded(OpenAIChat().refused(404, {}, json.dumps({"error": body}).encode(), 0.0), guard)
