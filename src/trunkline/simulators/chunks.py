"""The chat completion objects of the OpenAI API, whole and as chunks, with their token counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trunkline.simulators.says import Choice

JsonObject = dict[str, object]


@dataclass(slots=True)
class Chunks:
    """Makes the objects of one answer and counts the tokens that they carry.

    `usage` says where usage goes: nowhere, in a last chunk without choices (then every other chunk has a null there),
    or in every chunk.
    """

    answer_id: str
    created: int
    model: str
    prompt_tokens: int
    reasoning_tokens: int
    usage: Literal["none", "last", "each"]
    completion_tokens: int = 0

    def delta(self, choice: int, delta: JsonObject | None, *, finish: str | None = None, tokens: int = 0) -> JsonObject:
        """Give a chunk with one delta; `tokens` is what it adds to the count."""
        self.completion_tokens += tokens
        return self._chunk(
            choices=[{"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}],
        )

    def empty(self) -> JsonObject:
        """Give a chunk whose choices are empty."""
        return self._chunk(choices=[])

    def without_choices(self) -> JsonObject:
        """Give a chunk that has no choices at all."""
        return self._chunk()

    def usage_chunk(self) -> JsonObject | None:
        """Give the last chunk, or None where usage was not asked for."""
        return None if self.usage == "none" else {**self._head(), "choices": [], "usage": self._usage()}

    def whole(self, choices: list[Choice]) -> JsonObject:
        """Give the whole answer as one object."""
        self.completion_tokens = sum(part.tokens for choice in choices for part in choice.parts)
        return {
            **self._head(),
            "object": "chat.completion",
            "choices": [
                {"index": choice.index, "message": choice.message, "logprobs": None, "finish_reason": choice.finish}
                for choice in choices
            ],
            "usage": self._usage(),
        }

    def _head(self) -> JsonObject:
        return {
            "id": self.answer_id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_simulator",
        }

    def _chunk(self, **fields: object) -> JsonObject:
        chunk = {**self._head(), **fields}
        if self.usage != "none":
            chunk["usage"] = self._usage() if self.usage == "each" else None
        return chunk

    def _usage(self) -> JsonObject:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }
