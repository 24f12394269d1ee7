"""The upstreams: configured, named connections to platforms, each a preset with an address and credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec

from trunkline.connect.backoff import retry_after_s
from trunkline.connect.breaker import Breaker
from trunkline.connect.credentials import ApiKey, Credentials, without_secrets
from trunkline.connect.http import Answer, HttpClient
from trunkline.connect.oauth import Client, TokenCache
from trunkline.connect.rate_limit import LimitedError, RateLimiter
from trunkline.connect.shared import OnWait, SharedAnswers
from trunkline.dialects.base import Call, Dialect, Open, Setup
from trunkline.dialects.presets import PRESETS, PromptLimits, Retries
from trunkline.guards.chain import Guard
from trunkline.sources.base import Receiver, Source, StreamRequest
from trunkline.sources.http_stream import HttpPool, HttpStream
from trunkline.sources.websocket_client import WebSocketClient
from trunkline.upstream_settings import Timeouts, UpstreamSettings

MAX_BORNE_S: Final = 20.0


def _bear(wait_s: float) -> None:
    if wait_s > MAX_BORNE_S:
        raise LimitedError(wait_s)


@dataclass(frozen=True, slots=True)
class Transports:
    """What all upstreams of a relay share."""

    sse: HttpPool
    http: HttpClient
    tokens: TokenCache
    clock: Callable[[], float]
    wall: Callable[[], float]
    random: Callable[[], float]

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
        self._shared = SharedAnswers(transports.clock)
        self.timeouts: Timeouts = settings.limits_s
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
    def has_handshake(self) -> bool:
        """Whether a stream is opened before anything is asked for, so that opening one costs no answer."""
        return self._preset.transport == "websocket"

    @property
    def addresses(self) -> list[str]:
        """Where it is connected to, each origin once."""
        urls = [self.settings.api_base, self.settings.stream_base]
        urls += [self.settings.token_url] if self.uses_oauth else []
        return list({"/".join(url.split("/")[:3]): None for url in urls})

    @property
    def limits(self) -> PromptLimits:
        """What the platform takes of a request, with what the settings say over it."""
        limits = self._preset.limits
        chars = self.settings.max_content_chars
        return replace(
            limits,
            max_content_chars=limits.max_content_chars if chars is None else chars,
            takes_messages=self.settings.messages_field,
        )

    @property
    def retries(self) -> Retries:
        """How it is tried again before its first text."""
        return self._preset.retries

    def dialect(self) -> Dialect:
        """Make the dialect of one turn."""
        return self._preset.make(Setup(self.settings.all_paths, self.settings, self._transports.random))

    def source(self) -> Source:
        """Make a source for one stream."""
        if self._preset.transport == "sse":
            return HttpStream(self._transports.sse)
        return WebSocketClient(self.timeouts.ping_every_s, self.timeouts.pong_within_s)

    async def authorise(self, on_wait: OnWait = _bear) -> dict[str, str]:
        """Return the headers of the next request, when the platform's rate limit lets it go.

        `on_wait` is told before of the seconds that this will take; it may raise `LimitedError`. Raises `CannotAsk`.
        """
        headers = await self.credentials.headers()
        now = self._transports.clock()
        wait_s = self._limiter.due_s(now)
        if wait_s > 0:
            on_wait(wait_s)
        self._limiter.reserve(now)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return headers | {name: value.get_secret_value() for name, value in self.settings.headers.items()}

    async def open(self, source: Source, command: Open, headers: Mapping[str, str], receiver: Receiver) -> None:
        """Carry out an `Open` with authorised headers: add the address, and let the source connect."""
        url = self.settings.stream_base + command.path
        sent = {**command.headers, **self._shown(headers)}
        limits = self.timeouts
        request = StreamRequest(command.method, url, sent, command.body, limits.connect_s, limits.handshake_s)
        await source.open(request, receiver)

    def _shown(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return a stream's headers: the token where the settings want it, and whose it is where the platform asks."""
        shown = dict(headers)
        if self.settings.token_in == "subprotocol" and "authorization" in shown:  # noqa: S105 - no password
            shown["sec-websocket-protocol"] = shown.pop("authorization").removeprefix("Bearer ")
        if self._preset.client_id_header and self.settings.client_id is not None:
            shown[self._preset.client_id_header] = self.settings.client_id
        return shown

    async def call(self, command: Call, on_wait: OnWait = _bear) -> tuple[int, Mapping[str, str], bytes]:
        """Carry out a `Call`; status 0 means that no answer came. A 401 renews the token, once.

        `on_wait` as for `authorise`. Raises `CannotAsk`.
        """
        body = None if command.json is None else msgspec.json.encode(command.json)
        if command.fresh_s <= 0:
            answer = await self._call(command, body, on_wait)
        else:
            key = (command.method, command.path, command.topic)
            call = partial(self._call, command, body)
            answer = await self._shared.get(key, body, command.fresh_s, call, on_wait)
        return answer.status, answer.headers, answer.body

    async def _call(self, command: Call, body: bytes | None, on_wait: OnWait) -> Answer:
        content = {} if body is None else {"content-type": "application/json"}
        url = self.settings.api_base + command.path
        answer = Answer(0, {}, b"")
        for _ in range(2):
            headers = await self.authorise(on_wait)
            answer = await self._transports.http.call(
                command.method, url, headers=headers | content, body=body, timeout_s=command.timeout_s
            )
            self.heard(answer.status, answer.headers)
            if answer.status != HTTPStatus.UNAUTHORIZED or not self.credentials.rejected(headers):
                break
        return answer

    def heard(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Learn from an answer's status and headers; return its `Retry-After` in seconds, if it has one."""
        now, wall_s = self._transports.clock(), self._transports.wall()
        self._limiter.heard(headers, now, wall_s)
        wait_s = self.retry_after_s(headers)
        if status == HTTPStatus.TOO_MANY_REQUESTS and wait_s is not None:
            self._limiter.must_wait(wait_s, now)
        return wait_s

    def without_secrets(self, words: str) -> str:
        """Return the platform's words in one printable line, without any credential that it is shown.

        Whoever passes words of a platform on calls this before anything cuts them.
        """
        shown = [value.get_secret_value() for value in self.settings.headers.values()]
        bare = [value.partition(" ")[2] for value in shown]  # what follows a scheme such as `Basic`
        return without_secrets(words, [*self.credentials.secrets(), *shown, *bare])

    def retry_after_s(self, headers: Mapping[str, str]) -> float | None:
        """Return the `Retry-After` of an answer in seconds, if it has one."""
        return retry_after_s(headers, self._transports.wall())

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
