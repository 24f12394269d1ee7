"""A connection to PostgreSQL that waits so long for an answer: a server that hangs does not keep its own limits."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

ANSWER_LIMIT_S: Final = 12.0  # longer than `statement_timeout`, which a server that is well keeps
T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """The server took too long, and its connection is closed."""


class LimitedConnection(psycopg.Connection[Any]):
    """Closes itself, and raises `NoAnswer`, where a step of the protocol is not over after `limit_s`."""

    limit_s: float | None = ANSWER_LIMIT_S
    """None where the server may take its time."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Go through a step, as the driver does for every statement."""
        if self.limit_s is not None:
            gen = _limited(gen, time.monotonic() + self.limit_s)
        try:
            return super().wait(gen, *args, **kwargs)
        except NoAnswer:
            self.close()
            raise


def _limited(gen: PQGen[T], until_s: float) -> Generator[Wait, Ready | int, T]:
    """Go through a step until a time. The driver resumes it several times a second, also when nothing has come."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until_s:
                raise NoAnswer("the server does not answer")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
