"""Requests that come twice: by `Idempotency-Key`, or because a browser repeats its address, and make one turn."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from trunkline.core.errors import RequestRefused

IDEMPOTENCY_S: Final = 24 * 3_600
MAX_KEYS: Final = 100_000  # bounds the memory of keys; the oldest are forgotten first
JOIN_S: Final = 10.0  # Firefox waits for 5 s before it comes back
MAX_QUESTIONS: Final = 10_000  # bounds the memory of questions of a moment ago, likewise
MAX_KEY_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class _Made:
    until: float
    fingerprint: bytes
    turn: str


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
        self._made: OrderedDict[tuple[str, str], _Made] = OrderedDict()
        self._asked: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def find(self, principal: str, key: str, body: bytes) -> str | None:
        """Return the turn that this key made, if any. Raises `RequestRefused` where it came with another body."""
        if not key or not key.isascii() or not key.isprintable() or len(key) > MAX_KEY_CHARS:
            detail = f"Idempotency-Key: expected at most {MAX_KEY_CHARS} printable ASCII characters."
            raise RequestRefused("invalid_idempotency_key", detail)
        self._forget_old()
        made = self._made.get((principal, key))
        if made is None:
            return None
        if made.fingerprint != hashlib.sha256(body).digest():
            detail = "This Idempotency-Key came before with another body; a new request needs a new key."
            raise RequestRefused("idempotency_key_reused", detail, status=409)
        return made.turn

    def keep(self, principal: str, key: str, body: bytes, turn: str) -> None:
        """Remember that this key and body made a turn."""
        self._made[principal, key] = _Made(self._clock() + IDEMPOTENCY_S, hashlib.sha256(body).digest(), turn)
        if len(self._made) > MAX_KEYS:
            self._made.popitem(last=False)

    def asked(self, question: Question, turn: str) -> None:
        """Remember who asked what a moment ago."""
        now = self._clock()
        while self._asked and next(iter(self._asked.values()))[0] < now:
            self._asked.popitem(last=False)
        self._asked[question.digest()] = (now + JOIN_S, turn)
        self._asked.move_to_end(question.digest())
        if len(self._asked) > MAX_QUESTIONS:
            self._asked.popitem(last=False)

    def unanswered(self, question: Question) -> str | None:
        """Return the turn of the same question where it was asked a moment ago and nobody read its end."""
        until, turn = self._asked.get(question.digest(), (0.0, ""))
        return turn if until > self._clock() else None

    def answered(self, question: Question, turn: str) -> None:
        """Somebody read the turn's end: the same question is a new one from now on."""
        if self._asked.get(question.digest(), (0.0, ""))[1] == turn:
            del self._asked[question.digest()]

    def _forget_old(self) -> None:
        now = self._clock()
        while self._made and next(iter(self._made.values())).until < now:
            self._made.popitem(last=False)
