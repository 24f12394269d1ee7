"""Counting tokens as a model's tokenizer would (byte-pair encoding)."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable
from functools import cache
from typing import Final

import quicktok

from trunkline.core.request import Message

DEFAULT_VOCABULARY: Final = "cl100k_base"
_O200K_FAMILIES: Final = ("gpt-4o", "gpt-4.1", "gpt-5", "o1", "o3", "o4", "chatgpt-4o")


def vocabulary_of(model: str) -> str:
    """Return the vocabulary to count a model's tokens with; for models that are not OpenAI's an estimate."""
    return "o200k_base" if model.startswith(_O200K_FAMILIES) else DEFAULT_VOCABULARY


def count(text: str, model: str = "") -> int:
    """Count the tokens of a text; words that look like special tokens count as the text they are."""
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate has no tokens of its own
    return len(_encoding(vocabulary_of(model)).encode_ordinary(text)) if text else 0


def pieces(text: str, model: str = "") -> list[str]:
    """Cut a text where a model's tokens begin; a character of several tokens stays whole, in the last one's piece."""
    encoding, decoder = _encoding(vocabulary_of(model)), getincrementaldecoder("utf-8")()
    found = [decoder.decode(encoding.decode_single_token_bytes(token)) for token in encoding.encode_ordinary(text)]
    return [piece for piece in found if piece]


def count_prompt(messages: Iterable[Message], model: str = "") -> int:
    """Count the tokens of a prompt: its `role: content` lines, joined by newlines."""
    return count("\n".join(f"{m.role}: {m.text()}" for m in messages), model)


def warm_up(models: Iterable[str]) -> None:
    """Load the vocabularies of these models, which takes some tenths of a second that no turn should pay."""
    for model in models:
        count("warm", model)


@cache
def _encoding(name: str) -> quicktok.Tokenizer:
    return quicktok.get_encoding(name)
