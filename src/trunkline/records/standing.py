"""What outlives the process beside turns: claims, conversation keys, requests to forget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from trunkline.records.base import IN_ONE_STATEMENT, Database, Insert
from trunkline.records.tables import CLAIMS, CONVERSATION_KEYS, FORGET_REQUESTS
from trunkline.stores.archive import Claim, ConversationKey

_CLAIMED: Final = (
    select(CLAIMS)
    .where(CLAIMS.c.kind == bindparam("of_kind"), CLAIMS.c.until_ms > bindparam("now_ms"))
    .order_by(CLAIMS.c.until_ms.desc(), CLAIMS.c.key.desc())
    .limit(bindparam("at_most"))
)
# Emptied in place: SQLite moves the neighbours of rows that are deleted, and leaves copies of them behind.
_ERASE: Final = update(CLAIMS).where(CLAIMS.c.turn.in_(bindparam("turns", expanding=True))).values(about=b"")
_RELEASE: Final = delete(CLAIMS).where(CLAIMS.c.kind == bindparam("of_kind"), CLAIMS.c.key == bindparam("of_key"))

_CONVERSATIONS: Final = (
    select(CONVERSATION_KEYS)
    .order_by(CONVERSATION_KEYS.c.used_ms.desc(), CONVERSATION_KEYS.c.conversation_id.desc())
    .limit(bindparam("at_most"))
)
_FORGET_CONVERSATION: Final = delete(CONVERSATION_KEYS).where(
    CONVERSATION_KEYS.c.principal == bindparam("of_principal"),
    CONVERSATION_KEYS.c.conversation_id == bindparam("of_conversation"),
)

_ASKED: Final = select(
    FORGET_REQUESTS.c.number,
    FORGET_REQUESTS.c.conversation_id,
    FORGET_REQUESTS.c.principal,
    func.coalesce(FORGET_REQUESTS.c.why, ""),
).order_by(FORGET_REQUESTS.c.number)
_ASKED_ONE: Final = _ASKED.where(FORGET_REQUESTS.c.number == bindparam("of_number"))
_DELAY: Final = (
    update(FORGET_REQUESTS).where(FORGET_REQUESTS.c.number == bindparam("of_number")).values(why=bindparam("because"))
)
_DONE: Final = delete(FORGET_REQUESTS).where(FORGET_REQUESTS.c.number == bindparam("of_number"))


class ForgetRequest(NamedTuple):
    """What another process asks the relay to erase: a conversation, of one principal or, with None, of all.

    `why` says what was in the way when it was tried last; empty where nothing was.
    """

    number: int
    conversation_id: str
    principal: str | None
    why: str = ""


class ClaimRows:
    """`claims`; the caller holds the transaction."""

    def __init__(self, database: Database) -> None:
        self._keep = _replacing(database.insert(CLAIMS), ("kind", "key"), ("turn", "until_ms", "about"))

    def keep(self, connection: Connection, claims: Sequence[Claim]) -> None:
        """Keep claims; a later one replaces that of the same kind and key."""
        connection.execute(self._keep, [claim._asdict() for claim in claims])

    def erase(self, connection: Connection, turn_ids: Sequence[str]) -> None:
        """Erase what the claims of turns were used for; that they were used is known until their time is over."""
        for start in range(0, len(turn_ids), IN_ONE_STATEMENT):
            connection.execute(_ERASE, {"turns": turn_ids[start : start + IN_ONE_STATEMENT]})

    def release(self, connection: Connection, claims: Sequence[tuple[str, str]]) -> None:
        """Drop claims, given as (kind, key)."""
        connection.execute(_RELEASE, [{"of_kind": kind, "of_key": key} for kind, key in claims])

    def of(self, connection: Connection, kind: str, now_ms: int, limit: int) -> list[Claim]:
        """Return the claims of a kind that stand at a time: the `limit` that stand longest, the longest last."""
        rows = connection.execute(_CLAIMED, {"of_kind": kind, "now_ms": now_ms, "at_most": limit}).all()
        return [Claim(*row) for row in reversed(rows)]


class ConversationRows:
    """`conversation_keys`; the caller holds the transaction."""

    def __init__(self, database: Database) -> None:
        keys = database.insert(CONVERSATION_KEYS)
        self._keep = _replacing(keys, ("principal", "conversation_id"), ("key", "names", "used_ms"))

    def keep(self, connection: Connection, rows: Sequence[ConversationKey]) -> None:
        """Keep keys; a later one replaces that of the same conversation."""
        connection.execute(self._keep, [row._asdict() for row in rows])

    def newest(self, connection: Connection, limit: int) -> list[ConversationKey]:
        """Return the keys of the `limit` conversations that were used last, the last one last."""
        rows = connection.execute(_CONVERSATIONS, {"at_most": limit}).all()
        return [ConversationKey(*row) for row in reversed(rows)]

    def forget(self, connection: Connection, rows: Sequence[tuple[str, str]]) -> None:
        """Drop the keys of conversations, given as (principal, conversation id)."""
        found = [{"of_principal": principal, "of_conversation": conversation} for principal, conversation in rows]
        connection.execute(_FORGET_CONVERSATION, found)


class ForgetRequestRows:
    """`forget_requests`; the caller holds the transaction."""

    def add(self, connection: Connection, conversation_id: str, principal: str | None, now_ms: int) -> int:
        """Write a request down; return its number, which no other one ever gets."""
        row = {"conversation_id": conversation_id, "principal": principal, "asked_ms": now_ms}
        key = connection.execute(insert(FORGET_REQUESTS), row).inserted_primary_key
        return int(key[0]) if key else 0

    def all(self, connection: Connection) -> list[ForgetRequest]:
        """Return the requests that are not done, the oldest first."""
        return [ForgetRequest(*row) for row in connection.execute(_ASKED)]

    def get(self, connection: Connection, number: int) -> ForgetRequest | None:
        """Return a request, or None once it is done."""
        row = connection.execute(_ASKED_ONE, {"of_number": number}).one_or_none()
        return None if row is None else ForgetRequest(*row)

    def delay(self, connection: Connection, number: int, why: str) -> None:
        """Note what is in the way of a request."""
        connection.execute(_DELAY, {"of_number": number, "because": why})

    def done(self, connection: Connection, number: int) -> None:
        """Drop a request."""
        connection.execute(_DONE, {"of_number": number})


def _replacing(statement: Insert, key: Sequence[str], rest: Sequence[str]) -> Insert:
    return statement.on_conflict_do_update(index_elements=key, set_={name: statement.excluded[name] for name in rest})
