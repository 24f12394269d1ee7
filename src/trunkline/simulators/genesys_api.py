"""What all of Genesys Cloud's addresses share: whom they let in, and in which words they say no."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from http import HTTPStatus

from trunkline.simulators.access import Standing, Token
from trunkline.simulators.base import RefusalError
from trunkline.simulators.completion import to_json
from trunkline.simulators.exchange import Exchange

_CORRELATION = "inin-correlation-id"
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


def correlate(exchange: Exchange) -> None:
    """Give the answer the id that a person at Genesys would ask for."""
    exchange.headers[_CORRELATION] = _context_id(exchange.rng)


def check_method(exchange: Exchange, *methods: str) -> None:
    """Raise `RefusalError` where the request has another method."""
    request = exchange.request
    if request.method not in methods:
        allowed = ", ".join(methods)
        message = f"{request.path} takes {allowed}, received {request.method}."
        raise RefusalError(405, message, headers={"allow": allowed})


def admit(exchange: Exchange, scopes: Sequence[str], token_value: str | None = None) -> Token:
    """Check the token and its scopes, and count the request for its client; raises `RefusalError`.

    `token_value` is the token where the request shows it elsewhere than as a bearer token.
    """
    token, standing = exchange.token(token_value)
    if token is None or standing != "good":
        raise _unauthorized(standing, shown=bool(token_value or exchange.request.bearer))
    if limiter := exchange.settings.limiter:
        budget = limiter.count(token.client_id)
        exchange.headers |= budget.headers
        if budget.over:
            raise RefusalError(429, "Too many requests.", headers={"retry-after": str(budget.reset_s)})
    if missing := [scope for scope in scopes if scope not in token.scopes]:
        words = "Unable to perform the requested action. You are missing the following permission(s):"
        raise RefusalError(403, f"{words} {', '.join(missing)}")
    return token


def error_object(refusal: RefusalError, exchange: Exchange) -> dict[str, object]:
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
    return {
        "message": message,
        "code": code,
        "status": status,
        "contextId": exchange.headers[_CORRELATION],
        "details": [{"errorCode": refusal.code, "fieldName": refusal.param}] if refusal.param else [],
        "errors": [],
    }


def error_body(refusal: RefusalError, exchange: Exchange) -> bytes:
    """Give the error object as the body of an answer."""
    return to_json(error_object(refusal, exchange))


def _unauthorized(standing: Standing, *, shown: bool) -> RefusalError:
    challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
    if not shown:
        message, code = "No authentication bearer token specified in authorization header.", "authentication.required"
        challenge = {"www-authenticate": "Bearer"}
    elif standing == "expired":
        message, code = "The supplied credentials are expired and cannot be used.", "credentials.expired"
    else:
        message, code = f"Invalid login credentials: the token is {standing}.", "bad.credentials"
    return RefusalError(401, message, code=code, headers=challenge)


def _context_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
