"""Cognigy's stream as scripts: the dialog's configuration, the opening, arrays of tokens, and bytes in disguise."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.playbook import Answered, LastWords, Opened, Playbook, Refused, Wake, ask
from trunkline.core.events import Delta, Ended, Notice, Usage
from trunkline.dialects.base import Call, Loss, Open, Send, Setup
from trunkline.dialects.cognigy import Cognigy
from trunkline.dialects.presets import PRESETS
from trunkline.dialects.settings import WireSettings

PRESET = PRESETS["cognigy"]
CONFIG = {"streaming": True, "model": "gpt", "temperature": 0.7, "max_tokens": 1024, "dialog_id": "d-1"}
CALL = Call("config", "PUT", "/api/v2/llm/gateway/config", CONFIG, fresh_s=3_600.0, topic="d-1")
OPEN = Open("GET", "/api/v2/llm/stream")
OPENING = Send(b'{"dialog_id":"d-1","session_id":"s-1","input":"hi"}', asks=True)
STOPPED = Ended("completed", "stop", "stop")
IDS = {"dialog_id": "d-1", "session_id": "s-1"}


def message(*tokens: Any, done: bool = False, error: Any = "", **more: Any) -> bytes:
    return json.dumps({"tokens": list(tokens), "done": done, "error": error, **more}).encode()


def failed(reason: str, detail: Any = ANY) -> Ended:
    return Ended("failed", reason, detail=detail)


def fresh(**settings: Any) -> Playbook:
    return Playbook(Cognigy(Setup(PRESET.paths, WireSettings(**settings))))


def begun(**settings: Any) -> Playbook:
    """A turn whose opening is sent."""
    play = fresh(**settings) >> ask("gpt", **IDS) << CALL >> Answered("config", 200) << OPEN
    return play >> Opened() << OPENING


def test_a_whole_turn_reads_top_to_bottom():
    play = begun() >> message("Hel", "lo") << Delta("Hello", 0) >> message() >> message("", None)
    play >> message(" you", usage={"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7})
    play << Usage(4, 3, 7, "platform") << Delta(" you", 0)
    play >> message(done=True) << STOPPED
    play.over()


def test_the_request_and_the_settings_make_the_configuration():
    play = fresh(dialog_id="d-9", temperature=(0.2, 0.9), max_tokens=5) >> ask("gpt")
    config = {**CONFIG, "temperature": 0.2, "max_tokens": 5, "dialog_id": "d-9"}
    play << Call("config", "PUT", CALL.path, config, fresh_s=3_600.0, topic="d-9")
    play = fresh(dialog_id="d-9", temperature=(0.2,), max_tokens=5)
    play >> ask("gpt", temperature=1.5, max_tokens=6, **IDS)
    config = {**CONFIG, "temperature": 1.5, "max_tokens": 6}
    play << Call("config", "PUT", CALL.path, config, fresh_s=3_600.0, topic="d-1")


def test_only_what_the_user_said_last_is_sent_and_a_notice_names_the_rest():
    said = [("system", "Be kind."), ("user", "One"), ("assistant", "Two"), ("user", "Three"), ("assistant", "Four")]
    messages = [{"role": role, "content": content} for role, content in said]
    play = fresh() >> ask("gpt", messages=messages, stop="END", **IDS)
    play << Notice("not_sent", "system, history, stop") << CALL >> Answered("config", 201) << OPEN
    play >> Opened() << Send(b'{"dialog_id":"d-1","session_id":"s-1","input":"Three"}', asks=True)


def test_without_a_session_the_turn_is_one_and_without_a_prompt_the_input_is_empty():
    play = fresh() >> ask("gpt", dialog_id="d-1", input=None) << CALL >> Answered("config", 200) << OPEN
    play >> Opened() << Send(b'{"dialog_id":"d-1","session_id":"turn_1","input":""}', asks=True)


def test_the_configuration_and_the_opening_can_be_switched_off():
    play = fresh(configure=False, opening=False) >> ask("gpt", temperature=0.5, max_tokens=9, **IDS)
    play << Notice("not_sent", "input, temperature, max_tokens") << OPEN >> Opened()
    play >> message("Hi", done=True) << Delta("Hi", 0) << STOPPED


def test_without_any_dialog_nothing_is_asked():
    fresh() >> ask("gpt") << failed("upstream_error")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [(400, b"", "upstream_error"), (401, b"", "upstream_auth"), (403, b"", "upstream_forbidden"),
     (429, b"", "rate_limited"), (503, b"", "upstream_unavailable"), (0, b"no answer", "upstream_unavailable")],
)  # fmt: skip
def test_a_configuration_that_is_refused_ends_the_turn(status: int, body: bytes, reason: str):
    fresh() >> ask("gpt", **IDS) << CALL >> Answered("config", status, body) << failed(reason)


def test_an_error_ends_the_turn_with_the_platforms_words():
    begun() >> message(error="The model failed.") << failed("upstream_error", "The model failed.")
    begun() >> message(error={"message": "It failed."}, done=True) << failed("upstream_error", "It failed.")
    begun() >> message(error=7) << failed("upstream_error", "an error without words")


@pytest.mark.parametrize("data", [b"no json", b"[1,2]", b"7", b"\xff", b""])
def test_what_is_no_message_is_a_fault_of_the_platform(data: bytes):
    begun() >> data << failed("upstream_protocol")


def test_a_message_of_another_kind_is_counted_and_skipped():
    play = begun() >> b'{"status":"alive"}' >> message("Hi", done=True) << Delta("Hi", 0)
    play << STOPPED >> LastWords() << Notice("skipped", "messages: 1 without tokens and done")


@pytest.mark.parametrize("tokens", ["Hi", 7, {"a": 1}, [7, None, {"a": 1}], None])
def test_tokens_that_are_no_texts_add_nothing(tokens: Any):
    begun() >> json.dumps({"tokens": tokens, "done": False}).encode() >> message(done=True) << STOPPED


def test_half_a_character_is_passed_on_to_those_who_join_it():
    begun() >> message("\ud83d") << Delta("\ud83d", 0) >> message("\ude00") << Delta("\ude00", 0)


@pytest.mark.parametrize("loss", [Loss(clean=True, code=1000), Loss(clean=False, code=1006)])
def test_a_link_that_is_gone_before_done_is_an_interruption(loss: Loss):
    begun() >> message("Hel") << Delta("Hel", 0) >> loss << failed("upstream_interrupted")


def test_a_refused_handshake_has_its_reason_and_a_wake_that_nobody_asked_for_says_nothing():
    play = fresh() >> ask("gpt", **IDS) << CALL >> Answered("config", 200) << OPEN >> Wake()
    (
        play
        >> Refused(403)
        << failed("upstream_forbidden", "HTTP 403; grant the scopes llm:stream bot:dialog:write api:access")
    )


# Bytes that came as Latin-1


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.data())
def test_bytes_are_put_together_however_they_are_cut(text: str, data: st.DataObject):
    wire = text.encode().decode("latin-1")
    at = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    dialect = Cognigy(Setup(PRESET.paths, WireSettings(byte_tokens="latin1")))
    pieces = [wire[begin:end] for begin, end in zip([0, *at], [*at, len(wire)], strict=True)]
    items = [item for piece in pieces for item in dialect.receive(message(piece), 0.0)]
    items += dialect.receive(message(done=True), 0.0)
    assert "".join(item.text for item in items if isinstance(item, Delta)) == text


def test_without_that_setting_the_same_characters_are_honest_text():
    begun() >> message("Ã©") << Delta("Ã©", 0)


def test_what_cannot_be_a_byte_is_text_and_what_is_left_of_a_character_is_replaced():
    play = begun(byte_tokens="latin1") >> message("\xe2\x82") >> message("日本") << Delta("\ufffd日本", 0)
    play >> message("\xc3", done=True) << Delta("\ufffd", 0) << STOPPED
