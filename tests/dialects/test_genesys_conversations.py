"""Genesys' conversations as scripts: quota, subscription, events in any order, and links that are taken up again."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

import pytest

from dialects.playbook import Answered, LastWords, Opened, Playbook, Refused, Wake, ask
from trunkline.core.events import Delta, Ended, Notice
from trunkline.dialects.base import Call, Loss, Open, Reopen, Send, Setup, WakeAt
from trunkline.dialects.genesys_conversations import GenesysConversations
from trunkline.dialects.presets import PRESETS
from trunkline.dialects.settings import WireSettings

PRESET = PRESETS["genesys-conversations"]
QUOTA = Call("quota", "GET", "/api/v2/ai/models/gpt%2F4/quotas", timeout_s=5.0)
GOOD = Answered("quota", 200, b'{"available_slots":3,"max_concurrent":10,"model_status":"AVAILABLE"}')
OPEN = Open("GET", "/api/v2/conversations/websocket", {"accept": "application/json"})
SUBSCRIBE = Send(
    b'{"subscriptions":[{"event_type":"ai:chat:completion","model_id":"gpt/4","conversation_context":'
    b'{"conversation_id":"c-1","turn_id":"turn_1"},"max_tokens":2048,"stream_mode":"delta"}]}',
    asks=True,
)
LOST = Loss(clean=False, detail="the link was lost without a close frame", code=1006)
STOPPED = Ended("completed", "stop", "stop")


def event(delta: Any, sequence: Any = None, finish: str = "", **more: Any) -> bytes:
    metadata = {"model_id": "gpt/4", "conversation_id": "c-1", "latency_ms": 12, "throughput_tps": 48.1}
    if sequence is not None:
        metadata["sequence"] = sequence
    whole = {"event_type": "ai:chat:completion", "delta": delta, "finish_reason": finish, "metadata": metadata, **more}
    return json.dumps(whole).encode()


def failed(reason: str, detail: Any = ANY) -> Ended:
    return Ended("failed", reason, detail=detail)


def fresh(**settings: Any) -> Playbook:
    """A dialect that knows nothing of its turn yet."""
    return Playbook(GenesysConversations(Setup(PRESET.paths, WireSettings(**settings), random=lambda: 0.5)))


def begun(**settings: Any) -> Playbook:
    """A turn whose subscription is sent."""
    play = fresh(**settings) >> ask("gpt/4", conversation_id="c-1", input=None) << QUOTA
    return play >> GOOD << OPEN >> Opened() << SUBSCRIBE


def test_a_whole_turn_with_two_reconnects_reads_top_to_bottom():
    play = fresh()
    # The quota, the handshake, the subscription; a number is the time.
    play >> 0.0 >> ask("gpt/4", conversation_id="c-1", input=None)
    play << Call("quota", "GET", "/api/v2/ai/models/gpt%2F4/quotas", timeout_s=5.0)
    play >> 0.2 >> Answered("quota", 200, b'{"available_slots":3,"max_concurrent":10,"model_status":"AVAILABLE"}')
    play << Open("GET", "/api/v2/conversations/websocket", {"accept": "application/json"})
    play >> 0.5 >> Opened() << SUBSCRIBE
    play >> 1.0 >> event("Hel", 0) << Delta("Hel", 0)
    play >> event("lo ", 1) << Delta("lo ", 0)
    # A link that is lost, a handshake that is refused, one that does not come up, and the same turn once more.
    play >> 10.0 >> LOST << Reopen(10.5)
    play >> 10.6 >> Refused(503) << Reopen(11.6)
    play >> 11.7 >> Loss(clean=False, reason="upstream_unavailable", detail="no connection") << Reopen(13.7)
    play >> 14.0 >> Opened() << Notice("reconnected", "after 3 tries") << SUBSCRIBE
    # The platform replays, a piece is missing, and the link is lost again.
    play >> event("Hel", 0) >> event("you", 3) << WakeAt(19.0)
    play >> event("lo ", 1)
    play >> 15.0 >> LOST << Reopen(15.5)
    play >> 16.0 >> Opened() << Notice("reconnected", "after 1 tries") << WakeAt(21.0) << SUBSCRIBE
    play >> event("Hel", 0) >> event("to ", 2) << Delta("to you", 0)
    play >> 21.0 >> Wake() >> event("", 4, "stop") << STOPPED
    play >> LastWords() << Notice("skipped", "events: 3 seen before")
    play.over()


def test_the_waits_between_links_grow_to_five_minutes_and_begin_anew_after_success():
    play = begun()
    waits = [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 150, 150]
    for wait_s in waits:
        play >> LOST << Reopen(wait_s)
    play >> Opened() << Notice("reconnected", ANY) << SUBSCRIBE
    play >> event("Hi", 0) << Delta("Hi", 0)
    play >> LOST << Reopen(0.5)
    play.over()


@pytest.mark.parametrize(
    "again", [[event("Hi", 0)], [event("Hi", 0), event("", 2)], [b'{"event_type":"system:heartbeat"}'], []]
)
def test_a_replay_that_brings_nothing_new_is_no_success(again: list[bytes]):
    play = begun() >> event("Hi", 0) << Delta("Hi", 0) >> event("", 2) << WakeAt(5.0)
    for wait_s in [0.5, 1, 2, 4]:
        play >> LOST << Reopen(wait_s) >> Opened() << Notice("reconnected", ANY) << WakeAt(5.0) << SUBSCRIBE
        for said in again:
            play >> said
    play >> event(" you", 1) << Delta(" you", 0) >> LOST << Reopen(0.5)
    play.over()


def test_without_numbers_a_replay_that_brings_nothing_new_is_no_success_either():
    play = begun() >> event("Hel") << Delta("Hel", 0)
    for wait_s in [0.5, 1, 2, 4]:
        play >> LOST << Reopen(wait_s) >> Opened() << Notice("reconnected", ANY) << SUBSCRIBE >> event("Hel")
    play >> event("lo") << Delta("lo", 0) >> LOST << Reopen(0.5)


@pytest.mark.parametrize(
    "loss", [LOST, Loss(clean=True, code=1000), Loss(clean=True, code=1001), Loss(clean=False, code=1011)]
)
def test_every_close_without_an_end_mark_is_an_interruption_that_is_taken_up(loss: Loss):
    begun() >> event("Hel", 0) << Delta("Hel", 0) >> loss << Reopen(0.5)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (Loss(clean=False, code=4403, detail="no"), "upstream_forbidden"),
        (Loss(clean=False, code=4404, detail="no"), "upstream_error"),
        (Loss(clean=False, code=4429, detail="no"), "rate_limited"),
        (Loss(clean=False, code=1006, reason="upstream_protocol", detail="no"), "upstream_protocol"),
    ],
)
def test_what_the_platform_gives_a_reason_for_is_the_end(loss: Loss, reason: str):
    begun() >> loss << failed(reason, "no")


@pytest.mark.parametrize("code", [4408, 4425, 4429, 4500, 4502, 4503, 4504])
def test_a_link_that_the_platform_closes_in_passing_is_taken_up_again_in_mid_turn(code: int):
    busy = Loss(clean=False, code=code, detail="later")
    begun() >> busy << failed(ANY, "later")
    play = begun() >> event("Hel", 0) << Delta("Hel", 0) >> busy << Reopen(0.5)
    play >> Opened() << Notice("reconnected", "after 1 tries") << SUBSCRIBE >> busy << Reopen(1.0)
    play >> Opened() << Notice("reconnected", "after 2 tries") << SUBSCRIBE >> event("", 1, "stop") << STOPPED


def test_a_dead_link_that_still_counts_is_waited_out_before_the_first_text_too():
    play = begun() >> LOST << Reopen(0.5) >> Opened() << Notice("reconnected", ANY) << SUBSCRIBE
    play >> Loss(clean=False, code=4429) << Reopen(1.0)


@pytest.mark.parametrize("code", [4400, 4401, 4403, 4404])
def test_a_close_code_that_is_meant_for_good_is_the_end_also_in_mid_turn(code: int):
    play = begun() >> event("Hel", 0) << Delta("Hel", 0)
    play >> Loss(clean=False, code=code, detail="no") << failed(ANY, "no")


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_a_handshake_that_is_refused_for_good_is_the_end_also_in_mid_turn(status: int):
    play = begun() >> LOST << Reopen(0.5)
    play >> Refused(status, b'{"message":"no"}') << failed(ANY)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_the_first_handshake_is_not_tried_again_here(status: int):
    play = fresh() >> ask("gpt/4", conversation_id="c-1", input=None) << QUOTA >> GOOD << OPEN
    play >> Refused(status) << failed(ANY)


def test_a_first_link_that_does_not_come_up_is_not_tried_again_here():
    play = fresh() >> ask("gpt/4", conversation_id="c-1", input=None) << QUOTA >> GOOD << OPEN
    play >> Loss(clean=False, reason="connect_timeout", detail="x") << failed("connect_timeout", "x")


def test_the_scope_that_is_missing_is_named():
    play = fresh() >> ask("gpt/4", conversation_id="c-1", input=None) << QUOTA >> GOOD << OPEN
    play >> Refused(403) << failed("upstream_forbidden", "HTTP 403; grant the scopes conversations:read ai:chat:stream")


NO_SLOT = b'{"available_slots":0,"max_concurrent":10,"model_status":"AVAILABLE"}'


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        (200, NO_SLOT, "quota_exceeded", "model 'gpt' has 0 free slots of 10"),
        (200, b'{"available_slots":0,"model_status":"AVAILABLE"}', "quota_exceeded", "has 0 free slots"),
        (200, b'{"available_slots":9,"model_status":"TRAINING"}', "quota_exceeded", "is 'TRAINING', not AVAILABLE"),
        (200, b"<html>", "upstream_protocol", "expected a quota"),
        (401, b'{"message":"bad token"}', "upstream_auth", "quota: HTTP 401: bad token"),
        (403, b"", "upstream_forbidden", "ai:read and the role AI Administrator or Custom AI Developer"),
        (404, b'{"message":"gone"}', "upstream_error", "model 'gpt' is not published on the platform: gone"),
        (429, b"", "rate_limited", "too many requests"),
        (503, b"", "upstream_unavailable", "quota: HTTP 503"),
        (0, b"no answer within 5 s", "upstream_unavailable", "quota: no answer within 5 s"),
    ],
)  # fmt: skip
def test_each_answer_about_the_quota_has_its_own_words(status: int, body: bytes, reason: str, words: str):
    dialect = GenesysConversations(Setup(PRESET.paths))
    dialect.start(ask("gpt", conversation_id="c-1"), 0.0)
    (ended,) = dialect.answered("quota", status, {}, body, 0.0)
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.reason) == ("failed", reason)
    assert words in ended.detail


def test_the_quota_may_be_as_old_as_the_settings_say():
    play = fresh(quota_fresh_s=2) >> ask("gpt/4", conversation_id="c-1", input=None)
    play << Call("quota", "GET", QUOTA.path, timeout_s=5.0, fresh_s=2.0)


def test_the_prompt_stays_here_and_a_notice_says_so():
    play = fresh() >> ask("gpt/4", conversation_id="c-1", temperature=0.5, stop="END", options={"seed": 1})
    play << Notice("not_sent", "input, temperature, stop, seed") << QUOTA


def test_the_request_comes_before_the_settings():
    dialect = GenesysConversations(Setup(PRESET.paths, WireSettings(conversation_id="c-9", max_tokens=7)))
    dialect.start(ask("gpt", input=None), 0.0)
    assert b'"conversation_id":"c-9"' in dialect._subscription
    assert b'"max_tokens":7' in dialect._subscription
    dialect.start(ask("gpt", input=None, conversation_id="c-1", max_tokens=8), 0.0)
    assert b'"conversation_id":"c-1"' in dialect._subscription
    assert b'"max_tokens":8' in dialect._subscription


def test_without_any_conversation_nothing_is_fresh():
    fresh() >> ask("gpt", input=None) << failed("upstream_error")


def test_what_is_not_of_this_answer_is_counted_and_skipped():
    play = begun()
    other = json.loads(event("not yours", 0))
    other["metadata"]["conversation_id"] = "c-2"
    play >> b'{"event_type":"system:heartbeat"}' >> b"no json" >> b"[1,2]" >> json.dumps(other).encode()
    play >> event("Hi", 0) << Delta("Hi", 0)
    play >> event("", 1, "stop") << STOPPED
    play >> LastWords()
    play << Notice("skipped", "events: 1 of another type, 2 unreadable, 1 of another conversation")


def test_what_was_skipped_is_told_however_the_turn_ends():
    play = begun(gap_s=2) >> b"no json" >> event("b", 1) << WakeAt(2.0)
    play >> LastWords() << Notice("skipped", "events: 1 unreadable")
    play >> 2.0 >> Wake() << failed("sequence_gap") >> LastWords() << Notice("skipped", "events: 1 unreadable")
    begun() >> event("Hi", 0) << Delta("Hi", 0) >> event("", 1, "stop") << STOPPED >> LastWords() >> 1.0


@pytest.mark.parametrize("conversation", [None, "c-1"])
def test_an_event_without_a_conversation_is_ours(conversation: str | None):
    ours = json.loads(event("Hi", 0, "stop"))
    ours["metadata"]["conversation_id"] = conversation
    begun() >> json.dumps(ours).encode() << Delta("Hi", 0) << STOPPED


@pytest.mark.parametrize("conversation", ["c-2", "", 7, ["c-1"]])
def test_an_event_of_another_conversation_is_not(conversation: Any):
    other = json.loads(event("Hi", 0, "stop"))
    other["metadata"]["conversation_id"] = conversation
    begun() >> json.dumps(other).encode() >> LastWords() << Notice("skipped", "events: 1 of another conversation")


def test_an_error_event_ends_the_turn_with_the_platforms_words():
    (
        begun()
        >> b'{"event_type":"error","message":"The model failed.","status":500}'
        << failed("upstream_error", "The model failed.")
    )


@pytest.mark.parametrize(
    ("finish", "outcome", "reason"),
    [("stop", "completed", "stop"), ("length", "completed", "max_tokens"), ("tool_calls", "completed", "tool_calls"),
     ("content_filter", "blocked", "platform_content_filter")],
)  # fmt: skip
def test_any_finish_reason_ends_the_turn_and_may_carry_the_last_delta(finish: Any, outcome: Any, reason: str):
    begun() >> event("all", 0, finish) << Delta("all", 0) << Ended(outcome, reason, finish)


def test_an_end_that_overtakes_its_text_waits_for_it():
    play = begun() >> event("", 2, "length") << WakeAt(5.0) >> event("b", 1)
    play >> event("a", 0) << Delta("ab", 0) << Ended("completed", "max_tokens", "length")


def test_a_piece_that_never_comes_is_a_gap():
    play = begun(gap_s=2) >> event("b", 1) << WakeAt(2.0)
    play >> 1.9 >> Wake() << WakeAt(2.0)
    play >> 2.0 >> Wake() << failed("sequence_gap", "number 0 did not come within 2 s")


def test_an_end_without_a_number_waits_for_what_it_may_have_overtaken():
    play = begun(gap_s=2) >> event("You owe ", 0) << Delta("You owe ", 0)
    play >> 1.0 >> event("", None, "stop") << WakeAt(3.0)
    play >> 2.0 >> event("nothing", 1) << Delta("nothing", 0) << WakeAt(4.0)
    play >> 3.0 >> Wake() << WakeAt(4.0) >> 4.0 >> Wake() << STOPPED


def test_what_is_missing_before_an_end_without_a_number_is_a_gap():
    play = begun(gap_s=2) >> event("", None, "stop") << WakeAt(2.0) >> event("b", 1)
    play >> 2.0 >> Wake() << failed("sequence_gap", "number 0 did not come within 2 s")


@pytest.mark.parametrize("code", [1000, 1001])
def test_behind_a_proper_close_nothing_is_waited_for(code: int):
    play = begun() >> event("Hi", 0) << Delta("Hi", 0) >> event("", None, "length") << WakeAt(5.0)
    play >> Loss(clean=True, code=code) << Ended("completed", "max_tokens", "length")


def test_a_link_that_is_lost_behind_an_end_without_a_number_is_taken_up_again():
    play = begun() >> event("Hi", 0) << Delta("Hi", 0) >> event("", None, "stop") << WakeAt(5.0)
    play >> 1.0 >> LOST << Reopen(1.5)
    play >> 2.0 >> Opened() << Notice("reconnected", ANY) << WakeAt(7.0) << SUBSCRIBE
    play >> event("Hi", 0) >> 3.0 >> event("", None, "stop") << WakeAt(8.0) >> LOST << STOPPED


def test_a_wake_that_is_no_longer_needed_says_nothing():
    play = begun() >> event("b", 1) << WakeAt(5.0)
    play >> event("a", 0) << Delta("ab", 0) >> 5.0 >> Wake()
    play.over()


def test_a_piece_beyond_the_window_is_a_gap_at_once():
    begun(reorder_window=2) >> event("c", 2) << failed("sequence_gap")


def test_without_numbers_a_replay_is_compared_and_skipped():
    play = begun() >> event("Hel") << Delta("Hel", 0) >> LOST << Reopen(0.5)
    play >> Opened() << Notice("reconnected", ANY) << SUBSCRIBE
    play >> event("He") >> event("llo") << Delta("lo", 0) >> event("", None, "stop") << STOPPED


def test_without_numbers_another_text_is_a_mismatch():
    play = begun() >> event("Hel") << Delta("Hel", 0) >> LOST << Reopen(0.5)
    play >> Opened() << Notice("reconnected", ANY) << SUBSCRIBE >> event("Hal") << failed("replay_mismatch")


def test_a_platform_that_continues_is_appended():
    play = begun(replay="continues") >> event("Hel") << Delta("Hel", 0) >> LOST << Reopen(0.5)
    play >> Opened() << Notice("reconnected", ANY) << SUBSCRIBE >> event("lo") << Delta("lo", 0)


def test_a_platform_that_does_not_replay_is_interrupted():
    play = begun(replay="none") >> event("Hel") << Delta("Hel", 0)
    play >> LOST << failed("upstream_interrupted")


@pytest.mark.parametrize("sequence", ["7", 1.5, True, -1, [], {}])
def test_a_sequence_that_is_no_number_is_none(sequence: Any):
    begun() >> event("Hel", sequence) << Delta("Hel", 0)


@pytest.mark.parametrize("delta", [None, 7, ["x"], ""])
def test_a_delta_that_is_no_text_keeps_its_place(delta: Any):
    begun() >> event(delta, 0) >> event("Hi", 1) << Delta("Hi", 0)


def test_half_a_character_is_passed_on_to_those_who_join_it():
    begun() >> event("\ud83d", 0) << Delta("\ud83d", 0) >> event("\ude00", 1) << Delta("\ude00", 0)


def test_metadata_may_be_missing():
    begun() >> b'{"event_type":"ai:chat:completion","delta":"Hi","finish_reason":"stop"}' << Delta("Hi", 0) << STOPPED
