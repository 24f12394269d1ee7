"""The page of the command line: every command with its options, as click knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from pages.markdown import Undescribed, block, page, paragraphs, table
from pages.words import range_in_words
from trunkline.cli import cli

INTRO: Final = """\
Each command also has `--help`. The exit code is 0 where all went well, 1 where what was asked for did not come out (a
turn that failed, a check that found a fault), 2 where the command, the settings or the request are wrong, and 130
where Ctrl-C broke it off, or a question (`Erase ... for good?`) was not answered with yes. Ctrl-C is the usual end of
`serve`, `simulate` and, once its story is told, `demo`: they end with 0."""


def command_line_page(group: click.Group = cli) -> str:
    """Write the page. Raises `Undescribed` where a command has no help."""
    return page("The command line", INTRO, *_commands(group, click.Context(group, info_name="trunkline")))


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.commands[name]
        below = click.Context(command, info_name=name, parent=context, show_default=True)
        if isinstance(command, click.Group):
            yield from _commands(command, below)
            continue
        if not command.help:
            raise Undescribed(f"the command `{below.command_path}` has no help")
        yield f"## `{below.command_path}`"
        yield paragraphs(command.help)
        yield block("text", " ".join([below.command_path, *command.collect_usage_pieces(below)]))
        options = [option for option in command.params if isinstance(option, click.Option)]
        if options:
            rows = [_row(option, below) for option in options]
            yield table(("option", "default", "bounds", "meaning"), rows)


def _row(option: click.Option, context: click.Context) -> tuple[str, str, str, str]:
    spelling, _ = option.get_help_record(context) or (option.opts[0], "")
    default = option.get_help_extra(context).get("default")
    kind = option.type
    bounds = range_in_words(kind.min, kind.max) if isinstance(kind, click.IntRange | click.FloatRange) else ""
    return f"`{spelling.removesuffix(' RANGE')}`", f"`{default}`" if default else "", bounds, option.help or ""
