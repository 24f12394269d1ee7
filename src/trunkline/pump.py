"""Moves one turn from its platform to its log, end to end. To learn how the relay works, read this file first.

Bytes come in by `receive`, a plain function that the source calls for each read. The dialect makes events of them,
the screen releases what may be read, and `log.append` buffers it for the write at the end of the tick. Whatever goes
wrong, the turn gets exactly one `Ended`, and nothing after it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple, TypeGuard

import msgspec

from trunkline.connect.backoff import full_jitter_s
from trunkline.connect.oauth import TokenError
from trunkline.core.events import AnyEvent, Delta, Ended, Guarded, Notice, ToolCall, Usage
from trunkline.core.request import TurnRequest
from trunkline.dialects.base import Ask, Call, Close, Command, Dialect, Item, Loss, Open, Reopen, Send, WakeAt
from trunkline.guards.chain import Conversations
from trunkline.guards.json_answer import JsonFault
from trunkline.guards.screen import Screen
from trunkline.log import Log
from trunkline.sources.base import Source
from trunkline.stores.base import TurnLog
from trunkline.tasks import Tasks
from trunkline.telemetry import BytesReceived, Screened, Telemetry, TurnEnded, internal_error
from trunkline.tokens import count
from trunkline.upstreams import Upstream

RETRYABLE: Final = frozenset({"rate_limited", "upstream_unavailable", "connect_timeout", "handshake_timeout"})
ELSEWHERE: Final = RETRYABLE | {
    "upstream_interrupted", "upstream_error", "upstream_protocol", "upstream_auth", "upstream_forbidden",
    "quota_exceeded", "first_token_timeout", "handshake_rejected",
}  # fmt: skip
TROUBLE: Final = frozenset(
    {"upstream_unavailable", "connect_timeout", "first_token_timeout", "handshake_timeout", "upstream_interrupted"}
)  # what a breaker counts: the platform is in trouble, not the request
SHORTEST_SECRET: Final = 6
UNAUTHORIZED_CLOSE: Final = 4_401  # a platform's own close code for what HTTP calls 401
MAX_ENTRIES: Final = 250_000  # bounds a turn's log against a platform that sends its answer in endless tiny pieces


@dataclass(frozen=True, slots=True)
class House:
    """What all pumps of a relay share."""

    log: Log
    tasks: Tasks
    telemetry: Telemetry
    conversations: Conversations
    clock: Callable[[], float]
    random: Callable[[], float]


class Route(NamedTuple):
    """One way to an answer: an upstream, and the platform's name of the model."""

    upstream: Upstream
    model: str


class Pump:
    """One turn in motion. It receives from a source, obeys its dialect's commands, and ends the turn."""

    def __init__(
        self, house: House, turn: TurnLog, request: TurnRequest, routes: Sequence[Route], on_ended: Callable[[], None]
    ) -> None:
        """Take the routes in their order: the first is asked, the others are there to fall back on."""
        self._house = house
        self._turn = turn
        self._request = request
        self._upstream, self._model = routes[0]
        self._fallbacks = list(routes[1:])
        self._screen = self._make_screen()
        self._on_ended = on_ended
        turn.on_lost = self.lost
        self._dialect = self._upstream.dialect()
        self._attempt = 0
        self._attempt_bytes = 0
        self._renewed = False
        self._asked_anew = False
        self._shut_out = False
        self._retry_after_s: float | None = None
        self._sent_headers: Mapping[str, str] = {}
        self._source: Source | None = None
        self._last_open: Open | None = None
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._usage: Usage | None = None
        self._raw: list[str] = []
        self._raw_chars = 0
        self._bytes = 0
        self._started_at = house.clock()
        self._first_token_at: float | None = None
        self._last_token_at = self._started_at
        self._told_unexpected = False
        self.ended = False
        """True as soon as the `Ended` is appended, which is before readers see it."""

    def _make_screen(self) -> Screen:
        """Make the screen of the upstream that is asked; nothing was released yet."""
        started = self._turn.started
        secrets = self._house.conversations.secrets(started.principal, started.conversation_id)
        chains = self._upstream.guard.for_turn(secrets, self._request.terms)
        settings = self._upstream.settings
        return Screen(chains, expects_json=settings.expect == "json", strict=settings.on_unexpected == "fail")

    # What happens to a turn

    def start(self) -> None:
        """Ask the platform, for the first time or once more."""
        if self.ended:
            return
        now = self._house.clock()
        self._last_token_at = now
        self._attempt_bytes = 0
        self._retry_after_s = None
        self._shut_out = not self._upstream.breaker.admits(now)
        if self._shut_out:
            detail = f"{self._upstream.name} failed again and again, and is left alone for a while"
            self._end(Ended("failed", "upstream_unavailable", detail=detail), now)
            return
        self._dialect = self._upstream.dialect()
        ask = Ask(self._turn.id, self._request, self._model)
        items_are_new = self._attempt == 0 and not self._asked_anew
        self._take(lambda now: [
            item for item in self._dialect.start(ask, now) if items_are_new or type(item) is not Notice
        ])  # fmt: skip

    def opened(self, headers: Mapping[str, str]) -> None:
        """Hear from the source that the stream is open."""
        self._upstream.heard(200, headers)
        # A link that is taken up in the middle of an answer has a token and a silence of its own.
        self._renewed = False
        self._retry_after_s = None
        self._not_silent_until(self._house.clock())
        self._take(lambda now: self._dialect.opened(headers, now))

    def receive(self, data: bytes) -> None:
        """Take what one read of the source brought. This is the hot path: once per read."""
        if self.ended:
            return
        self._bytes += len(data)
        self._attempt_bytes += len(data)
        now = self._house.clock()
        try:
            items = self._dialect.receive(data, now)
            if items:
                self._carry_out(items, now)
        except Exception as error:  # noqa: BLE001 - a fault in one dialect ends its turn and nothing else
            self._fault(error)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Hear from the source that the platform answered with an error."""
        self._source = None
        self._retry_after_s = self._upstream.heard(status, headers)
        if status == HTTPStatus.UNAUTHORIZED and not self._renewed and not self.ended:
            self._renewed = True
            if self._upstream.credentials.rejected(self._sent_headers):
                self._last_token_at = self._house.clock()
                self._open()
                return
        self._take(lambda now: self._dialect.refused(status, headers, body, now))

    def closed(self, loss: Loss) -> None:
        """Hear from the source that the stream is gone."""
        self._source = None
        if not self.ended and loss.code == UNAUTHORIZED_CLOSE:
            may_have_another = self._upstream.credentials.rejected(self._sent_headers)
            if may_have_another and not self._asked_anew and self._first_token_at is None:
                self._asked_anew = True
                self._silence()
                self.start()
                return
        self._take(lambda now: self._dialect.closed(loss, now))

    def cancel(self, reason: str, heard_upto: int | None = None) -> None:
        """End the turn because nobody wants it any more, and stop the platform's generation now."""
        self._end(Ended("cancelled", reason, heard_upto=heard_upto), self._house.clock())

    def sweep(self, now: float) -> None:
        """Look at the clock, about once a second: end the turn where its platform took too long."""
        if self.ended:
            return
        limits = self._upstream.timeouts
        if now - self._started_at >= limits.turn_s:
            reason, detail = "turn_timeout", f"the turn took longer than {limits.turn_s:g} s"
        elif self._first_token_at is None and now - self._last_token_at >= limits.first_token_s:
            reason, detail = "first_token_timeout", f"no text within {limits.first_token_s:g} s"
        elif self._first_token_at is not None and now - self._last_token_at >= limits.between_tokens_s:
            reason, detail = "between_tokens_timeout", f"no text for {limits.between_tokens_s:g} s"
        else:
            return
        self._end(Ended("failed", reason, detail=detail), now)

    # Events and commands

    def _take(self, decide: Callable[[float], list[Item]]) -> None:
        if self.ended:
            return
        now = self._house.clock()
        try:
            self._carry_out(decide(now), now)
        except Exception as error:  # noqa: BLE001 - as in receive
            self._fault(error)

    def _carry_out(self, items: list[Item], now: float) -> None:
        """Take events into the log and obey commands, in their order, until an `Ended`."""
        events: list[AnyEvent] = []
        for item in items:
            kind = type(item)
            if kind is Delta or kind is ToolCall:
                self._note_text(item, now)  # type: ignore[arg-type]
                events.append(item)  # type: ignore[arg-type]
                if self._raw_chars > self._upstream.settings.max_answer_chars:
                    self._append(events, now)
                    limit = self._upstream.settings.max_answer_chars
                    self._end(Ended("failed", "answer_too_long", detail=f"more than {limit} characters"), now)
                    return
            elif kind is Ended:
                self._append(events, now)
                self._end(item, now)  # type: ignore[arg-type]
                return
            elif kind is Usage:
                self._usage = item  # type: ignore[assignment]
            elif isinstance(item, Command):
                self._obey(item)
            else:
                events.append(item)
        self._append(events, now)

    def _note_text(self, event: Delta | ToolCall, now: float) -> None:
        if self._first_token_at is None:
            self._first_token_at = now
            # Not before: a WebSocket is open before anything is asked, and its platform may say nothing ever after.
            self._upstream.breaker.succeeded()
        self._last_token_at = now
        if isinstance(event, Delta):
            text = event.text
        else:
            text = event.arguments
            self._raw_chars += len(event.call_id) + len(event.name)
        self._raw.append(text)
        self._raw_chars += len(text)

    def _append(self, events: list[AnyEvent], now: float) -> None:
        if not events or self.ended:
            return
        screen = self._screen
        released = screen.screen(events, now)
        if released:
            self._house.log.append(self._turn, released)
        if screen.json_fault is not None:
            match self._unexpected(screen.json_fault):
                case Notice() as notice:
                    self._house.log.append(self._turn, [notice])
                case Ended() as ended:
                    self._end(ended, now)
        if screen.blocked:
            self._end(Ended("blocked", screen.blocked), now)
        elif len(self._turn.entries) > MAX_ENTRIES:
            self._end(Ended("failed", "answer_too_long", detail=f"more than {MAX_ENTRIES} pieces"), now)

    def _unexpected(self, fault: JsonFault) -> Notice | Ended | None:
        """Return what an answer gets that is not the JSON it should be; None where it has it already."""
        if self._told_unexpected:
            return None
        self._told_unexpected = True
        detail = f"at character {fault.offset}: {fault.reason}"
        if self._upstream.settings.on_unexpected == "fail":
            return Ended("failed", "answer_not_json", detail=detail)
        return Notice("answer_not_json", detail)

    def _obey(self, command: Command) -> None:
        match command:
            case Open():
                self._last_open = command
                self._open()
            case Send(data=data):
                if self._source is not None:
                    self._source.send(data)
            case Call():
                self._house.tasks.spawn(self._call(command, self._dialect), "pump.call")
            case Reopen(earliest=earliest):
                self._reopen(earliest)
            case WakeAt(at=at):
                self._alarm("wake", at, self._wake)
            case Close():
                self._drop_source()
            case _:
                raise AssertionError(f"a command the pump does not know: {type(command).__name__}")

    def _open(self) -> None:
        """Open a stream as the last `Open` said; an older one is dropped, since a turn has one stream at a time."""
        if self.ended or self._last_open is None:
            return
        self._drop_source()
        self._source = source = self._upstream.source()
        self._house.tasks.spawn(self._connect(source, self._last_open), "pump.connect")

    def _reopen(self, earliest: float) -> None:
        """Open the stream again, as late as the dialect and the platform's `Retry-After` say."""
        at = max(earliest, self._house.clock() + (self._retry_after_s or 0.0))
        self._not_silent_until(at)
        self._alarm("reopen", at, self._open)

    def _not_silent_until(self, at: float) -> None:
        """In the middle of an answer a platform is not silent while there is no link: the whole turn's time counts."""
        if self._first_token_at is not None:
            self._last_token_at = max(self._last_token_at, at)

    async def _connect(self, source: Source, command: Open) -> None:
        try:
            headers = await self._upstream.authorise()
            if self.is_current(source):
                self._sent_headers = headers
                await self._upstream.open(source, command, headers, _Receiver(self, source))
        except TokenError as error:
            if self.is_current(source):
                self._end(Ended("failed", error.reason, detail=error.detail), self._house.clock())
        except Exception as error:  # noqa: BLE001 - a turn must not wait for a stream that nobody opens
            self._fault(error)

    async def _call(self, command: Call, dialect: Dialect) -> None:
        try:
            status, headers, body = await self._upstream.call(command)
        except TokenError as error:
            if dialect is self._dialect:
                self._end(Ended("failed", error.reason, detail=error.detail), self._house.clock())
            return
        except Exception as error:  # noqa: BLE001 - as in _connect
            self._fault(error)
            return
        if dialect is self._dialect:  # else the turn asks anew meanwhile, or somebody else
            self._retry_after_s = self._upstream.retry_after_s(headers)
            self._take(lambda now: dialect.answered(command.id, status, headers, body, now))

    def _wake(self) -> None:
        self._take(self._dialect.wake)

    def _alarm(self, name: str, at: float, ring: Callable[[], None]) -> None:
        """Ring at a time, unless the turn has ended by then; a second alarm of a name replaces the first."""
        if name in self._alarms:
            self._alarms.pop(name).cancel()
        delay = max(0.0, at - self._house.clock())
        self._alarms[name] = asyncio.get_running_loop().call_later(delay, ring)

    def lost(self) -> None:
        """Hear from the log that it could not keep what came last: the turn ends there, and stops its platform."""
        was_ended, self.ended = self.ended, True
        usage = None if was_ended else self._usage or self._count()
        ended = Ended("failed", "store_error", detail="what followed could not be written", usage=usage)
        self._house.log.append(self._turn, [ended])
        if not was_ended:
            try:
                self._let_go(ended)
                self._tell(ended, self._house.clock())
            finally:
                self._on_ended()

    def _let_go(self, ended: Ended) -> None:
        """Let the platform and the alarms go."""
        self._silence()
        if ended.outcome == "completed" and self._source is not None:
            source, self._source = self._source, None
            source.finish()
        else:
            self._drop_source()

    def _silence(self) -> None:
        """Take every alarm back."""
        for handle in self._alarms.values():
            handle.cancel()
        self._alarms.clear()

    def is_current(self, source: Source) -> bool:
        """Tell whether a source is still the one this turn listens to."""
        return self._source is source

    # The end

    def _fault(self, error: Exception) -> None:
        self._house.telemetry.tell(internal_error("pump", error))
        self._end(Ended("failed", "internal_error", detail="a fault in the relay"), self._house.clock())

    def _end(self, ended: Ended, now: float) -> None:
        """End the turn, once: flush or drop what the guards hold, count, append `Ended`, let the platform go."""
        if self.ended or self._tries_again(ended, now):
            return
        self.ended = True  # No second end from here on, whatever the rest of this function meets.
        if ended.outcome in ("completed", "blocked"):
            self._upstream.breaker.succeeded()
        try:
            last, ended = self._last_events(ended, now)
        except Exception as error:  # noqa: BLE001 - law 1: even a fault in here leaves the turn with an end
            self._house.telemetry.tell(internal_error("pump.end", error))
            last, ended = [], Ended("failed", "internal_error", detail="a fault in the relay")
        try:
            self._house.log.append(self._turn, [*last, ended])
            self._let_go(ended)
            self._tell(ended, now)
            started = self._turn.started
            self._house.conversations.used(started.principal, started.conversation_id)
        finally:
            self._on_ended()

    def _tries_again(self, ended: Ended, now: float) -> bool:
        """Try once more, or another upstream, where a failure came before any text; False where that is the end.

        After the first text nothing is tried again: it would repeat what somebody has read.
        """
        if ended.outcome != "failed" or self._first_token_at is not None:
            return False
        reason = ended.reason
        if reason in TROUBLE and not self._shut_out:
            self._upstream.breaker.failed(now)
        left_s = self._started_at + self._upstream.timeouts.turn_s - now
        if self._shut_out:
            pass  # Its own breaker's refusal says nothing new about the platform, and waiting for it is no use.
        elif reason in RETRYABLE or (reason == "upstream_interrupted" and self._may_ask_again()):
            wait_s = self._retry_after_s
            if wait_s is None:
                plan = self._upstream.retries
                wait_s = max(plan.least_s, full_jitter_s(self._attempt, plan.base_s, plan.cap_s, self._house.random))
            if self._attempt + 1 < self._upstream.settings.attempts and wait_s < left_s:
                self._attempt += 1
                self._drop_source()
                self._silence()
                self._alarm("retry", now + wait_s, self.start)
                self._last_token_at = now + wait_s
                return True
        if reason not in ELSEWHERE or not self._fallbacks or left_s <= 0:
            return False
        failed = self._upstream.name
        self._upstream, self._model = self._fallbacks.pop(0)
        self._attempt, self._renewed, self._asked_anew = 0, False, False
        self._screen = self._make_screen()
        self._drop_source()
        self._silence()
        self._house.log.append(self._turn, [Notice("fallback", f"{failed} to {self._upstream.name}: {reason}")])
        self._alarm("retry", now, self.start)
        return True

    def _may_ask_again(self) -> bool:
        """Tell whether an answer that broke off before its first text was not begun either."""
        return self._upstream.retries.until_text or not self._attempt_bytes

    def _last_events(self, ended: Ended, now: float) -> tuple[list[AnyEvent], Ended]:
        """Return what goes before the end, and the end with everything it says."""
        last = self._screen.finish(ended.reason, now)
        is_whole = ended.outcome == "completed" and ended.reason != "tool_calls"
        if is_whole:
            self._screen.close_shapes(max(1, len(ended.finish_reasons)))
        fault = self._screen.json_fault
        if self._screen.blocked and ended.outcome != "blocked":
            ended = Ended("blocked", self._screen.blocked)
        elif fault is not None and is_whole:
            match self._unexpected(fault):
                case Notice() as notice:
                    last.append(notice)
                case Ended() as other:
                    ended = other
        usage = self._usage or self._count()
        detail = self._screen.words(_without_secrets(ended.detail, self._sent_headers))
        heard_upto = ended.heard_upto
        if heard_upto is not None:
            shown = [*(entry.event for entry in self._turn.entries), *last]
            heard_upto = min(heard_upto, sum(len(event.text) for event in shown if _is_heard(event)))
        return [*last, usage], msgspec.structs.replace(ended, detail=detail, usage=usage, heard_upto=heard_upto)

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _count(self) -> Usage:
        """Count what the platform did not: the prompt, and all it said, whether it was released or not."""
        prompt = self._turn.started.prompt_tokens
        completion = count("".join(self._raw), self._model)
        return Usage(prompt, completion, prompt + completion, "relay")

    def _tell(self, ended: Ended, now: float) -> None:
        released = sum(len(entry.event.text) for entry in self._turn.entries if type(entry.event) is Delta)
        usage = ended.usage
        self._house.telemetry.tell(BytesReceived(self._upstream.name, self._bytes))
        reports = Counter(
            (entry.event.rule, entry.event.action) for entry in self._turn.entries if type(entry.event) is Guarded
        )
        screen = self._screen
        screened = Screened(self._upstream.name, reports, screen.most_held, screen.held_s, *screen.pieces)
        self._house.telemetry.tell(screened)
        self._house.telemetry.tell(
            TurnEnded(
                turn=self._turn.id,
                upstream=self._upstream.name,
                asked=self._turn.started.upstream,
                model=self._upstream.settings.model,
                outcome=ended.outcome,
                reason=ended.reason,
                duration_s=now - self._started_at,
                first_token_s=None if self._first_token_at is None else self._first_token_at - self._started_at,
                characters=released,
                prompt_tokens=usage.prompt_tokens if usage else 0,
                completion_tokens=usage.completion_tokens if usage else 0,
                detail=ended.detail,
            )
        )
        self._raw.clear()


def _is_heard(event: AnyEvent) -> TypeGuard[Delta]:
    """Tell whether a caller may hear this: an answer, or what stands in for one."""
    return isinstance(event, Delta) and event.choice == 0 and event.channel != "reasoning"


def _without_secrets(words: str, sent: Mapping[str, str]) -> str:
    """Take our own credential out of a platform's words: some repeat the key that they refuse."""
    for value in sent.values():
        for secret in (value, value.removeprefix("Bearer ")):
            if len(secret) >= SHORTEST_SECRET:
                words = words.replace(secret, "[secret]")
    return words


class _Receiver:
    """Stands between one source and the pump: what a source says after it was replaced or dropped is not heard."""

    __slots__ = ("_pump", "_source", "receive")

    def __init__(self, pump: Pump, source: Source) -> None:
        self._pump = pump
        self._source = source
        self.receive = pump.receive  # a closed source delivers nothing more, so the hot path needs no check

    def opened(self, headers: Mapping[str, str]) -> None:
        if self._pump.is_current(self._source):
            self._pump.opened(headers)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self._pump.is_current(self._source):
            self._pump.refused(status, headers, body)

    def closed(self, loss: Loss) -> None:
        if self._pump.is_current(self._source):
            self._pump.closed(loss)
