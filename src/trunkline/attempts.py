"""Decides whom a turn asks, and whether a failure is its end: the same upstream once more, another one, or neither.

After the first text nothing is tried again: it would repeat what somebody has read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from trunkline.connect.backoff import full_jitter_s
from trunkline.core.events import Ended, Notice
from trunkline.upstreams import Upstream

RETRYABLE: Final = frozenset({"rate_limited", "upstream_unavailable", "connect_timeout", "handshake_timeout"})
ELSEWHERE: Final = RETRYABLE | {
    "upstream_interrupted", "upstream_error", "upstream_protocol", "upstream_auth", "upstream_forbidden",
    "quota_exceeded", "first_token_timeout", "handshake_rejected",
}  # fmt: skip
TROUBLE: Final = frozenset(
    {"upstream_unavailable", "connect_timeout", "first_token_timeout", "handshake_timeout", "upstream_interrupted"}
)  # what a breaker counts: the platform is in trouble, not the request


class Route(NamedTuple):
    """One way to an answer: an upstream, and the platform's name of the model."""

    upstream: Upstream
    model: str


class Next(NamedTuple):
    """What follows a failure: the turn asks at a time of the clock, and tells its readers where that is elsewhere."""

    at: float
    notice: Notice | None


class Attempts:
    """The routes of one turn in their order: the first is asked, the others are there to fall back on."""

    __slots__ = (
        "_asked_anew", "_fallbacks", "_random", "_renewed", "_retries", "_shut_out",
        "model", "retry_after_s", "upstream",
    )  # fmt: skip

    def __init__(self, routes: Sequence[Route], random: Callable[[], float]) -> None:
        """Begin with the first route; `random` returns a number from 0 to 1."""
        self.upstream, self.model = routes[0]
        self.retry_after_s: float | None = None
        """What the platform last said of how long to wait."""
        self._fallbacks = list(routes[1:])
        self._random = random
        self._retries = 0
        self._shut_out = False
        self._renewed = False
        self._asked_anew = False

    @property
    def is_first(self) -> bool:
        """Whether the upstream is asked for the first time, so that what its dialect has to say is new."""
        return self._retries == 0 and not self._asked_anew

    def begin(self, now: float) -> Ended | None:
        """Begin an attempt; return how it ended already where the upstream's breaker lets nothing through."""
        self.retry_after_s = None
        self._shut_out = not self.upstream.breaker.admits(now, self)
        if not self._shut_out:
            return None
        detail = f"{self.upstream.name} failed again and again, and is left alone for a while"
        return Ended("failed", "upstream_unavailable", detail=detail)

    def opened(self) -> None:
        """Hear that the platform took the credential and opened its stream: a later one may be refused anew."""
        self._renewed = False
        self.retry_after_s = None

    def refused(self, status: int, headers: Mapping[str, str]) -> None:
        """Hear that the platform answered with an error; one that says what is wrong with the request is well."""
        self.retry_after_s = self.upstream.heard(status, headers)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self.upstream.breaker.succeeded()

    def over(self) -> None:
        """Hear that the turn asks nobody any more."""
        self.upstream.breaker.let_go(self)

    def may_open_again(self, sent: Mapping[str, str]) -> bool:
        """Tell, of a stream that was refused with 401, whether it is opened once more with another credential."""
        if self._renewed:
            return False
        self._renewed = True
        return self.upstream.credentials.rejected(sent)

    def may_ask_anew(self, sent: Mapping[str, str], *, spoken: bool) -> bool:
        """Tell, of a stream that was closed for its credential, whether all is asked anew with another one.

        The credential counts as refused in any case, also where the answer has `spoken` already.
        """
        may_have_another = self.upstream.credentials.rejected(sent)
        if not may_have_another or spoken or self._asked_anew:
            return False
        self._asked_anew = True
        return True

    def after(self, reason: str, now: float, *, deadline: float, silent: bool) -> Next | None:
        """Return what follows a failure before any text, or None where it is the turn's end.

        `deadline` is the turn's; `silent` says that the platform had not sent a byte in this attempt.
        """
        # Its own breaker's refusal says nothing new about the platform, and waiting for it is no use.
        if not self._shut_out:
            if reason in TROUBLE:
                self.upstream.breaker.failed(now)
            retries = self.upstream.retries
            cut_short = reason == "upstream_interrupted" and (retries.until_text or silent)
            if reason in RETRYABLE or cut_short:
                at = now + self._wait_s()
                # Somebody else may answer at once: where there is one, nobody waits longer than for a first text.
                is_soon = not self._fallbacks or at <= now + self.upstream.timeouts.first_token_s
                if self._retries + 1 < self.upstream.settings.attempts and at < deadline and is_soon:
                    self._retries += 1
                    return Next(at, None)
        if reason in ELSEWHERE and self._fallbacks and now < deadline:
            return Next(now, self._fall_back(reason))
        return None

    def _wait_s(self) -> float:
        if self.retry_after_s is not None:
            return self.retry_after_s
        plan = self.upstream.retries
        return max(plan.least_s, full_jitter_s(self._retries, plan.base_s, plan.cap_s, self._random))

    def _fall_back(self, reason: str) -> Notice:
        failed = self.upstream.name
        self.over()
        self.upstream, self.model = self._fallbacks.pop(0)
        self._retries, self._renewed, self._asked_anew = 0, False, False
        return Notice("fallback", f"{failed} to {self.upstream.name}: {reason}")
