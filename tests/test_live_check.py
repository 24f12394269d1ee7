"""What `check --live` says of upstreams that work and of those that do not."""

from __future__ import annotations

from typing import Any

from conftest import settings_for
from trunkline import Relay
from trunkline.live_check import Step, check_live


async def steps(base_url: str, **upstream: Any) -> list[Step]:
    async with Relay(settings_for(base_url, upstream=upstream)) as relay:
        return [step async for step in check_live(relay.turns.upstreams["support"])]


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
