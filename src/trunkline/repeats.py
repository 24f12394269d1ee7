"""Requests that come twice: by `Idempotency-Key`, or because a browser repeats its address, and make one turn."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from trunkline.core.errors import RequestRefused
from trunkline.stores.archive import Claim

IDEMPOTENCY: Final = "idempotency"
IDEMPOTENCY_MS: Final = 24 * 3_600_000
MAX_KEYS: Final = 100_000  # bounds the memory of keys; the oldest are forgotten first
JOIN_MS: Final = 10_000  # Firefox waits for 5 s before it comes back
MAX_QUESTIONS: Final = 10_000  # bounds the memory of questions of a moment ago, likewise
MAX_KEY_CHARS: Final = 255


class Question(NamedTuple):
    """What makes two requests of a browser the same one. Only its digest is kept: it holds a customer's words."""

    principal: str
    session_id: str
    dialog_id: str
    input: str
    upstream: str


class Repeats:
    """Remembers which request made which turn. Those of different principals never meet."""

    def __init__(
        self,
        wall_ms: Callable[[], int],
        made: Iterable[Claim] = (),
        record: Callable[[Claim], None] | None = None,
        *,
        key: bytes | None = None,
    ) -> None:
        """Take what was made before, the oldest first; `record` is told of more, so that it may outlive the process.

        Only digests with `key` are kept: others give a customer's words away to whoever guesses them. Without one they
        mean nothing to another process.
        """
        self._wall_ms = wall_ms
        self._key = hmac.digest(key or secrets.token_bytes(32), b"requests that come twice", "sha256")
        self._record = record
        self._made: OrderedDict[str, Claim] = OrderedDict((claim.key, claim) for claim in made)
        self._asked: OrderedDict[str, Claim] = OrderedDict()

    def find(self, principal: str, key: str, body: bytes) -> str | None:
        """Return the turn that this key made, if any. Raises `RequestRefused` where it came with another body."""
        if not key or not key.isascii() or not key.isprintable() or len(key) > MAX_KEY_CHARS:
            detail = f"Idempotency-Key: expected at most {MAX_KEY_CHARS} printable ASCII characters."
            raise RequestRefused("invalid_idempotency_key", detail)
        self._forget_old(self._made)
        made = self._made.get(self._name(principal, key))
        if made is None:
            return None
        # What a forgotten turn was asked with is forgotten too.
        if made.about and not hmac.compare_digest(made.about, self._digest(body)):
            detail = "This Idempotency-Key came before with another body; a new request needs a new key."
            raise RequestRefused("idempotency_key_reused", detail, status=409)
        return made.turn

    def keep(self, principal: str, key: str, body: bytes, turn: str) -> Claim:
        """Remember that this key and body made a turn; return what is to be recorded once the turn is in its log."""
        until_ms = self._wall_ms() + IDEMPOTENCY_MS
        made = Claim(IDEMPOTENCY, self._name(principal, key), turn, until_ms, self._digest(body))
        self._remember(self._made, made, MAX_KEYS)
        return made

    def record(self, made: Claim) -> None:
        """Let what was made outlive the process; it must not do so if its turn does not."""
        if self._record is not None:
            self._record(made)

    def asked(self, question: Question, turn: str) -> None:
        """Remember who asked what a moment ago."""
        asked = Claim("question", self.digest(question).hex(), turn, self._wall_ms() + JOIN_MS)
        self._remember(self._asked, asked, MAX_QUESTIONS)

    def unanswered(self, question: Question) -> str | None:
        """Return the turn of the same question where it was asked a moment ago and nobody read its end."""
        asked = self._asked.get(self.digest(question).hex())
        return asked.turn if asked is not None and asked.until_ms > self._wall_ms() else None

    def answered(self, question: Question, turn: str) -> None:
        """Somebody read the turn's end: the same question is a new one from now on."""
        digest = self.digest(question).hex()
        if digest in self._asked and self._asked[digest].turn == turn:
            del self._asked[digest]

    def _remember(self, table: OrderedDict[str, Claim], claim: Claim, most: int) -> None:
        """Add a claim as the newest of a table, whose oldest go where there are too many."""
        self._forget_old(table)
        table[claim.key] = claim
        table.move_to_end(claim.key)
        if len(table) > most:
            table.popitem(last=False)

    def _forget_old(self, table: OrderedDict[str, Claim]) -> None:
        now_ms = self._wall_ms()
        while table and next(iter(table.values())).until_ms < now_ms:
            table.popitem(last=False)

    def digest(self, question: Question) -> bytes:
        """Return what stands for a question."""
        return self._digest(repr(tuple(question)).encode("utf-8", "surrogatepass"))

    def _name(self, principal: str, key: str) -> str:
        """Return what stands for a principal's key: a client may put anything into it."""
        return self._digest(f"{principal}\0{key}".encode()).hex()

    def _digest(self, words: bytes) -> bytes:
        return hmac.digest(self._key, words, "sha256")
