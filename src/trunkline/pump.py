"""Moves one turn from its platform to its log, end to end. To learn how the relay works, read this file first.

Bytes come in by `receive`, a plain function that the source calls for each read. The dialect makes events of them,
the screen releases what may be read, and `log.append` buffers it for the write at the end of the tick. Whatever goes
wrong, the turn gets exactly one `Ended`, and nothing after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from trunkline.account import Account
from trunkline.attempts import Attempts, Route
from trunkline.backlog import Backlog, is_much
from trunkline.connect.errors import CannotAsk
from trunkline.core.events import AnyEvent, Delta, Ended, Notice, ToolCall, Usage
from trunkline.core.request import TurnRequest
from trunkline.dialects.base import Ask, Call, Close, Command, Dialect, Item, Loss, Open, Reopen, Send, WakeAt
from trunkline.errands import Errands
from trunkline.guards.chain import Conversations
from trunkline.guards.json_answer import JsonFault
from trunkline.guards.screen import Screen
from trunkline.log import Log
from trunkline.sources.base import Source
from trunkline.stores.base import TurnLog
from trunkline.tasks import Tasks
from trunkline.telemetry import Reopened, Retried, Telemetry, internal_error

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


class Pump:
    """One turn in motion. It receives from a source, obeys its dialect's commands, and ends the turn."""

    def __init__(
        self, house: House, turn: TurnLog, request: TurnRequest, routes: Sequence[Route], on_ended: Callable[[], None]
    ) -> None:
        self._house = house
        self._turn = turn
        self._request = request
        self._attempts = Attempts(routes, house.random)
        self._screen = self._make_screen()
        self._on_ended = on_ended
        turn.on_lost = self.lost
        self._dialect = self._attempts.upstream.dialect()
        self._bytes_before = 0
        self._sent_headers: Mapping[str, str] = {}
        self._source: Source | None = None
        self._last_open: Open | None = None
        self._errands = Errands(house.tasks, house.clock)
        self._backlog: Backlog | None = None
        self._account = Account(turn, house.clock())
        self._told_unexpected = False
        self.ended = False
        """True as soon as the `Ended` is appended, which is before readers see it."""

    def _make_screen(self) -> Screen:
        """Make the screen of the upstream that is asked; nothing was released yet."""
        started = self._turn.started
        secrets = self._house.conversations.secrets(started.principal, started.conversation_id)
        chains = self._attempts.upstream.guard.for_turn(secrets, self._request.terms)
        settings = self._attempts.upstream.settings
        return Screen(chains, expects_json=settings.expect == "json", strict=settings.on_unexpected == "fail")

    # What happens to a turn

    def start(self) -> None:
        """Ask the platform, for the first time or once more."""
        if self.ended:
            return
        now = self._house.clock()
        self._account.silent_since = now
        self._bytes_before = self._account.bytes
        self._backlog = None
        ended = self._attempts.begin(now)
        if ended is not None:
            self._end(ended, now)
            return
        if told := self._dialect.last_words():
            self._house.log.append(self._turn, [*told])
        self._dialect = self._attempts.upstream.dialect()
        ask = Ask(self._turn.id, self._request, self._attempts.model)
        is_first = self._attempts.is_first
        self._take(lambda now: [
            item for item in self._dialect.start(ask, now) if is_first or type(item) is not Notice
        ])  # fmt: skip

    def opened(self, headers: Mapping[str, str]) -> None:
        """Hear from the source that the stream is open."""
        self._attempts.upstream.heard(200, headers)
        self._attempts.opened()
        # A link that is taken up in the middle of an answer has a silence of its own.
        self._not_silent_until(self._house.clock())
        self._take(lambda now: self._dialect.opened(headers, now))

    def receive(self, data: bytes) -> None:
        """Take what one read of the source brought. This is the hot path: once per read."""
        if self.ended:
            return
        self._account.bytes += len(data)
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
        attempts = self._attempts
        attempts.refused(status, headers)
        if status == HTTPStatus.UNAUTHORIZED and not self.ended and attempts.may_open_again(self._sent_headers):
            self._account.silent_since = self._house.clock()
            self._open()
            return
        self._take(lambda now: self._dialect.refused(status, headers, body, now))

    def closed(self, loss: Loss) -> None:
        """Hear from the source that the stream is gone."""
        self._source = None
        if not self.ended and loss.code == UNAUTHORIZED_CLOSE:
            spoken = self._account.first_token_at is not None
            if self._attempts.may_ask_anew(self._sent_headers, spoken=spoken):
                self._errands.stop()
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
        ended = self._account.overdue(self._attempts.upstream.timeouts, now)
        if ended is not None:
            self._end(ended, now)

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
        """Take events into the log and obey commands, in their order; what is much is spread over several ticks."""
        if self._backlog is not None:
            self._backlog.put(items)
        elif is_much(items):
            self._backlog = Backlog(self._attempts.upstream.settings.max_answer_chars)
            self._backlog.put(items)
            self._work_off(self._backlog)
        else:
            self._obtain(items, now)

    def _work_off(self, backlog: Backlog) -> None:
        """Take the next slice, and come back for the one after it when other turns had theirs."""
        if backlog is not self._backlog or self.ended:
            return
        try:
            self._obtain(backlog.take(), self._house.clock())
        except Exception as error:  # noqa: BLE001 - as in receive
            self._fault(error)
        if backlog is not self._backlog:
            return
        if backlog:
            asyncio.get_running_loop().call_soon(self._work_off, backlog)
        else:
            self._backlog = None

    def _obtain(self, items: list[Item], now: float) -> None:
        events: list[AnyEvent] = []
        account = self._account
        for item in items:
            kind = type(item)
            if kind is Delta or kind is ToolCall:
                if account.first_token_at is None:
                    # Not before: a WebSocket is open before anything is asked, and its platform may then say nothing.
                    self._attempts.upstream.breaker.succeeded()
                account.note(item, now)  # type: ignore[arg-type]
                limit = self._attempts.upstream.settings.max_answer_chars
                if account.chars > limit:
                    if isinstance(item, Delta):
                        events.append(Delta(item.text[: limit - account.chars], item.choice, item.channel))
                    self._append(events, now)
                    self._end(Ended("failed", "answer_too_long", detail=f"more than {limit} characters"), now)
                    return
                events.append(item)  # type: ignore[arg-type]
            elif kind is Ended:
                self._append(events, now)
                self._end(item, now)  # type: ignore[arg-type]
                return
            elif kind is Usage:
                account.usage = item  # type: ignore[assignment]
            elif isinstance(item, Command):
                self._obey(item)
            else:
                events.append(item)
        self._append(events, now)

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
        if self._attempts.upstream.settings.on_unexpected == "fail":
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
                self._errands.run(self._call(command, self._dialect), "pump.call")
            case Reopen(earliest=earliest):
                self._reopen(earliest)
            case WakeAt(at=at):
                self._errands.alarm("wake", at, self._wake)
            case Close():
                self._drop_source()
            case _:
                raise AssertionError(f"a command the pump does not know: {type(command).__name__}")

    def _open(self) -> None:
        """Open a stream as the last `Open` said; an older one is dropped, since a turn has one stream at a time."""
        if self.ended or self._last_open is None:
            return
        self._drop_source()
        self._source = source = self._attempts.upstream.source()
        self._errands.run(self._connect(source, self._last_open), "pump.connect")

    def _wait(self, seconds: float) -> None:
        self._account.wait(seconds, self._attempts.upstream.timeouts, self._house.clock())

    def _reopen(self, earliest: float) -> None:
        """Open the stream again, as late as the dialect and the platform's `Retry-After` say."""
        self._house.telemetry.tell(Reopened(self._attempts.upstream.name))
        at = max(earliest, self._house.clock() + (self._attempts.retry_after_s or 0.0))
        self._not_silent_until(at)
        self._errands.alarm("reopen", at, self._open)

    def _not_silent_until(self, at: float) -> None:
        """In the middle of an answer a platform is not silent while there is no link: the whole turn's time counts."""
        if self._account.first_token_at is not None:
            self._account.silent_since = max(self._account.silent_since, at)

    async def _connect(self, source: Source, command: Open) -> None:
        try:
            headers = await self._attempts.upstream.authorise(self._wait)
            if self.is_current(source):
                self._sent_headers = headers
                await self._attempts.upstream.open(source, command, headers, _Receiver(self, source))
        except CannotAsk as error:
            if self.is_current(source):
                self._not_asked(error)
        except Exception as error:  # noqa: BLE001 - a turn must not wait for a stream that nobody opens
            self._fault(error)

    async def _call(self, command: Call, dialect: Dialect) -> None:
        try:
            status, headers, body = await self._attempts.upstream.call(command, self._wait)
        except CannotAsk as error:
            if dialect is self._dialect:
                self._not_asked(error)
            return
        except Exception as error:  # noqa: BLE001 - as in _connect
            self._fault(error)
            return
        if dialect is self._dialect:  # else the turn asks anew meanwhile, or somebody else
            self._attempts.retry_after_s = self._attempts.upstream.retry_after_s(headers)
            self._take(lambda now: dialect.answered(command.id, status, headers, body, now))

    def _not_asked(self, error: CannotAsk) -> None:
        """Hear that the platform could not even be asked, for want of a token or of a place."""
        self._attempts.retry_after_s = error.retry_after_s
        if error.retryable and self._account.first_token_at is not None:
            # As a link that breaks: whether the answer can still be taken up is the dialect's to say.
            self.closed(Loss(clean=False, reason=error.reason, detail=error.detail))
        else:
            self._end(Ended("failed", error.reason, detail=error.detail), self._house.clock())

    def _wake(self) -> None:
        self._take(self._dialect.wake)

    def lost(self) -> None:
        """Hear from the log that it could not keep what came last: the turn ends there, and stops its platform."""
        was_ended, self.ended = self.ended, True
        usage = None if was_ended else self._account.final_usage(self._attempts.model)
        ended = Ended("failed", "store_error", detail="what followed could not be written", usage=usage)
        self._house.log.append(self._turn, [ended])
        if not was_ended:
            try:
                self._let_go(ended)
                self._tell(ended, self._house.clock())
            finally:
                self._on_ended()

    def _let_go(self, ended: Ended) -> None:
        """Let the platform go, and all that is under way."""
        self._attempts.over()
        self._backlog = None
        self._errands.stop()
        if ended.outcome == "completed" and self._source is not None:
            source, self._source = self._source, None
            source.finish()
        else:
            self._drop_source()

    def is_current(self, source: Source) -> bool:
        """Tell whether a source is still the one this turn listens to."""
        return self._source is source

    # The end

    def _fault(self, error: Exception) -> None:
        self._house.telemetry.tell(internal_error("pump", error))
        self._end(Ended("failed", "internal_error", detail="a fault in the relay"), self._house.clock())

    def _end(self, ended: Ended, now: float) -> None:
        """End the turn, once: flush or drop what the guards hold, count, append `Ended`, let the platform go."""
        if self.ended:
            return
        try:
            if self._tries_again(ended, now):
                return
            self.ended = True  # No second end from here on, whatever the rest of this function meets.
            last, ended = self._last_events(ended, now)
            self._house.log.append(self._turn, [*last, ended])
        except Exception as error:  # noqa: BLE001 - law 1: even a fault in here leaves the turn with an end
            self.ended = True
            self._house.telemetry.tell(internal_error("pump.end", error))
            ended = Ended("failed", "internal_error", detail="a fault in the relay")
            self._house.log.append(self._turn, [ended])
        try:
            if ended.outcome in ("completed", "blocked"):
                self._attempts.upstream.breaker.succeeded()
            self._tell_faults()
            self._let_go(ended)
            self._tell(ended, now)
            started = self._turn.started
            self._house.conversations.used(started.principal, started.conversation_id)
        finally:
            self._on_ended()

    def _tries_again(self, ended: Ended, now: float) -> bool:
        """Ask once more where a failure came before any text; False where that is the end."""
        if ended.outcome != "failed" or self._account.first_token_at is not None:
            return False
        failed = self._attempts.upstream.name
        deadline = self._account.began_at + self._attempts.upstream.timeouts.turn_s
        silent = self._account.bytes == self._bytes_before
        following = self._attempts.after(ended.reason, now, deadline=deadline, silent=silent)
        if following is None:
            return False
        self._backlog = None
        self._drop_source()
        self._errands.stop()
        self._house.telemetry.tell(Retried(failed, ended.reason, self._attempts.upstream.name))
        if following.notice is not None:
            self._tell_faults()
            self._screen = self._make_screen()
            self._house.log.append(self._turn, [following.notice])
        self._errands.alarm("retry", following.at, self.start)
        self._account.begin_again(following.at)
        return True

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
        usage = self._account.final_usage(self._attempts.model)
        detail = self._screen.words(self._attempts.upstream.without_secrets(ended.detail))
        heard_upto = None if ended.heard_upto is None else min(ended.heard_upto, self._account.audible(last))
        last += [*self._dialect.last_words(), usage]
        return last, msgspec.structs.replace(ended, detail=detail, usage=usage, heard_upto=heard_upto)

    def _tell_faults(self) -> None:
        """Tell what a guard met and got over by failing closed."""
        if self._screen.fault is not None:
            self._house.telemetry.tell(internal_error("guard", self._screen.fault))

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _tell(self, ended: Ended, now: float) -> None:
        for fact in self._account.close(ended, self._attempts.upstream, self._screen, now):
            self._house.telemetry.tell(fact)


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
