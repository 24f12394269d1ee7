"""Writes a tick's entries to the journal, and where that fails as much of them as there is a way to keep."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from trunkline.core.events import Delta, Ended, Entry, ToolCall
from trunkline.stores.base import TurnLog
from trunkline.stores.held import Held, HeldTurn
from trunkline.stores.journal import Journal
from trunkline.stores.segment import Batch
from trunkline.telemetry import Fact, StoreFailed, internal_error, words_of


class Outcome(NamedTuple):
    """What became of the turns that were to be written."""

    written: list[TurnLog]
    unkept: list[TurnLog]
    """Turns whose ends the journal did not take; nobody may wait for ever, so that they are shown all the same."""
    lost: list[TurnLog]


class Appending:
    """The end of the journal where it grows, and what is wrong with it."""

    def __init__(
        self, journal: Journal, held: Held, *, clock: Callable[[], float], tell: Callable[[Fact], None], syncs: bool
    ) -> None:
        """`syncs`: what is written counts once it is synced, so that a new segment alone mends no fault."""
        self._journal = journal
        self._held = held
        self._clock = clock
        self._tell = tell
        self._syncs = syncs
        self._closed = False
        self.fault = ""
        """What is wrong with the disk, as a code of `STORE_FAULTS`; empty where nothing is."""
        self.begun_s = clock()
        """When the current segment was begun."""

    def close(self) -> None:
        """Begin no more segments."""
        self._closed = True

    def write(self, turns: list[TurnLog]) -> Outcome:
        """Write what each turn has beyond `written`, to another segment or turn by turn where that fails."""
        try:
            self._append(turns)
        except OSError as error:
            self.failed(error)
            return self._write_anew(turns)
        except Exception as error:  # noqa: BLE001 - a fault of ours that one turn meets must cost no other its entries
            self.failed(error)
            return self._write_singly(turns)
        return Outcome(turns, [], [])

    def _append(self, turns: list[TurnLog], *, last_words: bool = False) -> None:
        batches: list[Batch] = []
        whose: list[HeldTurn] = []
        for turn in turns:
            held, new = self._held.get(turn.id), turn.entries[turn.written :]
            if held is None or not new:  # It was forgotten: those who still read it see it, and nothing keeps it.
                continue
            for run in [new] if new[0].at_ms == new[-1].at_ms else _by_time(new):
                batches.append(Batch(held.key, run, type(run[-1].event) is Ended))
                whose.append(held)
        if batches:
            before = self._journal.number
            for held, place in zip(whose, self._journal.append(batches, last_words=last_words), strict=True):
                self._held.note(held, place)
            if self._journal.number != before:
                self._left(before)

    def _write_anew(self, turns: list[TurnLog]) -> Outcome:
        """Write to a new segment what the old one did not take, or at least the ends."""
        if self.begin():
            try:
                self._append(turns)
            except Exception as error:  # noqa: BLE001 - as in write
                self.failed(error)
            else:
                return Outcome(turns, [], [])
        return self._write_singly(turns, last_words=True)

    def _write_singly(self, turns: list[TurnLog], *, last_words: bool = False) -> Outcome:
        """Write each turn alone, or nothing but ends where only `last_words` have room."""
        outcome = Outcome([], [], [])
        for turn in turns:
            if last_words and any(type(entry.event) in (Delta, ToolCall) for entry in turn.entries[turn.written :]):
                outcome.lost.append(turn)
                continue
            try:
                self._append([turn], last_words=last_words)
            except Exception as error:  # noqa: BLE001 - as in write
                self.failed(error)
                (outcome.unkept if turn.says_no_more else outcome.lost).append(turn)
            else:
                outcome.written.append(turn)
        for turn in outcome.unkept:
            if (held := self._held.get(turn.id)) is not None:
                held.is_unkept = True  # Only the archive keeps it, if that can.
        return outcome

    def begin(self, *, laid_out: bool = False) -> bool:
        """Go on in a new segment, which may mend a fault; False where the disk has no room for one.

        `laid_out`: only in one that was laid out ahead.
        """
        if self._closed:
            return False
        before = self._journal.number
        try:
            (self._journal.go_on if laid_out else self._journal.begin)()
        except OSError as error:
            self.failed(error)
            return False
        if not self._syncs:
            self.fault = ""
        self._left(before)
        return True

    def _left(self, segment: int) -> None:
        """A segment is written no more: it goes, unless turns that are not archived have entries in it."""
        self.begun_s = self._clock()
        self._held.let_go(segment, self._journal.number)

    def failed(self, error: BaseException, where: str = "store.write") -> None:
        """Tell what failed. Where it is the disk, it stays on record until that is mended."""
        if not isinstance(error, OSError):
            self._tell(internal_error(where, error))
            return
        fault = "store_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "store_error"
        if fault != self.fault:
            self._tell(StoreFailed(fault, words_of(error)))
        self.fault = fault


def _by_time(entries: Sequence[Entry]) -> list[list[Entry]]:
    return [list(group) for _, group in groupby(entries, key=lambda entry: entry.at_ms)]
