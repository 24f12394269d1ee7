"""Records for a journal, and what a test sees of its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trunkline.core.events import AnyEvent, Delta, Ended, Entry, Started, Usage
from trunkline.stores.journal import Journal
from trunkline.stores.segment import HEAD_BYTES, Batch

SMALL = 4_096
"""Bytes of a segment, so that a few records fill one."""
COMPLETED = Ended("completed", "stop", "stop", usage=Usage(3, 1, 4, "platform"))


def turn_id(number: int) -> str:
    return f"turn_{number:032x}"


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def started(number: int, conversation: str = "c1") -> Started:
    return Started(
        turn=turn_id(number),
        principal="anna",
        upstream="support",
        model="sim-model",
        created_at="2026-11-21T10:00:00.000Z",
        endpoint="native",
        conversation_id=conversation,
        prompt_tokens=3,
    )


def entries(*events: AnyEvent, first: int = 1, at_ms: int = 1_000) -> list[Entry]:
    return [Entry(offset, at_ms, event) for offset, event in enumerate(events, first)]


def beginning(number: int, *texts: str) -> Batch:
    """The record of a turn that has begun and said something."""
    return Batch(key(number), entries(started(number), *(Delta(text, 0) for text in texts)), last=False)


def more(number: int, *texts: str, first: int, at_ms: int = 1_000) -> Batch:
    return Batch(key(number), entries(*(Delta(text, 0) for text in texts), first=first, at_ms=at_ms), last=False)


def end(number: int, first: int, ended: Ended = COMPLETED) -> Batch:
    return Batch(key(number), entries(ended, first=first), last=True)


def whole_turn(number: int, *texts: str) -> Batch:
    return Batch(key(number), entries(started(number), *(Delta(t, 0) for t in texts), COMPLETED), last=True)


def size_of(batch: Batch) -> int:
    """How many bytes of a segment it takes."""
    return HEAD_BYTES + 2 + sum(len(entry.json) for entry in batch.entries) + len(batch.entries) - 1


def plain(found: Iterable[Entry]) -> list[tuple[int, int, AnyEvent]]:
    """What makes entries equal."""
    return [(entry.offset, entry.at_ms, entry.event) for entry in found]


def text_of(found: Iterable[Entry]) -> str:
    return "".join(entry.event.text for entry in found if isinstance(entry.event, Delta))


def keys_in(journal: Journal, segment: int) -> list[bytes]:
    return [turn for _, _, turn in journal.scan(segment).records]


def path_of(folder: Path, segment: int) -> Path:
    return folder / f"{segment:016d}.journal"


def is_anywhere(folder: Path, words: str) -> bool:
    """Tell whether a text stands in any file below a folder."""
    return any(words.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def open_files() -> set[str]:
    """The descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}
