"""Keys, health, readiness, metrics, the API description and its page."""

from __future__ import annotations

import hashlib
import logging
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import serving, settings_for

KEY, OTHER = "tk_test_key", "tk_other_key"


def keys() -> list[dict[str, str]]:
    digests = {"web": KEY, "bot": OTHER}
    return [{"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in digests.items()]


@pytest.fixture
async def locked_url(simulator):
    async with serving(settings_for(f"{simulator.url}/v1", keys=keys()), insecure=False) as url:
        yield url


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "no"}, {"authorization": "Basic x"}]
)
async def test_without_a_known_key_nobody_is_let_in(http, locked_url, headers):
    native = await http.post(f"{locked_url}/v1/turns", json={"input": "hi"}, headers=headers)
    assert (native.status_code, native.json()["code"]) == (401, "invalid_api_key")
    assert native.headers["www-authenticate"] == "Bearer"
    body = {"model": "support", "messages": [{"role": "user", "content": "hi"}]}
    chat = await http.post(f"{locked_url}/v1/chat/completions", json=body, headers=headers)
    assert (chat.status_code, chat.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (await http.get(f"{locked_url}/v1/models", headers=headers)).status_code == 401
    for text in (native.text, chat.text):
        assert "wrong" not in text


async def test_a_turn_belongs_to_its_principal(http, locked_url):
    mine, theirs = {"authorization": f"Bearer {KEY}"}, {"x-api-key": OTHER}
    turn = (await http.post(f"{locked_url}/v1/turns", json={"input": "sim:text=short"}, headers=mine)).json()["id"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        response = await http.request(method, f"{locked_url}/v1/turns/{turn}{path}", headers=theirs)
        assert (response.status_code, response.json()["code"]) == (404, "turn_not_found")
    assert (await http.get(f"{locked_url}/v1/turns", headers=theirs)).json()["turns"] == []
    assert (await http.get(f"{locked_url}/v1/turns/{turn}", headers=mine)).status_code == 200
    assert (await http.delete(f"{locked_url}/v1/turns/{turn}", headers=mine)).status_code == 204
    assert (await http.get(f"{locked_url}/v1/turns/{turn}", headers=mine)).status_code == 410
    assert (await http.get(f"{locked_url}/v1/turns/{turn}", headers=theirs)).status_code == 404


async def test_health_and_readiness_need_no_key(http, locked_url):
    health = await http.get(f"{locked_url}/health")
    assert (health.status_code, health.text) == (200, "OK")
    ready = await http.get(f"{locked_url}/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


async def test_a_full_relay_says_so(http, simulator):
    settings = settings_for(f"{simulator.url}/v1", server={"max_open_turns": 1})
    async with serving(settings) as url:
        await http.post(f"{url}/v1/turns", json={"input": "sim:text=long;sim:interval-ms=50"})
        refused = await http.post(f"{url}/v1/turns", json={"input": "hi"})
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_turns")
        assert refused.headers["retry-after"] == "1"
        ready = await http.get(f"{url}/ready")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["too_many_turns"])


async def test_metrics_count_turns_by_outcome_and_hold_no_text(http, relay_url):
    for prompt in ("sim:text=order", "sim:text=order", "sim:fault=status=503"):
        await http.post(f"{relay_url}/v1/turns?stream=true", json={"input": prompt})
    text = (await http.get(f"{relay_url}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    turns = {(s.labels["outcome"], s.labels["reason"]): s.value for s in families["trunkline_turns"].samples}
    assert turns == {("completed", "stop"): 2, ("failed", "upstream_unavailable"): 1}
    assert [sample.value for sample in families["trunkline_turns_open"].samples] == [0]
    assert families["trunkline_readers"].samples[0].value == 0
    first = families["gen_ai_client_operation_time_to_first_chunk_seconds"].samples
    assert next(s.value for s in first if s.name.endswith("_count")) == 2
    routes = {s.labels["route"] for s in families["trunkline_http_requests"].samples}
    assert "/v1/turns" in routes
    assert "parcel" not in text


async def test_request_ids_are_taken_over_made_and_returned(http, relay_url):
    kept = await http.get(f"{relay_url}/health", headers={"x-request-id": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 200, ""):
        made = await http.get(f"{relay_url}/health", headers={"x-request-id": bad})
        assert re.fullmatch(r"req_[0-9a-f]{24}", made.headers["x-request-id"])


async def test_logs_have_route_templates_and_no_customer_words(http, relay_url, caplog):
    with caplog.at_level(logging.DEBUG):
        turn = await http.post(f"{relay_url}/v1/turns", json={"input": "sim:text=order"})
        await http.get(f"{relay_url}/v1/turns/{turn.json()['id']}/events?after=0&secret=hunter2")
    told = [r.getMessage() for r in caplog.records if r.name.startswith(("trunkline", "uvicorn"))]
    assert any("route=/v1/turns/{turn_id}/events" in line for line in told)
    assert [line for line in told if "hunter2" in line or "parcel" in line] == []


async def test_the_api_describes_itself_and_loads_nothing_from_outside(http, relay_url):
    api = (await http.get(f"{relay_url}/openapi.json")).json()
    assert {"/v1/turns", "/v1/turns/{turn_id}/events", "/v1/chat/completions", "/v1/models"} <= set(api["paths"])
    page = (await http.get(f"{relay_url}/docs")).text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert (await http.get(relay_url + source)).status_code == 200
