"""Ways to cut a text into pieces, and what a stage makes of them."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import quicktok
from hypothesis import strategies as st

from trunkline.guards.base import Stage


def cut(text: str, places: Sequence[int]) -> list[str]:
    return [text[a:b] for a, b in pairwise((0, *places, len(text)))]


def every_cut(text: str) -> Iterator[list[str]]:
    """In one piece, in two at every place, and character by character."""
    yield [text]
    for place in range(len(text) + 1):
        yield cut(text, [place])
    yield list(text)


def tokens(text: str) -> list[str]:
    """As a model would send it: token by token, where a token may end inside of a character."""
    encoding = quicktok.get_encoding("cl100k_base")
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(encoding.decode_bytes([token])) for token in encoding.encode_ordinary(text)]


def cut_texts(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Texts in pieces of one to nine characters, or in one to five pieces of any size, which may be empty."""
    return st.one_of(texts.flatmap(_small), texts.flatmap(_large))


def _small(text: str) -> st.SearchStrategy[list[str]]:
    sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)
    return sizes.map(lambda sizes: _by_sizes(text, sizes))


def _by_sizes(text: str, sizes: list[int]) -> list[str]:
    """Cut by these sizes, over and over."""
    pieces = []
    turn = 0
    while text:
        size = sizes[turn % len(sizes)]
        pieces.append(text[:size])
        text = text[size:]
        turn += 1
    return pieces


def _large(text: str) -> st.SearchStrategy[list[str]]:
    places = st.lists(st.integers(0, len(text)), max_size=4)
    return places.map(lambda places: cut(text, sorted(places)))


def fed(make: Callable[[], Stage], pieces: list[str], max_held: int) -> str:
    """What a stage releases of these pieces. It must add up: never more held than it promises, nothing taken back."""
    stage = make()
    released = ""
    for piece in pieces:
        released += stage.feed(piece)
        assert stage.held <= max_held
    released += stage.finish()
    assert stage.held == 0
    assert not stage.found
    assert not stage.blocked
    return released
