"""Reads the JSON of platforms, some of which cut a character in two and send each half as an escape of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a reader raises: the bytes are no JSON, or not of its shape."""


def reader(shape: type[T]) -> Callable[[bytes], T]:
    """Make a function that reads bytes as a `shape`, and raises one of `UNREADABLE` where they are none.

    Half a character stays a lone surrogate in the strings, to be joined with the other half.
    """
    decode = msgspec.json.Decoder(shape).decode

    def read(data: bytes) -> T:
        try:
            return decode(data)
        except msgspec.DecodeError:
            if b"\\ud" not in data and b"\\uD" not in data:
                raise
            return msgspec.convert(json.loads(data), shape)

    return read
