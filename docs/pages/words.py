"""JSON Schema in plain words: what a value may be, and what it must keep to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pages.markdown import Undescribed, code

Schema = Mapping[str, Any]

TYPES: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
FORMATS: Final = {"uri": "address", "password": "secret", "path": "path"}


def type_in_words(schema: Schema) -> str:
    """Name a type as a person would. Null has no name: TOML and the native wire leave out what has no value."""
    kind = schema.get("type")
    if "anyOf" in schema:
        return " or ".join(type_in_words(one) for one in alternatives(schema))
    if "enum" in schema or "const" in schema:
        *others, last = map(code, schema.get("enum") or [schema["const"]])
        return f"{', '.join(others)} or {last}" if others else last
    if "$ref" in schema:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", model_of(schema)).lower()
        return f"[`{name}`](#{name})"
    if kind == "array":
        return f"list of {_several(type_in_words(schema['items']))}"
    if kind == "object":
        inner = values_of(schema)
        return f"table of {_several(type_in_words(inner))}" if inner else "table"
    if kind in TYPES:
        return FORMATS.get(str(schema.get("format")), TYPES[kind])
    raise Undescribed(f"there are no words for the type {json.dumps(schema)}")


def bounds_in_words(schema: Schema) -> str:
    """Say what a value must keep to besides its type; empty where there is nothing."""
    if "anyOf" in schema:
        return ", or ".join(filter(None, map(bounds_in_words, alternatives(schema))))
    if schema.get("format") in FORMATS:
        return ""
    words = [
        f"more than {_plain(schema['exclusiveMinimum'])}" if "exclusiveMinimum" in schema else "",
        range_in_words(schema.get("minimum"), schema.get("maximum")),
        f"less than {_plain(schema['exclusiveMaximum'])}" if "exclusiveMaximum" in schema else "",
        _size(schema, "Length", "characters"),
        _size(schema, "Items", "of them"),
        _size(schema, "Properties", "of them"),
        f"like `{schema['pattern']}`" if "pattern" in schema else "",
    ]
    inner = schema.get("items") or values_of(schema)
    if inner and (each := bounds_in_words(inner)):
        words.append(f"each {each}")
    return ", ".join(filter(None, words))


def range_in_words(least: float | None, most: float | None) -> str:
    """Say from where to where a number goes; empty where it has no bound."""
    if least is not None and most is not None:
        return f"{_plain(least)} to {_plain(most)}"
    if least is not None:
        return f"at least {_plain(least)}"
    return "" if most is None else f"at most {_plain(most)}"


def alternatives(schema: Schema) -> list[Schema]:
    """Return the types that a value may have, without null."""
    return [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]


def values_of(schema: Schema) -> Schema | None:
    """Return the type of a table's values, where they have one whatever their names are."""
    inner = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
    return inner if isinstance(inner, Mapping) and inner else None


def model_of(schema: Schema) -> str:
    """Return the name of the model that a reference points to."""
    return str(schema["$ref"]).rpartition("/")[2]


def _size(schema: Schema, of: str, unit: str) -> str:
    least, most = schema.get(f"min{of}"), schema.get(f"max{of}")
    if (least, most) == (1, None):
        return "not empty"
    words = range_in_words(least, most)
    return f"{words} {unit}" if words else ""


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _several(words: str) -> str:
    """Make the plural of a type that has one word of its own; a row of values stays as it is."""
    if not words.replace(" ", "").isalpha():
        return words
    return f"{words}es" if words.endswith("s") else f"{words}s"
