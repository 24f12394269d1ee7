"""Plays Genesys Cloud's conversations: the quota of a model, and answers to a subscription over a WebSocket."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal
from urllib.parse import unquote

from msgspec import Meta, Struct

from trunkline.simulators.access import Token
from trunkline.simulators.answer import Answer, compose
from trunkline.simulators.base import RefusalError
from trunkline.simulators.completion import to_json
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Sort
from trunkline.simulators.genesys_api import admit, check_method, correlate, error_body, error_object
from trunkline.simulators.messages import BAD_REQUEST, FAILED, NO_SLOT, NOT_FOUND, read_message
from trunkline.simulators.speech import APOLOGY, JsonObject, speak
from trunkline.simulators.web_socket import HangUpError, WebSocket, check_handshake, converse

_SOCKET = "/api/v2/conversations/websocket"
_QUOTAS = re.compile("/api/v2/ai/models/([^/]+)/quotas")
_QUOTA_SCOPES = ("ai:read",)
_SOCKET_SCOPES = ("conversations:read", "ai:chat:stream")
_WRONG = "wrong"  # the model that does not exist
_COMPLETION = "ai:chat:completion"
_MAX_TURNS = 10_000
_HELD_S = 120.0  # a turn takes no longer, and so no answer about a quota is on its way for longer
_MAX_HELD = 1_000

_Words = Annotated[str, Meta(min_length=1)]


class _Context(Struct, forbid_unknown_fields=True):
    conversation_id: _Words
    turn_id: _Words


class _Subscription(Struct, forbid_unknown_fields=True):
    event_type: Literal["ai:chat:completion"]
    model_id: _Words
    conversation_context: _Context
    max_tokens: Annotated[int, Meta(ge=1)]
    stream_mode: Literal["delta"]


class _Subscribe(Struct, forbid_unknown_fields=True):
    subscriptions: Annotated[list[_Subscription], Meta(min_length=1, max_length=1)]


@dataclass(slots=True)
class _Turn:
    """One turn of a conversation, which outlives its connections; `replay` is how the next of them goes on."""

    subscription: _Subscription
    answer: Answer
    sequenced: bool
    replay: str = "from_start"
    attempts: int = 0


@dataclass(slots=True)
class _Open:
    """The answers that are under way, by model, and when each client was told about a model's quota."""

    answers: Counter[str] = field(default_factory=Counter)
    told: defaultdict[tuple[str, str], deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_MAX_HELD))
    )

    def tell(self, client_id: str, model: str, now: float) -> None:
        """Note that a client was told about the quota of a model."""
        self.told[client_id, model].append(now)

    def may_begin(self, client_id: str, model: str, now: float, fresh_s: float) -> bool:
        """Whether a client may begin a turn by what it was told, which is used up unless turns may share it."""
        told = self.told[client_id, model]
        while told and now - told[0] > _HELD_S + fresh_s:
            told.popleft()
        if not told:
            return False
        if not fresh_s:
            told.popleft()
        return True


class GenesysConversations:
    """The platform of the preset genesys-conversations.

    `GET .../models/{model}/quotas` tells how many answers a model may still give at a time; any model but `wrong`
    exists. A WebSocket wants the subscription to one turn as its first message and no other after it. There is no
    prompt: the answer is the simulator's default text, and faults come by the queue. A later connection with the same
    turn is the same answer, from the start unless the fault `replay` said otherwise, and needs no quota of its own.
    Close codes are 4000 and the status that HTTP would have.
    """

    prefixes: ClassVar[tuple[str, ...]] = (_SOCKET, "/api/v2/ai/models")

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str, str], _Turn] = {}
        self._open = _Open()

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        return "platform" if path == _SOCKET else "quota"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        correlate(exchange)
        if exchange.request.path == _SOCKET:
            await self._answer_socket(exchange)
        else:
            await self._answer_quota(exchange)

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of the API."""
        return error_body(refusal, exchange)

    # the quota

    async def _answer_quota(self, exchange: Exchange) -> None:
        found = await exchange.checked(lambda: _admit_quota(exchange), self.error)
        if found is None:
            return
        model, token = found
        self._open.tell(token.client_id, model, exchange.settings.clock())
        most = exchange.settings.max_concurrent
        slots = exchange.faults.number("quota-slots")
        quota = {
            "available_slots": max(0, most - self._open.answers[model]) if slots is None else slots,
            "max_concurrent": most,
            "model_status": exchange.faults.text("quota-model-status") or "AVAILABLE",
        }
        await exchange.respond(200, to_json(quota))

    # the WebSocket

    async def _answer_socket(self, exchange: Exchange) -> None:
        found = await exchange.checked(lambda: _admit_socket(exchange), self.error)
        if found is None:
            return
        accept, token = found
        await converse(exchange, accept, token, partial(self._talk, exchange, token))

    async def _talk(self, exchange: Exchange, token: Token, web_socket: WebSocket) -> None:
        subscription = read_message(await web_socket.message(), _Subscribe).subscriptions[0]
        model = subscription.model_id
        if model == _WRONG:
            raise HangUpError(NOT_FOUND, f"The model '{_WRONG}' is not published.")
        if self._open.answers[model] >= exchange.settings.max_concurrent:
            raise HangUpError(NO_SLOT, f"The model '{model}' has no slot.")
        self._open.answers[model] += 1
        try:
            await self._answer_turn(exchange, token, subscription, web_socket)
        finally:
            self._open.answers[model] -= 1

    async def _answer_turn(
        self, exchange: Exchange, token: Token, subscription: _Subscription, web_socket: WebSocket
    ) -> None:
        turn = self._turn(exchange, token, subscription)
        if not turn.attempts:
            self._check_quota(exchange, token, subscription.model_id)
        turn.attempts += 1
        entry = exchange.entry
        entry.turn, entry.attempt = subscription.conversation_context.turn_id, turn.attempts
        if turn.subscription != subscription:
            raise HangUpError(BAD_REQUEST, "expected the subscription that the turn began with", rule="fields")
        start, how = 0, turn.replay if turn.attempts > 1 else ""
        turn.replay = exchange.faults.text("replay") or turn.replay
        if how == "none":
            entry.means(turn.answer)
            await web_socket.until_left()
        if how == "other":
            turn.answer = _compose(exchange, subscription, "That was not quite right. ")
        if how == "continues":
            start = turn.answer.reached
        wire = _Wire(turn, exchange)
        await speak(exchange, web_socket, turn.answer, wire, exchange.settings.interval_ms, start)

    def _check_quota(self, exchange: Exchange, token: Token, model: str) -> None:
        settings = exchange.settings
        if not self._open.may_begin(token.client_id, model, settings.clock(), settings.quota_fresh_s):
            exchange.entry.breaks("quota", f"expected a request about the quota of '{model}' first, received none")

    def _turn(self, exchange: Exchange, token: Token, subscription: _Subscription) -> _Turn:
        context = subscription.conversation_context
        key = (token.client_id, context.conversation_id, context.turn_id)
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn(
                subscription, _compose(exchange, subscription), sequenced=not exchange.faults.has("no-sequence")
            )
            if len(self._turns) > _MAX_TURNS:
                del self._turns[next(iter(self._turns))]
        return turn


class _Wire:
    """The events of one connection."""

    after_error = FAILED

    def __init__(self, turn: _Turn, exchange: Exchange) -> None:
        self.sequenced = turn.sequenced
        self._answer = turn.answer
        self._model = turn.subscription.model_id
        self._conversation = turn.subscription.conversation_context.conversation_id
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def piece(self, place: int) -> JsonObject:
        """Give the event with the piece at `place`."""
        return self._event(self._delta(place), "", place)

    def end(self, place: int | None) -> JsonObject:
        """Give the event with the finish_reason, and with the last piece where it has one."""
        if place is None:
            return self._event("", self._answer.finish, self._end_number(len(self._answer.pieces)))
        return self._event(self._delta(place), self._answer.finish, self._end_number(place))

    def late(self) -> JsonObject:
        """Give an event after the last one."""
        return self._event(" And one more thing.", "", len(self._answer.pieces) + 1)

    def noise(self) -> list[JsonObject]:
        """Give events of another type, and one of another conversation."""
        other = self._event("This is for somebody else.", "", 0)
        other["metadata"] = {**self._metadata(0), "conversation_id": f"{self._conversation}-2"}
        typing: JsonObject = {"event_type": "ai:chat:typing", "metadata": self._metadata(0)}
        return [{"event_type": "system:heartbeat"}, typing, other]

    def error(self) -> JsonObject:
        """Give an event of the type error, with the error object of the API."""
        return {"event_type": "error", **error_object(RefusalError(500, APOLOGY), self._exchange)}

    def _end_number(self, number: int) -> int | None:
        return None if self._exchange.faults.has("unnumbered-end") else number

    def _delta(self, place: int) -> str | None:
        tokens = self._answer.pieces[place].tokens
        return None if tokens is None else "".join(tokens)

    def _event(self, delta: str | None, finish: str, sequence: int | None) -> JsonObject:
        metadata = self._metadata(None if sequence == self._exchange.faults.number("unnumbered") else sequence)
        return {"event_type": _COMPLETION, "delta": delta, "finish_reason": finish, "metadata": metadata}

    def _metadata(self, sequence: int | None) -> JsonObject:
        passed_s = self._loop.time() - self._began
        metadata: JsonObject = {
            "model_id": self._model,
            "conversation_id": self._conversation,
            "latency_ms": round(passed_s * 1000),
            "throughput_tps": round(self._exchange.entry.completion_tokens / passed_s, 1) if passed_s > 0 else 0.0,
        }
        return {**metadata, "sequence": sequence} if self.sequenced and sequence is not None else metadata


def _compose(exchange: Exchange, subscription: _Subscription, lead: str = "") -> Answer:
    settings = exchange.settings
    text = lead + settings.texts[settings.default_text]
    return compose(text, "", subscription.max_tokens, exchange.faults)


def _admit_quota(exchange: Exchange) -> tuple[str, Token]:
    address = _QUOTAS.fullmatch(exchange.request.path)
    if address is None:
        raise RefusalError(404, f"The requested resource was not found: {exchange.request.path}.")
    check_method(exchange, "GET")
    token = admit(exchange, _QUOTA_SCOPES)
    model = unquote(address[1])
    if model == _WRONG:
        raise RefusalError(404, f"The model '{_WRONG}' is not published.")
    return model, token


def _admit_socket(exchange: Exchange) -> tuple[dict[str, str], Token]:
    accept = check_handshake(exchange.request)
    token = admit(exchange, _SOCKET_SCOPES)
    accepted = exchange.request.headers.get("accept", "")
    if accepted != "application/json":
        raise RefusalError(406, f"The request must have 'Accept: application/json', received '{accepted}'.")
    return accept, token
