"""The command line: serve, simulate, demo, key, guard; `platform_commands` and `log_commands` have the others."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import secrets
import sys
from pathlib import Path

import click
import msgspec
from pydantic import ValidationError

from trunkline import log_commands
from trunkline.core.errors import REASONS, TrunklineError, nearest
from trunkline.core.events import Guarded
from trunkline.core.ids import is_client_id
from trunkline.guards.settings import GuardSettings
from trunkline.log_commands import config_option
from trunkline.platform_commands import check, loaded, run_async, stream
from trunkline.version import VERSION

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


for command in (stream, check, log_commands.follow, log_commands.turns, log_commands.store, log_commands.forget):
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
    settings = loaded(config)
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

    run_async(server.run(ready))


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
    POST /_sim/faults {"faults": ["status=429"], "connections": 2} sets them for the next requests, one by default.
    GET /_sim/faults shows what still waits, and DELETE clears it.

    Any OAuth client gets a token with the scopes that it asks for, and any key is good, also none; likewise any model,
    prompt, dialog and conversation is there. Only what is called "wrong" is refused: a secret, a scope, a key, a
    model, a prompt.
    """
    if faults:
        from trunkline.simulators.fault_words import TABLES  # noqa: PLC0415 - nothing else needs it

        for what, table in TABLES.items():
            click.echo(f"{what}:")
            for word, fault in table.items():
                click.echo(f"  {fault.written(word):30} {fault.doc}")
        return
    texts = {"file": text.read_text(encoding="utf-8")} if text else {}
    with contextlib.suppress(KeyboardInterrupt):  # its usual end
        run_async(_simulate(port, texts, interval_ms, seed))


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
        code = run_async(run(once=once, llm=llm, port=port))
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
    settings = loaded(config)
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
