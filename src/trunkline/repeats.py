"""Requests that come twice: by `Idempotency-Key`, or because a browser repeats its address, and make one turn."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from trunkline.core.errors import RequestRefused

IDEMPOTENCY_S: Final = 24 * 3_600
MAX_KEYS: Final = 100_000  # bounds the memory of keys; the oldest are forgotten first
JOIN_S: Final = 10.0  # Firefox waits for 5 s before it comes back
MAX_QUESTIONS: Final = 10_000  # bounds the memory of questions of a moment ago, likewise
MAX_KEY_CHARS: Final = 255


class _Made(NamedTuple):
    until: float
    turn: str
    fingerprint: bytes = b""


class Question(NamedTuple):
    """What makes two requests of a browser the same one. Only its digest is kept: it holds a customer's words."""

    principal: str
    session_id: str
    dialog_id: str
    input: str
    upstream: str

    def digest(self) -> bytes:
        """Return what stands for it."""
        return hashlib.sha256(repr(tuple(self)).encode("utf-8", "surrogatepass")).digest()


class Repeats:
    """Remembers which request made which turn. Those of different principals never meet."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()
        self._asked: OrderedDict[Hashable, _Made] = OrderedDict()

    def find(self, principal: str, key: str, body: bytes) -> str | None:
        """Return the turn that this key made, if any. Raises `RequestRefused` where it came with another body."""
        if not key or not key.isascii() or not key.isprintable() or len(key) > MAX_KEY_CHARS:
            detail = f"Idempotency-Key: expected at most {MAX_KEY_CHARS} printable ASCII characters."
            raise RequestRefused("invalid_idempotency_key", detail)
        self._forget_old(self._made)
        made = self._made.get((principal, key))
        if made is None:
            return None
        if made.fingerprint != hashlib.sha256(body).digest():
            detail = "This Idempotency-Key came before with another body; a new request needs a new key."
            raise RequestRefused("idempotency_key_reused", detail, status=409)
        return made.turn

    def keep(self, principal: str, key: str, body: bytes, turn: str) -> None:
        """Remember that this key and body made a turn."""
        made = _Made(self._clock() + IDEMPOTENCY_S, turn, hashlib.sha256(body).digest())
        self._remember(self._made, (principal, key), made, MAX_KEYS)

    def asked(self, question: Question, turn: str) -> None:
        """Remember who asked what a moment ago."""
        self._remember(self._asked, question.digest(), _Made(self._clock() + JOIN_S, turn), MAX_QUESTIONS)

    def unanswered(self, question: Question) -> str | None:
        """Return the turn of the same question where it was asked a moment ago and nobody read its end."""
        made = self._asked.get(question.digest())
        return made.turn if made is not None and made.until > self._clock() else None

    def answered(self, question: Question, turn: str) -> None:
        """Somebody read the turn's end: the same question is a new one from now on."""
        digest = question.digest()
        if digest in self._asked and self._asked[digest].turn == turn:
            del self._asked[digest]

    def _remember(self, table: OrderedDict[Hashable, _Made], key: Hashable, made: _Made, most: int) -> None:
        """Add what was made as the newest of a table, whose oldest go where there are too many."""
        self._forget_old(table)
        table[key] = made
        table.move_to_end(key)
        if len(table) > most:
            table.popitem(last=False)

    def _forget_old(self, table: OrderedDict[Hashable, _Made]) -> None:
        now = self._clock()
        while table and next(iter(table.values())).until < now:
            table.popitem(last=False)
