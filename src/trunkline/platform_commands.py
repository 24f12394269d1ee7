"""The commands that ask platforms: stream one answer, check what the settings amount to; and how a command runs."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from trunkline.config import Settings, load
from trunkline.core.errors import REASONS
from trunkline.core.events import Delta, Ended, Notice, Started
from trunkline.core.ids import is_client_id
from trunkline.core.request import TurnRequest
from trunkline.dialects.presets import PRESETS
from trunkline.log_commands import config_option
from trunkline.rehearsal import Step
from trunkline.stores.settings import StoreSettings
from trunkline.upstream_settings import UpstreamSettings

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


def loaded(config: Path | None) -> Settings:
    """Load the settings, and print the warnings about them. Raises `SettingsError`."""
    settings, warnings = load(config)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where there is one: it saves a third of the time of a token."""
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - not on every platform

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def _checked_id(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_client_id(value):
        raise click.BadParameter("an id is 1 to 128 of A-Z a-z 0-9 . _ : -", param=option)
    return value


def _id_option(what: str) -> Callable[[Command], Command]:
    """Make the option for an id that a request may name."""
    text = f"The {what} that the request names, where the platform wants one."
    return click.option(f"--{what}-id", callback=_checked_id, help=text)


@click.command()
@config_option
@click.option("--upstream", help="Which upstream to ask (default: default_upstream, or the only one).")
@click.option("--model", help="Ask the upstream's platform for this model instead.")
@_id_option("conversation")
@_id_option("session")
@_id_option("dialog")
@_id_option("prompt")
@click.argument("prompt", required=False)
def stream(config: Path | None, upstream: str | None, model: str | None, prompt: str | None, **ids: Any) -> None:
    """Stream one answer to the terminal, without a server.

    PROMPT may also come on standard input; a platform that has the prompt already needs none.
    """
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read().strip() or None
    settings = loaded(config)
    asked = settings.upstreams.get(upstream or settings.sole_upstream or "")
    if prompt is None and (asked is None or PRESETS[asked.preset].needs_prompt):
        raise click.UsageError("give a PROMPT, or pipe it in")
    if model is not None and upstream is None:
        upstream = settings.sole_upstream
    request = TurnRequest(upstream=upstream, model=model, input=prompt, **ids)
    with _errors_alone():
        ended = run_async(_stream(settings, request))
    if ended.outcome != "completed":
        sys.exit(1)


@contextmanager
def _errors_alone() -> Iterator[None]:
    """Keep the log's line about the end of a turn off the terminal: `_summarise` says it in words."""
    log = logging.getLogger("trunkline")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


async def _stream(settings: Settings, request: TurnRequest) -> Ended:
    from trunkline.app import Relay  # noqa: PLC0415 - slow to import

    begun = time.monotonic()
    first: float | None = None
    ended = Ended("failed", "internal_error")
    async with Relay(_in_memory(settings)) as relay:
        async for event in relay.stream(request):
            match event:
                case Started():
                    click.echo(f"{event.upstream} ({event.model})", err=True)
                case Delta(channel="reasoning"):
                    first = first or time.monotonic()
                case Delta():
                    first = first or time.monotonic()
                    click.echo(event.text, nl=False)
                case Notice():
                    click.echo(f"[{event.kind}: {event.detail}]", err=True)
                case Ended():
                    ended = event
                case _:
                    pass
    _summarise(ended, begun, first, time.monotonic())
    return ended


def _in_memory(settings: Settings) -> Settings:
    """Return settings for a relay beside the one that holds the folder: what it is asked is not worth keeping."""
    return settings.model_copy(update={"store": StoreSettings(durability="memory")})


def _summarise(ended: Ended, begun: float, first: float | None, now: float) -> None:
    click.echo()
    words = f"{ended.outcome}: {REASONS[ended.reason].meaning}"
    if ended.outcome != "completed":
        words = f"{ended.outcome} ({ended.reason}): {REASONS[ended.reason].meaning} {ended.detail}".rstrip()
    click.echo(words, err=True)
    if first is not None and ended.usage is not None:
        usage = ended.usage
        rate = usage.completion_tokens / max(now - first, 1e-3)
        click.echo(
            f"{usage.prompt_tokens} + {usage.completion_tokens} tokens (counted by the {usage.counted_by}), "
            f"first after {(first - begun) * 1_000:.0f} ms, {rate:.0f} tokens/s",
            err=True,
        )


@click.command()
@config_option
@click.option(
    "--live", is_flag=True, help="Also try names, TLS and credentials of every upstream; no completion is spent."
)
def check(config: Path | None, *, live: bool) -> None:
    """Check the settings as a whole, and say what they amount to."""
    from trunkline.store_check import look_at_folder  # noqa: PLC0415 - slow to import

    settings = loaded(config)
    if settings.store.durability != "memory":
        look_at_folder(settings.store.data_dir)
    for name, upstream in settings.upstreams.items():
        _say_upstream(name, upstream)
    count = len(settings.keys)
    click.echo(f"keys: {count}" if count else "keys: none; `serve` needs one, or --insecure on loopback")
    click.echo(f"store: {settings.store.said()}")
    click.echo(f"listens on {settings.server.host}:{settings.server.port}")
    click.echo("The settings are valid.")
    if live and not run_async(_check_live(settings)):
        sys.exit(1)


def _say_upstream(name: str, upstream: UpstreamSettings) -> None:
    key = "with a key" if upstream.api_key else "without a key"
    credentials = "with an OAuth client" if upstream.client_secret else key
    click.echo(f"upstream {name}: {upstream.preset} at {upstream.api_base} {credentials}, model {upstream.model}")
    screened = f"screened by {upstream.guards!r}" if upstream.guards != "none" else "not screened"
    click.echo(f"  answers are {screened}")
    if upstream.ids_to_name:
        click.echo(f"  each request must name its {' and '.join(upstream.ids_to_name)}: the settings have none")


async def _check_live(settings: Settings) -> bool:
    from trunkline.app import Relay  # noqa: PLC0415 - slow to import
    from trunkline.live_check import check_live  # noqa: PLC0415
    from trunkline.store_check import check_store  # noqa: PLC0415

    well = True
    async with Relay(_in_memory(settings)) as relay:
        for name, upstream in relay.turns.upstreams.items():
            click.echo(f"\nupstream {name}:")
            well = await _say_steps(check_live(upstream)) and well
    click.echo("\nstore:")
    return await _say_steps(check_store(settings.store)) and well


async def _say_steps(steps: AsyncIterator[Step]) -> bool:
    """Print each step as it is done; return whether none has failed."""
    well = True
    async for step in steps:
        well = well and step.ok is not False
        result = {True: "ok", None: "unknown", False: "FAILED"}[step.ok]
        click.echo(f"  {result:7} {step.name}: {step.words}")
    return well
