"""A disk that can be told to fail: the real one underneath, with faults at chosen calls."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from trunkline.stores.files import Disk

EVERY = ("create", "write", "sync", "sync_folder", "truncate", "remove")


class FaultyDisk:
    """Writes real files. `fails[call]` is the error that this kind of call meets from now on.

    `fails_at` counts all calls down: the one at 0 fails, and every one after it, as for a process that dies there.
    `writes_before_failing` is how many bytes a failing write leaves behind.
    """

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}
        self.fails_at: int | None = None
        self.writes_before_failing = 0
        self.calls: list[str] = []
        self._disk = Disk()

    def is_full(self) -> None:
        """There is no room for another file; what was laid out may be written."""
        self.fails = {"create": errno.ENOSPC}

    def is_dead(self) -> None:
        """Nothing works any more."""
        self.fails = dict.fromkeys(EVERY, errno.EIO)

    def is_mended(self) -> None:
        self.fails, self.fails_at = {}, None

    def _meet(self, call: str) -> None:
        self.calls.append(call)
        if self.fails_at is not None:
            self.fails_at -= 1
            if self.fails_at < 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        if call in self.fails:
            raise OSError(self.fails[call], os.strerror(self.fails[call]))

    def create(self, path: Path, size: int) -> int:
        self._meet("create")
        return self._disk.create(path, size)

    def write(self, fd: int, data: bytes, at: int) -> None:
        try:
            self._meet("write")
        except OSError:
            self._disk.write(fd, data[: self.writes_before_failing], at)
            raise
        self._disk.write(fd, data, at)

    def sync(self, fd: int) -> None:
        self._meet("sync")
        self._disk.sync(fd)

    def sync_folder(self, folder: Path) -> None:
        self._meet("sync_folder")
        self._disk.sync_folder(folder)

    def close(self, fd: int) -> None:
        self._disk.close(fd)

    def truncate(self, path: Path, size: int) -> None:
        self._meet("truncate")
        self._disk.truncate(path, size)

    def remove(self, path: Path) -> None:
        self._meet("remove")
        self._disk.remove(path)


class ShortWrites:
    """Stands in for `os.pwrite`: takes at most so many bytes at a time, as a kernel may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pwrite = os.pwrite

    def __call__(self, fd: int, data: bytes, at: int) -> int:
        return self._pwrite(fd, data[: self._most], at)
