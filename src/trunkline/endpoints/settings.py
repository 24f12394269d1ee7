"""`[server]` and `[[keys]]`: where the relay listens, whom it lets in, and what bounds a request."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class KeySettings(BaseModel):
    """One `[[keys]]`: who may ask. Only the digest of the key is kept; `trunkline key NAME` makes a new one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="The principal that turns belong to.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, 64 hex digits in lower case.")


class ServerSettings(BaseModel):
    """`[server]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8080, ge=0, le=65_535, description="The port; 0 takes a free one. WS_PORT also sets it.")
    max_body_bytes: int = Field(default=1 << 20, ge=1_024, description="A longer request body is refused (413).")
    max_open_turns: int = Field(default=2_000, ge=1, description="More turns at once are refused (503).")
    keep_alive_s: float = Field(default=15, gt=0, description="A quiet stream says so this often, in a comment.")
    stall_s: float = Field(default=60, gt=0, description="A reader that takes nothing for so long is let go.")
    commit_after_ms: int = Field(
        default=2_000,
        ge=0,
        description="How long the headers of a stream may wait for a first event, so that a failure can be a status.",
    )
    drain_s: float = Field(default=20, ge=0, description="How long open turns may go on after SIGTERM.")
