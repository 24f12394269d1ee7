"""The command line: serve, stream, check, simulate, demo, key, guard; and what `log_commands` has about the log."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import importlib.util
import logging
import secrets
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from pydantic import ValidationError

from trunkline import log_commands
from trunkline.config import Settings, load
from trunkline.core.errors import REASONS, TrunklineError, nearest
from trunkline.core.events import Delta, Ended, Guarded, Notice, Started
from trunkline.core.ids import is_client_id
from trunkline.core.request import TurnRequest
from trunkline.guards.settings import GuardSettings
from trunkline.log_commands import config_option
from trunkline.stores.settings import StoreSettings
from trunkline.version import VERSION

T = TypeVar("T")
LONGEST_FILE_NAME = 255


class _Commands(click.Group):
    """Names the nearest command where there is none of that name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            ctx.fail(f"There is no command {args[0]!r}.{nearest(args[0], known)} There is: {', '.join(known)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="trunkline")
def cli() -> None:
    """Trunkline: a streaming relay for LLM answers in contact centres."""


for command in (log_commands.follow, log_commands.turns, log_commands.store, log_commands.forget):
    cli.add_command(command)


@cli.command()
@config_option
@click.option("--insecure", is_flag=True, help="Let everybody on this machine in, without a key (loopback only).")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Leave out lines of less weight.",
)
def serve(config: Path | None, *, insecure: bool, log_level: str) -> None:
    """Run the relay."""
    from trunkline.server import Server, bind, check_access  # noqa: PLC0415 - `check` and `key` need no server

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = _load(config)
    check_access(settings, insecure=insecure)
    if insecure:
        click.echo("warning: --insecure: everybody on this machine is let in, whatever keys there are", err=True)
    server = Server(settings, bind(settings), insecure=insecure)
    # What the imports made lives as long as the process; a collection that walks all of it stops every turn for 50 ms.
    gc.collect()
    gc.freeze()

    def ready(address: str) -> None:
        click.echo(f"The log: {settings.store.said()}", err=True)
        click.echo(f"Trunkline {VERSION} serves {', '.join(settings.upstreams)} on {address}", err=True)

    _run(server.run(ready))


@cli.command()
@config_option
@click.option("--upstream", help="Which upstream to ask (default: default_upstream, or the only one).")
@click.option("--model", help="Ask the upstream's platform for this model instead.")
@click.argument("prompt", required=False)
def stream(config: Path | None, upstream: str | None, model: str | None, prompt: str | None) -> None:
    """Stream one answer to the terminal, without a server. PROMPT may also come on standard input."""
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = sys.stdin.read().strip() or None
    if prompt is None:
        raise click.UsageError("give a PROMPT, or pipe it in")
    settings = _load(config)
    if model is not None and upstream is None:
        upstream = settings.sole_upstream
    request = TurnRequest(upstream=upstream, model=model, input=prompt)
    ended = _run(_stream(settings, request))
    if ended.outcome != "completed":
        sys.exit(1)


async def _stream(settings: Settings, request: TurnRequest) -> Ended:
    from trunkline.app import Relay  # noqa: PLC0415 - as in serve

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


@cli.command()
@config_option
@click.option(
    "--live", is_flag=True, help="Also try names, TLS and credentials of every upstream; no completion is spent."
)
def check(config: Path | None, *, live: bool) -> None:
    """Check the settings as a whole, and say what they amount to."""
    settings = _load(config)
    for name, upstream in settings.upstreams.items():
        key = "with a key" if upstream.api_key or upstream.client_secret else "without a key"
        click.echo(f"upstream {name}: {upstream.preset} at {upstream.api_base} {key}, model {upstream.model}")
        screened = f"screened by {upstream.guards!r}" if upstream.guards != "none" else "not screened"
        click.echo(f"  answers are {screened}")
    count = len(settings.keys)
    click.echo(f"keys: {count}" if count else "keys: none; `serve` needs one, or --insecure on loopback")
    _check_database(settings.store)
    click.echo(f"store: {settings.store.said()}")
    click.echo(f"listens on {settings.server.host}:{settings.server.port}")
    click.echo("The settings are valid.")
    if live and not _run(_check_live(settings)):
        sys.exit(1)


def _check_database(store: StoreSettings) -> None:
    """Look at the address of the database, without connecting. Raises `SettingsError`."""
    if store.database is not None:
        from trunkline.records.postgresql import PostgresqlServer  # noqa: PLC0415 - as in serve

        PostgresqlServer.at(store.database.get_secret_value()).close()


async def _check_live(settings: Settings) -> bool:
    from trunkline.app import Relay  # noqa: PLC0415 - as in serve
    from trunkline.live_check import check_live  # noqa: PLC0415

    well = True
    async with Relay(_in_memory(settings)) as relay:
        for name, upstream in relay.turns.upstreams.items():
            click.echo(f"\nupstream {name}:")
            async for step in check_live(upstream):
                well = well and step.ok
                click.echo(f"  {'ok    ' if step.ok else 'FAILED'} {step.name}: {step.words}")
    return well


@cli.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=9000, show_default=True, help="0 takes a free one.")
@click.option("--text", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Say this file.")
@click.option(
    "--interval-ms",
    type=click.FloatRange(0, 60_000),
    default=15.0,
    show_default=True,
    help="Between two pieces of an answer.",
)
@click.option("--seed", default=0, show_default=True, help="For everything random, such as where bytes are cut.")
@click.option("--faults", is_flag=True, help="List the faults that a request can ask for, and end.")
def simulate(port: int, text: Path | None, interval_ms: float, seed: int, *, faults: bool) -> None:
    """Play the platforms on a loopback port, with faults on demand.

    A request asks for them in its last user message ("sim:text=long;sim:fault=reset-after=20;sim:interval-ms=5"), or
    POST /_sim/faults {"faults": ["status=429"], "connections": 2} sets them for the next requests.
    """
    if faults:
        from trunkline.simulators.fault_words import TABLES  # noqa: PLC0415 - nothing else needs it

        for what, table in TABLES.items():
            click.echo(f"{what}:")
            for word, fault in table.items():
                click.echo(f"  {word:20} {fault.doc}")
        return
    texts = {"file": text.read_text(encoding="utf-8")} if text else {}
    with contextlib.suppress(KeyboardInterrupt):  # its usual end
        _run(_simulate(port, texts, interval_ms, seed))


async def _simulate(port: int, texts: dict[str, str], interval_ms: float, seed: int) -> None:
    from trunkline.simulators import PLATFORMS, Simulator  # noqa: PLC0415 - nothing else needs it

    try:
        async with Simulator(port=port, texts=texts, interval_ms=interval_ms, seed=seed) as simulator:
            if texts:
                simulator.default_text = "file"
            click.echo(f"The simulator plays {', '.join(PLATFORMS)}; the base URL of openai: {simulator.url}/v1")
            click.echo(f"Base URL of all others: {simulator.url}; the ledger: {simulator.url}/_sim/ledger")
            await simulator.serve_forever()
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror}") from None


@cli.command()
@click.option("--once", is_flag=True, help="End after the story; exit code 1 where something did not come out.")
@click.option("--llm", type=click.Choice(["simulator", "local"]), default="simulator", help="Who answers.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The relay's port (default: 8080, or a free one).")
def demo(*, once: bool, llm: str, port: int | None) -> None:
    """Tell a short story: an answer streams, a reader is cut off and resumes. Then serve until Ctrl-C."""
    from trunkline.demo.run import run  # noqa: PLC0415 - nothing else needs it

    try:
        code = _run(run(once=once, llm=llm, port=port))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(code)


@cli.command()
@click.argument("name")
def key(name: str) -> None:
    """Make a key for a client called NAME, and print the lines for the settings."""
    if not is_client_id(name):
        raise click.BadParameter("a name is 1 to 128 of A-Z a-z 0-9 . _ : -", param_hint="NAME")
    secret = "tk_" + secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    click.echo(f"The key, shown this once:  {secret}\n\nIn trunkline.toml:\n")
    click.echo(f'[[keys]]\nname = "{name}"\nsha256 = "{digest}"')


@cli.group()
def guard() -> None:
    """Try what screens the answers."""


@guard.command("rules")
def guard_rules() -> None:
    """List the ready profiles, and the rules that ship."""
    from trunkline.guards.profiles import PROFILES  # noqa: PLC0415 - as in serve
    from trunkline.guards.rules import RULES  # noqa: PLC0415

    click.echo("Profiles:")
    for name, profile in PROFILES.items():
        click.echo(f"  {name:16} {profile.meaning}")
    click.echo("\nRules, and what becomes of their matches in each profile:")
    for name, rule in RULES.items():
        if rule.action != "allow":
            actions = ", ".join(f"{profile}: {p.action_of(name)}" for profile, p in PROFILES.items())
            click.echo(f"  {name:18} {actions}")


@guard.command("test")
@config_option
@click.option("--profile", help="A ready profile, or the name of a [guards.NAME] of the settings.")
@click.option(
    "--cut",
    "how",
    default="tokens",
    show_default=True,
    metavar="tokens|chars|whole|random|N",
    help="Where the text is cut into deltas; N: every so many characters.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a delta.")
@click.option("--explain", is_flag=True, help="Also say what took what, and which candidates were rejected.")
@click.argument("text", required=False)
def guard_test(
    config: Path | None, profile: str | None, how: str, *, as_json: bool, explain: bool, text: str | None
) -> None:
    """Show delta by delta what a guard releases, holds and reports. TEXT is a text, a file's name, or - for stdin.

    Without --profile and --config the default profile is tried.
    """
    from trunkline.guard_trial import CUTS  # noqa: PLC0415 - as in serve

    if how not in CUTS and not (how.isascii() and how.isdigit() and int(how) > 0):
        raise click.BadParameter(f"expected {', '.join(CUTS)} or a number, got {how!r}", param_hint="--cut")
    if text is None and sys.stdin.isatty():
        raise click.UsageError("give a TEXT, a file, or pipe it in")
    if text in (None, "-"):
        text = sys.stdin.read()
    elif text is not None and len(text) < LONGEST_FILE_NAME and Path(text).is_file():
        text = Path(text).read_text(encoding="utf-8")
    _try_guard(_guard_settings(config, profile), text or "", how, as_json=as_json, explain=explain)


def _guard_settings(config: Path | None, profile: str | None) -> GuardSettings | None:
    from trunkline.guards.profiles import DEFAULT, NONE, PROFILES  # noqa: PLC0415 - as in serve
    from trunkline.guards.settings import GuardSettings  # noqa: PLC0415

    if config is None and profile == NONE:
        return None
    if config is None and (profile is None or profile in PROFILES):
        return GuardSettings(profile=profile or DEFAULT)
    settings = _load(config)
    name = profile or next(upstream.guards for upstream in settings.upstreams.values())
    known = [*settings.guards, *PROFILES, NONE]
    if name not in known:
        raise click.BadParameter(f"there is no guard {name!r}.{nearest(name, known)}", param_hint="--profile")
    return settings.guard(name)


def _try_guard(settings: GuardSettings | None, text: str, how: str, *, as_json: bool, explain: bool) -> None:
    from trunkline.guard_trial import Rejected, cut, guard_of, steps  # noqa: PLC0415 - as in serve

    rejected, whole, blocked = Rejected(), "", ""
    reports: list[Guarded] = []
    for step in steps(guard_of(settings, rejected), cut(text, how), secrets.token_bytes(32)):
        whole += step.released
        blocked = step.blocked
        reports += step.reports
        if as_json:
            click.echo(msgspec.json.encode(step).decode())
        elif not explain:
            told = "".join(f"  [{report.rule}: {report.action}]" for report in step.reports)
            held = f"  (holds {step.held})" if step.held else ""
            click.echo(f"{step.fed!r:24} -> {step.released!r}{held}{told}")
    if explain and not as_json:
        for report in reports:
            place = f"characters {report.start} to {report.end}"
            click.echo(f"{report.rule} took {place} {text[report.start : report.end]!r}: {report.action}")
        for rule, value in rejected.found:
            click.echo(f"{rule} looked at {value!r} and rejected it: its check failed")
    if not as_json:
        click.echo(f"\nreleased: {whole!r}")
        if blocked:
            click.echo(f"blocked: {REASONS[blocked].meaning}")


def _load(config: Path | None) -> Settings:
    settings, warnings = load(config)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where there is one: it saves a third of the time of a token."""
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - not on every platform

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def main() -> None:
    """Run a command; an error of ours is one clear sentence and exit code 2, never a stack trace."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        click.echo(f"trunkline: {place}: {first['msg']}", err=True)
        sys.exit(2)
    except UnicodeDecodeError:
        click.echo("trunkline: expected text in UTF-8, got other bytes", err=True)
        sys.exit(2)
    except TrunklineError as error:
        click.echo(f"trunkline: {error.detail}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
