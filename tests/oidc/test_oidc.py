"""OAuth against a server that nobody here wrote: npm's oidc-provider, with tokens that live five seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conftest import PATIENCE
from npm import node_for
from test_retries import ask
from trunkline import Relay

HERE = Path(__file__).parent
SECRET = "a secret: with/odd&characters"


class OidcServer:
    def __init__(self, url: str, lines: asyncio.StreamReader) -> None:
        self.url = url
        self._lines = lines
        self.tokens: list[str] = []

    async def listen(self) -> None:
        async for line in self._lines:
            if line.startswith(b"token "):
                self.tokens.append(line.decode().split()[1])


@pytest.fixture
async def oidc() -> AsyncIterator[OidcServer]:
    node = node_for(HERE, "oidc-provider is")
    running = await asyncio.create_subprocess_exec(
        node, str(HERE / "server.mjs"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert running.stdout is not None
    async with asyncio.timeout(20):
        while not (line := await running.stdout.readline()).startswith(b"ready "):
            assert line, "the server ended"
    server = OidcServer(line.decode().split()[1], running.stdout)
    listening = asyncio.ensure_future(server.listen())
    yield server
    running.kill()
    await running.wait()
    await listening


def settings(simulator: Any, oidc: OidcServer, style: str, **more: Any) -> dict[str, Any]:
    upstream = {
        "preset": "genesys-chat",
        "base_url": simulator.url,
        "login_url": oidc.url,
        "paths": {"token": "/token", "completions": "/v1/chat/completions"},
        "token_style": style,
        "client_id": f"client-{style}",
        "client_secret": SECRET,
        "model": "gpt-4-1106-preview",
        "timeouts": PATIENCE,
        "guards": "none",
        **more,
    }
    return {"upstreams": {"support": upstream}}


@pytest.mark.parametrize("style", ["basic", "form"])
async def test_a_real_server_gives_a_token_for_both_styles(simulator, oidc, style):
    async with Relay(settings(simulator, oidc, style)) as relay:
        ends = await asyncio.gather(*(ask(relay) for _ in range(50)))
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    assert oidc.tokens == [f"client-{style}"]


async def test_its_refusals_are_understood(simulator, oidc):
    async with Relay(settings(simulator, oidc, "basic", client_secret="other")) as relay:
        _, _, ended = await ask(relay)
    assert (ended.reason, "invalid_client" in ended.detail) == ("upstream_auth", True)
    async with Relay(settings(simulator, oidc, "basic", scopes=["ai:admin"])) as relay:
        _, _, ended = await ask(relay)
    assert ended.reason == "upstream_forbidden"
    assert "ai:admin" in ended.detail


@pytest.mark.timeout(90)
async def test_streams_of_twelve_seconds_outlive_tokens_of_five(simulator, oidc):
    async with Relay(settings(simulator, oidc, "basic")) as relay:
        long = [asyncio.ensure_future(ask(relay, "sim:tokens=120;sim:interval-ms=100")) for _ in range(20)]
        short = 0
        while not all(stream.done() for stream in long):
            _, _, ended = await ask(relay, "sim:tokens=20;sim:interval-ms=20")
            assert ended.outcome == "completed"
            short += 1
        ends = [stream.result() for stream in long]
    assert {ended.outcome for _, _, ended in ends} == {"completed"}
    sent = {record["text"] for record in simulator.ledger if record["path"].endswith("completions")}
    assert {text for text, _, _ in ends} <= sent
    assert short > 10
    # Renewed ahead of expiry, about every four seconds, and by nobody twice.
    assert 3 <= len(oidc.tokens) <= 5
