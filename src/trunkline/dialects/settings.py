"""What can be set of a platform's wire; each preset uses some of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from trunkline.core.ids import CLIENT_ID_PATTERN
from trunkline.core.reorder import WINDOW, Replay

Id = Annotated[str, Field(pattern=CLIENT_ID_PATTERN)]
Temperature = Annotated[float, Field(ge=0, le=2)]


class WireSettings(BaseModel):
    """The part of `[upstreams.NAME]` that its dialect reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation_id: Id | None = Field(default=None, description="Where a request names no conversation.")
    dialog_id: Id | None = Field(default=None, description="Where a request names no dialog.")
    prompt_id: Id | None = Field(default=None, description="Where a request names no prompt of the platform.")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Of an answer, where a request does not say; else what the wire usually has."
    )
    temperature: tuple[Temperature, ...] | None = Field(
        default=None,
        min_length=1,
        description="Where a request names none; `genesys-gateway` takes several, others the first.",
    )
    context_format: str = Field(default="json", min_length=1, description="The format of an answer, `genesys-gateway`.")
    messages_field: bool = Field(
        default=True, description="The platform takes the messages of a request; else one that has some is refused."
    )
    ready_s: float = Field(default=5, gt=0, description="For so long the `stream_ready` of a platform is waited for.")
    replay: Replay = Field(
        default="from_start",
        description="How the platform goes on after a reconnect where its events have no numbers.",
    )
    reorder_window: int = Field(
        default=WINDOW, ge=1, le=65_536, description="How many pieces one may be ahead of a missing one."
    )
    gap_s: float = Field(
        default=5,
        gt=0,
        description="How long a missing piece is waited for; behind an end mark without a number there may be one.",
    )
    quota_fresh_s: float = Field(
        default=0, ge=0, le=60, description="For so long an answer about the quota does for further turns."
    )
    configure: bool = Field(default=True, description="The dialog is configured before its first turn.")
    opening: bool = Field(default=True, description="An opening message is sent; else the platform speaks at once.")
    byte_tokens: Literal["latin1"] | None = Field(
        default=None, description="Each character of a token is one byte of UTF-8, written as Latin-1."
    )
