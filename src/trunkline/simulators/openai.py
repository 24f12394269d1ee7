"""Plays the OpenAI API: models and chat completions, whole and streamed."""

from __future__ import annotations

import json
import random
import string
from datetime import UTC, datetime
from http import HTTPStatus
from typing import ClassVar, Literal

from trunkline.simulators import says
from trunkline.simulators.asked import Asked, check, parse_json
from trunkline.simulators.base import RefusalError, Request, Settings, UnknownWordError
from trunkline.simulators.chunks import Chunks
from trunkline.simulators.connection import MAX_BODY
from trunkline.simulators.directives import ECHO, Directives, read
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Faults
from trunkline.simulators.play import play
from trunkline.simulators.script import script
from trunkline.simulators.tokens import count, repeat

_MODELS = ("gpt-4o", "gpt-4o-mini", "simulated")
_METHODS = {"/v1/models": "GET", "/v1/chat/completions": "POST"}
_CREATED = 1_715_367_049
_WRONG = "wrong"  # the key and the model that do not exist


class OpenAI:
    """The platform under `/v1`.

    Any bearer key but `wrong` is good, any model but `wrong` exists, and a key is asked for only where the settings
    say so. Errors have the form `{"error":{"message","type","param","code"}}`.
    """

    prefixes: ClassVar[tuple[str, ...]] = ("/v1",)

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request. Faults that stand in place of an answer come before any check of the request."""
        refusal: RefusalError | None = None
        asked, directives = None, None
        try:
            self._admit(exchange)
            if exchange.request.path == "/v1/chat/completions":
                asked, directives = self._read(exchange)
                exchange.add_faults(directives.faults)
        except RefusalError as problem:
            refusal = problem
        if await exchange.instead(self.error):
            return
        if refusal:
            raise refusal
        if asked and directives:
            await self._complete(exchange, asked, directives)
        else:
            await exchange.respond(200, _json({"object": "list", "data": [_model(name) for name in _MODELS]}))

    def error(self, refusal: RefusalError) -> bytes:
        """Give the error object of the API."""
        usual = "invalid_request_error" if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        kind = {429: "requests", 403: "permission_error"}.get(refusal.status, usual)
        code = refusal.code or {429: "rate_limit_exceeded", 413: "request_too_large"}.get(refusal.status)
        fields = {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}
        return _json({"error": fields})

    def _admit(self, exchange: Exchange) -> None:
        request = exchange.request
        method = _METHODS.get(request.path)
        if method is None:
            raise RefusalError(404, f"Unknown request URL: {request.method} {request.path}.", code="unknown_url")
        if request.method != method:
            message = f"{request.path} takes {method}, received {request.method}."
            raise RefusalError(405, message, code="method_not_allowed", headers={"allow": method})
        _check_key(request, exchange.settings)

    def _read(self, exchange: Exchange) -> tuple[Asked, Directives]:
        request = exchange.request
        if request.too_large:
            raise RefusalError(413, f"The body is larger than {MAX_BODY} bytes.")
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise RefusalError(415, f"The body must be application/json, received {media_type or 'no media type'}.")
        body = exchange.entry.body = parse_json(request.body)
        asked = check(body)
        if asked.model == _WRONG:
            raise RefusalError(404, f"The model '{_WRONG}' does not exist.", "model", "model_not_found")
        try:
            return asked, read(asked.last_user_message, exchange.settings.texts)
        except UnknownWordError as problem:
            raise RefusalError(400, f"{problem}.", "messages", "unknown_directive") from problem

    async def _complete(self, exchange: Exchange, asked: Asked, directives: Directives) -> None:
        faults, settings = exchange.faults, exchange.settings
        choices = [_choice(index, _text(index, asked, directives, settings), asked, faults) for index in range(asked.n)]
        thought = 0
        if faults.has("reasoning"):
            thinking = [says.with_reasoning(choice) for choice in choices]
            choices, thought = [choice for choice, _ in thinking], sum(tokens for _, tokens in thinking)
        exchange.entry.choices(asked.n)
        chunks = Chunks(
            answer_id=_answer_id(exchange.rng),
            created=int(datetime.now(UTC).timestamp()),
            model=asked.model,
            prompt_tokens=count(asked.prompt),
            reasoning_tokens=thought,
            usage=_usage(asked, faults),
        )
        if asked.stream and not faults.has("json"):
            interval_ms = settings.interval_ms if directives.interval_ms is None else directives.interval_ms
            await play(exchange, script(choices, chunks, faults), chunks, interval_ms)
            return
        await exchange.respond(200, _json(chunks.whole(choices)))
        for choice in choices:
            exchange.entry.sent(choice.index, choice.text, sum(part.tokens for part in choice.parts))


def _check_key(request: Request, settings: Settings) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        if settings.require_key:
            raise RefusalError(401, "A key is required: send 'Authorization: Bearer KEY'.")
    elif scheme.lower() != "bearer" or not key.strip() or key.strip() == _WRONG:
        raise RefusalError(401, "The key is not correct.", code="invalid_api_key")


def _text(index: int, asked: Asked, directives: Directives, settings: Settings) -> str:
    """Give the text of one choice, which no other choice has."""
    name = directives.text or settings.default_text
    text = directives.rest if name == ECHO else settings.texts[name]
    if index:
        text = f"(Answer {index + 1}) {text}"
    if directives.tokens is not None:
        text = repeat(text, directives.tokens)
    ends = [place for place in (text.find(stop) for stop in asked.stops) if place >= 0]
    return text[: min(ends)] if ends else text


def _choice(index: int, text: str, asked: Asked, faults: Faults) -> says.Choice:
    if faults.has("tool-calls"):
        choice = says.tool_calls(index, asked.tools)
    elif faults.has("refusal"):
        choice = says.refusal(index)
    else:
        choice = says.content(index, text, asked.max_tokens)
    finish = faults.text("finish") or choice.finish
    return says.Choice(choice.index, choice.opening, choice.parts, choice.message, finish)


def _usage(asked: Asked, faults: Faults) -> Literal["none", "last", "each"]:
    if faults.has("no-usage"):
        return "none"
    if faults.has("usage-each"):
        return "each"
    return "last" if asked.include_usage else "none"


def _answer_id(rng: random.Random) -> str:
    return "chatcmpl-" + "".join(rng.choices(string.ascii_letters + string.digits, k=29))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "simulator"}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
