"""Turns to archive, and a place to archive them in that a test can look behind."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

from trunkline.core.events import AnyEvent, Delta, Ended, Entry, Guarded, Started, ToolCall, Usage
from trunkline.records.records import Records
from trunkline.stores.settings import StoreSettings


def turn_id(number: int) -> str:
    return f"turn_{number:032x}"


def turn(
    number: int,
    *texts: str,
    principal: str = "anna",
    conversation: str = "c1",
    ended_ms: int | None = None,
    detail: str = "",
) -> list[Entry]:
    """The entries of an ended turn, from the first millisecond of its number on."""
    usage = Usage(3, len(texts), 3 + len(texts), "relay")
    events: list[AnyEvent] = [
        Started(
            turn=turn_id(number),
            principal=principal,
            upstream="support",
            model="sim-model",
            created_at="2026-11-21T10:00:00.000Z",
            endpoint="native",
            conversation_id=conversation,
        ),
        *(Delta(piece, 0) for piece in texts),
        usage,
        Ended("completed", "stop", "stop", detail=detail, usage=usage),
    ]
    entries = [Entry(offset, number * 1_000 + offset, event) for offset, event in enumerate(events, 1)]
    if ended_ms is not None:
        entries[-1].at_ms = ended_ms
    return entries


def every_kind_of_event() -> list[Entry]:
    """A turn with what JSON and databases find hard, and a gap in its offsets."""
    entries = turn(1, "Grüße, 世界 🎉", 'quote " backslash \\ null \0 \u2028', detail="the platform's words")
    more = [
        ToolCall(0, 0, "call_1", "look_up", '{"a":'),
        Guarded("de-iban", "mask", 3, 25, 3, 6, "abc"),
        Delta("because", 1, "reasoning"),
    ]
    entries[2:2] = [Entry(0, 1_003, event) for event in more]
    for offset, entry in enumerate(entries, 1):
        entry.offset = offset if offset < 4 else offset + (1 << 20)
    return entries


def ids(found: list[Any]) -> list[int]:
    """The numbers of listed turns."""
    return [int(record.started.turn.removeprefix("turn_"), 16) for record in found]


def plain(entries: list[Entry] | None) -> list[tuple[int, int, AnyEvent]]:
    """What makes entries equal."""
    assert entries is not None
    return [(entry.offset, entry.at_ms, entry.event) for entry in entries]


class Place(ExitStack):
    """A database that is opened as the relay does, and behind its back."""

    def __init__(self, settings: StoreSettings, engine: Engine) -> None:
        super().__init__()
        self.settings = settings
        self.engine = engine
        self.callback(engine.dispose)

    @classmethod
    def sqlite(cls, folder: Path) -> Place:
        return cls(StoreSettings(data_dir=folder), create_engine(f"sqlite:///{folder}/trunkline.sqlite"))

    @classmethod
    def postgresql(cls, url: str) -> Place:
        settings = StoreSettings(database=url)
        return cls(settings, create_engine(url.replace("postgresql:", "postgresql+psycopg:")))

    def open(self) -> Records:
        records = Records.open(self.settings)
        self.callback(records.close)
        return records

    def run(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []
