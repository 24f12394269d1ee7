"""What the journal asks of the disk: few calls, each whole or an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Writes to files. Every call raises `OSError` where it could not do all of it."""

    def create(self, path: Path, size: int) -> int:
        """Make a new file of zeros whose room on the disk is taken, for the owner alone; return its descriptor."""

    def write(self, fd: int, data: bytes, at: int) -> None:
        """Write all of `data` from position `at` on."""

    def sync(self, fd: int) -> None:
        """Wait until everything written to a file is on the disk."""

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are on the disk."""

    def close(self, fd: int) -> None:
        """Let go of a file."""

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file off."""

    def remove(self, path: Path) -> None:
        """Remove a file."""


class Disk:
    """The files of this machine."""

    def create(self, path: Path, size: int) -> int:
        """Create it, and let the file system set its blocks aside; a file without room is removed again."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, size)
            else:  # macOS
                os.ftruncate(fd, size)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return fd

    def write(self, fd: int, data: bytes, at: int) -> None:
        """Write it, in more than one piece where the kernel takes less."""
        done = os.pwrite(fd, data, at)
        while done < len(data):
            done += os.pwrite(fd, data[done:], at + done)

    def sync(self, fd: int) -> None:
        """Sync its data; its size and blocks never change."""
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(fd)

    def sync_folder(self, folder: Path) -> None:
        """Sync the folder itself."""
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        """Close it."""
        os.close(fd)

    def truncate(self, path: Path, size: int) -> None:
        """Cut it off, for good."""
        fd = os.open(path, os.O_RDWR)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove it."""
        path.unlink()
