"""`[server]` and `[[keys]]`: where the relay listens, whom it lets in, and what bounds a request."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]


class KeySettings(BaseModel):
    """One `[[keys]]`: who may ask. Only the digest of the key is kept; `trunkline key NAME` makes a new one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="The principal that turns belong to.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, 64 hex digits in lower case.")


class ServerSettings(BaseModel):
    """`[server]`: where the relay listens, whom it lets in, and what bounds a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8080, ge=0, le=65_535, description="The port; 0 takes a free one. WS_PORT also sets it.")
    max_body_bytes: int = Field(
        default=1 << 20, ge=1_024, description="A longer request body (413) or WebSocket message (1009) is refused."
    )
    max_open_turns: int = Field(default=2_000, ge=1, description="More turns at once are refused (503).")
    max_open_turns_per_principal: int = Field(
        default=1_000, ge=1, description="More turns at once of one principal are refused (429)."
    )
    max_websockets: int = Field(default=10_000, ge=1, description="More open WebSockets are refused (503).")
    allowed_origins: tuple[Origin, ...] = Field(
        default=(),
        description="Web pages of other origins that may ask (CORS): `https://agent.example.com`. "
        "A page that the relay's own address serves always may; `*` lets every page in.",
    )
    key_header: str = Field(
        default="X-API-Key",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="The header that may hold a key, beside `Authorization: Bearer` and Azure's `api-key`.",
    )
    ticket_s: float = Field(default=60, gt=0, le=3_600, description="A ticket must be used within so many seconds.")
    follow_s: float = Field(
        default=3_600,
        gt=0,
        le=86_400,
        description="For so long the ticket of one turn lets its browser come back to it.",
    )
    keep_alive_s: float = Field(default=15, gt=0, description="A quiet stream says so this often, in a comment.")
    stall_s: float = Field(default=60, gt=0, description="A reader that takes nothing for so long is let go.")
    commit_after_ms: int = Field(
        default=2_000,
        ge=0,
        description="How long the headers of a stream may wait for a first event, so that a failure can be a status.",
    )
    drain_s: float = Field(default=20, ge=0, description="How long open turns may go on after SIGTERM.")


class FallbackTexts(BaseModel):
    """One language of `[fallback_texts]`: what a customer reads where an answer could not be given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: str = Field(
        default="I am experiencing high latency. Please try again in a moment.",
        min_length=1,
        description="The platform did not answer in time.",
    )
    rate_limit: str = Field(
        default="Service is temporarily overloaded. Please retry shortly.",
        min_length=1,
        description="The platform takes no more requests for now.",
    )
    other: str = Field(
        default="An unexpected error occurred. Please contact support.",
        min_length=1,
        description="Anything else, also an answer that a guard blocked.",
    )
