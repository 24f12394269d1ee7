"""What a relay does with the journal it finds: cut what broke off, end what was open, tell what is to be archived."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from msgspec import DecodeError

from trunkline.core.events import Delta, Ended, Entry, Started, ToolCall, Usage
from trunkline.core.record import TurnRecord, outline
from trunkline.stores.archive import Archive
from trunkline.stores.journal import PLACE_BITS, Journal, Place, segment_of
from trunkline.stores.segment import ERASED, LAST, Batch, Damage
from trunkline.stores.shown import EVERYTHING
from trunkline.tokens import count

JUMP: Final = 1 << 20
"""How far offsets jump at a recovery: whoever holds one from before that is lost is told, and none is used twice."""
_ASKED_AT_ONCE: Final = 500
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Left:
    """A turn of which the journal holds entries, and where; `ended` and `summary` once it has its end."""

    key: bytes
    places: array[int]
    ended: bool = False
    summary: TurnRecord | None = None
    unkept: list[Entry] | None = None
    """All its entries, where the journal had no room for its end."""

    @property
    def id(self) -> str:
        """Its id as everybody writes it."""
        return id_of(self.key)


@dataclass(slots=True)
class Recovered:
    """What was found: turns that are to be archived, by id and the oldest first, and what could not be read."""

    turns: dict[str, Left] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    full: OSError | None = None
    """Why there is no segment to write to, where the disk has no room for one."""
    unknown: list[Left] = field(default_factory=list)
    """Of the unreadable ones those that are whole, for the version that can read them: their segments stay."""


def left_in(
    journal: Journal, segments: Sequence[int], until: Place = EVERYTHING
) -> tuple[dict[bytes, Left], list[Damage]]:
    """Go through segments; return the turns in them by key, up to a place, and what is damaged. Raises `OSError`.

    A segment that has gone meanwhile is passed over: no turn needed it any more.
    """
    turns: dict[bytes, Left] = {}
    damages: list[Damage] = []
    for segment in segments:
        try:
            scan = journal.scan(segment)
        except FileNotFoundError:
            continue
        damages += scan.damages
        base = segment << PLACE_BITS
        for at, kind, key in scan.records:
            if kind == ERASED or base + at >= until:
                continue
            left = turns.get(key)
            if left is None:
                left = turns[key] = Left(key, array("Q"))
            left.places.append(base + at)
            left.ended = kind == LAST
    return turns, damages


def recover(journal: Journal, archive: Archive, now_ms: int) -> Recovered:
    """Bring a journal into order, and begin a new segment of it. Raises `OSError`, and what the archive raises.

    Every turn in it has its end afterwards. Doing it again after a crash in the middle of it comes to the same.
    A disk without room is no error: ends are in memory then, for the archive.
    """
    found = Recovered()
    before = journal.segments()
    turns, found.damages = left_in(journal, before)
    damaged: set[bytes] = set()
    for damage in found.damages:
        damaged |= damage.turns
        if damage.torn:
            journal.cut(damage)
    _leave_out_known(journal, archive, turns, damaged)
    needed = {segment_of(place) for left in turns.values() for place in left.places}
    for segment in before:
        if segment not in needed:
            journal.drop(segment)  # It may be all the room that is left.
    found.full = _begin(journal)
    for left in turns.values():
        try:
            if not left.ended:
                _end(journal, left, now_ms)
                found.ended.append(left.id)
            left.summary = _outline(journal, left, is_whole=not found.damages)
        except ValueError as error:
            found.unreadable.append(left.id)
            if isinstance(error, DecodeError):  # It is not damaged: it began with another version.
                found.unknown.append(left)
        else:
            found.turns[left.id] = left
    return found


def _begin(journal: Journal) -> OSError | None:
    try:
        journal.begin()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return error
    return None


def _outline(journal: Journal, left: Left, *, is_whole: bool) -> TurnRecord:
    """Return what a turn is listed with; of a journal that is not whole that takes all that is left of the turn."""
    if left.unkept is not None:
        return outline(left.unkept[0], left.unkept[-1])
    [first, *_], [*_, last] = journal.read(left.places[:1]), journal.read(left.places[-1:])
    if not is_whole or not isinstance(first.event, Started):  # Its beginning may stand behind a write that failed.
        first, *_, last = whole(journal.read(left.places))
    return outline(first, last)


def _leave_out_known(journal: Journal, archive: Archive, turns: dict[bytes, Left], damaged: set[bytes]) -> None:
    """Leave out what is archived, and erase what was to be forgotten when the relay died, in the middle of it too."""
    ids = [id_of(key) for key in turns.keys() | damaged]
    forgotten = set()
    for n in range(0, len(ids), _ASKED_AT_ONCE):
        for turn_id, is_kept in archive.known(ids[n : n + _ASKED_AT_ONCE]).items():
            key = key_of(turn_id)
            turns.pop(key, None)
            if not is_kept:
                forgotten.add(key)
    if forgotten:
        journal.erase(dict.fromkeys(forgotten, ()))


def _end(journal: Journal, left: Left, now_ms: int) -> None:
    """End a turn that was open when the relay died."""
    entries = unbroken(journal.read(left.places))
    started = entries[0].event
    if not isinstance(started, Started):
        raise ValueError("the turn has no beginning")  # noqa: TRY004 - the journal is wrong, not a caller
    said = "".join(_words(entry) for entry in entries)
    prompt, completion = started.prompt_tokens, count(said, started.model)
    usage = Usage(prompt, completion, prompt + completion, "relay")
    ended = Ended("failed", "relay_restarted", usage=usage)
    offset = entries[-1].offset + JUMP
    last = [Entry(offset, now_ms, usage), Entry(offset + 1, now_ms, ended)]
    try:
        left.places += array("Q", journal.append([Batch(left.key, last, last=True)], last_words=True))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        left.unkept = entries + last
    left.ended = True


def _words(entry: Entry) -> str:
    event = entry.event
    if isinstance(event, Delta):
        return event.text
    return event.arguments if isinstance(event, ToolCall) else ""


def unbroken(entries: list[Entry]) -> list[Entry]:
    """Return a turn's entries up to the first that is missing, and the end that a recovery put behind those.

    Raises `ValueError` where the very first is missing.
    """
    if not entries or not isinstance(entries[0].event, Started):
        raise ValueError("the turn has no beginning")
    for n, (one, other) in enumerate(pairwise(entries), 1):
        if 1 < other.offset - one.offset < JUMP:
            ends = (m for m in range(n, len(entries)) if entries[m].offset == one.offset + JUMP)
            return entries[:n] + entries[next(ends, len(entries)) :]
    return entries


def whole(entries: list[Entry]) -> list[Entry]:
    """Return the entries of an ended turn; where some were damaged, those before them, and an end that says so.

    Raises `ValueError` where nothing of the turn is left.
    """
    entries = unbroken(entries)
    last = entries[-1]
    if isinstance(last.event, Ended):
        return entries
    ended = Ended("failed", "store_error", detail="what followed was damaged on the disk")
    return [*entries, Entry(last.offset + JUMP, last.at_ms, ended)]


def id_of(key: bytes) -> str:
    """Return the id of a turn as everybody writes it."""
    return f"turn_{key.hex()}"


def key_of(turn_id: str) -> bytes:
    """Return a turn's id in 16 bytes."""
    return bytes.fromhex(turn_id.removeprefix("turn_"))
