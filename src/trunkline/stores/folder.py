"""The folder of one relay: who holds it, and what is in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from pathlib import Path

from trunkline.core.errors import Fault, FolderInUse, SettingsError


class Folder:
    """A data folder that one process at a time may write to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal"
        self._lock = -1

    def make(self) -> None:
        """Make it, for its owner alone. Raises `SettingsError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.journal.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            detail = f"the folder {self.path} cannot be made: {error.strerror}"
            raise SettingsError([Fault("store.data_dir", detail)]) from None

    def take(self) -> bool:
        """Make it and become its holder; False while another process is. Raises `SettingsError`.

        A process that dies lets go of it at that moment, whatever it dies of.
        """
        self.make()
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            detail = f"the folder {self.path} cannot be written: {error.strerror}"
            raise SettingsError([Fault("store.data_dir", detail)]) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock
        return True

    def in_use(self) -> FolderInUse:
        """Say who holds it."""
        holder = (self.path / "lock").read_bytes()[:32].decode("ascii", "replace") or "unknown"
        detail = (
            f"the folder {self.path} is in use by another relay (process {holder}). "
            "Stop that one, or give this one a folder of its own"
        )
        return FolderInUse([Fault("store.data_dir", detail)])

    def secret(self) -> bytes:
        """Return the key of this folder, which signs what must be good after a restart. Raises `OSError`."""
        path = self.path / "key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            made = secrets.token_bytes(32)
            unfinished = self.path / "key.new"
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(fd, made)
                os.fsync(fd)
            finally:
                os.close(fd)
            unfinished.replace(path)
            return made

    def mark(self) -> str:
        """Return what tells this folder from all others, and nothing about its key. Raises `OSError`."""
        return hashlib.sha256(b"the mark of a data folder\n" + self.secret()).hexdigest()[:16]

    @property
    def is_held(self) -> bool:
        """True while some process holds it."""
        try:
            fd = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def leave(self) -> None:
        """Let go of it, for the next one; leaving twice is harmless."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
