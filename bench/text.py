"""The text of the bench: each token carries its place and the moment it was sent, and the end carries a checksum."""

from __future__ import annotations

import time
import zlib
from typing import Final

TOKEN_CHARS: Final = 24
# Numbers are spelt in letters: digits look like card numbers to a guard, and would cost a price of their own.
_TO_LETTERS: Final = bytes.maketrans(b"0123456789", b"abcdefghij")
_TO_DIGITS: Final = str.maketrans("abcdefghij", "0123456789")


def now_us() -> int:
    """Return the machine's monotonic clock in microseconds; all its processes share it."""
    return time.monotonic_ns() // 1_000


def token(index: int, sent_us: int) -> bytes:
    """Return token `index` of a text: its place in 6 letters, the moment it was sent in 16."""
    return (b"%06d %016d " % (index, sent_us)).translate(_TO_LETTERS)


def closing(checksum: int) -> bytes:
    """Return what follows the last token: the CRC-32 of all of them."""
    return b"#%08x" % checksum


class Proof:
    """Reads a text, however it is cut, and knows whether it is exactly the one that was sent."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._rest = ""
        self._checksum = 0
        self.count = 0
        """Tokens that came, each in its place."""
        self.fault = ""
        """The first thing that was wrong, or nothing."""

    def take(self, piece: str) -> list[int]:
        """Take the next piece; return when each of the tokens that it completes was sent, in microseconds."""
        text, at, sent = self._rest + piece, 0, []
        while self.count < self._tokens and len(text) - at >= TOKEN_CHARS and not self.fault:
            word = text[at : at + TOKEN_CHARS]
            digits = word.translate(_TO_DIGITS)
            if not digits.startswith(f"{self.count:06d} ") or not digits[7:23].isdecimal():
                self.fault = f"{word!r} came where token {self.count} was due"
                break
            sent.append(int(digits[7:23]))
            self._checksum = zlib.crc32(word.encode(), self._checksum)
            self.count += 1
            at += TOKEN_CHARS
        self._rest = text[at:]
        return sent

    def finish(self) -> str:
        """Say what is wrong with the text, now that it has ended; nothing where it is exact."""
        if self.fault:
            return self.fault
        if self.count < self._tokens:
            return f"it ended after {self.count} of {self._tokens} tokens"
        if self._rest != closing(self._checksum).decode():
            return f"{self._rest[:40]!r} came where the checksum was due"
        return ""
