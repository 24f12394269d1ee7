"""Fills a data folder as a busy relay that was killed leaves it, through the relay's own archive and journal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import msgspec

from bench.guard_texts import PROSE
from trunkline.core.events import Delta, Ended, Entry, Started, Usage
from trunkline.core.ids import turn_id
from trunkline.core.times import iso
from trunkline.records.records import Records
from trunkline.stores.files import Disk
from trunkline.stores.folder import Folder
from trunkline.stores.journal import SEGMENT_BYTES, Journal
from trunkline.stores.recovery import key_of
from trunkline.stores.segment import Batch
from trunkline.stores.settings import StoreSettings

DELTAS: Final = 500
PHRASE_WORDS: Final = 6  # with its head, a record of one phrase has some 120 bytes
TEXTS: Final = 50
PACE_MS: Final = 20
AGE_MS: Final = 3_600_000  # so long ago the first turn began: no retention that anybody sets is over


class Scale(NamedTuple):
    """How full a folder is to be."""

    archived: int
    """Turns in the archive."""
    segments: int
    """Full segments of the journal."""
    segment_bytes: int = SEGMENT_BYTES
    at_once: int = 200
    """Turns that stream at the same time; those of the end have not ended."""


class Filled(NamedTuple):
    """What is in the folder: turns with the number of their characters, and how large it all is."""

    archived: int
    unarchived: dict[str, int]
    """Turns that have ended and are in the journal alone."""
    open: dict[str, int]
    """Turns that have not ended."""
    records: int
    journal_bytes: int
    database_bytes: int


class _Text(NamedTuple):
    deltas: list[Delta]
    json: list[bytes]
    """The same, encoded once: many turns say the same."""


def fill(data: Path, scale: Scale) -> Filled:
    """Fill a folder that does not exist yet."""
    turns = _Turns()
    folder = Folder(data)
    folder.make()
    records = Records.open(StoreSettings(data_dir=data))
    try:
        for _ in range(scale.archived):
            turn = turns.next()
            records.keep(turn.id, [entry for batch in turn.batches() for entry in batch.entries])
        database_bytes = records.size()
    finally:
        records.close()
    journal = Journal(folder.journal, Disk(), segment_bytes=scale.segment_bytes)
    journal.begin()
    try:
        unarchived, open_turns, written = _write(journal, turns, scale)
    finally:
        journal.end()
    return Filled(scale.archived, unarchived, open_turns, written, journal.bytes_used(), database_bytes)


class _Turn:
    """One turn as the journal gets it: a record for each tick."""

    def __init__(self, begun_ms: int, number: int, text: _Text) -> None:
        self.id = turn_id(begun_ms, number.to_bytes(10, "big"))
        self._begun_ms = begun_ms
        self._text = text
        self.has_begun = False
        self.chars = 0
        """What it has said so far."""

    def batches(self) -> Iterator[Batch]:
        """Make its records one after another, the last with its end."""
        key, at_ms = key_of(self.id), self._begun_ms
        started = Started(
            turn=self.id,
            principal="bench",
            upstream="bench",
            model="bench-model",
            created_at=iso(at_ms),
            endpoint="openai",
            conversation_id=f"conversation-{self.id[-6:]}",
            prompt_tokens=100,
        )
        self.has_begun = True
        yield Batch(key, [Entry(1, at_ms, started)], last=False)
        offsets = count(2)
        for offset, delta, json in zip(offsets, self._text.deltas, self._text.json, strict=False):
            at_ms += PACE_MS
            self.chars += len(delta.text)
            yield Batch(key, [Entry(offset, at_ms, delta, json)], last=False)
        usage = Usage(100, DELTAS, 100 + DELTAS, "platform")
        ended = Ended("completed", "stop", "stop", usage=usage)
        offset = DELTAS + 2
        yield Batch(key, [Entry(offset, at_ms, usage), Entry(offset + 1, at_ms, ended)], last=True)


class _Turns:
    """Makes turns, each later than the one before and each with one of some texts."""

    def __init__(self) -> None:
        random = Random(1)
        self._texts = [_text(random) for _ in range(TEXTS)]
        self._made = 0
        self._begun_ms = time.time_ns() // 1_000_000 - AGE_MS

    def next(self) -> _Turn:
        """Make the next one."""
        self._made += 1
        return _Turn(self._begun_ms + self._made, self._made, self._texts[self._made % TEXTS])


def _text(random: Random) -> _Text:
    words = PROSE["en"].split()
    deltas = [Delta("".join(f" {word}" for word in random.choices(words, k=PHRASE_WORDS)), 0) for _ in range(DELTAS)]
    return _Text(deltas, [msgspec.json.encode(delta) for delta in deltas])


class _Slot(NamedTuple):
    turn: _Turn
    batches: Iterator[Batch]


def _write(journal: Journal, turns: _Turns, scale: Scale) -> tuple[dict[str, int], dict[str, int], int]:
    """Write records tick by tick; return the turns that ended, those that did not, and how many records there are."""
    ended: dict[str, int] = {}
    slots: list[_Slot] = []
    written = 0
    while journal.number <= scale.segments:
        if len(slots) < scale.at_once:
            slots.append(_slot(turns))
        batches = []
        for place, slot in enumerate(slots):
            batch = next(slot.batches)
            batches.append(batch)
            if batch.last:
                ended[slot.turn.id] = slot.turn.chars
                slots[place] = _slot(turns)
        journal.append(batches)
        written += len(batches)
    return ended, {slot.turn.id: slot.turn.chars for slot in slots if slot.turn.has_begun}, written


def _slot(turns: _Turns) -> _Slot:
    turn = turns.next()
    return _Slot(turn, turn.batches())
