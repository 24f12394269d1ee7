"""What a durable store asks of an archive, where ended turns rest; and what else outlives the process with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from trunkline.core.events import Entry
from trunkline.core.record import TurnRecord
from trunkline.stores.base import Query


class Claim(NamedTuple):
    """Something that stands for a turn until a time: an idempotency key, a ticket. `about` is what it was used for."""

    kind: str
    key: str
    turn: str
    until_ms: int
    about: bytes = b""


class ConversationKey(NamedTuple):
    """What a conversation's digests and pseudonyms are made with: no value of it, nor a way to one."""

    principal: str
    conversation_id: str
    key: bytes
    names: bytes
    used_ms: int


class Archive(Protocol):
    """Keeps ended turns for their retention. Its methods block, and may be called from several threads."""

    def keep(self, turn_id: str, entries: Sequence[Entry]) -> None:
        """Keep an ended turn, in one transaction with all that its end sets in motion.

        Doing it again changes nothing, and a turn that was forgotten stays so.
        """

    def find(self, turn_id: str) -> list[Entry] | None:
        """Return the entries of a turn. Raises `TurnForgotten`."""

    def known(self, turn_ids: Sequence[str]) -> dict[str, bool]:
        """Tell which of these turns the archive has heard of: True where it keeps them, False where it forgot them."""

    def list(self, query: Query) -> list[TurnRecord]:
        """Return ended turns without their texts, the newest first."""

    def forget(self, turns: Sequence[tuple[str, str]], now_ms: int) -> None:
        """Erase turns, given as (id, principal); also of one that was never kept it is known from now on."""

    def expire(self, ended_before_ms: int, now_ms: int, limit: int) -> int:
        """Erase up to `limit` turns that ended before a time, and what else is past its time; return how many."""

    def close(self) -> None:
        """Let go of the database."""
