"""Plays an OAuth 2.0 authorization server: tokens for client credentials (RFC 6749 section 4.4)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Literal
from urllib.parse import parse_qsl, unquote_plus

from trunkline.simulators.asked import parse_json
from trunkline.simulators.base import RefusalError, Request
from trunkline.simulators.completion import to_json
from trunkline.simulators.connection import MAX_BODY
from trunkline.simulators.exchange import PAGE, Exchange, StruckError
from trunkline.simulators.faults import Sort

_GRANT_TYPE = "client_credentials"
_WRONG = "wrong"  # the secret that is not right and the scope that does not exist
_PARAMETERS = ("grant_type", "client_id", "client_secret", "scope")
_SHOWN = ("grant_type", "client_id", "scope")
_MAX_PARAMETERS = 100
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_NO_DESCRIPTION = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")  # what section 5.2 does not allow there
_CHALLENGE = {"www-authenticate": 'Basic realm="simulator", charset="UTF-8"'}
_CODES = {401: "invalid_client", 403: "unauthorized_client", 429: "temporarily_unavailable"}


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a token request is to get; `scopes` is empty where it asked for none."""

    client_id: str
    scopes: tuple[str, ...]


class OAuth:
    """The token endpoints of all platforms.

    Any client gets a token unless its secret is `wrong`, with every scope that it asks for unless one is `wrong`.
    """

    prefixes: ClassVar[tuple[str, ...]] = ("/oauth/token", "/login/oauth2/token", "/api/v2/oauth/token")

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        return "token"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        exchange.headers |= {"cache-control": "no-store", "pragma": "no-cache"}
        grant: _Grant | RefusalError
        try:
            grant = self._read(exchange)
        except RefusalError as problem:
            grant = problem
        if await self._instead(exchange):
            return
        if isinstance(grant, RefusalError):
            raise grant
        await self._issue(exchange, grant)

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of section 5.2."""
        usual = "invalid_request" if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR else "temporarily_unavailable"
        code = refusal.code or _CODES.get(refusal.status, usual)
        return to_json({"error": code, "error_description": _NO_DESCRIPTION.sub("'", refusal.message)})

    def _read(self, exchange: Exchange) -> _Grant:
        """Check the request, and write into the ledger what it has, as far as it can be read and is no secret."""
        request, entry = exchange.request, exchange.entry
        if request.path not in self.prefixes:
            raise RefusalError(404, f"Nothing is at {request.path}.")
        if request.method != "POST":
            message = f"A token request is a POST, received {request.method}."
            raise RefusalError(405, message, headers={"allow": "POST"})
        parameters = _parameters(request)
        # A body of another form than it says has no names but pieces of who knows what.
        shown = {name: value if name in _SHOWN else "***" for name, value in parameters.items()}
        entry.body = {name: value for name, value in shown.items() if name.isidentifier()}
        entry.style = _style(request, parameters)
        entry.client_id = parameters.get("client_id")
        entry.scopes = parameters.get("scope", "").split()
        if any(f"{name}=" in request.query for name in _PARAMETERS):
            raise RefusalError(400, "The parameters belong into the body, not into the address.")
        if "grant_type" not in parameters:
            raise RefusalError(400, "The parameter grant_type is missing.")
        entry.client_id, secret = _credentials(request, parameters)
        if secret == _WRONG:
            raise _invalid_client("The client id or its secret is not correct.", request)
        if parameters["grant_type"] != _GRANT_TYPE:
            raise RefusalError(400, f"The grant_type must be {_GRANT_TYPE}.", code="unsupported_grant_type")
        return _Grant(entry.client_id, _scopes(parameters.get("scope")))

    async def _instead(self, exchange: Exchange) -> bool:
        """Play a fault that stands in place of a token; gives whether there was one."""
        faults = exchange.faults
        await exchange.connection.sleep((faults.number("token-slow") or 0) / 1000)
        if faults.has("token-drop"):
            raise StruckError("token-drop", "close")
        if faults.has("token-status", "token-retry-after"):
            wait = faults.text("token-retry-after")
            headers = {} if wait is None else {"retry-after": wait}
            status = faults.number("token-status") or 429
            await exchange.refuse(RefusalError(status, "No token is to be had now.", headers=headers), self.error)
            exchange.entry.end("fault:token-status" if faults.has("token-status") else "fault:token-retry-after")
            return True
        if faults.has("token-garbage"):
            await exchange.respond(200, PAGE, "text/html; charset=utf-8")
            exchange.entry.end("fault:token-garbage")
            return True
        return False

    async def _issue(self, exchange: Exchange, grant: _Grant) -> None:
        lacking = exchange.faults.text("token-missing-scope")
        scopes = tuple(scope for scope in grant.scopes if scope != lacking)
        given = exchange.faults.text("token-expires")
        lifetime_s = exchange.settings.token_lifetime_s if given is None else float(given)
        value, token = exchange.settings.tokens.issue(exchange.rng, grant.client_id, scopes, lifetime_s)
        exchange.entry.token = token.number
        answer = {
            "access_token": value,
            "token_type": "bearer",
            "expires_in": int(lifetime_s) if lifetime_s == int(lifetime_s) else lifetime_s,
        }
        if grant.scopes:
            answer["scope"] = " ".join(scopes)
        await exchange.respond(200, to_json(answer))


def _parameters(request: Request) -> dict[str, str]:
    """Read the body; a parameter without a value counts as one that was not sent (section 3.2)."""
    if request.too_large:
        raise RefusalError(413, f"The body is larger than {MAX_BODY} bytes.")
    if request.media_type == "application/json":
        body = parse_json(request.body)
        if not isinstance(body, dict) or not all(isinstance(value, str) for value in body.values()):
            raise RefusalError(400, "The JSON body must be an object of strings.")
        pairs = list(body.items())
    elif request.media_type == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            raise RefusalError(400, "The body is not valid form data.") from None
    elif request.body:
        raise RefusalError(400, "The body must be application/x-www-form-urlencoded or application/json.")
    else:
        pairs = []
    parameters = {name: value for name, value in pairs if value}
    if len(dict(pairs)) < len(pairs):
        raise RefusalError(400, "A parameter is there twice.")
    return parameters


def _style(request: Request, parameters: dict[str, str]) -> Literal["basic", "form", "json"] | None:
    if "authorization" in request.headers:
        return "basic"
    if "client_secret" not in parameters:
        return None
    return "json" if request.media_type == "application/json" else "form"


def _credentials(request: Request, parameters: dict[str, str]) -> tuple[str, str]:
    """Give the id of the client and its secret, from wherever it sends them (section 2.3.1)."""
    client_id, secret = parameters.get("client_id"), parameters.get("client_secret")
    if "authorization" in request.headers:
        if secret is not None:
            raise RefusalError(400, "The client authenticates itself in two ways at once.")
        basic_id, secret = _basic(request)
        if client_id not in {None, basic_id}:
            raise RefusalError(400, "The client has one id in the header and another in the body.")
        client_id = basic_id
    if not client_id or not secret:
        raise _invalid_client("The client does not authenticate itself.", request)
    return client_id, secret


def _basic(request: Request) -> tuple[str, str]:
    """Read HTTP Basic, whose parts are form-encoded here."""
    scheme, _, encoded = request.headers["authorization"].partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        client_id, colon, secret = "", "", ""
    if scheme.lower() != "basic" or not colon:
        raise _invalid_client("The authorization header is no HTTP Basic.", request)
    return unquote_plus(client_id), unquote_plus(secret)


def _invalid_client(message: str, request: Request) -> RefusalError:
    challenge = _CHALLENGE if "authorization" in request.headers else {}
    return RefusalError(401, message, code="invalid_client", headers=dict(challenge))


def _scopes(scope: str | None) -> tuple[str, ...]:
    if scope is None:
        return ()
    scopes = tuple(dict.fromkeys(scope.split(" ")))
    if not all(_SCOPE.fullmatch(one) for one in scopes):
        raise RefusalError(400, "The scopes must be separated by one space each.", code="invalid_scope")
    if _WRONG in scopes:
        raise RefusalError(400, f"There is no scope {_WRONG}.", code="invalid_scope")
    return scopes
