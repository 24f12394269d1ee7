"""What every request passes: the origin and host checks, CORS, request ids, bounds, and the line in the log."""

from __future__ import annotations

import contextlib
import hashlib
import logging

import pytest
import websockets

from conftest import serving, settings_for

PAGE = "https://agent.example.com"
BODY = {"input": "sim:text=short"}


@pytest.fixture
async def open_url(simulator):
    """A relay that lets one other origin in."""
    async with serving(settings_for(f"{simulator.url}/v1", server={"allowed_origins": [PAGE]})) as url:
        yield url


async def test_programs_send_no_origin_and_pages_of_the_relay_its_own(http, relay_url):
    for headers in ({}, {"origin": relay_url}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        assert (await http.post(f"{relay_url}/v1/turns", json=BODY, headers=headers)).status_code == 201


@pytest.mark.parametrize(
    "headers", [{"origin": PAGE}, {"origin": "null"}, {"origin": "http://["}, {"sec-fetch-site": "cross-site"}]
)
async def test_a_foreign_page_starts_nothing(http, simulator, relay_url, headers):
    for method, path in (("POST", "/v1/turns"), ("GET", "/stream?session_id=s&dialog_id=d"), ("GET", "/v1/turns")):
        response = await http.request(method, relay_url + path, json=BODY, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
        assert response.headers["x-request-id"]
    chat = await http.post(f"{relay_url}/v1/chat/completions", json={}, headers=headers)
    assert chat.json()["error"]["code"] == "origin_not_allowed"
    assert (await http.get(f"{relay_url}/health", headers=headers)).status_code == 200
    assert not simulator.ledger


async def test_a_foreign_page_opens_no_websocket(relay_url):
    address = relay_url.replace("http", "ws", 1) + "/ws"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(address, origin=PAGE):
            pass
    assert refused.value.response.status_code == 403
    async with websockets.connect(address, origin=relay_url):
        pass


async def test_a_page_that_settings_name_may_ask_and_read_the_answer(http, open_url):
    asked = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    preflight = await http.options(f"{open_url}/v1/turns", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    response = await http.post(f"{open_url}/v1/turns", json=BODY, headers={"origin": PAGE})
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "x-turn-id" in response.headers["access-control-expose-headers"]
    other = await http.post(f"{open_url}/v1/turns", json=BODY, headers={"origin": "https://evil.example"})
    assert other.status_code == 403
    async with websockets.connect(open_url.replace("http", "ws", 1) + "/ws", origin=PAGE):
        pass


async def test_a_usual_port_may_be_written_or_not_and_capitals_are_none(http, simulator):
    digest = hashlib.sha256(b"tk_test").hexdigest()
    server = {"allowed_origins": ["https://Agent.example.com:443"]}
    settings = settings_for(f"{simulator.url}/v1", server=server, keys=[{"name": "web", "sha256": digest}])
    async with serving(settings, insecure=False) as url:
        for origin, host, status in (
            ("https://relay.example.com", "relay.example.com:443", 201),
            ("https://relay.example.com:443", "relay.example.com", 201),
            ("http://relay.example.com", "RELAY.example.com:80", 201),
            ("https://agent.EXAMPLE.com", "relay.example.com", 201),
            ("https://relay.example.com:444", "relay.example.com", 403),
            ("https://relay.example.com.evil.com", "relay.example.com", 403),
            ("null", "", 403),
        ):
            headers = {"origin": origin, "host": host, "x-api-key": "tk_test"}
            response = await http.post(f"{url}/v1/turns", json=BODY, headers=headers)
            assert response.status_code == status, origin


async def test_a_star_lets_every_page_in(http, simulator):
    async with serving(settings_for(f"{simulator.url}/v1", server={"allowed_origins": ["*"]})) as url:
        assert (await http.post(f"{url}/v1/turns", json=BODY, headers={"origin": PAGE})).status_code == 201


async def test_without_keys_only_loopback_names_are_answered(http, relay_url):
    for host in ("evil.example", "evil.example:8080", "169.254.169.254", "[", ""):
        response = await http.get(f"{relay_url}/v1/turns", headers={"host": host})
        assert (response.status_code, response.json()["code"]) == (403, "host_not_allowed")
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "relay.localhost"):
        assert (await http.get(f"{relay_url}/v1/turns", headers={"host": host})).status_code == 200


async def test_a_request_id_is_taken_over_or_made_and_returned(http, relay_url):
    given = await http.get(f"{relay_url}/health", headers={"x-request-id": "call-7"})
    assert given.headers["x-request-id"] == "call-7"
    made = await http.get(f"{relay_url}/health", headers={"x-request-id": "no good"})
    assert made.headers["x-request-id"].startswith("req_")


async def test_only_so_many_websockets_at_once(simulator):
    async with serving(settings_for(f"{simulator.url}/v1", server={"max_websockets": 2})) as url:
        address = url.replace("http", "ws", 1) + "/ws"
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(websockets.connect(address))
            with pytest.raises(websockets.InvalidStatus) as refused:
                await stack.enter_async_context(websockets.connect(address))
            assert refused.value.response.status_code == 503
        async with websockets.connect(address):
            pass


async def test_log_lines_hold_templates_and_never_an_address(http, relay_url, caplog):
    secret = "4111-1111-1111-1111"
    with caplog.at_level(logging.DEBUG):
        await http.get(f"{relay_url}/stream?session_id=s&dialog_id=d&input={secret}")
        created = await http.post(f"{relay_url}/v1/turns", json=BODY)
        links = created.json()["links"]
        async with websockets.connect(relay_url.replace("http", "ws", 1) + links["ws"]) as socket:
            async for _ in socket:
                pass
        for path in ("/ws?ticket=nonsense", "/v1/turns/turn_0/ws?ticket=nonsense"):
            with pytest.raises(websockets.InvalidStatus):
                async with websockets.connect(relay_url.replace("http", "ws", 1) + path):
                    pass
    own = [record for record in caplog.records if record.name.startswith(("trunkline", "uvicorn"))]
    lines = [record.getMessage() for record in own]
    assert not [record for record in own if record.levelno >= logging.ERROR]
    for fragment in (secret, "ticket", links["ws"]):
        assert not [line for line in lines if fragment in line]
    served = [line.partition(" ")[2].partition(" ")[2] for line in lines if line.startswith("request ")]
    assert "route=/stream method=GET status=200" in served
    assert "route=/v1/turns/{turn_id}/ws method=WEBSOCKET status=101" in served
    assert "route=/ws method=WEBSOCKET status=401" in served


@pytest.mark.parametrize(
    ("path", "openai"),
    [("/v1/embeddings", True), ("/openai/deployments/x/nothing", True), ("/v1/turns/a/b/c", False), ("/no", False)],
)
async def test_an_address_without_a_route_answers_in_the_shape_of_its_neighbours(http, relay_url, path, openai):
    response = await http.get(relay_url + path)
    assert response.status_code == 404
    assert ("error" in response.json()) is openai
