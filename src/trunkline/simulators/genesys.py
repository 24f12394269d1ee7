"""Plays Genesys Cloud as far as its answers are server-sent events: both completion endpoints, and the token's own."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, ClassVar

from trunkline.simulators.access import Standing, Token
from trunkline.simulators.asked import Asked, check
from trunkline.simulators.base import RefusalError, Request
from trunkline.simulators.completion import complete, read_body, read_directives, to_json
from trunkline.simulators.directives import Directives
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Sort

_COMPLETIONS = "/api/v2/ai/llm/completions"
_CHAT = "/api/v2/ai/llm/chat/completions"
_ME = "/api/v2/tokens/me"
_CORRELATION = "inin-correlation-id"
_CHAT_ROLES = ("system", "user", "assistant")
_MAX_CONTENT = 4096
_WRONG = "wrong"  # the model that does not exist
_CODES = {
    400: "bad.request",
    401: "bad.credentials",
    403: "missing.permissions",
    404: "not.found",
    405: "method.not.allowed",
    406: "not.acceptable",
    413: "request.entity.too.large",
    415: "unsupported.media.type",
    429: "too.many.requests.retry.after",
    503: "service.unavailable",
    504: "gateway.timeout",
}


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
    takes: ClassVar[Sort] = "platform"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        exchange.headers[_CORRELATION] = _context_id(exchange.rng)
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
        status, message, code = refusal.status, refusal.message, refusal.code
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = refusal.headers.get("retry-after", "")
            message = "Rate limit exceeded the maximum."
            message += f" Retry the request in [{wait}] seconds" if wait.isdigit() else ""
        if refusal.param or not code:
            # Where a field is at fault, the code is about the field.
            usual = "bad.request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal.server.error"
            code = _CODES.get(status, usual)
        error = {
            "message": message,
            "code": code,
            "status": status,
            "contextId": exchange.headers[_CORRELATION],
            "details": [{"errorCode": refusal.code, "fieldName": refusal.param}] if refusal.param else [],
            "errors": [],
        }
        return to_json(error)

    def _admit(self, exchange: Exchange) -> Token:
        """Check the address and the token, and count the request; raises `RefusalError`."""
        request = exchange.request
        route = _ROUTES.get(request.path)
        if route is None:
            raise RefusalError(404, f"The requested resource was not found: {request.path}.")
        if request.method not in route.methods:
            allowed = ", ".join(route.methods)
            message = f"{request.path} takes {allowed}, received {request.method}."
            raise RefusalError(405, message, headers={"allow": allowed})
        token, standing = exchange.token()
        if token is None or standing != "good":
            raise _unauthorized(request, standing)
        if limiter := exchange.settings.limiter:
            budget = limiter.count(token.client_id)
            exchange.headers |= budget.headers
            if budget.over:
                raise RefusalError(429, "Too many requests.", headers={"retry-after": str(budget.reset_s)})
        if missing := [scope for scope in route.scopes if scope not in token.scopes]:
            words = "Unable to perform the requested action. You are missing the following permission(s):"
            raise RefusalError(403, f"{words} {', '.join(missing)}")
        return token

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


def _unauthorized(request: Request, standing: Standing) -> RefusalError:
    challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
    if not request.bearer:
        message, code = "No authentication bearer token specified in authorization header.", "authentication.required"
        challenge = {"www-authenticate": "Bearer"}
    elif standing == "expired":
        message, code = "The supplied credentials are expired and cannot be used.", "credentials.expired"
    else:
        message, code = f"Invalid login credentials: the token is {standing}.", "bad.credentials"
    return RefusalError(401, message, code=code, headers=challenge)


def _context_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
