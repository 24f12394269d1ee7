"""The upstreams: configured, named connections to platforms, each a preset with an address and credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator, model_validator

from trunkline.connect.backoff import retry_after_s
from trunkline.connect.breaker import Breaker
from trunkline.connect.credentials import ApiKey, Credentials
from trunkline.connect.http import Answer, HttpClient
from trunkline.connect.oauth import Client, TokenCache
from trunkline.connect.rate_limit import RateLimiter
from trunkline.core.errors import nearest
from trunkline.dialects.base import Call, Dialect, Open
from trunkline.dialects.presets import GENESYS_REGIONS, PRESETS, PromptLimits
from trunkline.guards.chain import Guard
from trunkline.guards.profiles import DEFAULT
from trunkline.secrets import Name, Secret
from trunkline.sources.base import Receiver, Source, StreamRequest
from trunkline.sources.sse_client import SseClient, SsePool
from trunkline.sources.websocket_client import WebSocketClient

MAX_CALL_S: Final = 10.0


class Timeouts(BaseModel):
    """`[upstreams.NAME.timeouts]`: how long each step of a turn may take; each has an error of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_s: float = Field(default=10, gt=0, description="For TCP, TLS and a WebSocket's handshake.")
    first_token_s: float = Field(default=20, gt=0, description="From the request to the first text.")
    between_tokens_s: float = Field(default=20, gt=0, description="Between two pieces of the answer.")
    turn_s: float = Field(default=120, gt=0, description="The whole turn.")


class UpstreamSettings(BaseModel):
    """`[upstreams.NAME]`: the name is what a client asks for as `model`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["openai", "genesys-completions", "genesys-chat"] = Field(
        description="Which platform this is: it decides the wire, the paths and the limits."
    )
    base_url: HttpUrl | None = Field(
        default=None, description="The platform's address; paths are added to it. Not needed with a region."
    )
    region: str | None = Field(default=None, description="A Genesys Cloud region, such as eu_west_1.")
    login_url: HttpUrl | None = Field(default=None, description="Where tokens are asked for, if not at that address.")
    api_key: Secret | None = Field(
        default=None, description='The key, sent as a bearer token: "env:NAME" or "file:PATH".'
    )
    client_id: Name | None = Field(default=None, description='The OAuth client; may be written "env:NAME".')
    client_secret: Secret | None = Field(default=None, description='Its secret: "env:NAME" or "file:PATH".')
    scopes: tuple[str, ...] | None = Field(default=None, description="Asked for in place of the preset's.")
    token_style: Literal["basic", "form", "json"] | None = Field(
        default=None,
        description="How the client says who it is, if not as the preset does: HTTP Basic, form body or JSON body.",
    )
    paths: dict[str, str] = Field(default_factory=dict, description="By name, in place of the preset's.")
    headers: dict[str, Secret] = Field(
        default_factory=dict, description="Sent with every request to the platform, by name."
    )
    model: str = Field(min_length=1, description="The model that the platform is asked for.")
    guards: str = Field(
        default=DEFAULT,
        description="What screens its answers: a ready profile, the name of a `[guards.NAME]`, or `none`.",
    )
    expect: Literal["json"] | None = Field(default=None, description="The answer is checked for being this.")
    on_unexpected: Literal["flag", "fail"] = Field(
        default="flag", description="An answer that is not what is expected gets a notice, or fails."
    )
    fallbacks: tuple[str, ...] = Field(
        default=(), description="Upstreams to ask in this order where this one fails before its first text."
    )
    attempts: int = Field(default=3, ge=1, le=10, description="How often a request is tried before its first text.")
    breaker_failures: int = Field(default=5, ge=1, description="After so many failures in a row it is left alone.")
    breaker_open_s: float = Field(default=10, gt=0, description="For how long it is left alone then.")
    max_answer_chars: int = Field(default=200_000, ge=1, description="A longer answer fails, with `answer_too_long`.")
    max_content_chars: int | None = Field(
        default=None, ge=1, description="The longest message of a prompt, in place of the preset's limit."
    )
    on_overflow: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="A prompt that does not fit the model's context window is refused, or loses its oldest messages.",
    )
    timeouts: Timeouts = Timeouts()

    @field_validator("base_url", "login_url")
    @classmethod
    def _holds_no_secret(cls, value: HttpUrl | None) -> HttpUrl | None:
        if value is not None and (value.username or value.password):
            raise ValueError("an address must not hold a user or a password: they would be printed")
        if value is not None and (value.query or value.fragment):
            raise ValueError("an address must not hold a query or a fragment: paths are added to it")
        return value

    @field_validator("region")
    @classmethod
    def _is_a_region(cls, value: str | None) -> str | None:
        if value is None:
            return None
        name = value.strip().lower().replace("-", "_")
        if name not in GENESYS_REGIONS:
            raise ValueError(f"there is no region {value!r}.{nearest(name, GENESYS_REGIONS)}")
        return name

    @model_validator(mode="after")
    def _fits_its_preset(self) -> UpstreamSettings:
        """Say everything that the preset needs and does not have, at once."""
        preset = PRESETS[self.preset]
        faults = []
        if preset.auth == "oauth":
            faults += [f"{name} is required" for name in ("client_id", "client_secret") if not getattr(self, name)]
            if (self.region is None) == (self.base_url is None):
                faults.append("give either region or base_url")
            unused = ["api_key"]
        else:
            if self.base_url is None:
                faults.append("base_url is required")
            unused = ["region", "login_url", "client_id", "client_secret", "scopes", "token_style"]
        faults += [f"{name} is not used by it" for name in unused if getattr(self, name) is not None]
        known = sorted(preset.paths)
        faults += [f"there is no path {name!r}, only {', '.join(known)}" for name in self.paths if name not in known]
        if faults:
            raise ValueError(f"with preset {self.preset!r}: {'; '.join(faults)}")
        return self

    @property
    def api_base(self) -> str:
        """The address of the platform's API, without a slash at its end."""
        if self.base_url is not None:
            return str(self.base_url).rstrip("/")
        return f"https://api.{GENESYS_REGIONS[self.region or '']}"

    @property
    def all_paths(self) -> dict[str, str]:
        """The preset's paths with those of the settings over them."""
        return {**PRESETS[self.preset].paths, **self.paths}

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""
        base = str(self.login_url).rstrip("/") if self.login_url is not None else self.api_base
        return base + self.all_paths["token"]


@dataclass(frozen=True, slots=True)
class Transports:
    """What all upstreams of a relay share."""

    sse: SsePool
    http: HttpClient
    tokens: TokenCache
    clock: Callable[[], float]
    wall: Callable[[], float]

    async def close(self) -> None:
        """Drop every connection."""
        await self.tokens.close()
        self.sse.close()
        await self.http.close()


class Upstream:
    """One named upstream: makes a dialect per turn, opens its streams and makes its calls with credentials."""

    def __init__(
        self, name: str, settings: UpstreamSettings, transports: Transports, limiter: RateLimiter, guard: Guard
    ) -> None:
        self.name = name
        self.settings = settings
        self.guard = guard
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_open_s)
        self._preset = PRESETS[settings.preset]
        self._transports = transports
        self._limiter = limiter
        self.credentials: Credentials = self._make_credentials()

    @property
    def needs_prompt(self) -> bool:
        """Whether the platform is sent a prompt at all."""
        return self._preset.needs_prompt

    @property
    def uses_oauth(self) -> bool:
        """Whether its credential is a token."""
        return self._preset.auth == "oauth"

    @property
    def addresses(self) -> list[str]:
        """Where it is connected to, each origin once."""
        urls = [self.settings.api_base, self.settings.token_url] if self.uses_oauth else [self.settings.api_base]
        return list({"/".join(url.split("/")[:3]): None for url in urls})

    @property
    def limits(self) -> PromptLimits:
        """What the platform takes of a prompt, with what the settings say over it."""
        chars = self.settings.max_content_chars
        return self._preset.limits if chars is None else replace(self._preset.limits, max_content_chars=chars)

    def dialect(self) -> Dialect:
        """Make the dialect of one turn."""
        return self._preset.make(self.settings.all_paths)

    def source(self) -> Source:
        """Make a source for one stream."""
        return SseClient(self._transports.sse) if self._preset.transport == "sse" else WebSocketClient()

    async def authorise(self) -> dict[str, str]:
        """Return the headers of the next request, when the platform's rate limit lets it go. Raises `TokenError`."""
        headers = await self.credentials.headers()
        wait_s = self._limiter.reserve(self._transports.clock())
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return headers | {name: value.get_secret_value() for name, value in self.settings.headers.items()}

    async def open(self, source: Source, command: Open, headers: Mapping[str, str], receiver: Receiver) -> None:
        """Carry out an `Open` with authorised headers: add the address, and let the source connect."""
        connect_s = self.settings.timeouts.connect_s
        url = self.settings.api_base + command.path
        request = StreamRequest(command.method, url, {**command.headers, **headers}, command.body, connect_s)
        await source.open(request, receiver)

    async def call(self, command: Call) -> tuple[int, Mapping[str, str], bytes]:
        """Carry out a `Call`; status 0 means that no answer came. A 401 renews the token, once. Raises `TokenError`."""
        body, content = None, {}
        if command.json is not None:
            body, content = msgspec.json.encode(command.json), {"content-type": "application/json"}
        url = self.settings.api_base + command.path
        answer = Answer(0, {}, b"")
        for _ in range(2):
            headers = await self.authorise()
            answer = await self._transports.http.call(
                command.method, url, headers=headers | content, body=body, timeout_s=MAX_CALL_S
            )
            self.heard(answer.status, answer.headers)
            if answer.status != HTTPStatus.UNAUTHORIZED or not self.credentials.rejected(headers):
                break
        return answer.status, answer.headers, answer.body

    def heard(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Learn from an answer's status and headers; return its `Retry-After` in seconds, if it has one."""
        now, wall_s = self._transports.clock(), self._transports.wall()
        self._limiter.heard(headers, now, wall_s)
        wait_s = retry_after_s(headers, wall_s)
        if status == HTTPStatus.TOO_MANY_REQUESTS and wait_s is not None:
            self._limiter.must_wait(wait_s, now)
        return wait_s

    def _make_credentials(self) -> Credentials:
        settings = self.settings
        if self._preset.auth == "key" or settings.client_id is None or settings.client_secret is None:
            return ApiKey(settings.api_key)
        client = Client(
            settings.token_url,
            settings.client_id,
            settings.client_secret,
            self._preset.scopes if settings.scopes is None else settings.scopes,
            settings.token_style or self._preset.token_style,
            self._preset.leeway_s,
        )
        return self._transports.tokens.of(client)


def make_upstreams(
    settings: Mapping[str, UpstreamSettings], transports: Transports, guards: Mapping[str, Guard]
) -> dict[str, Upstream]:
    """Make the upstreams of a relay from their settings; those that share a credential share its rate limit.

    `guards` holds, by name, every guard that the settings name.
    """
    limiters: dict[tuple[str, str | None], RateLimiter] = {}
    upstreams = {}
    for name, s in settings.items():
        key = s.api_key.get_secret_value() if s.api_key is not None else s.client_id
        limiter = limiters.setdefault((s.api_base, key), RateLimiter())
        upstreams[name] = Upstream(name, s, transports, limiter, guards[s.guards])
    return upstreams
