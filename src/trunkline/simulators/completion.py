"""Answers a request for a chat completion, whole or streamed: what all platforms that speak of chunks share."""

from __future__ import annotations

import hashlib
import json
import random
import string
from datetime import UTC, datetime
from typing import Literal

from trunkline.simulators import says
from trunkline.simulators.asked import Asked, parse_json
from trunkline.simulators.base import RefusalError, Settings, UnknownWordError
from trunkline.simulators.chunks import Chunks
from trunkline.simulators.connection import MAX_BODY
from trunkline.simulators.directives import Directives, read, until_stop
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Faults
from trunkline.simulators.play import play
from trunkline.simulators.script import script
from trunkline.simulators.tokens import count


def read_body(exchange: Exchange) -> object:
    """Give the JSON body of the request and write it into the ledger; raises `RefusalError`."""
    request = exchange.request
    if request.too_large:
        raise RefusalError(413, f"The body is larger than {MAX_BODY} bytes.")
    if request.media_type != "application/json":
        raise RefusalError(415, f"The body must be application/json, received {request.media_type or 'no media type'}.")
    exchange.entry.body = parse_json(request.body)
    return exchange.entry.body


def read_directives(exchange: Exchange, asked: Asked) -> Directives:
    """Read what the last user message directs and take its faults; raises `RefusalError`."""
    try:
        directives = read(asked.last_user_message, exchange.settings.texts)
    except UnknownWordError as problem:
        raise RefusalError(400, f"{problem}.", "messages", "unknown_directive") from problem
    if directives.faults.has("unauthorized-once"):
        # The message is the same when the client tries again, and then it is to get through.
        request = exchange.request
        if not exchange.settings.once.first(hashlib.sha256(request.path.encode() + b"\0" + request.body).digest()):
            directives.faults = directives.faults.without("unauthorized-once")
    exchange.add_faults(directives.faults)
    return directives


async def complete(exchange: Exchange, asked: Asked, directives: Directives) -> None:
    """Give the completion that was asked for."""
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
    await exchange.respond(200, to_json(chunks.whole(choices)))
    for choice in choices:
        exchange.entry.sent(choice.index, choice.text, sum(part.tokens for part in choice.parts))


def to_json(value: object) -> bytes:
    """Write JSON as the platforms do, without escapes where none are needed."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _text(index: int, asked: Asked, directives: Directives, settings: Settings) -> str:
    """Give the text of one choice, which no other choice has."""
    lead = f"(Answer {index + 1}) " if index else ""
    return until_stop(directives.words(settings, lead), asked.stops)


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
