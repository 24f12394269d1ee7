"""Sets the scene: a platform (simulated, or a real local model) and a relay in front of it, for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from typing import Any

from trunkline.config import Settings, parse
from trunkline.core.errors import SettingsError
from trunkline.demo.local_model import local_model
from trunkline.demo.story import Story, StoryFailed, how_to_try
from trunkline.server import Server, bind
from trunkline.simulators import Simulator

PORT = 8080
INTERVAL_MS = 15
SIMULATED = ("sim:text=order", "sim:text=german;sim:fault=cut=random", "sim:text=cards;sim:fault=cut=random")


async def run(*, once: bool, llm: str, port: int | None) -> int:
    """Tell the story, then serve until Ctrl-C; with `once`, end after the story. Returns the exit code."""
    async with _platform(llm) as (base_url, ledger_url), _folder() as folder:
        settings = _settings(base_url, folder, 0 if once and port is None else PORT if port is None else port)
        try:
            listener = bind(settings)
        except SettingsError:
            if port is not None:
                raise
            # The usual port is taken; any other does for a demonstration.
            listener = bind(_settings(base_url, folder, 0))
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = Server(settings, listener, insecure=True)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.run(ready.set_result))
            try:
                return await _tell(server, ready, serving, ledger_url, once=once)
            finally:
                if not serving.done():
                    server.stop()


async def _tell(
    server: Server, ready: asyncio.Future[str], serving: asyncio.Task[None], ledger_url: str | None, *, once: bool
) -> int:
    futures: list[asyncio.Future[Any]] = [ready, serving]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        return 1
    prompts = SIMULATED if ledger_url else (
        "Say hello to a customer in two sentences.",
        "Write a short story about a telephone exchange, in about 120 words.",
    )  # fmt: skip
    url = ready.result()
    behind = "a simulated platform" if ledger_url else "SmolLM2-135M"
    print(f"\nTrunkline's relay listens on {url}; behind it is {behind}.")
    story = asyncio.ensure_future(Story(url, ledger_url, prompts).tell())
    server.on_stop = story.cancel
    try:
        await story
    except asyncio.CancelledError:
        print("\n\n   stopped")
        return 130
    except StoryFailed as error:
        print(f"\n   FAILED: {error}")
        return 1
    if not once:
        print(how_to_try(url, "demo"), flush=True)
        await serving
    return 0


@contextlib.asynccontextmanager
async def _platform(llm: str) -> AsyncIterator[tuple[str, str | None]]:
    if llm == "local":
        print("Starting SmolLM2-135M on this machine ...", flush=True)
        with local_model() as url:
            yield url, None
    else:
        async with Simulator(interval_ms=INTERVAL_MS) as simulator:
            yield f"{simulator.url}/v1", f"{simulator.url}/_sim/ledger?wait=1&timeout=10"


@contextlib.asynccontextmanager
async def _folder() -> AsyncIterator[str]:
    """Make a data folder for as long as the demonstration takes."""
    with tempfile.TemporaryDirectory(prefix="trunkline-demo-") as folder:
        yield folder


def _settings(base_url: str, folder: str, port: int) -> Settings:
    patient = {"first_token_s": 120, "between_tokens_s": 60, "turn_s": 300}
    upstream = {"preset": "openai", "base_url": base_url, "model": "demo-model", "timeouts": patient}
    server, store = {"port": port, "drain_s": 1}, {"data_dir": folder}
    return parse({"server": server, "store": store, "upstreams": {"demo": upstream}})
