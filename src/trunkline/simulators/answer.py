"""The answer of one turn over a WebSocket: its pieces as the wire has them, and how much of it has been said."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

from trunkline.simulators.faults import Faults
from trunkline.simulators.tokens import Piece as Cut
from trunkline.simulators.tokens import count, cut, cut_bytes

_HALF = "\ud83d"
_FIRST_OF_TWO = 0x10000


@dataclass(frozen=True, slots=True)
class Piece:
    """What one message adds.

    `tokens` are the wire's (None: the wire says null), `text` are the characters that are whole with this piece, and
    `count` is how many tokens of the model it stands for.
    """

    tokens: tuple[str, ...] | None
    text: str
    count: int


@dataclass(slots=True)
class Answer:
    """One turn's answer; several connections may say parts of it."""

    pieces: list[Piece]
    finish: str
    prompt_tokens: int
    _said: set[int] = field(default_factory=set)
    _counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._counts = list(accumulate((piece.count for piece in self.pieces), initial=0))

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def reached(self) -> int:
        """How many pieces have been said by now without one missing before them."""
        return next((place for place in range(len(self.pieces)) if place not in self._said), len(self.pieces))

    def said(self, place: int) -> None:
        """Note that the bytes of the piece at `place` have gone to a socket."""
        self._said.add(place)

    def usage(self, place: int) -> dict[str, object]:
        """Give the usage as it stands after the piece at `place`."""
        completion = self._counts[min(place + 1, len(self.pieces))]
        total = self.prompt_tokens + completion
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": completion, "total_tokens": total}


def compose(text: str, prompt: str, limit: int | None, faults: Faults) -> Answer:
    """Let an answer to `prompt` say `text`, at most `limit` tokens of it."""
    pieces, cut_short = _pieces(text, limit, faults)
    if faults.has("empty-deltas"):
        pieces = [one for piece in pieces for one in (Piece(("",), "", 0), piece)]
    if faults.has("null-deltas"):
        pieces = [one for piece in pieces for one in (Piece(None, "", 0), piece)]
    if faults.has("dangling-surrogate"):
        pieces.append(Piece((_HALF,), "", 0))
    finish = faults.text("finish") or ("length" if cut_short else "stop")
    return Answer(pieces, finish, count(prompt))


def _pieces(text: str, limit: int | None, faults: Faults) -> tuple[list[Piece], bool]:
    if faults.has("byte-tokens"):
        tokens, cut_short = cut_bytes(text, limit)
        return [Piece((token.decode("latin-1"),), whole, 1) for token, whole in tokens], cut_short
    pieces, cut_short = cut(text, limit)
    if faults.has("lone-surrogates"):
        return [half for piece in pieces for half in _halves(piece)], cut_short
    return [Piece((piece.text,), piece.text, piece.tokens) for piece in pieces], cut_short


def _halves(piece: Cut) -> list[Piece]:
    """Cut a piece in the middle of each character that takes two surrogates."""
    halves: list[Piece] = []
    wire, whole = "", ""
    for character in piece.text:
        if ord(character) < _FIRST_OF_TWO:
            wire, whole = wire + character, whole + character
            continue
        high, low = (chr(int.from_bytes(pair)) for pair in _surrogates(character))
        halves.append(Piece((wire + high,), whole, 0))
        wire, whole = low, character
    return [*halves, Piece((wire,), whole, piece.tokens)]


def _surrogates(character: str) -> tuple[bytes, bytes]:
    pair = character.encode("utf-16-be")
    return pair[:2], pair[2:]
