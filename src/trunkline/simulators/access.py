"""Who may ask, and how often: the access tokens that were issued, and the requests that each client has made."""

from __future__ import annotations

import math
import random
import string
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Clock = Callable[[], float]
Standing = Literal["good", "unknown", "expired", "revoked"]

_ALPHABET = string.ascii_letters + string.digits + "-_"
_LENGTH = 86
_MAX_TOKENS = 100_000
_MAX_CLIENTS = 10_000
_WINDOW_S = 60.0


@dataclass(slots=True)
class Token:
    """One token but for its value; `number` counts from 1 in the order of issue and stands for it in the ledger."""

    number: int
    client_id: str
    scopes: tuple[str, ...]
    expires_at: float
    revoked: bool = False


class Tokens:
    """The newest tokens, by value; `clock` gives the seconds in which they live."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self._issued = 0

    def issue(
        self, rng: random.Random, client_id: str, scopes: tuple[str, ...], lifetime_s: float
    ) -> tuple[str, Token]:
        """Make a token that is good for `lifetime_s`, and give its value too."""
        self._issued += 1
        value = "".join(rng.choices(_ALPHABET, k=_LENGTH))
        token = self._tokens[value] = Token(self._issued, client_id, scopes, self._clock() + lifetime_s)
        if len(self._tokens) > _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return value, token

    def get(self, value: str) -> Token | None:
        """Give the token with this value, good or not; None where there was none."""
        return self._tokens.get(value)

    def standing(self, token: Token | None) -> Standing:
        """Say whether `token` is good, or why not."""
        if token is None:
            return "unknown"
        if token.revoked:
            return "revoked"
        return "good" if self._clock() < token.expires_at else "expired"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a client has left of its requests; `reset_s` is how long until the oldest of them no longer counts."""

    allowed: int
    remaining: int
    reset_s: int
    over: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say so, in the two spellings that are in use."""
        return {
            "x-ratelimit-limit": str(self.allowed),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset_s),
            "inin-ratelimit-count": str(self.allowed - self.remaining),
            "inin-ratelimit-allowed": str(self.allowed),
            "inin-ratelimit-reset": str(self.reset_s),
        }


class Limiter:
    """Lets each client make `per_minute` requests in any 60 seconds; one that is refused does not count."""

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
        if per_minute < 1:
            raise ValueError(f"per_minute must be at least 1, received {per_minute}")
        self._per_minute = per_minute
        self._clock = clock
        self._windows: dict[str, deque[float]] = {}

    def count(self, client_id: str) -> Budget:
        """Count one request of `client_id` and give what is left; `over` where it is one too many."""
        now = self._clock()
        window = self._windows.setdefault(client_id, deque())
        if len(self._windows) > _MAX_CLIENTS:
            del self._windows[next(iter(self._windows))]
        while window and window[0] + _WINDOW_S <= now:
            window.popleft()
        over = len(window) >= self._per_minute
        if not over:
            window.append(now)
        reset_s = max(1, math.ceil(window[0] + _WINDOW_S - now))
        return Budget(self._per_minute, self._per_minute - len(window), reset_s, over)
