"""Writes what must outlive the process beside the turns: soon after it is known, and much of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from trunkline.guards.actions import Secrets
from trunkline.records.records import Records
from trunkline.stores.archive import Claim, ConversationKey
from trunkline.telemetry import Fact, StoreFailed
from trunkline.threads import in_thread

MAX_WAITING: Final = 100_000  # bounds the memory where the records take nothing; the oldest go first
AGAIN_S: Final = 1.0
LIMIT_S: Final = 5.0  # for those who wait until something is written
T = TypeVar("T")


class Recorder:
    """Collects claims and the keys of conversations, and writes them in a thread, the newest of each once."""

    def __init__(self, records: Records, wall_ms: Callable[[], int], tell: Callable[[Fact], None]) -> None:
        self._records = records
        self._wall_ms = wall_ms
        self._tell = tell
        self._claims: dict[tuple[str, str], Claim] = {}
        self._conversations: dict[tuple[str, str], ConversationKey | None] = {}
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    def claim(self, claim: Claim) -> None:
        """Something stands for a turn from now on."""
        _put(self._claims, (claim.kind, claim.key), claim)
        self._something.set()

    def conversation(self, principal: str, conversation_id: str, secrets: Secrets | None) -> None:
        """A conversation has these secrets from now on; None: it is forgotten."""
        row = None
        if secrets is not None:
            names = msgspec.json.encode(secrets.named)
            row = ConversationKey(principal, conversation_id, secrets.key, names, self._wall_ms())
        _put(self._conversations, (principal, conversation_id), row)
        self._something.set()

    async def run(self) -> None:
        """Write as things come, until cancelled."""
        while True:
            await self._something.wait()
            if not await self.flush():
                await asyncio.sleep(AGAIN_S)

    async def flush(self) -> bool:
        """Write all that waits; False where that failed or takes too long, and it waits on.

        Whoever stops waiting changes nothing.
        """
        try:
            async with asyncio.timeout(LIMIT_S):
                return await asyncio.shield(asyncio.ensure_future(self._flush()))
        except TimeoutError:
            self._tell(StoreFailed("record", "no answer"))
            return False

    async def _flush(self) -> bool:
        async with self._writing:
            self._something.clear()
            if not self._claims and not self._conversations:
                return True
            claims, self._claims = self._claims, {}
            conversations, self._conversations = self._conversations, {}
            try:
                await in_thread(self._write, claims, conversations)
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing is lost by trying again
                self._tell(StoreFailed("record", type(error).__name__))
                self._claims = _newest(claims | self._claims)
                self._conversations = _newest(conversations | self._conversations)
                self._something.set()
                return False
            return True

    def _write(
        self, claims: dict[tuple[str, str], Claim], conversations: dict[tuple[str, str], ConversationKey | None]
    ) -> None:
        self._records.claim(list(claims.values()))
        self._records.keep_conversations([row for row in conversations.values() if row is not None])
        self._records.forget_conversations([name for name, row in conversations.items() if row is None])


def secrets_of(row: ConversationKey) -> Secrets:
    """Return the secrets that were recorded."""
    return Secrets(row.key, msgspec.json.decode(row.names, type=list[tuple[str, str]]))


def _put(table: dict[tuple[str, str], T], key: tuple[str, str], row: T) -> None:
    table.pop(key, None)
    table[key] = row
    if len(table) > MAX_WAITING:
        del table[next(iter(table))]


def _newest(table: dict[tuple[str, str], T]) -> dict[tuple[str, str], T]:
    return dict(list(table.items())[-MAX_WAITING:])
