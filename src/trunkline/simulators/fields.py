"""Reads what a client sent against the fields of a wire: these and no others, within their limits."""

from __future__ import annotations

import json
from typing import NoReturn, TypeVar

import msgspec

T = TypeVar("T")


class FieldsError(ValueError):
    """A message is not as the wire wants it; says which field, and what was expected."""


def parse(text: str | bytes) -> object:
    """Read JSON; raises `FieldsError` where it is none, not even with the numbers that Python would allow."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as problem:
        raise FieldsError(f"the message is not valid JSON: {problem}") from None


def read_as(value: object, kind: type[T]) -> T:
    """Give `value` as a `kind` (a msgspec Struct); raises `FieldsError`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        raise FieldsError(str(problem)) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
