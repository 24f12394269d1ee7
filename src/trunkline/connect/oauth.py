"""OAuth 2.0 client credentials (RFC 6749 section 4.4): one token for all streams, renewed before it expires."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal
from urllib.parse import quote, quote_plus, urlencode

import msgspec
from pydantic import SecretStr

from trunkline.connect.backoff import full_jitter_s, retry_after_s
from trunkline.connect.credentials import without_secrets
from trunkline.connect.errors import CannotAsk
from trunkline.connect.http import Answer, HttpClient

Style = Literal["basic", "form", "json"]
ATTEMPTS: Final = 3
BACKOFF_BASE_S: Final = 0.25
BACKOFF_CAP_S: Final = 30.0
DEFAULT_LIFETIME_S: Final = 300.0  # where the server does not say (RFC 6749 section 5.1 only recommends that it does)
TOKEN_TIMEOUT_S: Final = 10.0
MAX_WORDS: Final = 200  # of a token endpoint about its refusal
KNOWN_TOKENS: Final = 2  # a platform may still repeat the token before, from a stream that was opened with it
PASSING: Final = frozenset({0, 408, 425, 429})  # and every status from 500 on


class TokenError(CannotAsk):
    """No token is to be had; the words hold no secret.

    It is `retryable` where the trouble may pass: no connection, no answer in time, 429, 5xx. `retry_after_s` is how
    long nobody asks again because the token endpoint said so, from now.
    """

    code = "upstream_auth"


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks for a token, where, for which scopes, and how it authenticates itself."""

    token_url: str
    client_id: str
    client_secret: SecretStr = field(repr=False)
    scopes: tuple[str, ...] = ()
    style: Style = "basic"
    leeway_s: float = 60.0

    @property
    def basic(self) -> str:
        """Its id and secret for HTTP Basic; RFC 6749 section 2.3.1: both are form-encoded before they are joined."""
        secret = self.client_secret.get_secret_value()
        return _base64(f"{quote_plus(self.client_id)}:{quote_plus(secret)}")

    @property
    def secrets(self) -> list[str]:
        """Its secret in each form in which it is sent, and as a server may write it after it read it."""
        secret = self.client_secret.get_secret_value()
        in_json = msgspec.json.encode(secret).decode()[1:-1]
        basics = [self.basic, _base64(f"{self.client_id}:{secret}")]
        return [secret, quote_plus(secret), quote(secret, safe=""), in_json, *basics, *(b.rstrip("=") for b in basics)]


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float = DEFAULT_LIFETIME_S
    scope: str | None = None


class _ErrorAnswer(msgspec.Struct):
    error: str = ""
    error_description: str = ""


class ClientCredentials:
    """The token of one client, shared by all who ask: a request for a new one is made once, whoever waits for it.

    An old token is served as long as it is valid; its renewal begins `leeway_s` (with jitter) before it expires, in the
    background. After a failure nobody asks before the time that the token endpoint said, at most a day; where it said
    none, the waits grow with each failure. Times are monotonic seconds.
    """

    def __init__(
        self,
        client: Client,
        http: HttpClient,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._client = client
        self._http = http
        self._clock = clock
        self._wall = wall
        self._random = random
        self._token = ""
        self._known: deque[str] = deque(maxlen=KNOWN_TOKENS)
        self._expires_at = 0.0
        self._renew_at = 0.0
        self._flight: asyncio.Task[None] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last_error: TokenError | None = None

    async def headers(self) -> dict[str, str]:
        """Return the `authorization` header. Raises `TokenError`."""
        return {"authorization": f"Bearer {await self.token()}"}

    async def token(self) -> str:
        """Return a token that is valid now. Raises `TokenError`."""
        now = self._clock()
        if self._token and now < self._expires_at:
            if now >= self._renew_at and now >= self._not_before:
                self._take_off()
            return self._token
        if self._flight is None and now < self._not_before:
            raise self._failure()
        # Shielded: one caller that is cancelled must not take the flight away from the others.
        await asyncio.shield(self._take_off())
        if self._token and self._clock() < self._expires_at:
            return self._token
        raise self._failure()

    def rejected(self, headers: Mapping[str, str]) -> bool:
        """A request with these headers was answered 401. True: another token is there or can be had, try once more.

        Only the token that was used is given up: of many streams that hear 401 at once, the first renews for all.
        """
        if headers.get("authorization") == f"Bearer {self._token}":
            self._token = ""
        return True

    def secrets(self) -> list[str]:
        """Return the secret of its client and the last two tokens."""
        return [*self._client.secrets, *self._known]

    async def close(self) -> None:
        """Give up a renewal that is under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _take_off(self) -> asyncio.Task[None]:
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._renew(), name="oauth.renew")
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, _: asyncio.Task[None]) -> None:
        self._flight = None

    async def _renew(self) -> None:
        """Ask for a token; what goes wrong is kept for those who wait, and spaces out the next attempts."""
        try:
            answer = await self._ask()
            for attempt in range(ATTEMPTS - 1):
                if not _may_pass(answer.status):
                    break
                said = retry_after_s(answer.headers, self._wall())
                jitter = full_jitter_s(attempt, BACKOFF_BASE_S, BACKOFF_CAP_S, self._random)
                if said is not None and said > BACKOFF_CAP_S:
                    break
                await asyncio.sleep(jitter if said is None else said)
                answer = await self._ask()
            self._take(answer)
        except TokenError as error:
            self._last_error = error
            wait = full_jitter_s(self._failures, 1.0, BACKOFF_CAP_S, self._random)
            self._failures += 1
            self._not_before = self._clock() + max(0.1, wait, error.retry_after_s or 0.0)

    def _failure(self) -> TokenError:
        """Return why there is no token, as it is now: an object for each who hears it, since each adds its frames."""
        error = self._last_error
        if error is None:
            return TokenError("upstream_auth", "the token expired as soon as it was issued")
        left_s = None if error.retry_after_s is None else max(0.0, self._not_before - self._clock())
        return TokenError(error.reason, error.detail, retryable=error.retryable, retry_after_s=left_s)

    async def _ask(self) -> Answer:
        client = self._client
        secret = client.client_secret.get_secret_value()
        fields = {"grant_type": "client_credentials"}
        if client.scopes:
            fields["scope"] = " ".join(client.scopes)
        headers = {"accept": "application/json"}
        if client.style == "basic":
            headers["authorization"] = f"Basic {client.basic}"
        else:
            fields |= {"client_id": client.client_id, "client_secret": secret}
        if client.style == "json":
            body, headers["content-type"] = msgspec.json.encode(fields), "application/json"
        else:
            body, headers["content-type"] = (
                urlencode(fields, quote_via=quote).encode(),
                "application/x-www-form-urlencoded",
            )
        return await self._http.call("POST", client.token_url, headers=headers, body=body, timeout_s=TOKEN_TIMEOUT_S)

    def _take(self, answer: Answer) -> None:
        where = self._client.token_url
        if answer.status == 0:
            words = without_secrets(answer.body.decode(), self.secrets())
            raise TokenError("upstream_unavailable", f"{where}: {words}", retryable=True)
        if answer.status != HTTPStatus.OK:
            raise self._refusal(answer)
        try:
            token = msgspec.json.decode(answer.body, type=_TokenAnswer, strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            detail = f"{where}: expected a JSON object with access_token, got something else"
            raise TokenError("upstream_auth", detail) from None
        if not token.access_token or not token.access_token.isascii() or not token.access_token.isprintable():
            raise TokenError("upstream_auth", f"{where}: the token is empty or holds characters that a header cannot")
        if token.scope is not None:
            missing = [scope for scope in self._client.scopes if scope not in token.scope.split()]
            if missing:
                lacks = f"{where}: the token lacks the scope {' '.join(missing)}"
                raise TokenError("upstream_forbidden", f"{lacks}; grant it to client {self._client.client_id}")
        now = self._clock()
        # A leeway longer than a short token's life would renew it all the time: it gets a quarter of the life.
        leeway = min(self._client.leeway_s, token.expires_in / 4)
        self._token = token.access_token
        if self._token not in self._known:
            self._known.append(self._token)
        self._expires_at = now + token.expires_in
        self._renew_at = self._expires_at - leeway * (1 + 0.2 * self._random())
        self._failures, self._not_before, self._last_error = 0, 0.0, None

    def _refusal(self, answer: Answer) -> TokenError:
        try:
            said = msgspec.json.decode(answer.body, type=_ErrorAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = _ErrorAnswer()
        words = without_secrets(f"{said.error} {said.error_description}".strip(), self.secrets())[:MAX_WORDS]
        detail = f"{self._client.token_url}: HTTP {answer.status}" + (f" {words}" if words else "")
        if said.error == "invalid_scope":
            scopes = " ".join(self._client.scopes)
            return TokenError(
                "upstream_forbidden", f"{detail}; grant client {self._client.client_id} the scopes {scopes}"
            )
        if answer.status in (400, 401, 403):
            return TokenError("upstream_auth", f"{detail}; check client_id and client_secret")
        if not _may_pass(answer.status):
            return TokenError("upstream_error", f"{detail}; check login_url")
        reason = "rate_limited" if answer.status == HTTPStatus.TOO_MANY_REQUESTS else "upstream_unavailable"
        return TokenError(reason, detail, retryable=True, retry_after_s=retry_after_s(answer.headers, self._wall()))


def _base64(words: str) -> str:
    return base64.b64encode(words.encode()).decode()


def _may_pass(status: int) -> bool:
    return status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR


class TokenCache:
    """The credentials of all clients of a relay: the same token URL, client and scopes share one token."""

    def __init__(
        self, http: HttpClient, *, clock: Callable[[], float], wall: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._http = http
        self._clock = clock
        self._wall = wall
        self._random = random
        self._clients: dict[tuple[str, str, tuple[str, ...]], ClientCredentials] = {}

    def of(self, client: Client) -> ClientCredentials:
        """Return the credentials of a client, the same object for all who ask for the same."""
        key = (client.token_url, client.client_id, tuple(sorted(client.scopes)))
        if key not in self._clients:
            made = ClientCredentials(client, self._http, clock=self._clock, wall=self._wall, random=self._random)
            self._clients[key] = made
        return self._clients[key]

    async def close(self) -> None:
        """Give up all renewals."""
        for credentials in self._clients.values():
            await credentials.close()
