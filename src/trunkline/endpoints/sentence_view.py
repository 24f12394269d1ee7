"""The native events with an answer in sentences in place of deltas: for voices, and platforms that take messages."""

from __future__ import annotations

import msgspec

from trunkline.core.errors import RequestRefused
from trunkline.core.events import Delta, Ended, Entry, event_name
from trunkline.core.sentences import Sentences
from trunkline.core.sse import encode
from trunkline.endpoints.base import read_offset
from trunkline.stores.base import TurnLog

_Key = tuple[int, str]


def read_place(text: str, where: str) -> tuple[int, int | None]:
    """Read `offset`, or `offset.part`: of the entry at that offset so many parts are had. Raises `RequestRefused`."""
    offset, dot, part = text.partition(".")
    whole = read_offset(offset, where)
    if not dot:
        return whole, None
    if whole == 0:
        raise RequestRefused("invalid_offset", f"{where}: expected offset.part, got {text[:40]!r}.")
    return whole, read_offset(part, where)


class SentenceView:
    """A form (`trunkline.stores.base.Form`) for one reader: it remembers how far it has read.

    A sentence is a `delta` whose id is that of the entry which completed it, with a part: `12.1`. All other events, and
    the texts themselves, are the same as without it.
    """

    def __init__(self, entry: int = 0, parts: int = 0) -> None:
        """Leave out the first `parts` sentences of the entry at offset `entry`: the reader has them."""
        self._had = entry, parts
        self._sentences: dict[_Key, Sentences] = {}
        self._begin = self._at = 0
        self._last = b""

    def __call__(self, turn: TurnLog, a: int, b: int) -> bytes:
        """Return entries [a, b); what was asked for and could not be sent may be asked for again, with more."""
        if a != self._begin or b < self._at:
            if a != self._at:
                self._go_to(turn, a)
            self._begin, self._last = a, b""
        self._last += self._read(turn, self._at, b)
        return self._last

    def _go_to(self, turn: TurnLog, place: int) -> None:
        """Read all that is before a place, for those who come back."""
        self._sentences.clear()
        self._read(turn, 0, place)

    def _read(self, turn: TurnLog, a: int, b: int) -> bytes:
        out: list[bytes] = []
        for entry in turn.entries[a:b]:
            event = entry.event
            if isinstance(event, Delta):
                key = event.choice, event.channel
                sentences = self._sentences.get(key)
                if sentences is None:
                    sentences = self._sentences[key] = Sentences()
                out += self._parts(entry, [(key, text) for text in sentences.feed(event.text)])
                continue
            if isinstance(event, Ended):
                rest = [(key, text) for key, sentences in self._sentences.items() for text in sentences.finish()]
                out += self._parts(entry, rest)
            out.append(encode(event_name(event).encode(), entry.json, b"%d" % entry.offset))
        self._at = b
        return b"".join(out)

    def _parts(self, entry: Entry, texts: list[tuple[_Key, str]]) -> list[bytes]:
        had = self._had[1] if entry.offset == self._had[0] else 0
        out = []
        for part, ((choice, channel), text) in enumerate(texts, 1):
            if part > had:
                delta = msgspec.json.encode(Delta(text, choice, channel))  # type: ignore[arg-type]
                out.append(encode(b"delta", delta, b"%d.%d" % (entry.offset, part)))
        return out
