"""What a client asks for: one request, whatever endpoint it came through."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from trunkline.core.ids import CLIENT_ID_PATTERN

Role = Literal["system", "developer", "user", "assistant", "tool"]
LastReaderPolicy = Literal["cancel_after", "cancel", "finish"]
ClientId = Annotated[str, Field(pattern=CLIENT_ID_PATTERN, description="1 to 128 of A-Z a-z 0-9 . _ : -")]


Term = Annotated[str, Field(min_length=1, max_length=64)]
Terms = Annotated[
    tuple[Term, ...],
    Field(max_length=64, description="Names known in advance that must not be shown: the caller's own, say."),
]
Stop = str | Annotated[list[str], Field(max_length=4)]


def _check_parts(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not all(isinstance(part.get("type"), str) for part in parts):
        raise ValueError("a part of a message needs a type")
    if not all(isinstance(part.get("text"), str) for part in parts if part["type"] == "text"):
        raise ValueError("a part of type text needs a text")
    return parts


_PART_SCHEMA: Final = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"type": "string"}},
    "if": {"properties": {"type": {"const": "text"}}},
    "then": {"required": ["text"], "properties": {"text": {"type": "string"}}},
}
Parts = Annotated[
    list[dict[str, Any]], AfterValidator(_check_parts), WithJsonSchema({"type": "array", "items": _PART_SCHEMA})
]
"""The parts of a message: text, or an image, a sound, a file for platforms that take such."""


class Message(BaseModel):
    """One message of the conversation so far, as in the OpenAI API."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: Role
    content: str | Parts | None = None

    @property
    def is_system(self) -> bool:
        """Whether it tells the model what to be, and is no part of the talk."""
        return self.role in ("system", "developer")

    def text(self) -> str:
        """Return the words of the message, without images and other parts that are not text."""
        if isinstance(self.content, list):
            return "".join(part["text"] for part in self.content if part["type"] == "text")
        return self.content or ""


class TurnRequest(BaseModel):
    """A request for one streamed answer: a prompt, an upstream, and how the turn is to be kept.

    Either `messages` or `input` (a single user message), or neither where the dialect has no prompt. `upstream` names
    an upstream; without it `model` does, alone or as `upstream/model-of-the-platform`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    upstream: str | None = Field(default=None, max_length=128, description="The name of an upstream of the settings.")
    messages: tuple[Message, ...] | None = Field(default=None, min_length=1, max_length=2_000)
    input: str | None = Field(default=None, min_length=1)
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Beside `upstream`: the platform's model. Alone: an upstream, or `upstream/its-model`.",
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: Stop | None = None
    conversation_id: ClientId | None = None
    session_id: ClientId | None = None
    dialog_id: ClientId | None = None
    prompt_id: ClientId | None = None
    language: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,35}$", description="a BCP 47 tag")] | None = None
    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)
    terms: Terms = ()
    on_last_reader_gone: LastReaderPolicy | None = Field(
        default=None, description="What happens to the turn then; each endpoint has its own default."
    )
    cancel_after_s: float = Field(default=30, ge=0, le=3_600)
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the OpenAI chat request, passed on by the dialects that know them.",
    )

    @model_validator(mode="after")
    def _one_prompt(self) -> TurnRequest:
        if self.messages is not None and self.input is not None:
            raise ValueError("give either messages or input, not both")
        return self

    def prompt(self) -> tuple[Message, ...]:
        """Return the messages of the request, a lone `input` as a user message."""
        if self.input is not None:
            return (Message(role="user", content=self.input),)
        return self.messages or ()
