"""How far the journal of a relay is shown: a mark beside it, for readers in other processes.

At level `disk` entries are in the journal some milliseconds before anybody may see them, and where a sync fails nobody
ever may: the relay takes them back, and their offsets get others.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

EVERYTHING: Final = (1 << 64) - 1
"""Behind every place."""
NOTHING: Final = 0
_MARK: Final = struct.Struct("<QQ")  # the place, and its complement, which tells a mark that is half written
_TRIES: Final = 5


class Mark:
    """The mark of one journal. Where there is none, everything in the journal is shown."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "shown"
        self._fd = -1

    def make(self, place: int) -> None:
        """Put it at a place. Raises `OSError`."""
        self.close()
        unfinished = self._path.with_suffix(".new")
        self._fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.pwrite(self._fd, _packed(place), 0)
        os.fsync(self._fd)
        unfinished.replace(self._path)

    def move(self, place: int) -> None:
        """Move it; where the disk does not take that, readers see less than they might, until the next time.

        It is not synced: who reads it beside a relay has the same kernel, and without one nobody has seen more.
        """
        with suppress(OSError):
            os.pwrite(self._fd, _packed(place), 0)

    def remove(self) -> None:
        """Show everything. Raises `OSError`."""
        self._path.unlink(missing_ok=True)

    def read(self) -> int:
        """Return the place before which everything is shown. Raises `OSError`."""
        for _ in range(_TRIES):
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return EVERYTHING
            place = int.from_bytes(data[:8], "little")
            if data == _packed(place):
                return place
        return NOTHING

    def close(self) -> None:
        """Leave it where it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _packed(place: int) -> bytes:
    return _MARK.pack(place, place ^ EVERYTHING)
