"""Plays Genesys Cloud's LLM gateway: a handshake, one request and frames with tokens, over a WebSocket."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from trunkline.simulators.access import Token
from trunkline.simulators.answer import Answer, compose
from trunkline.simulators.base import RefusalError, Request, Rule
from trunkline.simulators.directives import until_stop
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Faults, Sort
from trunkline.simulators.genesys_api import admit, correlate, error_body, error_object
from trunkline.simulators.messages import (
    BAD_REQUEST,
    FAILED,
    FORBIDDEN,
    NOT_FOUND,
    interval_ms,
    read_directives,
    read_json,
    read_message,
)
from trunkline.simulators.speech import APOLOGY, JsonObject, speak
from trunkline.simulators.web_socket import HangUpError, WebSocket, check_handshake, converse

_SOCKET = "/api/v2/ai/llm/gateway/completions/stream"
_SCOPES = ("ai:llm:gateway:use", "ai:llm:gateway:stream", "ai:llm:prompt:read")
_CLIENT_ID = "x-genesys-client-id"
_SUBPROTOCOL = "sec-websocket-protocol"
_INIT = {"action": "init_stream", "protocol_version": "v2"}
_READY = {"status": "stream_ready"}
_REJECTED = {"status": "rejected", "message": "The stream cannot be started for jane.doe@example.com."}
_WRONG = "wrong"  # the model and the prompt that do not exist
_MAX_ATTEMPTS = 10_000

_Words = Annotated[str, Meta(min_length=1)]


class _Parameters(Struct, forbid_unknown_fields=True):
    temperature: Annotated[list[Annotated[float, Meta(ge=0, le=2)]], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=4096)]
    stream: bool
    stop_sequences: list[_Words] = []


class _Message(Struct, forbid_unknown_fields=True):
    role: _Words
    content: str


class _Context(Struct, forbid_unknown_fields=True):
    system: str = ""
    format: str = "text"
    messages: list[_Message] = []


class _Completion(Struct, forbid_unknown_fields=True):
    model: _Words
    prompt_id: _Words
    parameters: _Parameters
    context: _Context


class GenesysGateway:
    """The platform of the preset genesys-gateway.

    The token is a bearer token or a value of `Sec-WebSocket-Protocol`, and `X-Genesys-Client-ID` names its client. The
    first message asks for the stream, the second is the request, and no other follows. Any model and any prompt but
    `wrong` exist. Close codes are 4000 and the status that HTTP would have. Every frame has the three keys of the wire
    unless a fault says otherwise.
    """

    prefixes: ClassVar[tuple[str, ...]] = (_SOCKET,)

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        return "platform"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        correlate(exchange)
        found = await exchange.checked(lambda: _admit(exchange), self.error)
        if found is None:
            return
        accept, token = found
        await converse(exchange, accept, token, partial(self._talk, exchange))

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of the API."""
        return error_body(refusal, exchange)

    async def _talk(self, exchange: Exchange, web_socket: WebSocket) -> None:
        await _shake_hands(exchange, web_socket)
        message = await web_socket.message()
        completion = _read_completion(message)
        exchange.entry.attempt = self._attempt(message)
        asked = [one.content for one in completion.context.messages if one.role == "user"]
        directives = read_directives(exchange, asked[-1] if asked else "")
        prompt = "\n".join(
            [completion.context.system, *(f"{m.role}: {m.content}" for m in completion.context.messages)]
        )
        text = until_stop(directives.words(exchange.settings), completion.parameters.stop_sequences)
        answer = compose(text, prompt, completion.parameters.max_tokens, exchange.faults)
        wire = _Wire(answer, exchange)
        await speak(exchange, web_socket, answer, wire, interval_ms(exchange, directives))

    def _attempt(self, message: str) -> int:
        """Count the connections on which the same request came."""
        attempt = self._attempts[message] = self._attempts.pop(message, 0) + 1
        if len(self._attempts) > _MAX_ATTEMPTS:
            del self._attempts[next(iter(self._attempts))]
        return attempt


class _Wire:
    """The frames of one connection."""

    sequenced = False
    after_error = FAILED

    def __init__(self, answer: Answer, exchange: Exchange) -> None:
        self._answer = answer
        self._exchange = exchange
        self._rng = exchange.rng
        self._faults = exchange.faults

    def piece(self, place: int) -> JsonObject:
        """Give the frame with the piece at `place`."""
        return self._frame(self._token(place), None, place)

    def end(self, place: int | None) -> JsonObject:
        """Give the frame with the finish_reason, and with the last piece where it has one."""
        token = "" if place is None else self._token(place)
        return self._frame(token, self._answer.finish, len(self._answer.pieces))

    def late(self) -> JsonObject:
        """Give a frame after the last one."""
        return self._frame(" And one more thing.", None, len(self._answer.pieces))

    def noise(self) -> list[JsonObject]:
        """Give a frame that only tells of the usage."""
        return [self._frame("", None, -1)]

    def error(self) -> JsonObject:
        """Give the error object of the API in a frame of its own."""
        return {"error": error_object(RefusalError(500, APOLOGY), self._exchange)}

    def _token(self, place: int) -> str | None:
        tokens = self._answer.pieces[place].tokens
        return None if tokens is None else "".join(tokens)

    def _frame(self, token: str | None, finish: str | None, place: int) -> JsonObject:
        usage = None if self._faults.has("no-usage") else self._answer.usage(place)
        frame: JsonObject = {"token": token, "finish_reason": finish, "usage": usage}
        missing = _missing_key(self._faults, self._rng)
        # The lack of a key must not take anything away from the answer.
        if missing == "usage" or (missing and not frame[missing]):
            del frame[missing]
        return frame


def _missing_key(faults: Faults, rng: random.Random) -> str | None:
    missing = faults.text("missing-key")
    return rng.choice(["token", "finish_reason", "usage", None]) if missing == "any" else missing


def _admit(exchange: Exchange) -> tuple[dict[str, str], Token]:
    request = exchange.request
    if request.path != _SOCKET:
        raise RefusalError(404, f"The requested resource was not found: {request.path}.")
    accept = check_handshake(request)
    offered = _offered(request)
    value = next((one for one in offered if exchange.settings.tokens.get(one)), offered[-1] if offered else None)
    token = admit(exchange, _SCOPES, value if value and not request.bearer else None)
    client_id = request.headers.get(_CLIENT_ID)
    if client_id != token.client_id:
        received = "none" if client_id is None else f"'{client_id}'"
        raise RefusalError(400, f"'X-Genesys-Client-ID' must name the client of the token, received {received}.")
    # A client that offered subprotocols may insist on one of them (RFC 6455 section 4.1).
    return ({**accept, _SUBPROTOCOL: offered[0]} if offered else accept), token


def _offered(request: Request) -> list[str]:
    """Give the subprotocols that the client offers, one of which may be its token."""
    return [one.strip() for one in request.headers.get(_SUBPROTOCOL, "").split(",") if one.strip()]


async def _shake_hands(exchange: Exchange, web_socket: WebSocket) -> None:
    first = read_json(await web_socket.message())
    if first != _INIT:
        expected, received = json.dumps(_INIT), json.dumps(first)[:80]
        await web_socket.tell(json.dumps({**_REJECTED, "message": f"expected {expected}"}))
        rule: Rule = "fields" if isinstance(first, dict) and first.get("action") == _INIT["action"] else "order"
        raise HangUpError(BAD_REQUEST, f"expected {expected}, received {received}", rule=rule)
    match exchange.faults.text("handshake"):
        case None:
            await web_socket.tell(json.dumps(_READY))
        case "silent":
            await web_socket.until_left()
        case "garbage":
            await web_socket.tell("stream_ready")
        case "other":
            await web_socket.tell('{"status":"queued","position":7}')
        case _:
            await web_socket.tell(json.dumps(_REJECTED))
            raise HangUpError(FORBIDDEN, ended="fault:handshake")


def _read_completion(message: str) -> _Completion:
    completion = read_message(message, _Completion)
    if not completion.parameters.stream:
        raise HangUpError(BAD_REQUEST, "expected 'parameters.stream' to be true", rule="fields")
    if _WRONG in {completion.model, completion.prompt_id}:
        raise HangUpError(NOT_FOUND, f"The model or prompt '{_WRONG}' does not exist.")
    return completion
