"""Genesys' LLM gateway as scripts: the handshake in messages, the request, and frames with and without their keys."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

import pytest

from dialects.playbook import LastWords, Opened, Playbook, Refused, Wake, ask
from trunkline.core.events import Delta, Ended, Notice, Usage
from trunkline.dialects.base import Loss, Open, Send, Setup, WakeAt
from trunkline.dialects.genesys_gateway import GenesysGateway
from trunkline.dialects.presets import PRESETS
from trunkline.dialects.settings import WireSettings

PRESET = PRESETS["genesys-gateway"]
OPEN = Open("GET", "/api/v2/ai/llm/gateway/completions/stream")
INIT = Send(b'{"action":"init_stream","protocol_version":"v2"}')
READY = b'{"status":"stream_ready"}'
STOPPED = Ended("completed", "stop", "stop")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def frame(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


def failed(reason: str, detail: Any = ANY) -> Ended:
    return Ended("failed", reason, detail=detail)


def fresh(**settings: Any) -> Playbook:
    return Playbook(GenesysGateway(Setup(PRESET.paths, WireSettings(**settings))))


def request_of(settings: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The request that goes out after the handshake."""
    dialect = GenesysGateway(Setup(PRESET.paths, WireSettings(**settings)))
    dialect.start(ask("gpt", **fields), 0.0)
    dialect.opened({}, 0.0)
    (send,) = dialect.receive(READY, 0.0)
    assert isinstance(send, Send)
    assert send.asks
    decoded: dict[str, Any] = json.loads(send.data)
    return decoded


def begun() -> Playbook:
    """A turn whose request is sent."""
    play = fresh() >> ask("gpt", prompt_id="p-1") << OPEN >> Opened() << WakeAt(5.0) << INIT
    return play >> READY << Send(ANY, asks=True)


def test_a_whole_turn_reads_top_to_bottom():
    play = fresh(prompt_id="p-9") >> ask("gpt", input=None) << OPEN
    play >> 10.0 >> Opened() << WakeAt(15.0) << INIT
    (
        play
        >> 11.0
        >> READY
        << Send(
            b'{"model":"gpt","prompt_id":"p-9","parameters":{"temperature":[0.7],"max_tokens":1024,"stream":true},'
            b'"context":{"system":"","format":"json"}}',
            asks=True,
        )
    )
    play >> frame(token="Hel", finish_reason=None, usage=None) << Delta("Hel", 0)
    play >> 15.0 >> Wake()
    play >> frame(token="lo", finish_reason=None, usage=USAGE) << Delta("lo", 0) << Usage(3, 2, 5, "platform")
    play >> frame(token="", finish_reason="stop", usage=USAGE) << Usage(3, 2, 5, "platform") << STOPPED
    play.over()


def test_the_request_says_what_the_turn_wants_and_the_settings_what_it_does_not_say():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "developer", "content": "Be short."},
    ]
    settings = {"temperature": (0.7, 0.8), "max_tokens": 99, "context_format": "text", "prompt_id": "p-9"}
    said = request_of(settings, prompt_id="p-1", messages=messages, stop="END")
    assert said == {
        "model": "gpt",
        "prompt_id": "p-1",
        "parameters": {"temperature": [0.7, 0.8], "max_tokens": 99, "stop_sequences": ["END"], "stream": True},
        "context": {
            "system": "Be kind.\nBe short.",
            "format": "text",
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        },
    }
    said = request_of(settings, prompt_id="p-1", temperature=0.1, max_tokens=5, stop=["A", "B"])
    parameters = {"temperature": [0.1], "max_tokens": 5, "stop_sequences": ["A", "B"], "stream": True}
    assert said["parameters"] == parameters


def test_messages_that_the_platform_does_not_take_are_not_sent_and_a_notice_says_so():
    assert "messages" not in request_of({"messages_field": False}, prompt_id="p-1")["context"]
    play = fresh(messages_field=False) >> ask("gpt", prompt_id="p-1", options={"seed": 1})
    play << Notice("not_sent", "input, seed") << OPEN


def test_without_any_prompt_id_nothing_is_asked():
    fresh() >> ask("gpt") << failed("upstream_error")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b'{"status":"rejected","message":"No stream for you."}', "rejected: No stream for you."),
        (b'{"status":"queued"}', "expected stream_ready, got 'queued'"),
        (b'{"token":"Hel"}', "expected stream_ready, got 'None'"),
        (b"stream_ready", "expected stream_ready, got 'stream_ready'"),
        (b"\xff", "expected stream_ready, got '\ufffd'"),
    ],
)
def test_anything_but_stream_ready_is_a_rejection_with_the_platforms_words(answer: bytes, detail: str):
    play = fresh() >> ask("gpt", prompt_id="p-1") << OPEN >> Opened() << WakeAt(5.0) << INIT
    play >> answer << failed("handshake_rejected", detail)


def test_a_handshake_that_is_not_answered_within_five_seconds_is_given_up():
    play = fresh() >> ask("gpt", prompt_id="p-1") << OPEN >> 1.0 >> Opened() << WakeAt(6.0) << INIT
    play >> 5.9 >> Wake() >> 6.0 >> Wake() << failed("handshake_timeout", "no stream_ready within 5 s")


def test_how_long_the_handshake_may_take_can_be_set():
    play = fresh(ready_s=0.5) >> ask("gpt", prompt_id="p-1") << OPEN >> Opened() << WakeAt(0.5) << INIT
    play >> 0.5 >> Wake() << failed("handshake_timeout", "no stream_ready within 0.5 s")


@pytest.mark.parametrize(
    ("finish", "outcome", "reason"),
    [("stop", "completed", "stop"), ("length", "completed", "max_tokens"), ("tool_calls", "completed", "tool_calls"),
     ("content_filter", "blocked", "platform_content_filter")],
)  # fmt: skip
def test_any_finish_reason_ends_the_turn(finish: str, outcome: Any, reason: str):
    begun() >> frame(token="", finish_reason=finish, usage=None) << Ended(outcome, reason, finish)


@pytest.mark.parametrize(
    ("keys", "lacking"),
    [({"token": "Hi"}, "1 lacked finish_reason, 1 lacked usage"),
     ({"token": "Hi", "usage": None}, "1 lacked finish_reason"),
     ({"token": "Hi", "finish_reason": None}, "1 lacked usage")],
)  # fmt: skip
def test_a_frame_that_lacks_a_key_is_used_and_the_lack_is_told(keys: dict[str, Any], lacking: str):
    play = begun() >> frame(**keys) << Delta("Hi", 0)
    play >> frame(token="", finish_reason="stop", usage=None) << STOPPED
    play >> LastWords() << Notice("incomplete_frames", f"frames: {lacking}")


@pytest.mark.parametrize("data", [b"{}", b'{"status":"alive"}', b"[1,2]", b"no json", b'"token"', b"\xff"])
def test_a_frame_with_none_of_the_keys_is_a_fault_of_the_platform(data: bytes):
    begun() >> data << failed("upstream_protocol")


def test_an_error_object_ends_the_turn_with_its_words():
    begun() >> frame(error={"message": "The model failed."}) << failed("upstream_error", "The model failed.")
    begun() >> frame(error={}) << failed("upstream_error", "an error without words")


@pytest.mark.parametrize("token", [None, 7, ["x"], {"a": 1}])
def test_a_token_that_is_no_text_adds_nothing(token: Any):
    (
        begun()
        >> frame(token=token, finish_reason=None, usage=None)
        >> frame(token="", finish_reason="stop", usage=None)
        << STOPPED
    )


def test_the_last_frame_may_carry_a_token():
    play = begun() >> frame(token="all", finish_reason="length", usage=None) << Delta("all", 0)
    play << Ended("completed", "max_tokens", "length")


@pytest.mark.parametrize(
    ("loss", "reason"),
    [(Loss(clean=True, code=1000), "upstream_interrupted"), (Loss(clean=False, code=1006), "upstream_interrupted"),
     (Loss(clean=False, code=4401), "upstream_auth"), (Loss(clean=False, reason="connect_timeout"), "connect_timeout")],
)  # fmt: skip
def test_a_link_that_is_gone_without_a_finish_reason_is_no_end(loss: Loss, reason: str):
    begun() >> frame(token="Hel", finish_reason=None, usage=None) << Delta("Hel", 0) >> loss << failed(reason)


def test_a_refused_handshake_has_its_reason():
    play = fresh() >> ask("gpt", prompt_id="p-1") << OPEN
    (
        play
        >> Refused(403, b'{"message":"no"}')
        << failed(
            "upstream_forbidden",
            "HTTP 403: no; grant the scopes ai:llm:gateway:use ai:llm:gateway:stream ai:llm:prompt:read",
        )
    )


def test_it_makes_no_calls():
    with pytest.raises(AssertionError, match="made no call"):
        GenesysGateway(Setup(PRESET.paths)).answered("x", 200, {}, b"", 0.0)


@pytest.mark.parametrize(
    "ending", [[], [Loss(clean=False, code=1006)], [frame(error={"message": "boom"})], [b"no json"]]
)
def test_what_the_frames_lacked_is_told_however_the_turn_ends(ending: list[Any]):
    play = begun() >> frame(token="Hel", finish_reason=None) << Delta("Hel", 0)
    for given in ending:
        play >> given << failed(ANY)
    play >> LastWords() << Notice("incomplete_frames", "frames: 1 lacked usage")
    play.over()
