"""A disk that can die in any write, fail or be full, an archive that outlives crashes, and a pool of no threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from trunkline.core.errors import TurnForgotten
from trunkline.core.events import Ended, Entry, decode_event
from trunkline.core.record import TurnRecord, fold
from trunkline.stores.base import Query
from trunkline.stores.files import Disk


class Died(BaseException):
    """The process is gone."""


class Mortal:
    """Counts down to death, over every step that changes something outside of the process."""

    def __init__(self) -> None:
        self.steps: int | None = None
        self.is_dead = False

    def arm(self, steps: int | None) -> None:
        self.steps, self.is_dead = steps, False

    def step(self) -> bool:
        """Return True for the step in which the process dies."""
        if self.is_dead:
            raise Died
        if self.steps is None:
            return False
        self.steps -= 1
        self.is_dead = self.steps < 0
        return self.is_dead

    def survive(self) -> None:
        if self.step():
            raise Died


class CrashingDisk(Disk):
    """Writes to real files. It remembers what was not synced, so that a loss of power can undo it."""

    def __init__(self, mortal: Mortal, torn: Callable[[int], int]) -> None:
        """`torn` says how many of so many bytes the write in which the process dies still brings down."""
        self.mortal = mortal
        self.torn = torn
        self.is_full = False
        self.errs = 0
        self._paths: dict[int, Path] = {}
        self._unsynced: list[tuple[Path, int, bytes]] = []

    def create(self, path: Path, size: int) -> int:
        self.mortal.survive()
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        fd = super().create(path, size)
        self._paths[fd] = path
        return fd

    def write(self, fd: int, data: bytes, at: int) -> None:
        dies = self.mortal.step()
        path = Path(f"/proc/self/fd/{fd}").resolve()
        self._unsynced.append((path, at, os.pread(fd, len(data), at)))
        fails = self._errs()
        super().write(fd, data[: self.torn(len(data))] if dies or fails else data, at)
        if dies:
            raise Died
        if fails:
            raise OSError(errno.EIO, "Input/output error")

    def _errs(self) -> bool:
        self.errs -= self.errs > 0
        return self.errs > 0

    def sync(self, fd: int) -> None:
        self.mortal.survive()
        if self._errs():
            raise OSError(errno.EIO, "Input/output error")
        path = Path(f"/proc/self/fd/{fd}").resolve()
        self._unsynced = [one for one in self._unsynced if one[0] != path]

    def sync_folder(self, folder: Path) -> None:
        self.mortal.survive()

    def truncate(self, path: Path, size: int) -> None:
        self.mortal.survive()
        super().truncate(path, size)

    def remove(self, path: Path) -> None:
        self.mortal.survive()
        super().remove(path)

    def lose_power(self, kept: Callable[[int], int]) -> None:
        """Undo what was not synced, each write from some byte on."""
        for path, at, before in reversed(self._unsynced):
            if path.exists() and at + len(before) <= path.stat().st_size:
                start = kept(len(before))
                with path.open("r+b") as file:
                    file.seek(at + start)
                    file.write(before[start:])
        self.forget_writes()

    def forget_writes(self) -> None:
        self._unsynced.clear()


class DictArchive:
    """Keeps what it is given in dictionaries, all of it or nothing, whatever becomes of the process."""

    def __init__(self, mortal: Mortal) -> None:
        self.mortal = mortal
        self.kept: dict[str, list[tuple[int, int, bytes]]] = {}
        self.forgotten: dict[str, str] = {}

    def keep(self, turn_id: str, entries: Sequence[Entry]) -> None:
        self.mortal.survive()
        assert isinstance(entries[-1].event, Ended)
        if turn_id not in self.forgotten:
            self.kept.setdefault(turn_id, [(entry.offset, entry.at_ms, entry.json) for entry in entries])

    def find(self, turn_id: str) -> list[Entry] | None:
        if turn_id in self.forgotten:
            raise TurnForgotten(turn_id, self.forgotten[turn_id])
        rows = self.kept.get(turn_id)
        return None if rows is None else [Entry(offset, at_ms, decode_event(json)) for offset, at_ms, json in rows]

    def known(self, turn_ids: Sequence[str]) -> dict[str, bool]:
        known = dict.fromkeys(self.kept, True) | dict.fromkeys(self.forgotten, False)
        return {turn_id: known[turn_id] for turn_id in turn_ids if turn_id in known}

    def list(self, query: Query) -> list[TurnRecord]:
        records = [fold(self.find(turn_id) or []) for turn_id in sorted(self.kept, reverse=True)]
        return [record for record in records if query.asks_for(record)][: query.limit]

    def forget(self, turns: Sequence[tuple[str, str]], now_ms: int) -> None:
        self.mortal.survive()
        for turn_id, principal in turns:
            self.kept.pop(turn_id, None)
            self.forgotten[turn_id] = principal

    def expire(self, ended_before_ms: int, now_ms: int, limit: int) -> int:
        return 0

    def close(self) -> None:
        """There is nothing to close."""


class Inline(Executor):
    """Runs everything at once, in the thread of the caller."""

    def __init__(self, threads: int) -> None:
        """The number of threads that there are not."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as a thread would
            future.set_exception(error)
        return future
