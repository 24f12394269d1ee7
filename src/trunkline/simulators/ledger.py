"""What the simulator was asked and what it put on the wire, request by request, while it happens."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict
from urllib.parse import unquote_plus

from trunkline.simulators.answer import Answer
from trunkline.simulators.base import Request, Rule

# A client that cannot set other headers shows its token as a subprotocol.
_SECRET_HEADERS = ("authorization", "proxy-authorization", "api-key", "x-api-key", "cookie", "sec-websocket-protocol")
_SECRET_PARAMETERS = ("client_secret", "client_assertion", "access_token", "password", "api_key")
_MAX_ENTRIES = 10_000  # a day of tests
_MAX_BYTES = 256 << 20  # bounds what bodies and texts may hold of memory
_MAX_FRAMES = 10_000  # of one connection

Sender = Literal["client", "platform"]
FrameKind = Literal["text", "ping", "pong", "close"]


class Frame(TypedDict):
    """One frame of a WebSocket but for the platform's answer; `at_ms` as in `Record`.

    `data` is the message of a text frame (as JSON where it is some), the code of a close frame, else None.
    """

    at_ms: int
    sender: Sender
    kind: FrameKind
    data: Any


class Record(TypedDict):
    """One entry in JSON's types, as `GET /_sim/ledger` gives it.

    `text` and `texts` (by choice) are what was written to the socket so far, `pieces` how many pieces that was and
    `completion_tokens` how many tokens, of every channel. `ended` is `open`, `completed`, `refused`, `client_gone`,
    `shutdown` (the simulator was closed first), `internal_error` or `fault:` and the word. It is `completed` where all
    was said and at least one end mark of the wire followed, whatever other faults there were.

    Where OAuth has a part: `client_id`; `scopes` that a token request asks for or that the token of any other request
    has; `style`, how a token request authenticates its client (`basic`, `form` or `json`); and `token`, the number of
    the token that was issued or shown, in the order of issue, from 1. Each is None where there is none.

    `at_ms` is when the request came, in milliseconds since the simulator was made. `broken` says which rules of the
    wire the client broke, as `RULE: what came and what was expected`; a test may rely on its being empty.

    Of a WebSocket: `frames` in their order; `turn`, the id by which the client names the turn, and `attempt`, which
    connection for it this is, from 1; `meant`, the whole text of the turn's answer, and `reached`, how many characters
    of it all connections of the turn have sent by now, up to the first piece that is missing. `text` is then what this
    connection sent, in the order of the answer and each piece once. `ended` may also be `idle`; what follows the end
    mark belongs to the connection, which is `completed` only when it is gone.
    """

    sequence: int
    at_ms: int
    connection: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any
    faults: list[str]
    text: str
    texts: list[str]
    pieces: int
    completion_tokens: int
    status: int | None
    ended: str
    client_gone_after: int | None
    client_id: str | None
    scopes: list[str] | None
    style: str | None
    token: int | None
    broken: list[str]
    frames: list[Frame]
    turn: str | None
    attempt: int | None
    meant: str
    reached: int


class Entry:
    """One request and what became of it so far."""

    def __init__(self, ledger: Ledger, sequence: int, connection: int, request: Request) -> None:
        self.sequence = sequence
        self.body: Any = None
        self.faults: list[str] = []
        self.pieces = 0
        self.completion_tokens = 0
        self.status: int | None = None
        self.ended = "open"
        self.client_gone_after: int | None = None
        self.client_id: str | None = None
        self.scopes: list[str] | None = None
        self.style: str | None = None
        self.token: int | None = None
        self.broken: list[str] = []
        self.turn: str | None = None
        self.attempt: int | None = None
        self.size_bytes = 1024 + 2 * len(request.body)  # about what the entry holds of memory
        self.kept = True
        self._ledger = ledger
        self._connection = connection
        self._method, self._path, self._query = request.method, request.path, _shown_query(request.query)
        self._headers = {name: _shown(name, value) for name, value in request.headers.items()}
        self._texts: list[list[str]] = [[]]
        self._at_ms = ledger.now_ms()
        self._frames: list[Frame] = []
        self._answer: Answer | None = None
        self._places: set[int] = set()

    def choices(self, count: int) -> None:
        """Make room for the texts of `count` choices."""
        self._texts = [[] for _ in range(count)]

    def sent(self, choice: int, text: str, tokens: int, pieces: int = 1) -> None:
        """Note that the bytes that carry `text` have gone to the socket."""
        self._texts[choice].append(text)
        self.size_bytes += 64 + len(text)
        self.completion_tokens += tokens
        self.pieces += pieces

    def means(self, answer: Answer) -> None:
        """Take `answer` for what is to be said on this connection."""
        self._answer, self._places = answer, set()

    def said(self, place: int) -> None:
        """Note that the bytes of one of the answer's pieces have gone to the socket."""
        if self._answer is None:
            raise RuntimeError("a piece was said of no answer")
        self._answer.said(place)
        self.pieces += 1
        if place not in self._places:
            self._places.add(place)
            self.completion_tokens += self._answer.pieces[place].count
            self.size_bytes += 64 + len(self._answer.pieces[place].text)

    def frame(self, sender: Sender, kind: FrameKind, data: object = None) -> None:
        """Note a frame of a WebSocket."""
        if len(self._frames) < _MAX_FRAMES:
            self._frames.append(Frame(at_ms=self._ledger.now_ms(), sender=sender, kind=kind, data=data))
            self.size_bytes += 256

    def breaks(self, rule: Rule, words: str) -> None:
        """Note that the client broke a rule of the wire."""
        self.broken.append(f"{rule}: {words}")

    def shows(self, client_id: str, scopes: Iterable[str], token: int) -> None:
        """Note the token that the request shows."""
        self.client_id, self.scopes, self.token = client_id, list(scopes), token

    def end(self, how: Literal["completed", "refused", "client_gone", "shutdown", "internal_error"] | str) -> None:  # noqa: PYI051
        """Close the entry; only the first end counts."""
        if self.ended != "open":
            return
        self.ended = how
        if how == "client_gone":
            self.client_gone_after = self.pieces
        self._ledger.entry_ended(self)

    def record(self) -> Record:
        """Give the entry as it stands now, without any secret."""
        texts = ["".join(pieces) for pieces in self._texts]
        meant = reached = ""
        if self._answer:
            pieces = self._answer.pieces
            texts = ["".join(pieces[place].text for place in sorted(self._places))]
            meant = self._answer.text
            reached = "".join(piece.text for piece in pieces[: self._answer.reached])
        return Record(
            sequence=self.sequence,
            at_ms=self._at_ms,
            connection=self._connection,
            method=self._method,
            path=self._path,
            query=self._query,
            headers=self._headers,
            body=self.body,
            faults=self.faults,
            text=texts[0],
            texts=texts,
            pieces=self.pieces,
            completion_tokens=self.completion_tokens,
            status=self.status,
            ended=self.ended,
            client_gone_after=self.client_gone_after,
            client_id=self.client_id,
            scopes=self.scopes,
            style=self.style,
            token=self.token,
            broken=self.broken,
            frames=self._frames,
            turn=self.turn,
            attempt=self.attempt,
            meant=meant,
            reached=len(reached),
        )


class Ledger:
    """The newest entries, oldest first; what goes over a bound is dropped from the old end and counted."""

    def __init__(
        self,
        max_entries: int = _MAX_ENTRIES,
        max_bytes: int = _MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._clock = clock
        self._began = clock()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._sequence = 0
        self._held = 0
        self._waiting: set[tuple[int, asyncio.Future[None]]] = set()

    def open(self, connection: int, request: Request) -> Entry:
        """Begin the entry of one request; sequence numbers start at 1 and are never given twice."""
        self._sequence += 1
        entry = Entry(self, self._sequence, connection, request)
        self._entries.append(entry)
        if len(self._entries) > self._max_entries:
            self._drop()
        return entry

    def now_ms(self) -> int:
        """Give the milliseconds since the ledger was made."""
        return round((self._clock() - self._began) * 1000)

    def records(self) -> list[Record]:
        """Give all entries as they stand now."""
        return [entry.record() for entry in self._entries]

    def clear(self) -> None:
        """Forget all entries; a request that is still open is forgotten too."""
        for entry in self._entries:
            entry.kept = False
        self._entries.clear()
        self._held = self.dropped = 0

    def when_ended(self, count: int) -> asyncio.Future[None]:
        """Give a future that is done as soon as `count` of the entries have ended; cancel it to stop waiting."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (count, future)
        self._waiting.add(waiting)
        future.add_done_callback(lambda _: self._waiting.discard(waiting))
        self._wake()
        return future

    @property
    def ended_count(self) -> int:
        """How many of the entries have ended."""
        return sum(entry.ended != "open" for entry in self._entries)

    def entry_ended(self, entry: Entry) -> None:
        """Hear from an entry that it has ended; from now on its size does not change."""
        if entry.kept:
            self._held += entry.size_bytes
        while self._held > self._max_bytes and len(self._entries) > 1:
            self._drop()
        self._wake()

    def _wake(self) -> None:
        if not self._waiting:
            return
        ended = self.ended_count
        for count, future in list(self._waiting):
            if ended >= count and not future.done():
                future.set_result(None)

    def _drop(self) -> None:
        entry = self._entries.popleft()
        entry.kept = False
        self._held -= entry.size_bytes if entry.ended != "open" else 0
        self.dropped += 1


def _shown(name: str, value: str) -> str:
    if name not in _SECRET_HEADERS:
        return value
    scheme, space, _ = value.partition(" ")
    return f"{scheme} ***" if name.endswith("authorization") and space else "***"


def _shown_query(query: str) -> str:
    shown = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        secret = unquote_plus(name).strip().lower() in _SECRET_PARAMETERS
        shown.append(name + equals + ("***" if value and secret else value))
    return "&".join(shown)
