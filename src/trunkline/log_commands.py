"""The commands about the log: follow a turn, show and list turns, check and compact the log, forget a conversation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from trunkline.config import load
from trunkline.core.errors import REASONS, Fault, SettingsError, TurnNotFound
from trunkline.core.events import Delta, Ended, Entry, Guarded, Notice, Started
from trunkline.core.ids import is_client_id, is_turn_id
from trunkline.core.record import TurnRecord, fold
from trunkline.core.times import iso
from trunkline.stores.settings import StoreSettings

if TYPE_CHECKING:
    from trunkline.beside import Beside

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The settings file (default: $TRUNKLINE_CONFIG, ./trunkline.toml, or presets from the environment).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command()
@config_option
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="From this offset on.")
@click.option(
    "--wait", type=click.FloatRange(0, 86_400), default=30.0, show_default=True, help="Seconds without a relay."
)
@json_option
@click.argument("turn")
def follow(config: Path | None, after: int, wait: float, turn: str, *, as_json: bool) -> None:
    """Read a turn from the log, from an offset on, and go on until it has ended.

    It reads the data folder itself, beside the relay that writes it, and needs no key. Where no relay runs it waits for
    one, which gives an open turn its end, and says so where none came (exit code 2).
    """
    with _beside(_settings(config)) as log:
        ended = asyncio.run(_follow(log, _turn_id(turn), after, wait, _as_json if as_json else _as_text))
    if not as_json:
        click.echo()
        click.echo(
            f"{ended.outcome} ({ended.reason}): {REASONS[ended.reason].meaning} {ended.detail}".rstrip(), err=True
        )
    if ended.outcome != "completed":
        sys.exit(1)


async def _follow(log: Beside, turn_id: str, after: int, wait_s: float, say: Callable[[Entry], None]) -> Ended:
    ended = Ended("failed", "internal_error")
    async for entries in log.follow(turn_id, after, wait_s):
        for entry in entries:
            say(entry)
            if isinstance(entry.event, Ended):
                ended = entry.event
    if ended.reason == "internal_error":  # All of it was before `after`.
        last = (await asyncio.to_thread(log.find, turn_id))[-1].event
        ended = last if isinstance(last, Ended) else ended
    return ended


def _as_json(entry: Entry) -> None:
    click.echo(b'{"id":%d,%b' % (entry.offset, entry.json[1:]))


def _as_text(entry: Entry) -> None:
    match entry.event:
        case Started() as started:
            click.echo(f"{started.upstream} ({started.model}) for {started.principal}", err=True)
        case Delta(channel="answer" | "relay" | "refusal") as delta:
            click.echo(delta.text, nl=False)
        case Guarded() as guarded:
            click.echo(f"[{guarded.rule}: {guarded.action}]", err=True)
        case Notice() as notice:
            click.echo(f"[{notice.kind}: {notice.detail}]", err=True)
        case _:
            pass


@click.group()
def turns() -> None:
    """List and show the turns in the log."""


@turns.command("list")
@config_option
@click.option("--conversation", help="Only those of this conversation.")
@click.option("--principal", help="Only those of this principal (default: of everybody).")
@click.option("--state", type=click.Choice(["open", "ended"]), help="Only those that are so.")
@click.option("--before", help="Go on below this turn, the last one of the list before.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@json_option
def list_turns(config: Path | None, *, as_json: bool, **asked: Any) -> None:
    """List turns, the newest first, without their texts."""
    from trunkline.stores.base import Query  # noqa: PLC0415 - the log is slow to import

    if asked["before"] is not None:
        _turn_id(asked["before"])
    query = Query(asked["principal"], asked["conversation"], asked["state"], asked["before"], asked["limit"])
    with _beside(_settings(config)) as log:
        for record in log.turns(query):
            click.echo(msgspec.json.encode(_facts(record)) if as_json else _line(record))


@turns.command("show")
@config_option
@json_option
@click.argument("turn")
def show_turn(config: Path | None, turn: str, *, as_json: bool) -> None:
    """Show what is known of a turn, and the text that was released."""
    with _beside(_settings(config)) as log:
        record = fold(log.find(_turn_id(turn)))
    facts = _facts(record) | {"text": record.text}
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    text = facts.pop("text")
    for name, value in facts.items():
        if value not in (None, ""):
            click.echo(f"{name:16} {value}")
    click.echo(f"\n{text}")


@click.group()
def store() -> None:
    """Check and compact the log, and say whose archive a database is."""


@store.command()
@config_option
def verify(config: Path | None) -> None:
    """Check every record of the journal and every turn of the archive; a relay may go on writing meanwhile."""
    count, faults = 0, 0
    with _beside(_settings(config)) as log:
        for step in log.verify():
            count = max(count, step.turns)
            faults += len(step.findings)
            for finding in step.findings:
                click.echo(finding)
            if sys.stderr.isatty():
                click.echo(f"\r{count} turns", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo(err=True)
    click.echo(f"{count} turns checked, {faults} faults" if faults else f"{count} turns checked: all is well")
    if faults:
        sys.exit(1)


@store.command()
@config_option
def compact(config: Path | None) -> None:
    """Archive what has ended, drop what is past its retention, and give the room back; while no relay runs."""
    from trunkline import beside  # noqa: PLC0415 - the log is slow to import

    settings = _settings(config)
    with _beside(settings):
        pass  # It says what is wrong where there is no log.
    before, after, owed = asyncio.run(beside.compact(settings))
    click.echo(f"{before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB now")
    if owed:
        raise click.ClickException(f"{owed} turns could not be archived and are left in the journal")


@store.command()
@config_option
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
def adopt(config: Path | None, *, yes: bool) -> None:
    """Make the database the archive of this data folder, where the folder that it belonged to is gone for good.

    What that folder's journal holds and is not archived yet is not in this log, and `forget` does not reach it.
    """
    from trunkline import beside  # noqa: PLC0415 - the log is slow to import

    settings = _settings(config)
    if settings.database is None:
        detail = "is not set: the archive is a file in the data folder, and always goes with it"
        raise SettingsError([Fault("store.database", detail)])
    if not yes:
        click.confirm(f"Make the database the archive of {settings.data_dir.absolute()}?", abort=True)
    beside.adopt(settings)
    click.echo(f"The database is now the archive of {settings.data_dir.absolute()}.")


@click.command()
@config_option
@click.option("--conversation", required=True, help="The id of the conversation.")
@click.option("--principal", help="Only what belongs to this principal (default: to anybody).")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
def forget(config: Path | None, conversation: str, principal: str | None, *, yes: bool) -> None:
    """Erase all texts of a conversation for good, wherever they are kept; a running relay does it within seconds."""
    if not is_client_id(conversation):
        raise click.BadParameter("an id is 1 to 128 of A-Z a-z 0-9 . _ : -", param_hint="--conversation")
    if not yes:
        whose = f" of {principal}" if principal else ""
        click.confirm(f"Erase the conversation {conversation}{whose} for good?", abort=True)
    with _beside(_settings(config)) as log:
        asyncio.run(log.forget(conversation, principal))
    click.echo(f"Conversation {conversation} is forgotten.")


def _settings(config: Path | None) -> StoreSettings:
    settings, warnings = load(config)
    for warning in warnings:
        if not warning.startswith("upstreams."):  # They are about the answers to come.
            click.echo(f"warning: {warning}", err=True)
    return settings.store


@contextmanager
def _beside(settings: StoreSettings) -> Iterator[Beside]:
    from trunkline.beside import Beside  # noqa: PLC0415 - the log is slow to import

    log = Beside(settings)
    if log.records.unseen:
        click.echo(f"warning: {log.records.unseen}", err=True)
    try:
        yield log
    finally:
        log.close()


def _turn_id(text: str) -> str:
    if not is_turn_id(text):
        raise TurnNotFound(text, whose=": an id is turn_ and 32 hex digits")
    return text


def _facts(record: TurnRecord) -> dict[str, Any]:
    started, ended = record.started, record.ended
    return {
        "id": started.turn,
        "state": "ended" if ended else "open",
        "outcome": ended.outcome if ended else None,
        "reason": ended.reason if ended else None,
        "created_at": started.created_at,
        "ended_at": None if record.ended_ms is None else iso(record.ended_ms),
        "principal": started.principal,
        "upstream": started.upstream,
        "model": started.model,
        "endpoint": started.endpoint,
        "conversation_id": started.conversation_id,
        "session_id": started.session_id,
        "prompt_tokens": started.prompt_tokens,
        "completion_tokens": record.usage.completion_tokens if record.usage else None,
        "heard_upto": ended.heard_upto if ended else None,
        "tail": record.tail,
    }


def _line(record: TurnRecord) -> str:
    started, ended = record.started, record.ended
    end = f"{ended.outcome}/{ended.reason}" if ended else "open"
    words = [started.turn, started.created_at, f"{end:28}", started.principal, started.upstream]
    return "  ".join([*words, started.conversation_id]).rstrip()
