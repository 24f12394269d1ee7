"""The upstreams: configured, named connections to platforms, each a preset with an address and credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator

from trunkline.connect.credentials import ApiKey, Credentials
from trunkline.connect.http import HttpClient
from trunkline.connect.secrets import Secret
from trunkline.dialects.base import Call, Dialect, Open
from trunkline.dialects.openai_chat import OpenAIChat
from trunkline.guards.base import Stage
from trunkline.sources.base import Receiver, Source, StreamRequest
from trunkline.sources.sse_client import SseClient, SsePool
from trunkline.sources.websocket_client import WebSocketClient

MAX_CALL_S: Final = 10.0


class Timeouts(BaseModel):
    """`[upstreams.NAME.timeouts]`, each in seconds and each with an error of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_s: float = Field(default=10, gt=0, description="TCP, TLS and a WebSocket's handshake.")
    first_token_s: float = Field(default=20, gt=0, description="From the request to the first text.")
    between_tokens_s: float = Field(default=20, gt=0, description="Between two pieces of the answer.")
    turn_s: float = Field(default=120, gt=0, description="The whole turn.")


class UpstreamSettings(BaseModel):
    """`[upstreams.NAME]`: the name is what a client asks for as `model`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["openai"] = Field(description="Which platform's wire is spoken.")
    base_url: HttpUrl = Field(description="The address that paths are added to, such as https://api.openai.com/v1.")
    api_key: Secret | None = Field(default=None, description='A secret: "env:NAME", "file:PATH" or the key itself.')
    model: str = Field(min_length=1, description="The model that the platform is asked for.")
    guards: Literal["none"] = Field(default="none", description="Which guards screen the answer.")
    max_answer_chars: int = Field(default=200_000, ge=1, description="An answer that is longer fails.")
    timeouts: Timeouts = Timeouts()

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, value: HttpUrl) -> HttpUrl:
        if value.username or value.password:
            raise ValueError("an address must not hold a user or a password: they would be printed; use api_key")
        return value


@dataclass(frozen=True, slots=True)
class Transports:
    """What all upstreams of a relay share."""

    sse: SsePool
    http: HttpClient

    async def close(self) -> None:
        """Drop every connection."""
        self.sse.close()
        await self.http.close()


@dataclass(frozen=True, slots=True)
class Preset:
    """A dialect, the transport that carries it, and whether it sends a prompt at all."""

    dialect: Callable[[], Dialect]
    transport: Literal["sse", "websocket"]
    needs_prompt: bool = True


PRESETS: Final[dict[str, Preset]] = {"openai": Preset(OpenAIChat, "sse")}


class Upstream:
    """One named upstream: makes a dialect per turn, opens its streams and makes its calls with credentials."""

    def __init__(self, name: str, settings: UpstreamSettings, preset: Preset, transports: Transports) -> None:
        self.name = name
        self.settings = settings
        self.needs_prompt = preset.needs_prompt
        self._preset = preset
        self._transports = transports
        self._base = str(settings.base_url).rstrip("/")
        self._credentials: Credentials = ApiKey(settings.api_key)

    def dialect(self) -> Dialect:
        """Make the dialect of one turn."""
        return self._preset.dialect()

    def guard_stages(self) -> list[Stage]:
        """Make the guard stages of one text of one turn, in their order."""
        return []

    def source(self) -> Source:
        """Make a source for one stream."""
        return SseClient(self._transports.sse) if self._preset.transport == "sse" else WebSocketClient()

    async def open(self, source: Source, command: Open, receiver: Receiver) -> None:
        """Carry out an `Open`: add address and credentials, and let the source connect."""
        headers = {**command.headers, **await self._credentials.headers()}
        connect_s = self.settings.timeouts.connect_s
        request = StreamRequest(command.method, self._base + command.path, headers, command.body, connect_s)
        await source.open(request, receiver)

    async def call(self, command: Call) -> tuple[int, Mapping[str, str], bytes]:
        """Carry out a `Call`; status 0 means that no answer came."""
        headers = await self._credentials.headers()
        url = self._base + command.path
        answer = await self._transports.http.call(
            command.method, url, headers=headers, json=command.json, timeout_s=MAX_CALL_S
        )
        return answer.status, answer.headers, answer.body


def make_upstreams(settings: Mapping[str, UpstreamSettings], transports: Transports) -> dict[str, Upstream]:
    """Make the upstreams of a relay from their settings."""
    return {name: Upstream(name, s, PRESETS[s.preset], transports) for name, s in settings.items()}
