"""The routes under `/_sim`, by which a test in another process sets faults and reads the ledger."""

from __future__ import annotations

import json
import math
from urllib.parse import parse_qs

from trunkline.simulators.asked import parse_json
from trunkline.simulators.base import RefusalError, UnknownWordError
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import FaultQueue, Faults, parse
from trunkline.simulators.ledger import Ledger

PREFIX = "/_sim/"
_MAX_REQUESTS = 1_000_000
_MAX_WAIT_S = 600.0
_METHODS = {"/_sim/faults": ("GET", "POST", "DELETE"), "/_sim/ledger": ("GET", "DELETE")}


class Control:
    """Answers `/_sim/faults` and `/_sim/ledger`, and says no to every path that no platform has.

    - `POST /_sim/faults` `{"faults":[...],"connections":N}` sets the faults of the next N (default 1) requests. Words
      with `token-` wait for token requests, all others for requests to any other platform; a list of one sort leaves
      what waits of the other. `GET` shows what still waits, `DELETE` clears it; each answers
      `{"faults","connections"}`, and the same again under `token` where something waits for token requests.
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
            words = body.get("faults") if isinstance(body, dict) else None
            if not isinstance(body, dict) or not isinstance(words, list) or not all(isinstance(w, str) for w in words):
                raise RefusalError(400, 'The body must be {"faults":[...],"connections":N}.', "faults")
            requests = body.get("connections", 1)
            if not isinstance(requests, int) or isinstance(requests, bool) or not 1 <= requests <= _MAX_REQUESTS:
                raise RefusalError(400, f"'connections' must be from 1 to {_MAX_REQUESTS}.", "connections")
            try:
                self._faults.set(parse(words), requests)
            except UnknownWordError as problem:
                raise RefusalError(400, f"{problem}.", "faults") from problem
        return self._faults.record()

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
