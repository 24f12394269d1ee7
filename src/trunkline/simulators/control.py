"""The routes under `/_sim`, by which a test in another process sets faults and reads the ledger."""

from __future__ import annotations

import json
import math
from urllib.parse import parse_qs

from trunkline.simulators.asked import parse_json
from trunkline.simulators.base import RefusalError, UnknownWordError
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import SORTS, FaultQueue, Faults, Sort, parse
from trunkline.simulators.ledger import Ledger

PREFIX = "/_sim/"
_MAX_REQUESTS = 1_000_000
_MAX_WAIT_S = 600.0
_METHODS = {"/_sim/faults": ("GET", "POST", "DELETE"), "/_sim/ledger": ("GET", "DELETE")}


class Control:
    """Answers `/_sim/faults` and `/_sim/ledger`, and says no to every path that no platform has.

    - `POST /_sim/faults` `{"faults":[...],"connections":N}` sets the faults of the next N (default 1) requests, and
      `{"each":[[...],[...]]}` those of the next request and of the one after it. `"at"` says of which requests:
      `platform`, `token`, `quota`, `config` or `variables`; without it, words with `token-` wait for token requests,
      those with `quota-` for requests about a quota, all others for requests of a platform, and what waits of another
      sort stays. `GET` shows what still waits, `DELETE` clears it; each answers `{"faults","connections"}`, then
      `"then"` with the same of later requests, and the same again under the names of other sorts where something waits.
    - `GET /_sim/ledger` gives the list of records; `?wait=N` waits until N of them have ended, up to `&timeout=`
      seconds (default 5), after which it answers 504. `DELETE` clears.
    """

    def __init__(self, faults: FaultQueue, ledger: Ledger) -> None:
        self._faults = faults
        self._ledger = ledger

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request; raises `RefusalError`."""
        request = exchange.request
        methods = _METHODS.get(request.path)
        if methods is None:
            raise RefusalError(404, f"Nothing is at {request.path}; the simulator has {' and '.join(_METHODS)}.")
        if request.method not in methods:
            allowed = ", ".join(methods)
            message = f"{request.path} takes {allowed}, received {request.method}."
            raise RefusalError(405, message, headers={"allow": allowed})
        if request.path == "/_sim/faults":
            await exchange.respond(200, _json(self._set(exchange)))
            return
        if request.method == "DELETE":
            self._ledger.clear()
        else:
            await self._wait(exchange)
        dropped = {"x-ledger-dropped": str(self._ledger.dropped)}
        await exchange.respond(200, _json(self._ledger.records()), headers=dropped)

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the error object of these routes."""
        return _json({"error": {"message": refusal.message, "param": refusal.param}})

    def _set(self, exchange: Exchange) -> dict[str, object]:
        if exchange.request.method == "DELETE":
            self._faults.set(Faults(), 0)
        if exchange.request.method == "POST":
            body = parse_json(exchange.request.body)
            if not isinstance(body, dict) or not body.keys() <= {"faults", "connections", "each", "at"}:
                raise RefusalError(400, 'The body must be {"faults":[...],"connections":N} or {"each":[[...]]}.')
            if "each" in body:
                self._line_up(body["each"], _at(body))
            else:
                self._set_all(body.get("faults"), body.get("connections", 1), _at(body))
        return self._faults.record()

    def _set_all(self, words: object, requests: object, at: Sort | None) -> None:
        if not isinstance(requests, int) or isinstance(requests, bool) or not 1 <= requests <= _MAX_REQUESTS:
            raise RefusalError(400, f"'connections' must be from 1 to {_MAX_REQUESTS}.", "connections")
        self._faults.set(_faults(words, "faults"), requests, at)

    def _line_up(self, each: object, at: Sort | None) -> None:
        if not isinstance(each, list):
            raise RefusalError(400, "'each' must be a list of lists of words.", "each")
        self._faults.line_up([_faults(words, "each") for words in each], at)

    async def _wait(self, exchange: Exchange) -> None:
        query = parse_qs(exchange.request.query)
        count = int(_number(query, "wait", 0, _MAX_REQUESTS))
        timeout_s = _number(query, "timeout", 5, _MAX_WAIT_S)
        ended = self._ledger.when_ended(count)
        try:
            if not await exchange.connection.first_of(ended, timeout_s):
                have = self._ledger.ended_count
                raise RefusalError(504, f"Waited {timeout_s:g} s for {count} ended entries, there are {have}.", "wait")
        finally:
            ended.cancel()


def _at(body: dict[str, object]) -> Sort | None:
    at = body.get("at")
    sort = next((sort for sort in SORTS if sort == at), None)
    if at is not None and sort is None:
        raise RefusalError(400, f"'at' must be one of {', '.join(SORTS)}.", "at")
    return sort


def _faults(words: object, param: str) -> Faults:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RefusalError(400, f"'{param}' must be a list of words.", param)
    try:
        return parse(words)
    except UnknownWordError as problem:
        raise RefusalError(400, f"{problem}.", param) from problem


def _number(query: dict[str, list[str]], name: str, default: float, high: float) -> float:
    given = query.get(name)
    try:
        value = float(given[0]) if given else default
    except ValueError:
        value = math.nan
    if not 0 <= value <= high:
        raise RefusalError(400, f"'{name}' must be a number from 0 to {high:g}.", name)
    return value


def _json(value: object) -> bytes:
    # A message may hold a lone surrogate, which only an escape can carry.
    return json.dumps(value).encode()
