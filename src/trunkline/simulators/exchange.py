"""One request and the answer to it: status line, headers and body, and the faults that stand in place of an answer."""

from __future__ import annotations

import email.utils
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import responses
from typing import Literal, TypeVar

from trunkline.simulators.access import Budget, Standing, Token
from trunkline.simulators.base import RefusalError, Request, Settings
from trunkline.simulators.body import Body
from trunkline.simulators.connection import Connection
from trunkline.simulators.faults import Faults
from trunkline.simulators.ledger import Entry

PAGE = b"""<!DOCTYPE html>
<html lang="en"><head><title>Sign in</title></head>
<body><h1>Sign in to continue</h1><p>Your network asks you to sign in.</p></body></html>
"""
_WORDS = {
    401: "The key was not accepted.",
    403: "The key may not use this model.",
    404: "There is no such model.",
    429: "Too many requests; slow down.",
    503: "The model is overloaded; try again later.",
}
T = TypeVar("T")
_ALLOWED = 300  # what a client may usually ask in a minute


class StruckError(Exception):
    """A fault ends the answer here, by closing or by resetting the connection."""

    def __init__(self, word: str, how: Literal["close", "reset"]) -> None:
        super().__init__(word)
        self.word = word
        self.how = how


@dataclass(slots=True)
class Exchange:
    """One request being answered.

    What it awaits raises `ClientGoneError` when the client leaves and `StruckError` when a fault ends the connection;
    both are for the server. `headers` go out with the answer, whatever it is. `closes` tells the server to close the
    connection after the answer. `shown` is the token that was found in the request.
    """

    connection: Connection
    request: Request
    entry: Entry
    settings: Settings
    rng: random.Random
    faults: Faults = field(default_factory=Faults)
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False
    shown: Token | None = None

    def add_faults(self, faults: Faults) -> None:
        """Add the faults that the request itself asks for."""
        self.faults |= faults
        self.entry.faults = self.faults.words

    def token(self, value: str | None = None) -> tuple[Token | None, Standing]:
        """Give the issued token that the request shows, with its standing, and write it into the ledger.

        `value` is the token where the request shows it elsewhere than as a bearer token.
        """
        tokens = self.settings.tokens
        token = self.shown = tokens.get(self.request.bearer if value is None else value)
        if token:
            self.entry.shows(token.client_id, token.scopes, token.number)
        return token, tokens.standing(token)

    async def start(self, status: int, headers: dict[str, str], length: int | None = None) -> Body:
        """Send the head of an answer and give its body; with a `length` the body is exactly that long."""
        await self.connection.sleep((self.faults.number("slow-headers") or 0) / 1000)
        headers = {**self.headers, **self._limit_headers(status), **headers}
        if self.faults.has("gzip"):
            headers, length = {**headers, "content-encoding": "gzip"}, None
        until_close = self.faults.has("content-length")
        chunked = self.request.http11 and length is None and not until_close
        self.closes = not self.request.keep_alive or until_close or not (chunked or length is not None)
        if chunked:
            headers = {**headers, "transfer-encoding": "chunked"}
        elif length is not None and not until_close:
            headers = {**headers, "content-length": str(length)}
        await self.connection.write(self._head(status, headers))
        self.entry.status = status
        if late := self.faults.number("slow-first"):
            await self.connection.sleep(late / 1000)
        return Body(self.connection, self.faults, self.rng, chunked=chunked)

    async def switch(self, headers: dict[str, str]) -> None:
        """Leave HTTP with a 101; the connection is closed afterwards."""
        self.closes = True
        late_ms = (self.faults.number("slow-headers") or 0) + (self.faults.number("late-101") or 0)
        await self.connection.sleep(late_ms / 1000)
        status = HTTPStatus.SWITCHING_PROTOCOLS
        await self.connection.write(self._head(status, {**self.headers, **self._limit_headers(status), **headers}))
        self.entry.status = status
        self.connection.switch()

    async def respond(
        self, status: int, data: bytes, content_type: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        body = await self.start(status, {"content-type": content_type, **(headers or {})}, len(data))
        if self.request.method != "HEAD":
            await body.send(data)
            await body.finish()

    async def refuse(self, refusal: RefusalError, error: ErrorBody) -> None:
        """Say no, in the form that `error` gives it."""
        await self.respond(refusal.status, error(refusal, self), headers=refusal.headers)

    async def checked(self, check: Callable[[], T], error: ErrorBody) -> T | None:
        """Give what `check` gives, or None where a fault was played in place of any answer.

        What `check` refuses is raised only where no such fault is set, but the ledger has what it has read.
        """
        found: T | RefusalError
        try:
            found = check()
        except RefusalError as refusal:
            found = refusal
        if await self.instead(error):
            return None
        if isinstance(found, RefusalError):
            raise found
        return found

    async def instead(self, error: ErrorBody) -> bool:
        """Play a fault that stands in place of any answer; gives whether there was one."""
        if self.faults.has("refuse"):
            raise StruckError("refuse", "close")
        if self.faults.has("stall"):
            await self.connection.until_gone()
        for word, play in (
            ("unauthorized-once", self._unauthorized),
            ("status", self._status),
            ("retry-after", self._status),
            ("retry-after-date", self._status),
            ("redirect", self._redirect),
            ("html", self._html),
            ("garbage", self._garbage),
        ):
            if self.faults.has(word):
                await play(error)
                self.entry.end(f"fault:{word}")
                return True
        return False

    async def _unauthorized(self, error: ErrorBody) -> None:
        token = self.shown or self.token()[0]
        if token:
            token.revoked = True
        challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
        await self.refuse(RefusalError(401, _WORDS[401], headers=challenge), error)

    async def _status(self, error: ErrorBody) -> None:
        status = self.faults.number("status") or 429
        headers = {}
        if (ahead_s := self.faults.number("retry-after-date")) is not None:
            headers["retry-after"] = _http_date(ahead_s)
        if (wait := self.faults.text("retry-after")) is not None:
            headers["retry-after"] = wait
        message = _WORDS.get(status, "The server had a problem with this request.")
        await self.refuse(RefusalError(status, message, headers=headers), error)

    async def _redirect(self, _: ErrorBody) -> None:
        await self.respond(307, b"", "text/plain", {"location": self.faults.text("redirect") or ""})

    async def _html(self, _: ErrorBody) -> None:
        await self.respond(200, PAGE, "text/html; charset=utf-8")

    async def _garbage(self, _: ErrorBody) -> None:
        body = await self.start(200, {"content-type": "text/event-stream"})
        for _block in range(4):
            await body.send(self.rng.randbytes(1024))
        await body.finish()

    def _limit_headers(self, status: int) -> dict[str, str]:
        given = self.faults.text("limit-headers")
        if given is None or status >= HTTPStatus.BAD_REQUEST:
            return {}
        remaining, reset_s = (int(number) for number in given.split("/"))
        return Budget(max(_ALLOWED, remaining), remaining, reset_s).headers

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        phrase = responses.get(status, "Unknown")
        fields = {
            "date": _http_date(0),
            "server": "simulator",
            "x-request-id": f"req_{self.entry.sequence}",
            "connection": "close" if self.closes else "keep-alive",
            **headers,
        }
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


ErrorBody = Callable[[RefusalError, Exchange], bytes]


def _http_date(ahead_s: int) -> str:
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s), usegmt=True)
