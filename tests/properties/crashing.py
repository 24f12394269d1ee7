"""A disk and an archive that outlive crashes or lose power, and what befalls them at a chosen step."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from trunkline.core.errors import DatabaseError, TurnForgotten
from trunkline.core.events import Ended, Entry, decode_event
from trunkline.core.record import TurnRecord, fold
from trunkline.stores.base import Query
from trunkline.stores.files import Disk

Blow = Literal["dies", "errs"]
Keep = Callable[[int], int]
"""How many of so many bytes come down."""


class Died(BaseException):
    """The process is gone."""


class Fate:
    """Counts the steps that change something outside of the process, and strikes at one of them."""

    def __init__(self) -> None:
        self.blow: Blow | None = None
        self.steps = self.calls = 0
        self.is_dead = False
        self.errors = 0
        """How many steps have failed."""

    def arm(self, blow: Blow, steps: int, calls: int = 1) -> None:
        """Strike after so many steps: the process dies, or so many calls fail."""
        self.blow, self.steps, self.calls = blow, steps, calls

    def disarm(self) -> None:
        self.blow, self.is_dead = None, False

    def step(self) -> Blow | None:
        """Say what befalls this step."""
        if self.is_dead:
            raise Died
        if self.blow is None:
            return None
        if self.steps > 0:
            self.steps -= 1
            return None
        if self.blow == "dies":
            self.is_dead = True
            return "dies"
        self.calls -= 1
        self.errors += 1
        if self.calls == 0:
            self.blow = None
        return "errs"

    def meet(self) -> None:
        """Take a step that is done as a whole or not at all."""
        blow = self.step()
        if blow == "dies":
            raise Died
        if blow == "errs":
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class CrashingDisk(Disk):
    """Writes to real files, and knows what of them would be left without power.

    A sync covers what was written when it was asked for (`calling`), and after one that failed no other covers what
    was written before, and everybody who has the file open is told once: so it is with kernels.
    """

    def __init__(self, fate: Fate, keep: Keep) -> None:
        """`keep` says how much of a write comes down in which the process dies, or which fails."""
        self.fate = fate
        self.keep = keep
        self.room: int | None = None
        """The largest file that there is room for; None for no bound."""
        self.written = 0
        self.opened: dict[int, Path] = {}
        self.covered: tuple[dict[int, Path], int] | None = None
        self._paths: dict[int, Path] = {}  # by inode
        self._safe: dict[Path, bytearray] = {}
        self._unsafe: dict[Path, list[tuple[int, int, bytes]]] = {}  # number of the write, place, data
        self._lost_by_sync: dict[Path, int] = {}  # no sync helps what was written up to this number
        self._to_be_told: set[int] = set()
        self._unnamed: set[Path] = set()
        self._unremoved: dict[Path, bytes] = {}

    def create(self, path: Path, size: int) -> int:
        self.fate.meet()
        if self.room is not None and size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fd = super().create(path, size)
        self.opened[fd] = path
        self._paths[os.fstat(fd).st_ino] = path
        self._safe[path], self._unsafe[path] = bytearray(size), []
        self._lost_by_sync.pop(path, None)
        self._unnamed.add(path)
        return fd

    def write(self, fd: int, data: bytes, at: int) -> None:
        blow = self.fate.step()
        if blow is not None:
            data = data[: self.keep(len(data))]
        self.written += 1
        self._unsafe[self._paths[os.fstat(fd).st_ino]].append((self.written, at, data))
        super().write(fd, data, at)
        if blow == "dies":
            raise Died
        if blow == "errs":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync(self, fd: int) -> None:
        paths, until = self.covered or (self.opened, self.written)
        path = paths[fd] if fd in paths else self._paths[os.fstat(fd).st_ino]
        if path not in self._safe:
            return  # It was removed meanwhile.
        try:
            self.fate.meet()
        except OSError:
            self._lost_by_sync[path] = self.written
            self._to_be_told |= {other for other, its in self.opened.items() if its == path and other != fd}
            raise
        if fd in self._to_be_told:
            self._to_be_told.discard(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        lost_until, rest = self._lost_by_sync.get(path, 0), []
        for number, at, data in self._unsafe[path]:
            if lost_until < number <= until:
                self._safe[path][at : at + len(data)] = data
            else:
                rest.append((number, at, data))
        self._unsafe[path] = rest

    def sync_folder(self, folder: Path) -> None:
        self.fate.meet()
        self._unnamed.clear()
        self._unremoved.clear()

    def close(self, fd: int) -> None:
        self._to_be_told.discard(fd)
        if self.opened.pop(fd, None) is not None:
            super().close(fd)

    def truncate(self, path: Path, size: int) -> None:
        self.fate.meet()
        os.truncate(path, size)
        self._safe[path], self._unsafe[path] = bytearray(path.read_bytes()), []

    def remove(self, path: Path) -> None:
        self.fate.meet()
        super().remove(path)
        self._unsafe.pop(path)
        safe = bytes(self._safe.pop(path))
        if path not in self._unnamed:
            self._unremoved[path] = safe

    def flush(self) -> None:
        """All that was written is on the disk by now."""
        for path, writes in self._unsafe.items():
            for _, at, data in writes:
                self._safe[path][at : at + len(data)] = data
            writes.clear()

    def let_go(self) -> None:
        """The process is gone: its files are closed."""
        for fd in self.opened:
            super().close(fd)
        self.opened.clear()
        self._to_be_told.clear()

    def lose_power(self, keep: Keep) -> None:
        """Leave what was synced, and of every other write as much as came down by chance."""
        for path in list(self._unnamed):
            if keep(1) == 0 and path in self._safe:
                path.unlink()
                del self._safe[path], self._unsafe[path]
        for path, data in self._unremoved.items():
            if keep(1) and not path.exists():
                self._safe[path], self._unsafe[path] = bytearray(data), [(0, 0, b"")]
                path.touch()
                self._paths[path.stat().st_ino] = path
        for path, writes in self._unsafe.items():
            if writes:
                safe = self._safe[path]
                for _, at, data in writes:
                    some = data[: keep(len(data))]  # of each: a later write may come down before an earlier one
                    safe[at : at + len(some)] = some
                path.write_bytes(safe)
                self._unsafe[path] = []
        self._unnamed.clear()
        self._unremoved.clear()
        self._lost_by_sync.clear()


class DictArchive:
    """Keeps what it is given in dictionaries, all of it or nothing, whatever becomes of the process."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.is_down = False
        self.kept: dict[str, list[tuple[int, int, bytes]]] = {}
        self.forgotten: dict[str, str] = {}

    def _change(self) -> None:
        self._ask()
        try:
            self.fate.meet()
        except OSError:
            raise DatabaseError("The database did not do that.") from None

    def _ask(self) -> None:
        if self.is_down:
            raise DatabaseError("The database does not answer.")

    def keep(self, turn_id: str, entries: Sequence[Entry]) -> None:
        self._change()
        assert isinstance(entries[-1].event, Ended)
        if turn_id not in self.forgotten:
            self.kept.setdefault(turn_id, [(entry.offset, entry.at_ms, entry.json) for entry in entries])

    def find(self, turn_id: str) -> list[Entry] | None:
        self._ask()
        if turn_id in self.forgotten:
            raise TurnForgotten(turn_id, self.forgotten[turn_id])
        rows = self.kept.get(turn_id)
        return None if rows is None else [Entry(offset, at_ms, decode_event(json)) for offset, at_ms, json in rows]

    def known(self, turn_ids: Sequence[str]) -> dict[str, bool]:
        self._ask()
        known = dict.fromkeys(self.kept, True) | dict.fromkeys(self.forgotten, False)
        return {turn_id: known[turn_id] for turn_id in turn_ids if turn_id in known}

    def list(self, query: Query) -> list[TurnRecord]:
        self._ask()
        records = [fold(self.find(turn_id) or []) for turn_id in sorted(self.kept, reverse=True)]
        return [record for record in records if query.asks_for(record)][: query.limit]

    def forget(self, turns: Sequence[tuple[str, str]], now_ms: int) -> None:
        self._change()
        for turn_id, principal in turns:
            self.kept.pop(turn_id, None)
            self.forgotten[turn_id] = principal

    def expire(self, ended_before_ms: int, now_ms: int, limit: int) -> int:
        self._change()
        old = [turn_id for turn_id, rows in self.kept.items() if rows[-1][1] < ended_before_ms][:limit]
        for turn_id in old:
            del self.kept[turn_id]
            self.forgotten[turn_id] = "p"
        return len(old)

    def close(self) -> None:
        """There is nothing to close."""
