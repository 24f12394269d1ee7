"""Cuts text into pieces as a language model sends it: one BPE token each, but never half a character."""

from __future__ import annotations

import codecs
from functools import cache
from typing import NamedTuple

import quicktok

ENCODING = "cl100k_base"


class Piece(NamedTuple):
    """Valid text that stands for one token, or for several where a character is spread over them."""

    text: str
    tokens: int


@cache
def _encoding() -> quicktok.Tokenizer:
    return quicktok.get_encoding(ENCODING)


def count(text: str) -> int:
    """Give the number of tokens of `text`."""
    return int(_encoding().count(_valid(text)))


def cut(text: str, limit: int | None = None) -> tuple[list[Piece], bool]:
    """Give the first `limit` tokens of `text` (None: all) as pieces, and whether `limit` left something out.

    A token that ends inside a character waits for the next and is joined to it; one that waits in vain, because of the
    limit, is left out.
    """
    encoding = _encoding()
    ids = encoding.encode_ordinary(_valid(text))
    pieces: list[Piece] = []
    held, tokens = b"", 0
    for token in ids[:limit]:
        held += encoding.decode_single_token_bytes(token)
        tokens += 1
        try:
            pieces.append(Piece(held.decode(), tokens))
        except UnicodeDecodeError:
            continue
        held, tokens = b"", 0
    return pieces, limit is not None and len(ids) > limit


def cut_bytes(text: str, limit: int | None = None) -> tuple[list[tuple[bytes, str]], bool]:
    """Give the bytes of the first `limit` tokens of `text`, each with the characters that are whole with it.

    The second value says, as in `cut`, whether `limit` left something out.
    """
    encoding = _encoding()
    ids = encoding.encode_ordinary(_valid(text))
    decoder = codecs.getincrementaldecoder("utf-8")()
    tokens = [encoding.decode_single_token_bytes(token) for token in ids[:limit]]
    return [(token, decoder.decode(token)) for token in tokens], limit is not None and len(ids) > limit


def repeat(text: str, tokens: int) -> str:
    """Give `text`, repeated with blank lines between, cut to `tokens` tokens; nothing repeats to nothing."""
    times = tokens // count(text) + 1 if text else 0
    pieces, _ = cut("\n\n".join([text] * times), tokens)
    return "".join(piece.text for piece in pieces)


def _valid(text: str) -> str:
    # JSON may bring a lone surrogate, which has no bytes in UTF-8.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
