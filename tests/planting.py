"""Words that nobody else would say, planted wherever a conversation has words, and a process that dies forgetting them.

python -m planting FOLDER plant | relay | command  [the place to die at]
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from trunkline.app import Relay
from trunkline.beside import Beside
from trunkline.config import parse
from trunkline.core.events import Delta, Ended, Guarded, Notice, Started, ToolCall
from trunkline.core.ids import turn_id
from trunkline.records.records import Records
from trunkline.records.sqlite import SqliteFile
from trunkline.records.standing import ClaimRows
from trunkline.repeats import Question, Repeats
from trunkline.storage import wall_ms
from trunkline.stores.archive import Claim
from trunkline.stores.files import Disk

PIECE = 16
"""So many bytes of something compressed or secret are no accident where they are found."""


def settings_of(folder: Path, **store: Any) -> dict[str, Any]:
    upstream = {"preset": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "guards": "none"}
    return {"store": {"data_dir": str(folder), "take_over_s": 0, **store}, "upstreams": {"support": upstream}}


def word() -> str:
    return secrets.token_hex(12)


async def plant(relay: Relay, conversation: str, *, ends: bool = True) -> str:
    """Let a turn say a new word in every channel; return it once all that outlives the process is in the files."""
    planted, log, durable = word(), relay.turns.house.log, relay.storage.durable
    assert durable is not None
    turn = log.create(turn_id(wall_ms(), os.urandom(10)))
    started = Started(
        turn=turn.id,
        principal="local",
        upstream="support",
        model="m",
        created_at="2026-11-21T10:00:00.000Z",
        endpoint="native",
        conversation_id=conversation,
    )
    kept = relay.turns.house.conversations.secrets("local", conversation)
    digest = kept.digest("terms", planted)
    kept.pseudonym("terms", digest)
    relay.turns.house.conversations.used("local", conversation)
    said = [
        Notice("note", planted),
        *(Delta(f"{planted} {secrets.token_hex(200)}", 0, channel) for channel in ("reasoning", "refusal", "answer")),
        ToolCall(0, 0, "call_1", planted, f'{{"a": "{planted}"}}'),
        Guarded("terms", "pseudonym", 0, 9, 0, 9, digest, "term"),
    ]
    log.append(turn, [started, *said])
    if ends:
        log.append(turn, [Ended("failed", "platform_error", detail=planted)])
    repeats = Repeats(wall_ms, (), relay.storage.record, key=relay.storage.key)
    repeats.record(repeats.keep("local", f"key {planted}", f"body {planted}".encode(), turn.id))
    asked = repeats.digest(Question("local", "s", conversation, planted, ""))
    durable.recorder.claim(Claim("ticket", planted[:8], turn.id, wall_ms() + 99_000, asked))
    log.flush()
    await durable.store.settle()
    assert await durable.recorder.flush()
    return planted


def traces_of(folder: Path, conversation: str) -> set[bytes]:
    """What the database has of a conversation in another form than words: compressed, or as keys and keyed digests."""
    with closing(sqlite3.connect(folder / "trunkline.sqlite")) as database:
        turns = database.execute("SELECT id FROM turns WHERE conversation_id = ?", (conversation,)).fetchall()
        blobs = [
            *(database.execute("SELECT entries FROM turn_logs WHERE id = ?", turn).fetchone() for turn in turns),
            *(row for turn in turns for row in database.execute("SELECT about FROM claims WHERE turn = ?", turn)),
            *database.execute("SELECT key FROM conversation_keys WHERE conversation_id = ?", (conversation,)),
        ]
    return {blob[at : at + PIECE] for (blob,) in blobs for at in range(2, len(blob) - PIECE + 1, PIECE)}


def found(folder: Path, traces: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Search every byte of every file."""
    held = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [(name, trace) for trace in traces for name, data in held.items() if trace in data]


# A process that dies


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str) -> Callable[[], None]:
    return lambda: setattr(owner, name, die)


def _behind(owner: Any, name: str) -> Callable[[], None]:
    def install() -> None:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> None:
            real(*args, **kwargs)
            die()

        setattr(owner, name, call)

    return install


KEYS = "before the keys"
PLACES: dict[str, Callable[[], None]] = {
    "before the archive": _before(Records, "forget"),
    "in the archive's transaction": _before(ClaimRows, "erase"),
    "behind the archive": _behind(Records, "forget"),
    "before the words in the journal": _before(Disk, "write"),
    "behind some words in the journal": _behind(Disk, "write"),
    "behind all words in the journal": _before(Disk, "sync"),
    "before the heads in the journal": _behind(Disk, "sync"),
    KEYS: _before(Records, "forget_conversations"),
    "before the wipe": _before(SqliteFile, "wipe"),
    "in the wipe": _before(SqliteFile, "_checkpoint"),
    "behind the wipe": _behind(Records, "wipe"),
}
UNDONE = ("before the archive", "in the archive's transaction")
"""Where nothing is forgotten yet."""


async def _plant_and(folder: Path, then: Callable[[Relay], Any]) -> None:
    async with Relay(parse(settings_of(folder))) as relay:
        planted = [await plant(relay, "c-1"), await plant(relay, "c-1"), await plant(relay, "c-1", ends=False)]
        kept = await plant(relay, "c-2")
        print(*planted, kept, *(trace.hex() for trace in traces_of(folder, "c-1")), flush=True)  # noqa: T201 - for us
        await then(relay)


async def _forget(relay: Relay, place: str) -> None:
    PLACES[place]()
    await relay.turns.forget_conversation("c-1", None)


async def _command(folder: Path, place: str) -> None:
    PLACES[place]()
    await Beside(parse(settings_of(folder)).store).forget("c-1", None)


async def _die(_: Relay) -> None:
    die()


def main(folder: Path, role: str, place: str = "") -> None:
    if role == "plant":
        asyncio.run(_plant_and(folder, _die))
    elif role == "relay":
        asyncio.run(_plant_and(folder, lambda relay: _forget(relay, place)))
    else:
        asyncio.run(_command(folder, place))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
