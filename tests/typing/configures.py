"""A program that checks settings, looks into them, and makes requests with all their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, assert_type

from pydantic import SecretStr

from trunkline import Message, Relay, Settings, SettingsError, TurnRequest


def check(table: Mapping[str, Any]) -> Relay | list[str]:
    """Settings come as a table of the shape of trunkline.toml, or checked already."""
    try:
        relay = Relay(table)
    except SettingsError as error:
        return [f"{fault.pointer}: {fault.detail}" for fault in error.faults]
    return Relay(relay.settings)


def look(settings: Settings) -> None:
    """What can be read from settings, with its type."""
    assert_type(settings.server.port, int)
    assert_type(settings.server.drain_s, float)
    assert_type(settings.store.retention, float)
    assert_type(settings.default_upstream, str | None)
    assert_type(settings.sole_upstream, str | None)
    for key in settings.keys:
        assert_type(key.name, str)
    for upstream in settings.upstreams.values():
        assert_type(upstream.api_key, SecretStr | None)
        assert_type(upstream.timeouts.turn_s, float)
        assert_type(upstream.on_overflow, Literal["refuse", "truncate"])
    assert_type(settings.models["m"].max_output, int | None)


def ask() -> TurnRequest:
    """A request with messages."""
    messages = (Message(role="system", content="Be brief."), Message(role="user", content=[{"type": "text"}]))
    request = TurnRequest(
        upstream="support",
        messages=messages,
        model="m",
        temperature=0.2,
        max_tokens=400,
        stop=["\n\n"],
        conversation_id="case-4711",
        language="de-DE",
        on_last_reader_gone="finish",
        options={"top_p": 0.9},
    )
    assert_type(request.prompt(), tuple[Message, ...])
    assert_type(request.messages, tuple[Message, ...] | None)
    assert_type(messages[0].role, Literal["system", "developer", "user", "assistant", "tool"])
    assert_type(messages[0].text(), str)
    return request
