"""Genesys Cloud's conversations: a quota, then a subscription to one turn over a WebSocket that is taken up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trunkline.core.events import Delta, Ended, Notice
from trunkline.core.foreign_json import UNREADABLE, reader
from trunkline.core.reorder import DisorderError, Reorder
from trunkline.dialects.asked import unsent
from trunkline.dialects.base import Ask, Call, Item, Loss, Open, Reopen, Send, Setup, WakeAt
from trunkline.dialects.ends import body_words, error_words, failed, finished, lost, own_status, refused
from trunkline.dialects.tally import Tally

MAX_TOKENS: Final = 2_048
QUOTA_TIMEOUT_S: Final = 5.0
RECONNECT_BASE_S: Final = 1.0
RECONNECT_CAP_S: Final = 300.0
ROLES: Final = "the scope ai:read and the role AI Administrator or Custom AI Developer"
SCOPES: Final = "the scopes conversations:read ai:chat:stream"
_COMPLETION: Final = "ai:chat:completion"
# What a platform in trouble says, by status or close code, to a link that it would take at another time.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_OK: Final = 200
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429


class _Quota(msgspec.Struct):
    available_slots: int
    model_status: str
    max_concurrent: int | None = None


class _Event(msgspec.Struct):
    event_type: Any = None
    delta: Any = None
    finish_reason: Any = None
    metadata: Any = None
    error: Any = None
    message: Any = None


_read_quota = reader(_Quota)
_read_event = reader(_Event)


class GenesysConversations:
    """One turn of a conversation, whose prompt the platform has: quota, subscription, events, and reconnection.

    From the first link on a lost one is taken up again, until the turn's own deadline; the platform then replays.
    """

    def __init__(self, setup: Setup) -> None:
        """Take what the settings say."""
        settings = setup.settings
        self._settings = settings
        self._paths: Mapping[str, str] = setup.paths
        self._random: Callable[[], float] = setup.random
        self._order = Reorder(settings.replay, settings.reorder_window, settings.gap_s)
        self._subscription = b""
        self._conversation = ""
        self._model = ""
        self._finish = ""
        self._links = 0
        self._losses = 0
        self._skipped = Tally("skipped", "events")

    def start(self, ask: Ask, now: float) -> list[Item]:
        """Ask for the quota first."""
        request = ask.request
        self._conversation = request.conversation_id or self._settings.conversation_id or ""
        if not self._conversation:
            return [failed("upstream_error", "the platform needs a conversation_id, and the request has none")]
        self._model = ask.model
        self._subscription = msgspec.json.encode(self._subscribe(ask))
        path = self._paths["quotas"].replace("{model}", quote(ask.model, safe=""))
        call = Call("quota", "GET", path, timeout_s=QUOTA_TIMEOUT_S, fresh_s=self._settings.quota_fresh_s)
        return [*unsent(request, {"max_tokens"}), call]

    def _subscribe(self, ask: Ask) -> Any:
        subscription = {
            "event_type": _COMPLETION,
            "model_id": ask.model,
            "conversation_context": {"conversation_id": self._conversation, "turn_id": ask.turn_id},
            "max_tokens": ask.request.max_tokens or self._settings.max_tokens or MAX_TOKENS,
            "stream_mode": "delta",
        }
        return {"subscriptions": [subscription]}

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Go on where the model has a slot."""
        fault = self._refusal(status, body) if status != _OK else self._lack(body)
        if fault is not None:
            return [fault]
        return [Open("GET", self._paths["stream"], {"accept": "application/json"})]

    def _refusal(self, status: int, body: bytes) -> Ended:
        if status == _NOT_FOUND:
            words = body_words(body)
            detail = f"model {self._model!r} is not published on the platform"
            return failed("upstream_error", f"{detail}: {words}" if words else detail)
        if status == _TOO_MANY:
            return failed("rate_limited", f"quota: HTTP 429: {body_words(body) or 'too many requests'}")
        return refused(status, body, ROLES, "quota: ")

    def _lack(self, body: bytes) -> Ended | None:
        """Return why the quota lets no turn begin; None where it does."""
        try:
            quota = _read_quota(body)
        except UNREADABLE:
            return failed("upstream_protocol", "expected a quota with available_slots and model_status, got none")
        if quota.model_status != "AVAILABLE":
            return failed("quota_exceeded", f"model {self._model!r} is {quota.model_status[:60]!r}, not AVAILABLE")
        if quota.available_slots < 1:
            limit = "" if quota.max_concurrent is None else f" of {quota.max_concurrent}"
            return failed("quota_exceeded", f"model {self._model!r} has {quota.available_slots} free slots{limit}")
        return None

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        """Subscribe, with the same turn on every link."""
        items: list[Item] = []
        if self._links:
            self._order.again(now)
            items = [Notice("reconnected", f"after {self._losses} tries"), *self._alarm()]
        self._links += 1
        return [*items, Send(self._subscription, asks=True)]

    def receive(self, data: bytes, now: float) -> list[Item]:
        """Take one event; what is none of this turn's answer is counted and skipped."""
        try:
            event = _read_event(data)
        except UNREADABLE:
            self._skipped.add("unreadable")
            return []
        if event.event_type == "error":
            words = error_words((event.error, event.message)) or "an error without words"
            return [failed("upstream_error", words)]
        metadata = event.metadata if isinstance(event.metadata, dict) else {}
        if event.event_type != _COMPLETION:
            self._skipped.add("of another type")
            return []
        if metadata.get("conversation_id") not in (None, self._conversation):
            self._skipped.add("of another conversation")
            return []
        text = event.delta if isinstance(event.delta, str) else ""
        finish = event.finish_reason if isinstance(event.finish_reason, str) else ""
        if finish and not self._finish:
            self._finish = finish
        return self._put(_number(metadata.get("sequence")), text, now, last=bool(finish))

    def _put(self, number: int | None, text: str, now: float, *, last: bool) -> list[Item]:
        order = self._order
        deadline, duplicates, progress = order.deadline, order.duplicates, order.progress
        try:
            fresh = order.take(number, text, now, last=last)
        except DisorderError as disorder:
            return [failed(disorder.reason, disorder.detail)]
        self._skipped.add("seen before", order.duplicates - duplicates)
        if order.progress > progress:
            self._losses = 0
        items: list[Item] = [Delta(fresh, 0)] if fresh else []
        if order.complete:
            return [*items, finished(self._finish)]
        if order.deadline != deadline:
            items += self._alarm()
        return items

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        """Try again where a link that is to be taken up is refused in passing; else that is the end."""
        if self._links and status in _PASSING:
            return self._reopen(now)
        return [refused(status, body, SCOPES)]

    def closed(self, loss: Loss, now: float) -> list[Item]:
        """Take a lost link up again, unless the platform says by its close code that this is of no use."""
        if not self._is_taken_up(loss):
            return [lost(loss)]
        try:
            self._order.lost(clean=loss.clean)
        except DisorderError as disorder:
            return [failed(disorder.reason, disorder.detail)]
        return [finished(self._finish)] if self._order.complete else self._reopen(now)

    def _is_taken_up(self, loss: Loss) -> bool:
        if not self._links or loss.reason == "upstream_protocol":
            return False
        status = own_status(loss)
        if status is None:
            return True
        # A platform that still counts a dead link may say 4429 to the next one, as it says 429 to a handshake. Of an
        # answer that has not begun, the turn is asked anew instead, quota and all.
        return status in _PASSING and (self._links > 1 or self._order.progress > 0)

    def _reopen(self, now: float) -> list[Item]:
        """Wait with full jitter, longer with each try that brings nothing new of the answer."""
        ceiling_s = min(RECONNECT_CAP_S, RECONNECT_BASE_S * float(1 << min(self._losses, 16)))
        self._losses += 1
        return [Reopen(now + ceiling_s * self._random())]

    def wake(self, now: float) -> list[Item]:
        """See whether a missing piece has come, or nothing more behind an end mark without a number."""
        try:
            self._order.check(now)
        except DisorderError as disorder:
            return [failed(disorder.reason, disorder.detail)]
        return [finished(self._finish)] if self._order.complete else self._alarm()

    def _alarm(self) -> list[Item]:
        return [] if self._order.deadline is None else [WakeAt(self._order.deadline)]

    def last_words(self) -> list[Notice]:
        """Say how many events were no part of the answer."""
        return self._skipped.notices()


def _number(value: Any) -> int | None:
    """Return a sequence number, where that is what a platform sent."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
