"""Plays the OpenAI API: models and chat completions, whole and streamed."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

from trunkline.simulators.asked import Asked, check
from trunkline.simulators.base import RefusalError
from trunkline.simulators.completion import complete, read_body, read_directives, to_json
from trunkline.simulators.directives import Directives
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Sort

_MODELS = ("gpt-4o", "gpt-4o-mini", "simulated")
_METHODS = {"/v1/models": "GET", "/v1/chat/completions": "POST"}
_CREATED = 1_715_367_049
_WRONG = "wrong"  # the key and the model that do not exist


class OpenAI:
    """The platform under `/v1`.

    Any bearer key but `wrong` is good, any model but `wrong` exists, and a key is asked for only where the settings
    say so. A key that is a token of this simulator's authorization server is good only as long as the token is. Errors
    have the form `{"error":{"message","type","param","code"}}`.
    """

    prefixes: ClassVar[tuple[str, ...]] = ("/v1",)

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        return "platform"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        refusal: RefusalError | None = None
        asked, directives = None, None
        try:
            self._admit(exchange)
            if exchange.request.path == "/v1/chat/completions":
                asked, directives = self._read(exchange)
        except RefusalError as problem:
            refusal = problem
        if await exchange.instead(self.error):
            return
        if refusal:
            raise refusal
        if asked and directives:
            await complete(exchange, asked, directives)
        else:
            await exchange.respond(200, to_json({"object": "list", "data": [_model(name) for name in _MODELS]}))

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of the API."""
        usual = "invalid_request_error" if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        kind = {429: "requests", 403: "permission_error"}.get(refusal.status, usual)
        code = refusal.code or {429: "rate_limit_exceeded", 413: "request_too_large"}.get(refusal.status)
        fields = {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}
        return to_json({"error": fields})

    def _admit(self, exchange: Exchange) -> None:
        request = exchange.request
        method = _METHODS.get(request.path)
        if method is None:
            raise RefusalError(404, f"Unknown request URL: {request.method} {request.path}.", code="unknown_url")
        if request.method != method:
            message = f"{request.path} takes {method}, received {request.method}."
            raise RefusalError(405, message, code="method_not_allowed", headers={"allow": method})
        _check_key(exchange)

    def _read(self, exchange: Exchange) -> tuple[Asked, Directives]:
        asked = check(read_body(exchange))
        if asked.model == _WRONG:
            raise RefusalError(404, f"The model '{_WRONG}' does not exist.", "model", "model_not_found")
        return asked, read_directives(exchange, asked)


def _check_key(exchange: Exchange) -> None:
    request = exchange.request
    if not request.headers.get("authorization"):
        if exchange.settings.require_key:
            raise RefusalError(401, "A key is required: send 'Authorization: Bearer KEY'.")
        return
    token, standing = exchange.token()
    if request.bearer in {"", _WRONG} or (token and standing != "good"):
        raise RefusalError(401, "The key is not correct.", code="invalid_api_key")


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "simulator"}
