"""Reads what a client says over a WebSocket: the fields of its messages, and what its prompt directs."""

from __future__ import annotations

from trunkline.simulators.base import UnknownWordError
from trunkline.simulators.directives import Directives, read
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.fields import FieldsError, T, parse, read_as
from trunkline.simulators.web_socket import HangUpError

# Close codes of a platform's own are 4000 and the status that HTTP would have.
BAD_REQUEST = 4400
FORBIDDEN = 4403
NOT_FOUND = 4404
NO_SLOT = 4429
FAILED = 4500

# What these words strike has happened by the time that a message comes.
_TOO_LATE = (
    "refuse",
    "stall",
    "slow-headers",
    "late-101",
    "unauthorized-once",
    "status",
    "retry-after",
    "retry-after-date",
    "redirect",
    "html",
    "garbage",
    "limit-headers",
    "revoked",
    "handshake",
    "speaks-first",
)


def read_json(message: str) -> object:
    """Read a message as JSON; raises `HangUpError`."""
    try:
        return parse(message)
    except FieldsError as problem:
        raise HangUpError(BAD_REQUEST, f"{problem}", rule="json") from problem


def read_message(message: str, kind: type[T]) -> T:
    """Read a message as a `kind` (a msgspec Struct); raises `HangUpError`."""
    try:
        return read_as(read_json(message), kind)
    except FieldsError as problem:
        raise HangUpError(BAD_REQUEST, f"{problem}", rule="fields") from problem


def read_directives(exchange: Exchange, prompt: str) -> Directives:
    """Read what `prompt` directs and take its faults; raises `HangUpError`."""
    try:
        directives = read(prompt, exchange.settings.texts)
    except UnknownWordError as problem:
        raise HangUpError(BAD_REQUEST, f"{problem}", rule="fields") from problem
    late = next((word for word in _TOO_LATE if directives.faults.has(word)), None)
    if late:
        words = f'fault "{late}" strikes before there is a message: POST it to /_sim/faults'
        raise HangUpError(BAD_REQUEST, words, rule="fields")
    exchange.add_faults(directives.faults)
    return directives


def interval_ms(exchange: Exchange, directives: Directives) -> float:
    """Give the time between two pieces."""
    return exchange.settings.interval_ms if directives.interval_ms is None else directives.interval_ms
