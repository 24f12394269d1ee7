"""What can go wrong: one root error, few classes, and the closed table of reasons a turn may end with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["completed", "blocked", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a turn ended: its outcome, the HTTP status where it precedes the headers, and a sentence for people."""

    code: str
    outcome: Outcome
    status: int
    meaning: str


def _reasons() -> dict[str, Reason]:
    rows: list[tuple[Outcome, str, int, str]] = [
        ("completed", "stop", 200, "The platform ended the answer."),
        ("completed", "max_tokens", 200, "The answer reached the limit of tokens and is cut there."),
        ("completed", "tool_calls", 200, "The model asks for tools to be called."),
        ("completed", "end_without_reason", 200, "The stream ended properly, without a finish reason."),
        ("blocked", "guard_rule", 200, "A guard found what must not be shown."),
        ("blocked", "guard_error", 200, "A guard failed, and nothing is shown unscreened."),
        ("blocked", "platform_content_filter", 200, "The platform's own content filter ended the answer."),
        ("cancelled", "client_cancelled", 499, "The client asked to stop."),
        ("cancelled", "client_left", 499, "The last reader left and did not come back in time."),
        ("cancelled", "shutdown", 503, "The relay was stopped."),
        ("failed", "upstream_interrupted", 502, "The platform's stream broke off before its end mark."),
        ("failed", "upstream_error", 502, "The platform answered with an error."),
        ("failed", "upstream_protocol", 502, "The platform sent what its protocol does not allow."),
        ("failed", "upstream_auth", 502, "The platform did not accept the relay's credentials."),
        ("failed", "upstream_forbidden", 502, "The relay's credentials lack a permission at the platform."),
        ("failed", "rate_limited", 429, "The platform takes no more requests for now."),
        ("failed", "quota_exceeded", 429, "The platform has no free slot for the model."),
        ("failed", "upstream_unavailable", 503, "The platform could not be reached or is overloaded."),
        ("failed", "connect_timeout", 504, "No connection to the platform in time."),
        ("failed", "handshake_timeout", 504, "The platform's handshake did not end in time."),
        ("failed", "handshake_rejected", 502, "The platform refused the handshake."),
        ("failed", "first_token_timeout", 504, "No first token in time."),
        ("failed", "between_tokens_timeout", 504, "The platform fell silent in the middle of the answer."),
        ("failed", "turn_timeout", 504, "The whole turn took too long."),
        ("failed", "answer_too_long", 502, "The answer is longer than the relay's limit."),
        ("failed", "sequence_gap", 502, "A piece of the answer is missing and did not come in time."),
        ("failed", "replay_mismatch", 502, "After a reconnect the platform replayed another text."),
        ("failed", "answer_not_json", 502, "The answer was to be JSON and is not."),
        ("failed", "store_error", 503, "The log could not be written."),
        ("failed", "relay_restarted", 503, "The relay was restarted while the turn was open."),
        ("failed", "internal_error", 500, "A fault in the relay."),
    ]
    return {code: Reason(code, outcome, status, meaning) for outcome, code, status, meaning in rows}


REASONS: Final = _reasons()
"""Closed: no turn ends with a reason that is not in this table."""


class TrunklineError(Exception):
    """The root. `code` is stable, `status` the HTTP status; `retryable`: the same call may succeed later."""

    code: str = "internal_error"
    status: int = 500
    retryable: bool = False

    def __init__(self, detail: str) -> None:
        """Take one sentence for people: what came, what was expected, what to do."""
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a request or a settings file, and where: a JSON pointer, or a dotted name."""

    pointer: str
    detail: str


class RequestRefused(TrunklineError):
    """The request cannot become a turn as it stands; the caller has to change it."""

    status = 400

    def __init__(self, code: str, detail: str, *, status: int = 400, faults: Iterable[Fault] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.faults = tuple(faults)


class AccessDenied(TrunklineError):
    """No credential, or not one that the relay knows."""

    code = "invalid_api_key"
    status = 401


class OriginRefused(TrunklineError):
    """A web page asks whose origin may not, or under a name that the relay does not answer to."""

    status = 403

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class TurnNotFound(TrunklineError):
    """There is no such turn, or it belongs to somebody else; the two look alike on purpose."""

    code = "turn_not_found"
    status = 404

    def __init__(self, turn_id: str, whose: str = " of yours") -> None:
        super().__init__(f"There is no turn {turn_id[:64]!r}{whose}.")


class TurnForgotten(TrunklineError):
    """The turn existed, and its log is gone: forgotten on request, or past its retention."""

    code = "turn_forgotten"
    status = 410

    def __init__(self, turn_id: str, principal: str = "") -> None:
        super().__init__(f"The log of turn {turn_id} is gone: it was forgotten or is past its retention.")
        self.principal = principal


class OffsetPastTail(TrunklineError):
    """A reader holds an offset that the log does not have, or lost in a crash; it can read again from 0.

    `tail` is the newest offset that the log has.
    """

    code = "offset_past_tail"
    status = 409

    def __init__(self, after: int, tail: int) -> None:
        why = "it was lost when the relay crashed" if after < tail else f"it ends at offset {tail}"
        super().__init__(f"The log of this turn has no offset {after}: {why}. Read it again from 0.")
        self.after = after
        self.tail = tail


class Overloaded(TrunklineError):
    """The relay takes no new turn now; try again after `retry_after_s` seconds."""

    status = 503
    retryable = True

    def __init__(self, code: str, detail: str, *, status: int = 503, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s


class DatabaseError(Overloaded):
    """The database of the records did not do what was asked; nothing of it was done, and it may be asked again."""

    def __init__(self, detail: str) -> None:
        super().__init__("store_unavailable", detail)


class SettingsError(TrunklineError):
    """The settings cannot be used; `faults` names every one of their faults, not only the first."""

    code = "invalid_settings"
    head = "The settings have {}:"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        head = self.head.format("1 fault" if count == 1 else f"{count} faults")
        super().__init__("\n".join([head, *(f"  {f.pointer}: {f.detail}" for f in self.faults)]))


class LogUnusable(SettingsError):
    """The settings are in order, and the log that they name cannot be used now; `faults` says where and why."""

    code = "log_unusable"
    head = "The log cannot be used now:"


class FolderInUse(LogUnusable):
    """Another process holds the data folder."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the nearest known word, or an empty string where none is near."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{match[0]}"?' if match else ""
