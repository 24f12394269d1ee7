"""Runs every case of ends.yaml through every reader: the same outcome, reason and text wherever one looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from conformance.readers import READERS, Seen, library
from conftest import HASTE, serving, settings_for
from trunkline import Relay
from trunkline.core.errors import REASONS
from trunkline.simulators import Simulator

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "ends.yaml").read_text(encoding="utf-8"))


def prompt_of(case: dict[str, Any]) -> str:
    return ";".join(
        [f"sim:text={case.get('text', 'short')}", *(f"sim:fault={fault}" for fault in case.get("fault", ()))]
    )


async def check(case: dict[str, Any], seen: Seen, simulator: Simulator, reader: str) -> None:
    reason = REASONS[case["reason"]]
    sent = (await simulator.ended(1))[-1]
    failed = reason.outcome == "failed"
    if reader.startswith(("openai", "azure")) and not failed:
        expected = {"end_without_reason": "stop", "platform_content_filter": "content_filter"}
        assert (seen.outcome, seen.reason) == ("completed", expected.get(reason.code, reason.code))
    else:
        assert (seen.outcome, seen.reason) == (reason.outcome, reason.code)
    if failed and ((case["says"] == "none" and reader.endswith("stream")) or reader == "openai-whole"):
        assert seen.status == reason.status
    else:
        assert seen.status == 200
    assert seen.ids_in_order
    if reader == "openai-whole" and failed:
        assert seen.text == ""
    elif case["says"] == "all":
        assert seen.text == shown_as(reader, sent["text"])
        assert sent["text"]
    elif case["says"] == "part":
        assert seen.text
        assert shown_as(reader, sent["text"]).startswith(seen.text)
    elif reader != "front-end":  # which shows a refusal as the text that it is
        assert seen.text == ""


def shown_as(reader: str, text: str) -> str:
    """An SSE data field cannot hold a CR: where the text itself is the data, every line end is one newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if reader == "front-end" else text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[tuple[Simulator, str, Relay]]:
    """One platform, one server and one library relay for all cases: each also meets what the last left behind."""
    async with Simulator(seed=7) as simulator:
        settings = settings_for(f"{simulator.url}/v1", timeouts=HASTE, upstream={"breaker_failures": 10_000})
        async with serving(settings) as url, Relay(settings) as relay:
            yield simulator, url, relay


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_an_end_on_every_endpoint(case, reader, scene):
    simulator, url, _ = scene
    simulator.clear_ledger()
    await check(case, await READERS[reader](url, prompt_of(case)), simulator, reader)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_an_end_in_the_library(case, scene):
    simulator, _, relay = scene
    simulator.clear_ledger()
    await check(case, await library(relay, prompt_of(case)), simulator, "library")
