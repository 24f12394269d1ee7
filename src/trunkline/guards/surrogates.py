"""Joins the two halves of a character that a platform sent as two escapes, in one delta or in two."""

from __future__ import annotations

import re
from typing import Final

from trunkline.core.events import Guarded

_HALVES: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]")
_FIRST_HALF: Final = ("\ud800", "\udbff")
_FIRST_PLANE: Final = 0x10000
_REPLACEMENT: Final = "\ufffd"


class SurrogateJoin:
    """Joins surrogate pairs; a half that stays alone becomes U+FFFD, so that what leaves can always be encoded.

    A first half is held until the next character shows whether it has its second one; nothing else is ever held.
    """

    __slots__ = ("_half", "blocked", "found")

    def __init__(self) -> None:
        self.found: list[Guarded] = []
        self.blocked = False
        self._half = ""

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return len(self._half)

    def feed(self, text: str) -> str:
        """Take the next piece; return it with its pairs joined, without a first half at its end."""
        if not self._half and _is_whole(text):
            return text
        text = self._half + text
        self._half = ""
        if text and _FIRST_HALF[0] <= text[-1] <= _FIRST_HALF[1]:
            self._half = text[-1]
            text = text[:-1]
        return _HALVES.sub(_joined, text)

    def finish(self) -> str:
        """Return the replacement of a first half that was held: its second one does not come."""
        half, self._half = self._half, ""
        return _REPLACEMENT if half else ""


def mended(text: str) -> str:
    """Return a text that is complete with its halves joined or replaced; the same object where it holds none."""
    return text if _is_whole(text) else _HALVES.sub(_joined, text)


def _is_whole(text: str) -> bool:
    return text.isascii() or _HALVES.search(text) is None


def _joined(halves: re.Match[str]) -> str:
    """Return the character of a pair, or the replacement of a lone half."""
    text = halves[0]
    if len(text) == 1:
        return _REPLACEMENT
    return chr(_FIRST_PLANE + ((ord(text[0]) & 0x3FF) << 10) + (ord(text[1]) & 0x3FF))
