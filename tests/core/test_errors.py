"""The closed table of reasons, and the few errors with what they say to people and programs."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from trunkline.core.errors import (
    REASONS,
    AccessDenied,
    DatabaseError,
    Fault,
    OffsetPastTail,
    Outcome,
    Overloaded,
    RequestRefused,
    SettingsError,
    TrunklineError,
    TurnForgotten,
    TurnNotFound,
    nearest,
)

# The list of the design, as far as the relay has them: outcome -> code, with the HTTP status where it names one.
TABLE: dict[str, dict[str, int | None]] = {
    "completed": {"stop": None, "max_tokens": None, "tool_calls": None, "end_without_reason": None},
    "blocked": {"guard_rule": None, "guard_error": None, "platform_content_filter": None},
    "cancelled": {"client_cancelled": None, "client_left": None, "shutdown": None},
    "failed": {
        "upstream_interrupted": 502,
        "upstream_error": 502,
        "upstream_protocol": 502,
        "upstream_auth": 502,
        "upstream_forbidden": 502,
        "rate_limited": 429,
        "quota_exceeded": 429,
        "upstream_unavailable": 503,
        "connect_timeout": 504,
        "handshake_timeout": 504,
        "handshake_rejected": 502,
        "first_token_timeout": 504,
        "between_tokens_timeout": None,
        "turn_timeout": 504,
        "answer_too_long": None,
        "sequence_gap": None,
        "replay_mismatch": None,
        "answer_not_json": None,
        "store_error": 503,
        "relay_restarted": None,
        "internal_error": 500,
    },
}


def test_the_table_of_reasons_is_the_designs_and_closed():
    assert {(r.outcome, code) for code, r in REASONS.items()} == {(o, code) for o, row in TABLE.items() for code in row}
    assert set(TABLE) == set(typing.get_args(Outcome))


def test_a_reason_has_the_status_of_the_design():
    expected = {code: status for row in TABLE.values() for code, status in row.items() if status is not None}
    assert {code: REASONS[code].status for code in expected} == expected


@pytest.mark.parametrize("code", REASONS)
def test_a_reason_has_a_status_that_fits_its_outcome_and_a_sentence(code: str):
    reason = REASONS[code]
    assert reason.code == code
    assert reason.meaning.endswith(".")
    if reason.outcome in ("completed", "blocked"):
        assert reason.status == 200
    elif reason.outcome == "failed":
        assert reason.status == 429 or 500 <= reason.status < 600
    else:
        assert reason.status in (429, 499, 503)


def test_a_reason_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        REASONS["stop"].status = 500  # type: ignore[misc]


ERRORS: list[tuple[TrunklineError, str, int, bool]] = [
    (TrunklineError("x"), "internal_error", 500, False),
    (RequestRefused("model_not_found", "x", status=404), "model_not_found", 404, False),
    (RequestRefused("input_required", "x"), "input_required", 400, False),
    (AccessDenied("x"), "invalid_api_key", 401, False),
    (TurnNotFound("turn_1"), "turn_not_found", 404, False),
    (TurnForgotten("turn_1"), "turn_forgotten", 410, False),
    (OffsetPastTail(9, 7), "offset_past_tail", 409, False),
    (Overloaded("too_many_turns", "x"), "too_many_turns", 503, True),
    (Overloaded("rate_limited", "x", status=429, retry_after_s=7), "rate_limited", 429, True),
    (DatabaseError("x"), "store_unavailable", 503, True),
    (SettingsError([Fault("a", "b")]), "invalid_settings", 500, False),
]


@pytest.mark.parametrize(("error", "code", "status", "retryable"), ERRORS)
def test_an_error_knows_its_code_its_status_and_whether_to_try_again(error, code, status, retryable):
    assert isinstance(error, TrunklineError)
    assert (error.code, error.status, error.retryable) == (code, status, retryable)
    assert str(error) == error.detail


def test_a_gap_names_both_numbers_and_where_to_go_on():
    error = OffsetPastTail(after=9, tail=7)
    assert (error.after, error.tail) == (9, 7)
    assert "offset 7" in error.detail
    assert "offset 9" in error.detail


def test_an_overload_says_when_to_try_again():
    assert Overloaded("too_many_turns", "x").retry_after_s == 1


def test_an_id_from_outside_is_quoted_in_part_and_escaped():
    detail = TurnNotFound("<b>\r\nSet-Cookie: a" + "x" * 1_000).detail
    assert len(detail) < 150
    assert "\r" not in detail
    assert "\n" not in detail


def test_the_faults_of_a_request_are_kept_in_order():
    faults = [Fault("/messages/0/role", "unknown"), Fault("/stop", "too long")]
    assert RequestRefused("invalid_request", "x", faults=iter(faults)).faults == tuple(faults)
    assert RequestRefused("invalid_request", "x").faults == ()


def test_settings_faults_are_all_named_and_counted():
    one = SettingsError([Fault("server.port", "is missing")])
    assert str(one) == "The settings have 1 fault:\n  server.port: is missing"
    two = SettingsError(Fault(name, "is missing") for name in ("server.port", "server.host"))
    assert str(two) == "The settings have 2 faults:\n  server.port: is missing\n  server.host: is missing"
    assert [fault.pointer for fault in two.faults] == ["server.port", "server.host"]


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("prot", ["host", "port"], ' Did you mean "port"?'),
        ("suport", {"support": 1, "sales": 2}, ' Did you mean "support"?'),
        ("zebra", ["host", "port"], ""),
        ("port", [], ""),
        ("", ["port"], ""),
    ],
)
def test_the_nearest_word_is_proposed_where_one_is_near(word, known, hint):
    assert nearest(word, known) == hint
