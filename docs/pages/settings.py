"""The page of settings: every key of every section, from the models that check them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import BaseModel

from pages.markdown import Undescribed, code, page, paragraphs, table
from pages.words import Schema, alternatives, bounds_in_words, model_of, type_in_words, values_of
from trunkline.config import Settings

TOP: Final = "Before the first section"
INTRO: Final = """\
Everything that can stand in `trunkline.toml`. The file is named by `--config`, else by the variable
`TRUNKLINE_CONFIG`, else it is the one in the current folder. A key that is not listed here is refused; `trunkline
check` names all faults at once.

The end of a name says its unit: `_s` seconds, `_ms` milliseconds, `_bytes` bytes, `_chars` characters. NAME is a name
of your choice. A secret is written `env:VARIABLE`, `file:PATH` (a file that holds nothing else) or, with a warning,
as it is. What is neither a list nor in one (`[[...]]`) can also be set from the environment:
`TRUNKLINE__SERVER__PORT=9000` sets `port` of `[server]`."""


def settings_page(settings: type[BaseModel] = Settings) -> str:
    """Write the page. Raises `Undescribed` where a key has no description or a section no docstring."""
    schema = settings.model_json_schema()
    parts = []
    for heading, text, section in _sections(schema, schema.get("$defs", {})):
        keys = [
            _row(heading, name, prop, required=name in section.get("required", ()))
            for name, prop in section["properties"].items()
            if _section_in(prop) is None
        ]
        if keys:
            parts += [f"## {heading}", text, table(("key", "type", "default", "bounds", "meaning"), keys)]
    return page("Settings", INTRO, *parts)


def _sections(
    section: Schema, models: Mapping[str, Schema], heading: str = TOP, text: str = ""
) -> Iterator[tuple[str, str, Schema]]:
    """Find a section and those below it, each with its heading as the file has it and what is said about it."""
    yield heading, text, section
    place = "" if heading == TOP else heading.strip("`[]") + "."
    for name, prop in section["properties"].items():
        found = _section_in(prop)
        if found is not None:
            model, form = models[found[0]], found[1]
            inner = f"`{form.format(place + name)}`"
            yield from _sections(model, models, inner, _section_text(inner, prop, model))


def _section_in(prop: Schema) -> tuple[str, str] | None:
    """Return the model that a key holds and how its section is written, or None where the key holds a plain value."""
    inner, *others = alternatives(prop)
    form = "[{}]"
    if "items" in inner:
        inner, form = inner["items"], "[[{}]]"
    elif (values := values_of(inner)) is not None:
        inner, form = values, "[{}.NAME]"
    return None if others or "$ref" not in inner else (model_of(inner), form)


def _section_text(heading: str, prop: Schema, model: Schema) -> str:
    """Join what a section's key and its model say, without the name of the section, which the heading says already."""
    if not model.get("description"):
        raise Undescribed(f"the model of the section {heading} has no docstring")
    text = re.sub(r"^(One )?`\[.*?\]+`[^\w`]*", "", paragraphs(model["description"]))
    return " ".join(filter(None, [prop.get("description"), text[:1].upper() + text[1:]]))


def _row(heading: str, name: str, prop: Schema, *, required: bool) -> tuple[str, ...]:
    description = prop.get("description")
    if not description:
        raise Undescribed(f"the key {name} of {heading} has no description")
    given = prop.get("default")
    default = "**required**" if required else "none" if given in (None, [], {}) else code(given)
    return f"`{name}`", type_in_words(prop), default, bounds_in_words(prop), description
