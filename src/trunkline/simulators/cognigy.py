"""Plays Cognigy.AI's LLM stream: its configuration, token arrays over a WebSocket, and the variables afterwards."""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote

from msgspec import Meta, Struct

from trunkline.simulators.access import Token
from trunkline.simulators.answer import Answer, Piece, compose
from trunkline.simulators.base import RefusalError, Request
from trunkline.simulators.completion import read_body, to_json
from trunkline.simulators.directives import Directives
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Sort
from trunkline.simulators.fields import FieldsError, T, read_as
from trunkline.simulators.messages import interval_ms, read_directives, read_message
from trunkline.simulators.speech import APOLOGY, JsonObject, speak
from trunkline.simulators.web_socket import WebSocket, check_handshake, converse

_CONFIG = "/api/v2/llm/gateway/config"
_STREAM = "/api/v2/llm/stream"
_VARIABLES = re.compile("/api/v2/bot/dialog/([^/]+)/variables")
_WRONG = "wrong"  # the model that does not exist
_MAX_KEPT = 10_000
_MOST_TOKENS = 4  # in one message
_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}

_Words = Annotated[str, Meta(min_length=1)]


class _Config(Struct, forbid_unknown_fields=True):
    streaming: bool
    model: _Words
    temperature: Annotated[float, Meta(ge=0, le=2)]
    max_tokens: Annotated[int, Meta(ge=1)]
    dialog_id: _Words


class _Opening(Struct, forbid_unknown_fields=True):
    dialog_id: _Words
    session_id: _Words
    input: str


class _Variable(Struct, forbid_unknown_fields=True):
    name: _Words
    value: str | int | float | bool | None


class _Variables(Struct, forbid_unknown_fields=True):
    variables: Annotated[list[_Variable], Meta(min_length=1)]


class Cognigy:
    """The platform of the preset cognigy.

    Three addresses: a configuration by dialog (any model but `wrong` exists), the stream, and the variables of a
    dialog, which are answered 201 at first and 200 from then on. On the stream the platform waits a while for the
    opening message; without one it says its default text. The configuration of the opening's dialog bounds the answer;
    a dialog without one is answered without a bound, but the ledger says that the client left it out (without an
    opening there is no telling which dialog, and any that the client has configured will do). Nothing but the opening
    is expected from the client.
    """

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v2/llm", "/api/v2/bot")

    def __init__(self) -> None:
        self._configs: dict[tuple[str, str], _Config] = {}
        self._with_variables: dict[str, None] = {}
        self._attempts: dict[tuple[str, str, str, str], int] = {}

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        if path == _CONFIG:
            return "config"
        return "variables" if _VARIABLES.fullmatch(path) else "platform"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        if exchange.request.path == _CONFIG:
            await self._answer_config(exchange)
        elif exchange.request.path == _STREAM:
            await self._answer_stream(exchange)
        else:
            await self._answer_variables(exchange)

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of the API."""
        trace_id = str(uuid.UUID(int=exchange.rng.getrandbits(128), version=4))
        error = {
            "title": _TITLES.get(refusal.status, "Error"),
            "detail": refusal.message,
            "status": refusal.status,
            "code": refusal.code or str(refusal.status),
            "traceId": trace_id,
            "details": {"field": refusal.param} if refusal.param else None,
        }
        return to_json(error)

    # the calls

    async def _answer_config(self, exchange: Exchange) -> None:
        found = await exchange.checked(lambda: _admit_config(exchange), self.error)
        if found is None:
            return
        token, config = found
        self._configs[token.client_id, config.dialog_id] = config
        _bound(self._configs)
        await exchange.respond(200, to_json({"dialog_id": config.dialog_id, "model": config.model}))

    async def _answer_variables(self, exchange: Exchange) -> None:
        dialog_id = await exchange.checked(lambda: _admit_variables(exchange), self.error)
        if dialog_id is None:
            return
        status = 200 if dialog_id in self._with_variables else 201
        self._with_variables[dialog_id] = None
        _bound(self._with_variables)
        await exchange.respond(status, to_json({"dialog_id": dialog_id}))

    # the stream

    async def _answer_stream(self, exchange: Exchange) -> None:
        found = await exchange.checked(lambda: _admit_stream(exchange), self.error)
        if found is None:
            return
        accept, token = found
        await converse(exchange, accept, token, partial(self._talk, exchange, token))

    async def _talk(self, exchange: Exchange, token: Token, web_socket: WebSocket) -> None:
        settings = exchange.settings
        wait_s = 0.0 if exchange.faults.has("speaks-first") else settings.opening_wait_s
        message = await web_socket.message_within(wait_s)
        directives, limit = Directives(rest=""), None
        if message is None:
            self._check_configured(exchange, token)
        else:
            opening = read_message(message, _Opening)
            exchange.entry.turn = opening.session_id
            exchange.entry.attempt = self._attempt(token, opening)
            directives = read_directives(exchange, opening.input)
            self._check_configured(exchange, token, opening.dialog_id)
            config = self._configs.get((token.client_id, opening.dialog_id))
            limit = config.max_tokens if config else None
        answer = compose(directives.words(settings), directives.rest, limit, exchange.faults)
        answer = Answer(_grouped(answer.pieces, exchange), answer.finish, answer.prompt_tokens)
        await speak(exchange, web_socket, answer, _Wire(answer, exchange), interval_ms(exchange, directives))

    def _check_configured(self, exchange: Exchange, token: Token, dialog_id: str | None = None) -> None:
        """Note where the client did not configure the dialog, or none at all where it is not known."""
        if not exchange.settings.wants_config:
            return
        which = "any dialog" if dialog_id is None else f"dialog '{dialog_id}'"
        if dialog_id is None:
            known = any(client_id == token.client_id for client_id, _ in self._configs)
        else:
            known = (token.client_id, dialog_id) in self._configs
        if not known:
            exchange.entry.breaks("config", f"expected the configuration of {which} first, received none")

    def _attempt(self, token: Token, opening: _Opening) -> int:
        """Count the connections with the same opening."""
        key = (token.client_id, opening.dialog_id, opening.session_id, opening.input)
        attempt = self._attempts[key] = self._attempts.pop(key, 0) + 1
        _bound(self._attempts)
        return attempt


class _Wire:
    """The messages of one connection."""

    sequenced = False
    after_error = 1000

    def __init__(self, answer: Answer, exchange: Exchange) -> None:
        self._answer = answer
        self._faults = exchange.faults

    def piece(self, place: int) -> JsonObject:
        """Give the message with the tokens at `place`."""
        last = place == len(self._answer.pieces) - 1
        usage = self._faults.has("usage-each") or (last and self._faults.has("usage-before"))
        return self._message(self._tokens(place), place if usage else None)

    def end(self, place: int | None) -> JsonObject:
        """Give the message that is done, with the last tokens where it has some."""
        tokens: list[str] | None = [] if place is None else self._tokens(place)
        late = not self._faults.has("no-usage") and not self._faults.has("usage-before")
        return {**self._message(tokens, len(self._answer.pieces) if late else None), "done": True}

    def late(self) -> JsonObject:
        """Give a message after the last one."""
        return self._message([" And one more thing."], None)

    def noise(self) -> list[JsonObject]:
        """Give messages without tokens."""
        return [self._message([], None), self._message([""], None)]

    def error(self) -> JsonObject:
        """Give the message with an error."""
        return {**self._message([], None), "error": APOLOGY}

    def _tokens(self, place: int) -> list[str] | None:
        tokens = self._answer.pieces[place].tokens
        return None if tokens is None else list(tokens)

    def _message(self, tokens: list[str] | None, usage_at: int | None) -> JsonObject:
        usage = {} if usage_at is None else {"usage": self._answer.usage(usage_at)}
        return {"tokens": tokens, "done": False, **usage, "error": ""}


def _grouped(pieces: list[Piece], exchange: Exchange) -> list[Piece]:
    """Let each message have one token or some; one that is null stays alone."""
    grouped: list[Piece] = []
    room = 0
    for piece in pieces:
        if piece.tokens is None or room == 0 or grouped[-1].tokens is None:
            grouped.append(piece)
            room = exchange.rng.randrange(_MOST_TOKENS)
            continue
        before = grouped.pop()
        tokens = (*(before.tokens or ()), *piece.tokens)
        grouped.append(Piece(tokens, before.text + piece.text, before.count + piece.count))
        room -= 1
    return grouped


def _admit_config(exchange: Exchange) -> tuple[Token, _Config]:
    token = _admit(exchange, "PUT", "llm:stream", "api:access")
    config = _read(exchange, _Config)
    if not config.streaming:
        raise RefusalError(400, "'streaming' must be true.", "streaming")
    if config.model == _WRONG:
        raise RefusalError(404, f"There is no model '{_WRONG}'.", "model")
    return token, config


def _admit_stream(exchange: Exchange) -> tuple[dict[str, str], Token]:
    return check_handshake(exchange.request), _admit(exchange, "GET", "llm:stream")


def _admit_variables(exchange: Exchange) -> str:
    """Give the dialog's id; raises `RefusalError`."""
    address = _VARIABLES.fullmatch(exchange.request.path)
    if address is None:
        raise RefusalError(404, f"Nothing is at {exchange.request.path}.")
    _admit(exchange, "POST", "bot:dialog:write")
    names = [variable.name for variable in _read(exchange, _Variables).variables]
    if len(set(names)) < len(names):
        raise RefusalError(400, "A variable is there twice.", "variables")
    return unquote(address[1])


def _admit(exchange: Exchange, method: str, *scopes: str) -> Token:
    """Check the method, the token and its scopes; raises `RefusalError`."""
    request = exchange.request
    if request.method != method:
        message = f"{request.path} takes {method}, received {request.method}."
        raise RefusalError(405, message, headers={"allow": method})
    token, standing = exchange.token()
    if token is None or standing != "good":
        raise _unauthorized(request, standing)
    if missing := [scope for scope in scopes if scope not in token.scopes]:
        raise RefusalError(403, f"The token lacks {', '.join(missing)}.")
    return token


def _unauthorized(request: Request, standing: str) -> RefusalError:
    message = f"The token is {standing}." if request.bearer else "A bearer token is required."
    return RefusalError(401, message, headers={"www-authenticate": "Bearer"})


def _read(exchange: Exchange, kind: type[T]) -> T:
    """Read the JSON body, which goes into the ledger too; raises `RefusalError`."""
    try:
        return read_as(read_body(exchange), kind)
    except FieldsError as problem:
        raise RefusalError(400, f"{problem}") from problem


def _bound(known: dict[Any, Any]) -> None:
    while len(known) > _MAX_KEPT:
        del known[next(iter(known))]
