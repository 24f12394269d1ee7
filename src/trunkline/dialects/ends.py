"""What the platforms' ways to end an answer mean: finish reasons, HTTP statuses, close codes and words of errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from trunkline.core.errors import Outcome
from trunkline.core.events import Ended
from trunkline.core.foreign_json import UNREADABLE, reader
from trunkline.dialects.base import Loss

MAX_WORDS: Final = 16_384  # more than any header of ours: no credential in them may be cut in two; far fewer are shown
FINISH: Final[dict[str, str]] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# What servers say when they gave up in the middle (vLLM, SGLang, OpenRouter): the answer is not complete.
BROKEN_OFF: Final = frozenset({"abort", "error"})
# The gravest ending of several choices is the turn's: (finish reason, outcome, reason), gravest first.
ENDINGS: Final[tuple[tuple[str, Outcome, str], ...]] = (
    ("content_filter", "blocked", "platform_content_filter"),
    ("length", "completed", "max_tokens"),
    ("tool_calls", "completed", "tool_calls"),
    ("stop", "completed", "stop"),
)
STATUS_REASONS: Final[dict[int, str]] = {
    401: "upstream_auth",
    403: "upstream_forbidden",
    429: "rate_limited",
    502: "upstream_unavailable",
    503: "upstream_unavailable",
    504: "upstream_unavailable",
}
# A platform's own close codes are 4000 and the status that HTTP would have.
OWN_CLOSE_CODES: Final = 4_000
_FORBIDDEN: Final = 403

_read = reader(dict[str, Any])


def finished(word: str) -> Ended:
    """Return the end that a finish reason means; one that nobody knows is a proper end too."""
    if word in BROKEN_OFF:
        return failed("upstream_error", f"finish_reason {word}")
    known = FINISH.get(word, "stop")
    return next(Ended(outcome, reason, finish) for finish, outcome, reason in ENDINGS if finish == known)


def failed(reason: str, detail: str) -> Ended:
    """Return the end of a turn that failed."""
    return Ended("failed", reason, detail=detail)


def refused(status: int, body: bytes, permission: str = "", what: str = "") -> Ended:
    """Return the end that an HTTP status means, with the platform's words; `permission` is what a 403 lacks."""
    if status == 0:
        return failed("upstream_unavailable", what + body.decode("utf-8", "replace"))
    if 200 <= status < 300:  # noqa: PLR2004 - the range of HTTP's successes
        # A page from a network that asks to sign in, say: no error, and nothing of this wire either.
        return failed("upstream_protocol", f"{what}expected another answer than HTTP {status}")
    words = body_words(body)
    detail = f"{what}HTTP {status}: {words}" if words else f"{what}HTTP {status}"
    if status == _FORBIDDEN and permission:
        detail += f"; grant {permission}"
    return failed(STATUS_REASONS.get(status, "upstream_error"), detail)


def lost(loss: Loss) -> Ended:
    """Return the end that a lost WebSocket means, by its close code where that says more than that it is gone."""
    status = own_status(loss)
    if status is not None:
        return failed(STATUS_REASONS.get(status, "upstream_error"), loss.detail)
    return failed(loss.reason, loss.detail or "the stream ended without its end mark")


def own_status(loss: Loss) -> int | None:
    """Return the status that a platform's own close code stands for; None where it closed with none of those."""
    status = (loss.code or 0) - OWN_CLOSE_CODES
    return status if 400 <= status < 600 else None  # noqa: PLR2004 - the range of HTTP's errors


def error_words(values: Iterable[Any]) -> str:
    """Return the sentence in what an error object holds, of whichever of the usual shapes; empty without one."""
    for value in values:
        if isinstance(value, list) and value:
            value = value[0]  # noqa: PLW2901 - FastAPI lists what is wrong with each field
        if isinstance(value, dict):
            value = value.get("message") or value.get("msg") or value.get("detail")  # noqa: PLW2901
        if isinstance(value, str) and value:
            return value[:MAX_WORDS]
    return ""


def body_words(body: bytes) -> str:
    """Return the sentence in the body of an HTTP error; a body that is no JSON object (a page) is not quoted."""
    try:
        error = _read(body)
    except UNREADABLE:
        return ""
    return error_words((error.get("error"), error.get("detail"), error.get("message")))
