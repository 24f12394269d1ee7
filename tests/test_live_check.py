"""What `check --live` says of upstreams that work and of those that do not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from conftest import settings_for
from platforms.parrot import parrot
from trunkline import Relay
from trunkline.live_check import Step, check_live


async def steps(base_url: str, /, timeout_s: float = 10, **upstream: Any) -> list[Step]:
    async with Relay(settings_for(base_url, upstream=upstream)) as relay:
        return [step async for step in check_live(relay.turns.upstreams["support"], timeout_s)]


async def test_an_upstream_that_works_passes_every_step_and_spends_no_completion(simulator):
    found = await steps(f"{simulator.url}/v1", api_key="good")
    assert [(step.name, step.ok) for step in found] == [
        ("name", True), ("connection", True), ("credentials", True), ("key", True),
    ]  # fmt: skip
    assert [record["path"] for record in simulator.ledger] == ["/v1/models"]


async def test_a_wrong_key_is_said(simulator):
    last = (await steps(f"{simulator.url}/v1", api_key="wrong"))[-1]
    assert (last.name, last.ok) == ("key", False)
    assert "check api_key" in last.words


async def test_a_name_that_does_not_exist_and_a_port_where_nobody_listens_are_said():
    name = (await steps("http://no-such-host.invalid/v1"))[-1]
    assert (name.name, name.ok) == ("name", False)
    name = (await steps(f"http://{'a' * 64}.example/v1"))[-1]  # more than the DNS takes
    assert (name.name, name.ok) == ("name", False)
    port = (await steps("http://127.0.0.1:9/v1"))[-1]
    assert (port.name, port.ok) == ("connection", False)
    assert "is it running" in port.words


async def test_a_server_without_tls_is_said(simulator):
    last = (await steps(simulator.url.replace("http:", "https:") + "/v1"))[-1]
    assert (last.name, last.ok) == ("TLS", False)
    assert "does not speak TLS" in last.words
    assert "is http:// meant?" in last.words


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x28", "refused the TLS handshake (SSLV3_ALERT_HANDSHAKE_FAILURE)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (b"", "is http:// meant?"),
    ],
    ids=["alert", "ssh", "closed"],
)
async def test_a_server_that_ends_the_tls_handshake_is_said(sent: bytes, words: str):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(sent)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        last = (await steps(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"))[-1]
    assert (last.name, last.ok) == ("TLS", False)
    assert words in last.words


async def test_a_server_that_is_silent_where_tls_is_expected_is_said():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        last = (await steps(f"https://127.0.0.1:{silent.getsockname()[1]}/v1", timeout_s=0.05))[-1]
    assert (last.name, last.ok) == ("TLS", False)
    assert "did not answer within 0.05 s" in last.words
    assert "http:// meant" in last.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [((404, {}), "answered 404"), ((301, {}), "answered 301"), ((200, "Welcome!"), "something else than JSON")],
    ids=["404", "301", "no-json"],
)
async def test_a_platform_without_a_list_of_models_is_not_said_to_be_well(answer: tuple[int, Any], words: str):
    async with parrot(models=[answer]) as platform:
        bare, full = (await steps(platform.url))[-1], (await steps(f"{platform.url}/v1/"))[-1]
    assert (bare.name, bare.ok, full.ok) == ("key", None, None)
    assert bare.words.startswith(f"GET {platform.url}/models was answered ")
    assert words in bare.words
    assert "look at base_url: it has no path, and with most servers it ends in /v1" in bare.words
    assert full.words.endswith("look at base_url")


async def test_a_platform_that_stalls_is_said_to_and_its_trouble_is_its_own():
    async with parrot() as platform:
        platform.may_answer.clear()
        stalled = (await steps(f"{platform.url}/v1", timeout_s=0.1))[-1]
        platform.may_answer.set()
    assert (stalled.name, stalled.ok) == ("key", False)
    assert "no answer within 0.1 s" in stalled.words
    async with parrot(models=[(503, {})]) as platform:
        broken = (await steps(f"{platform.url}/v1"))[-1]
    assert (broken.name, broken.ok) == ("key", False)
    assert "was answered 503" in broken.words


NOWHERE = "no-such-host.invalid"


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"preset": "cognigy", "base_url": None, "environment": NOWHERE}, "check environment and the DNS"),
        ({"preset": "genesys-chat", "base_url": f"https://{NOWHERE}"}, "check base_url and the DNS"),
        ({"preset": "genesys-chat", "login_url": f"https://{NOWHERE}"}, "check login_url and the DNS"),
        ({"preset": "genesys-gateway", "ws_url": f"wss://{NOWHERE}"}, "check ws_url and the DNS"),
    ],
)
async def test_a_host_that_is_not_known_is_told_with_the_settings_that_name_it(simulator, upstream, words):
    oauth = {"client_id": "me", "client_secret": "s3cret"}
    last = (await steps(simulator.url, **oauth, **upstream))[-1]
    assert (last.name, last.ok) == ("name", False)
    assert last.words.endswith(words)


@pytest.mark.parametrize("more", [{}, {"login_url": "other"}], ids=["base_url", "login_url"])
async def test_a_token_that_is_not_to_be_had_is_told_with_the_settings_of_its_address(simulator, more):
    oauth = {"preset": "genesys-chat", "client_id": "me", "client_secret": "s3cret", "paths": {"token": "/no/such"}}
    if more:
        oauth["login_url"] = simulator.url.replace("127.0.0.1", "localhost")
    last = (await steps(simulator.url, **oauth))[-1]
    assert (last.name, last.ok) == ("credentials", False)
    assert "HTTP 404" in last.words
    assert last.words.endswith(f"(the address is made of {next(iter(more), 'base_url')} and paths.token)")
