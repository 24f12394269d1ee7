"""The rows of the fault matrix: which faults, over which presets, and how a turn under them must end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tcp_proxy import How, Side
from trunkline.simulators.faults import Sort

SSE: Final = ("openai", "genesys-completions", "genesys-chat")
CONVERSATIONS, GATEWAY, COGNIGY = SOCKETS = ("genesys-conversations", "genesys-gateway", "cognigy")
PRESETS: Final = (*SSE, *SOCKETS)
OAUTH: Final = PRESETS[1:]
ALWAYS: Final = 99  # more requests than a turn makes

Text = Literal["all", "sent", "part", "none", "some"]
"""What of the platform's text a turn must have: all that was meant, all that was sent, some of its beginning, nothing
although there is some, or any of these beginnings."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row for all its presets: `ends` holds the reasons that a turn may end with, one but for faults of TCP.

    The faults are for the next `times` requests of the sort `at`, and `then` for the one after; where `times` is 0 they
    stand in the prompt, and so strike every request. With `twice` a first turn has them as well, for what is left on a
    connection after it.
    """

    words: tuple[str, ...]
    ends: Mapping[str, tuple[str, ...]]
    text: Text = "all"
    at: Sort | None = "platform"
    times: int = 1
    then: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    twice: bool = False
    strike: tuple[How, Side] | None = None
    behind: re.Pattern[bytes] | None = None
    """Where on the last connection the strike falls; without it, a byte of the whole exchange is drawn."""

    @property
    def name(self) -> str:
        """How the page calls it."""
        if self.strike is not None:
            where = "" if self.behind is None else ", behind the finish reason"
            return f"{self.strike[0]}, toward the {'relay' if self.strike[1] == 'client' else 'platform'}{where}"
        where = "" if self.at in (None, "platform") else f"{self.at}: "
        often = ", each time" if self.times == ALWAYS else ""
        often += "".join(f", then `{word}`" for word in self.then)
        ours = "".join(f", with `{name} = {value!r}`" for name, value in self.settings.items() if name != "timeouts")
        return (where + ", ".join(f"`{word}`" for word in self.words) + often + ours) or "none"


@dataclass
class Row:
    """What became of the turns of one preset under one line."""

    preset: str
    line: Line
    turns: int = 0
    struck: int = 0
    """How many of the turns were over a connection on which a fault of TCP has struck."""
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def _sse(words: str, reason: str = "stop", text: Text = "all", *, but: Sequence[str] = (), twice: bool = False) -> Line:
    ends = {preset: (reason,) for preset in SSE if preset not in but}
    return Line(tuple(words.split()), ends, text, times=0, twice=twice)


def _call(at: Sort, words: str, reason: str, presets: Sequence[str], times: int = 1) -> Line:
    ends = dict.fromkeys(presets, (reason,))
    return Line(tuple(words.split()), ends, "all" if reason == "stop" else "none", at=at, times=times)


def _socket(
    words: str, reasons: str = "stop stop stop", text: Text = "sent", times: int = 1, *, then: str = "", **settings: Any
) -> Line:
    """Give a line with a reason for each of the three presets; `-` leaves one out."""
    ends = {preset: (reason,) for preset, reason in zip(SOCKETS, reasons.split(), strict=True) if reason != "-"}
    return Line(tuple(words.split()), ends, text, times=times, then=tuple(then.split()), settings=settings)


# Over HTTP; a completed answer is whole, and what was sent before a break is never lost.
HTTP_LINES: Final = (
    _sse(""),
    # how bytes and events are written
    *map(_sse, (
        "cut=bytes", "cut=random", "cut=whole", "cut=random crlf", "cut=random cr bom", "multi-line cut=random",
        "comments metadata cut=random", "no-space", "ascii", "empty-deltas null-deltas", "no-role", "double-done",
        "after-finish", "no-done", "content-length", "no-usage", "usage-each", "reasoning", "refusal", "json",
    )),
    # time
    *map(_sse, ("drip=1 cut=40", "flood", "slow-headers=30", "slow-first=30")),
    # the connection, and what is left of it for the next turn
    *(_sse(words, twice=True) for words in ("close-idle", "stale", "limit-headers=1/1")),
    _sse("no-end", "upstream_interrupted"),
    *(_sse(f"{word}-after=4", "upstream_interrupted", "sent") for word in ("reset", "close", "half-event")),
    _sse("reset-after=0", "upstream_interrupted", "none"),
    _sse("stall-after=4", "between_tokens_timeout", "sent"),
    _sse("stall", "first_token_timeout", "none"),
    _sse("refuse", "upstream_interrupted", "none"),
    # ends
    _sse("no-finish", "end_without_reason"),
    _sse("finish=length", "max_tokens"),
    _sse("finish=tool_calls", "tool_calls"),
    _sse("tool-calls", "tool_calls"),
    _sse("finish=content_filter", "platform_content_filter"),
    _sse("finish=abort", "upstream_error"),
    _sse("finish=eos"),
    # events that should not be there
    *(_sse(f"{word}-after=4", "upstream_protocol", "part") for word in ("bad-json", "not-an-object")),
    *(_sse(f"{word}-after=4", "upstream_error", "sent") for word in ("error", "error-event")),
    *(_sse(word, "upstream_protocol", "none") for word in ("html", "garbage", "gzip", "huge-line=2")),
    # another answer than the one asked for
    _sse("unauthorized-once", but=["openai"]),
    _sse("unauthorized-once", "upstream_auth", "none", but=SSE[1:]),  # a fixed key cannot be renewed
    _sse("redirect=http://127.0.0.1:9/", "upstream_error", "none"),
    *(_sse(f"status={status}", "upstream_error", "none") for status in (400, 404, 500)),
    _sse("status=401", "upstream_auth", "none"),
    _sse("status=403", "upstream_forbidden", "none"),
    *(_sse(f"status={status}", "upstream_unavailable", "none") for status in (502, 503, 504)),
    *(_sse(words, "rate_limited", "none") for words in (
        "retry-after=0", "status=429 retry-after=0", "status=429 retry-after-date=0",
    )),
)  # fmt: skip

# Calls beside the stream: what passes is tried again, what does not pass has its reason.
CALL_LINES: Final = (
    *(_call("token", words, "stop", OAUTH) for words in (
        "token-slow=50", "token-drop", "token-status=503", "token-retry-after=0", "token-expires=1",
    )),
    _call("token", "token-expires=0", "upstream_auth", OAUTH, ALWAYS),
    _call("token", "token-garbage", "upstream_auth", OAUTH),
    *(_call("token", f"token-status={status}", "upstream_auth", OAUTH) for status in (400, 401, 403)),
    _call("token", "token-status=503", "upstream_unavailable", OAUTH, ALWAYS),
    *(_call("token", f"token-missing-scope={scope}", "upstream_forbidden", presets) for scope, presets in (
        ("ai:llm:write", SSE[1:]), ("ai:chat:stream", [CONVERSATIONS]), ("ai:llm:gateway:use", [GATEWAY]),
        ("api:access", [COGNIGY]),
    )),
    _call("quota", "quota-slots=0", "quota_exceeded", [CONVERSATIONS]),
    _call("quota", "quota-model-status=RETIRED", "quota_exceeded", [CONVERSATIONS]),
    _call("quota", "html", "upstream_protocol", [CONVERSATIONS]),
    *(_call(at, words, reason, presets, times) for at, presets in (("quota", [CONVERSATIONS]), ("config", [COGNIGY]))
      for words, reason, times in (
        ("slow-headers=30", "stop", 1), ("refuse", "stop", 1), ("unauthorized-once", "stop", 1),
        ("status=429 retry-after=0", "stop", 1), ("status=503", "stop", 1), ("status=500", "upstream_error", 1),
        ("status=403", "upstream_forbidden", 1), ("status=404", "upstream_error", 1),
        ("status=401", "upstream_auth", ALWAYS), ("status=503", "upstream_unavailable", ALWAYS),
        ("stall", "first_token_timeout", 1),
    )),
)  # fmt: skip

_CUT: Final = "stop upstream_interrupted upstream_interrupted"
_PATIENT: Final = {"connect_s": 5, "first_token_s": 8, "between_tokens_s": 1.5, "turn_s": 30}
_PINGING: Final = {
    "connect_s": 5, "first_token_s": 5, "between_tokens_s": 5, "turn_s": 30, "ping_every_s": 0.5, "pong_within_s": 0.4,
}  # fmt: skip
_SHORT: Final = {"connect_s": 0.5, "handshake_s": 0.5, "first_token_s": 5, "between_tokens_s": 1.5, "turn_s": 30}

# Over a WebSocket, by presets in the order of SOCKETS. Conversations are taken up again, the others cannot be.
SOCKET_LINES: Final = (
    # what a platform may do, and what changes nothing
    *map(_socket, (
        "", "fragments=3 pings", "cut=random", "cut=bytes", "ascii", "metadata empty-deltas null-deltas",
        "lone-surrogates cut=random", "dangling-surrogate", "finish-with-text after-finish", "double-done closes",
        "no-usage", "usage-each", "usage-before", "missing-key=any", "missing-key=token", "missing-key=finish_reason",
        "missing-key=usage", "flood", "drip=1 cut=400", "slow-headers=30", "slow-first=30", "limit-headers=9/1",
        "duplicates reorder=8",
    )),
    _socket("byte-tokens", "- - stop", byte_tokens="latin1"),
    _socket("speaks-first", "- - stop", opening=False),
    _socket("finish=length", "max_tokens max_tokens stop"),
    _socket("finish=tool_calls", "tool_calls tool_calls stop"),
    _socket("finish=content_filter", "platform_content_filter platform_content_filter stop"),
    _socket("finish=abort", "upstream_error upstream_error stop"),
    # links that are lost in the middle
    *(_socket(words, _CUT) for words in (
        "reset-after=4", "reset-after=4 duplicates reorder=4", "reset-after=4 replay=continues",
        "reset-after=4 replay=from_start", "reset-after=4 no-sequence lone-surrogates", "reset-after=4 revoked",
        "close-after=4", "half-event-after=4", "no-end", "close-frame=1000/4", "close-frame=1001/4",
        "close-frame=1011/4",
    )),
    _socket("no-pong stall-after=4", _CUT, timeouts=_PINGING),
    _socket("reset-after=4 no-sequence replay=other", "replay_mismatch - -"),
    _socket("reset-after=4 replay=none", "between_tokens_timeout - -"),
    _socket("reset-after=4 no-sequence replay=none", "upstream_interrupted - -", replay="none"),
    _socket("reset-after=4 no-sequence replay=continues", "stop - -", replay="continues"),
    *(_socket("reset-after=4", "stop - -", then=busy) for busy in (
        "close-frame=4429/0", "close-frame=4503/0", "status=429", "refuse",
    )),
    # a first turn has fetched a token, which is revoked in the middle of the second
    *(Line(("reset-after=4", "revoked", word), {CONVERSATIONS: ("stop",)}, "sent", at=None, twice=True)
      for word in ("token-status=503", "token-drop", "token-slow=50")),
    _socket("gap=2", "sequence_gap stop stop"),
    _socket("unnumbered=2", "upstream_protocol - -", "part"),
    *(_socket(words, "stop - -") for words in (
        "early-end=2", "unnumbered-end", "unnumbered-end early-end=1", "unnumbered-end early-end=3 closes",
        "unnumbered-end reorder=8 duplicates", "unnumbered-end early-end=2 reset-after=4",
    )),
    _socket("unnumbered-end gap=2", "sequence_gap - -"),
    _socket("stall-after=4", " ".join(["between_tokens_timeout"] * 3)),
    *(_socket(f"close-frame={code}/4", reasons) for code, reasons in (
        (4401, "upstream_auth upstream_auth upstream_auth"),
        (4403, "upstream_forbidden upstream_forbidden upstream_forbidden"),
        (4429, "stop rate_limited rate_limited"),
        (4503, "stop upstream_unavailable upstream_unavailable"),
    )),
    # messages that should not be there
    _socket("error-after=4", " ".join(["upstream_error"] * 3)),
    _socket("bad-json-after=4", "stop upstream_protocol upstream_protocol", "some"),
    _socket("not-an-object-after=4", "stop upstream_protocol upstream_protocol", "some"),
    _socket("keyless-after=4", "stop upstream_protocol stop", "some"),
    _socket("huge-line=2", " ".join(["upstream_protocol"] * 3), "none"),
    # before the first text: what passes is tried again
    *map(_socket, ("refuse", "unauthorized-once", "status=503", "status=429 retry-after=0", "retry-after=0",
                   "retry-after-date=0")),
    _socket("stall", timeouts=_SHORT),
    _socket("late-101=1500", timeouts=_SHORT),
    _socket("reset-after=0", "stop upstream_interrupted stop", "some"),
    _socket("stall", " ".join(["handshake_timeout"] * 3), "none", ALWAYS, timeouts=_SHORT),
    _socket("refuse", " ".join(["upstream_unavailable"] * 3), "none", ALWAYS),
    _socket("status=503", " ".join(["upstream_unavailable"] * 3), "none", ALWAYS),
    _socket("status=429 retry-after=0", " ".join(["rate_limited"] * 3), "none", ALWAYS),
    _socket("status=401", " ".join(["upstream_auth"] * 3), "none", ALWAYS),
    *(_socket(words, " ".join([reason] * 3), "none") for words, reason in (
        ("status=403", "upstream_forbidden"), ("status=404", "upstream_error"), ("status=500", "upstream_error"),
        ("redirect=http://127.0.0.1:9/", "upstream_error"), ("html", "upstream_protocol"),
        ("garbage", "upstream_protocol"),
    )),
    *(_socket(f"handshake={how}", "- handshake_rejected -", "none") for how in ("rejected", "garbage", "other")),
    _socket("handshake=silent", "- stop -", timeouts=_PATIENT),
)  # fmt: skip

_TCP_SSE: Final = {"connect_s": 1, "first_token_s": 1.5, "between_tokens_s": 1.5, "turn_s": 30}
_TCP_SOCKETS: Final = {**_PINGING, "connect_s": 1, "handshake_s": 1}
TCP_DEADLINE_S: Final = 15  # the longest wait for another try, and one time-out of each sort, on a slow machine


def _tcp(how: How, toward: Side, sse: str, gateway: str, cognigy: str, conversations: str = "stop") -> Line:
    """Give a line with all reasons that each preset may give, by where in its exchange the fault strikes."""
    reasons = [*[sse] * len(SSE), conversations, gateway, cognigy]
    ends = {preset: tuple(words.split()) for preset, words in zip(PRESETS, reasons, strict=True)}
    return Line((), ends, "some", strike=(how, toward))


_FINISHED: Final = re.compile(rb'"finish_reason":"stop"[^\n]*\n\n')

# Anywhere in the exchange: a token, a call, a handshake, the request, the answer, the farewell. A platform that falls
# silent where there are no pings is not waited for longer than for a first token.
TCP_LINES: Final = (
    *(_tcp(how, "client", "stop upstream_interrupted", "stop upstream_interrupted", "stop upstream_interrupted")
      for how in ("reset", "close", "half-close")),
    *(_tcp(how, "server", "stop", "stop upstream_interrupted", "stop") for how in ("reset", "close", "half-close")),
    _tcp("swallow", "client", "stop first_token_timeout between_tokens_timeout",
         "stop first_token_timeout upstream_interrupted", "stop first_token_timeout upstream_interrupted",
         "stop first_token_timeout"),
    _tcp("swallow", "server", "stop first_token_timeout", "stop first_token_timeout upstream_interrupted",
         "stop first_token_timeout upstream_interrupted", "stop first_token_timeout"),
    _tcp("trickle", "client", "stop", "stop", "stop"),
    _tcp("trickle", "server", "stop", "stop", "stop"),
    # All has been said by then, but the body did not end as HTTP has it, and there was no end mark.
    *(Line((), dict.fromkeys(SSE, ("upstream_interrupted",)), strike=(how, "client"), behind=_FINISHED)
      for how in ("reset", "half-close")),
)  # fmt: skip

LINES: Final = (*HTTP_LINES, *CALL_LINES, *SOCKET_LINES, *TCP_LINES)


def timeouts(line: Line, preset: str) -> Mapping[str, float]:
    """Return the time-outs of a row: short, so that the faults which bring them about cost little."""
    if line.strike is not None:
        if preset in SSE:
            return _TCP_SSE
        # Only where silence is to be found out are pings short: a slow link must not look dead.
        pings = ("ping_every_s", "pong_within_s") if line.strike[0] != "swallow" else ()
        return {name: limit for name, limit in _TCP_SOCKETS.items() if name not in pings}
    usual = {"connect_s": 5, "first_token_s": 3, "between_tokens_s": 3, "turn_s": 30}
    return {**usual, **line.settings.get("timeouts", {})}


def all_rows() -> list[Row]:
    """Return a row for each line and preset, without any turns yet."""
    return [Row(preset, line) for line in LINES for preset in PRESETS if preset in line.ends]
