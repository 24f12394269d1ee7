"""Plays Genesys Cloud as far as its answers are server-sent events: both completion endpoints, and the token's own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from trunkline.simulators.access import Token
from trunkline.simulators.asked import Asked, check
from trunkline.simulators.base import RefusalError
from trunkline.simulators.completion import complete, read_body, read_directives, to_json
from trunkline.simulators.directives import Directives
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Sort
from trunkline.simulators.genesys_api import admit, check_method, correlate, error_body

_COMPLETIONS = "/api/v2/ai/llm/completions"
_CHAT = "/api/v2/ai/llm/chat/completions"
_ME = "/api/v2/tokens/me"
_CHAT_ROLES = ("system", "user", "assistant")
_MAX_CONTENT = 4096
_WRONG = "wrong"  # the model that does not exist


@dataclass(frozen=True, slots=True)
class _Route:
    methods: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


_ROUTES = {
    _COMPLETIONS: _Route(("POST",), ("ai:llm:write",), ("model", "messages", "stream")),
    _CHAT: _Route(("POST",), ("ai:llm:write", "ai:llm:read"), ("model", "messages", "temperature", "stream")),
    _ME: _Route(("GET", "HEAD", "DELETE")),
}


class Genesys:
    """The platform of the presets genesys-completions and genesys-chat.

    A request needs a token of this simulator's authorization server, with the scopes of its endpoint; the limiter of
    the settings counts it for the token's client. Any model but `wrong` exists. A body has exactly the fields of its
    endpoint, asks for a stream and is given one, with usage in its last chunk. `GET` (or `HEAD`) on `tokens/me` tells
    of the token, `DELETE` revokes it. Errors have the form
    `{"message","code","status","contextId","details","errors"}`.
    """

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v2/ai/llm", "/api/v2/tokens")

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        return "platform"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        correlate(exchange)
        refusal: RefusalError | None = None
        token, asked, directives = None, None, None
        try:
            token = self._admit(exchange)
            if exchange.request.path != _ME:
                asked, directives = self._read(exchange)
        except RefusalError as problem:
            refusal = problem
        if await exchange.instead(self.error):
            return
        if refusal:
            raise refusal
        if asked and directives:
            await complete(exchange, asked, directives)
        elif token:
            await _me(exchange, token)

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of the API."""
        return error_body(refusal, exchange)

    def _admit(self, exchange: Exchange) -> Token:
        """Check the address and the token, and count the request; raises `RefusalError`."""
        request = exchange.request
        route = _ROUTES.get(request.path)
        if route is None:
            raise RefusalError(404, f"The requested resource was not found: {request.path}.")
        check_method(exchange, *route.methods)
        return admit(exchange, route.scopes)

    def _read(self, exchange: Exchange) -> tuple[Asked, Directives]:
        accepted = exchange.request.headers.get("accept", "").lower().split(",")
        media_types = {one.partition(";")[0].strip() for one in accepted}
        if exchange.request.path == _CHAT and "text/event-stream" not in media_types:
            raise RefusalError(406, "The request must have the header 'Accept: text/event-stream'.")
        asked = _check(read_body(exchange), exchange.request.path)
        if asked.model == _WRONG:
            raise RefusalError(404, f"The model '{_WRONG}' is not published.", "model", "not.found")
        return asked, read_directives(exchange, asked)


async def _me(exchange: Exchange, token: Token) -> None:
    if exchange.request.method == "DELETE":
        token.revoked = True
        await exchange.respond(200, b"")
        return
    organization = {"id": str(uuid.UUID(int=exchange.settings.seed % (1 << 128))), "name": "Simulator"}
    client = {"id": token.client_id, "name": token.client_id, "organization": organization}
    answer = {"organization": organization, "OAuthClient": client, "authorizedScope": list(token.scopes)}
    await exchange.respond(200, to_json(answer))


def _check(body: object, path: str) -> Asked:
    """Check the body by what the endpoint takes, which is less than what the OpenAI API would."""
    if not isinstance(body, dict):
        raise RefusalError(400, "The body must be a JSON object.")
    _only(body, _ROUTES[path].fields)
    asked = check(body)
    if not asked.stream:
        raise RefusalError(400, "'stream' must be true.", "stream", "invalid.value")
    for place, message in enumerate(body["messages"]):
        where = f"messages[{place}]"
        _only(message, ("role", "content"), f"{where}.")
        if not isinstance(message.get("content"), str):
            raise RefusalError(400, f"'{where}.content' must be a string.", f"{where}.content", "invalid.value")
        if path == _CHAT:
            _check_chat(where, asked.messages[place].role, asked.messages[place].content)
    return replace(asked, include_usage=True)


def _check_chat(where: str, role: str, content: str) -> None:
    if role not in _CHAT_ROLES:
        message = f"'{where}.role' must be one of {', '.join(_CHAT_ROLES)}, received {role}."
        raise RefusalError(400, message, f"{where}.role", "invalid.value")
    if len(content) > _MAX_CONTENT:
        message = f"'{where}.content' may have {_MAX_CONTENT} characters, received {len(content)}."
        raise RefusalError(400, message, f"{where}.content", "invalid.value")


def _only(fields: dict[str, Any], known: tuple[str, ...], prefix: str = "") -> None:
    for name in fields:
        if name not in known:
            shown = f"{prefix}{name[:80]}"
            raise RefusalError(400, f"'{shown}' is unknown; known are {', '.join(known)}.", shown, "unknown.field")
