"""The metrics parse and count right, and nothing that is told holds a text."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from trunkline.telemetry import (
    DURATION_BUCKETS,
    FIRST_TOKEN_BUCKETS,
    BytesReceived,
    RequestServed,
    Screened,
    Telemetry,
    TurnEnded,
    TurnStarted,
    internal_error,
)

FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
DURATION = "gen_ai_client_operation_duration_seconds"
MODEL = {"upstream": "support", "gen_ai_request_model": "gpt-4o"}


def ended(**fields: Any) -> TurnEnded:
    facts: dict[str, Any] = {
        "turn": "turn_1",
        "upstream": "support",
        "model": "gpt-4o",
        "outcome": "completed",
        "reason": "stop",
        "duration_s": 1.5,
        "first_token_s": 0.2,
        "characters": 40,
        "prompt_tokens": 9,
        "completion_tokens": 12,
    }
    facts |= fields
    return TurnEnded(**{"asked": facts["upstream"], **facts})


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


COMPLETED = key("trunkline_turns_total", upstream="support", outcome="completed", reason="stop")


def samples(telemetry: Telemetry) -> dict[Any, float]:
    """What a scrape holds: each sample but once, each family with its help."""
    families = list(text_string_to_metric_families(telemetry.exposition().decode()))
    found = [(key(s.name, **s.labels), s.value) for family in families for s in family.samples]
    assert len(dict(found)) == len(found)
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    return dict(found)


def test_a_relay_that_has_done_nothing_can_be_scraped():
    assert samples(Telemetry()) == {key("trunkline_readers"): 0}


def test_a_turn_is_open_until_it_ends_and_then_counted():
    telemetry = Telemetry()
    telemetry.tell(TurnStarted("turn_1", "support", "native"))
    telemetry.tell(TurnStarted("turn_2", "support", "openai"))
    assert samples(telemetry)[key("trunkline_turns_open", upstream="support")] == 2
    telemetry.tell(ended())
    telemetry.tell(ended(outcome="failed", reason="upstream_error", characters=2, prompt_tokens=1, completion_tokens=0))
    seen = samples(telemetry)
    assert seen[key("trunkline_turns_open", upstream="support")] == 0
    assert seen[COMPLETED] == 1
    assert seen[key("trunkline_turns_total", upstream="support", outcome="failed", reason="upstream_error")] == 1
    assert seen[key("trunkline_released_characters_total", upstream="support")] == 42
    assert seen[key("gen_ai_client_token_usage_total", upstream="support", gen_ai_token_type="input")] == 10
    assert seen[key("gen_ai_client_token_usage_total", upstream="support", gen_ai_token_type="output")] == 12
    assert seen[key(f"{DURATION}_count", **MODEL, error_type="")] == 1
    assert seen[key(f"{DURATION}_count", **MODEL, error_type="upstream_error")] == 1


def test_requests_bytes_and_readers_are_counted():
    telemetry = Telemetry()
    for status in (201, 201, 404):
        telemetry.tell(RequestServed("/v1/turns", "POST", status))
    telemetry.tell(BytesReceived("support", 1_000))
    telemetry.tell(BytesReceived("support", 24))
    telemetry.readers += 3
    seen, posted = samples(telemetry), {"route": "/v1/turns", "method": "POST"}
    assert seen[key("trunkline_http_requests_total", **posted, status="201")] == 2
    assert seen[key("trunkline_http_requests_total", **posted, status="404")] == 1
    assert seen[key("trunkline_upstream_bytes_total", upstream="support")] == 1_024
    assert seen[key("trunkline_readers")] == 3


times = st.lists(st.sampled_from([*FIRST_TOKEN_BUCKETS, *DURATION_BUCKETS]) | st.floats(0, 200), min_size=1, max_size=8)


@settings(deadline=None, max_examples=50)
@given(times)
def test_a_histogram_holds_at_each_bound_what_is_not_above_it(seconds: list[float]):
    telemetry = Telemetry()
    for one in seconds:
        telemetry.tell(ended(duration_s=one, first_token_s=one))
    seen = samples(telemetry)
    for name, bounds, labels in [
        (DURATION, DURATION_BUCKETS, {**MODEL, "error_type": ""}),
        (FIRST, FIRST_TOKEN_BUCKETS, MODEL),
    ]:
        for bound in bounds:
            assert seen[key(f"{name}_bucket", **labels, le=str(bound))] == sum(one <= bound for one in seconds)
        assert seen[key(f"{name}_bucket", **labels, le="+Inf")] == len(seconds)
        assert seen[key(f"{name}_count", **labels)] == len(seconds)
        assert seen[key(f"{name}_sum", **labels)] == pytest.approx(sum(seconds))


def test_a_turn_without_a_token_has_no_time_to_the_first():
    telemetry = Telemetry()
    telemetry.tell(ended(first_token_s=None))
    assert key(f"{FIRST}_count", **MODEL) not in samples(telemetry)


def test_labels_of_any_characters_are_escaped():
    telemetry = Telemetry()
    model = 'a "model"\\of\nmany kinds é'
    telemetry.tell(ended(model=model))
    assert (
        samples(telemetry)[key(f"{DURATION}_count", upstream="support", gen_ai_request_model=model, error_type="")] == 1
    )


def test_two_relays_in_one_process_count_apart():
    first, second = Telemetry(), Telemetry()
    first.tell(ended())
    assert COMPLETED not in samples(second)


SECRET = "my card is 4111 1111 1111 1111"


def fail(text: str) -> None:
    raise ValueError(f"cannot read {text!r}")


def failure() -> Exception:
    try:
        try:
            fail(SECRET)
        except ValueError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError as error:
        error.add_note(SECRET)
        return error


def test_an_internal_error_says_where_and_what_kind_and_never_what_it_said(caplog: pytest.LogCaptureFixture):
    fact = internal_error("pump", failure())
    assert (fact.where, fact.kind) == ("pump", "RuntimeError")
    assert fact.frames[-1].startswith("test_telemetry.py:")
    assert fact.frames[-1].endswith(" failure")
    telemetry = Telemetry()
    with caplog.at_level(logging.DEBUG):
        telemetry.tell(fact)
        telemetry.tell(fact)
    assert samples(telemetry)[key("trunkline_internal_errors_total", where="pump")] == 2
    assert "RuntimeError" in caplog.text
    for told in (repr(fact), caplog.text, telemetry.exposition().decode()):
        assert "4111" not in told


def test_an_exception_that_was_never_raised_has_no_frames():
    assert internal_error("pump", ValueError("x")).frames == ()


def test_a_deep_fault_is_told_by_its_last_frames():
    def sink(depth: int) -> None:
        if depth == 0:
            fail("x")
        sink(depth - 1)

    with pytest.raises(ValueError) as caught:
        sink(50)
    frames = internal_error("pump", caught.value).frames
    assert len(frames) == 8
    assert frames[-1].endswith(" fail")


def test_the_end_of_a_turn_is_one_line_of_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="trunkline"):
        Telemetry().tell(ended())
    (record,) = caplog.records
    expected = "turn ended turn=turn_1 upstream=support outcome=completed reason=stop duration_s=1.500 characters=40"
    assert record.getMessage() == expected


def test_what_guards_did_is_counted_by_rule_and_by_path():
    telemetry = Telemetry()
    telemetry.tell(Screened("up", {("card", "mask"): 2}, 19, 0.5, 100, 7))
    telemetry.tell(Screened("up", {("card", "mask"): 1, ("email", "flag"): 1}, 3, 0.25, 10, 0))
    page = telemetry.exposition().decode()
    for line in (
        'trunkline_guard_actions_total{action="mask",rule="card",upstream="up"} 3.0',
        'trunkline_guard_actions_total{action="flag",rule="email",upstream="up"} 1.0',
        'trunkline_guard_pieces_total{path="exact",upstream="up"} 7.0',
        'trunkline_guard_pieces_total{path="fast",upstream="up"} 103.0',
        'trunkline_guard_held_seconds_total{upstream="up"} 0.75',
        'trunkline_guard_held_characters_bucket{le="4.0",upstream="up"} 1.0',
        'trunkline_guard_held_characters_sum{upstream="up"} 22.0',
    ):
        assert line in page
