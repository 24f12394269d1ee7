"""The simulator itself: listens, hands every request to its platform, and leaves nothing behind when it is closed."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from trunkline.simulators.access import Clock, Limiter, Tokens
from trunkline.simulators.base import RefusalError, Request, Settings
from trunkline.simulators.connection import BadRequestError, ClientGoneError, Connection
from trunkline.simulators.control import PREFIX, Control
from trunkline.simulators.exchange import Exchange, StruckError
from trunkline.simulators.faults import FaultQueue, Faults, Sort, parse
from trunkline.simulators.ledger import Ledger, Record
from trunkline.simulators.platforms import PLATFORMS, Platform
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count

_log = logging.getLogger(__name__)
_MAX_CONNECTIONS = 10_000
_MAX_BUGS = 10
_MISTAKES = (400, 405, 406, 409, 413, 415, 426, 505)  # the statuses that say that the request should not be like this


class Simulator:
    """Every platform of the table on one port.

    `interval_ms` is the time between two pieces of a streamed answer, `texts` adds to the built-in texts (or replaces
    one), `seed` and a request's sequence number together decide all that is random, `require_key` refuses requests
    without a key. Port 0 takes a free one; `url` says which.

    Tokens live for `token_lifetime_s`. `rate_per_minute` is what an OAuth client may ask of the Genesys platform in any
    60 seconds (None: no limit). Both are measured by `clock`, in seconds, and so is how long a quota may be kept.

    A WebSocket on which nothing moves for `idle_s` is cut. Where nothing is said of an opening message, Cognigy waits
    `opening_wait_s` for one before it begins. A Genesys model gives `max_concurrent` answers at a time.

    Two rules of the wires are only for the ledger, since a client may be set up to go without: an answer about a quota
    does for one turn, unless turns may share it for `quota_fresh_s`; and Cognigy's dialogs are configured before they
    are answered, unless `wants_config` is off.

    Leaving the context closes the listener and all connections and ends all tasks; errors of the simulator itself are
    logged as they happen and raised then.
    """

    def __init__(  # noqa: PLR0913 - settings, given by name
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        interval_ms: float = 0,
        texts: Mapping[str, str] | None = None,
        seed: int = 0,
        require_key: bool = False,  # noqa: FBT001, FBT002 - one of several settings, given by name
        *,
        token_lifetime_s: float = 86_399,
        rate_per_minute: int | None = None,
        clock: Clock = time.monotonic,
        idle_s: float = 30.0,
        opening_wait_s: float = 5.0,
        max_concurrent: int = 10,
        quota_fresh_s: float = 0.0,
        wants_config: bool = True,
    ) -> None:
        self._host = host
        self._port = port
        self._settings = Settings(
            texts={**TEXTS, **(texts or {})},
            default_text="order",
            interval_ms=interval_ms,
            seed=seed,
            require_key=require_key,
            token_lifetime_s=token_lifetime_s,
            tokens=Tokens(clock),
            limiter=None if rate_per_minute is None else Limiter(rate_per_minute, clock),
            idle_s=idle_s,
            opening_wait_s=opening_wait_s,
            max_concurrent=max_concurrent,
            quota_fresh_s=quota_fresh_s,
            wants_config=wants_config,
            clock=clock,
        )
        self._ledger = Ledger()
        self._faults = FaultQueue()
        self._control = Control(self._faults, self._ledger)
        self._platforms: list[tuple[str, Platform]] = [
            (prefix, platform) for platform in (made() for made in PLATFORMS.values()) for prefix in platform.prefixes
        ]
        self._server: asyncio.Server | None = None
        self._closing = asyncio.Event()
        self._connections: set[Connection] = set()
        self._connection_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._bugs: list[Exception] = []

    # for tests and the command line

    @property
    def url(self) -> str:
        """The base address, without a slash at its end; the base URL of the OpenAI API is this and `/v1`."""
        if self._server is None:
            raise RuntimeError("the simulator has no address before it has started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def ledger(self) -> list[Record]:
        """What `GET /_sim/ledger` gives, as it stands now."""
        return self._ledger.records()

    @property
    def default_text(self) -> str:
        """The name of the text that answers a request which names none; setting an unknown one raises KeyError."""
        return self._settings.default_text

    @default_text.setter
    def default_text(self, name: str) -> None:
        if name not in self._settings.texts:
            raise KeyError(name)
        self._settings.default_text = name

    def set_faults(self, faults: Iterable[str], connections: int = 1, at: Sort | None = None) -> None:
        """Let the next `connections` requests have `faults`; raises `UnknownWordError`.

        `at` says which requests: of tokens, about a quota, of a configuration, with variables, or any other of a
        platform. Without it, `token-` words wait for token requests, `quota-` words for those about a quota, and all
        others for requests of a platform.
        """
        self._faults.set(parse(faults), connections, at)

    def line_up(self, *each: Iterable[str], at: Sort | None = None) -> None:
        """Let the first of the next requests have the first of `each`, the second the second; else as `set_faults`."""
        self._faults.line_up([parse(faults) for faults in each], at)

    def clear_ledger(self) -> None:
        """Forget all entries."""
        self._ledger.clear()

    async def ended(self, count: int, timeout_s: float = 5.0) -> list[Record]:
        """Wait until `count` of the entries have ended and give all records; raises TimeoutError."""
        future = self._ledger.when_ended(count)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            message = f"waited {timeout_s:g} s for {count} ended entries, there are {self._ledger.ended_count}"
            raise TimeoutError(message) from None
        finally:
            future.cancel()
        return self.ledger

    # life

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._closing.clear()
        count("")  # loads the tokenizer, so that the first answer is not late
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self._host, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        await self.close()
        if self._bugs and error is None:
            bugs, self._bugs = self._bugs, []
            raise ExceptionGroup("the simulator failed", bugs)

    async def serve_forever(self) -> None:
        """Serve until cancelled or closed; starts and closes the simulator where that was not done before."""
        if self._server is None:
            async with self:
                await self._closing.wait()
        else:
            await self._closing.wait()

    async def close(self) -> None:
        """Close the listener and all connections at once, and wait for every task; may be called twice."""
        self._closing.set()
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        lost = [connection.closed for connection in self._connections]
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*lost)
        await server.wait_closed()

    # connections

    def _connection(self) -> Connection:
        self._connection_count += 1
        return Connection(self._connection_count, self._opened, self._connections.discard)

    def _opened(self, connection: Connection) -> None:
        if self._closing.is_set() or len(self._connections) >= _MAX_CONNECTIONS:
            connection.abort()
            return
        self._connections.add(connection)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        bug = None if task.cancelled() else task.exception()
        if not isinstance(bug, Exception):
            return
        _log.error("the simulator failed", exc_info=bug)
        if len(self._bugs) < _MAX_BUGS:
            self._bugs.append(bug)

    async def _serve(self, connection: Connection) -> None:
        """Answer the requests of one connection, one after the other."""
        try:
            while (request := await connection.request()) is not None:
                if not await self._answer(connection, request):
                    await connection.close(unread=request.too_large)
                    return
        except BadRequestError as problem:
            await self._protest(connection, problem)
        except ClientGoneError:
            connection.abort()
        except BaseException:
            connection.abort()
            raise

    async def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; gives whether the connection is to stay open."""
        platform = self._platform(request.path)
        faults = self._faults.take(platform.takes(request.path)) if platform else Faults()
        # The control routes are no part of what a platform was asked.
        ledger = Ledger() if request.path.startswith(PREFIX) else self._ledger
        entry = ledger.open(connection.number, request)
        rng = random.Random(f"{self._settings.seed}:{entry.sequence}")
        exchange = Exchange(connection, request, entry, self._settings, rng)
        exchange.add_faults(faults)
        try:
            await self._play(exchange, platform or self._control)
            entry.end("completed")
        except StruckError as fault:
            entry.end(f"fault:{fault.word}")
            if fault.how == "reset":
                await connection.reset()
            return False
        except ClientGoneError:
            entry.end("client_gone")
            raise
        except asyncio.CancelledError:
            entry.end("shutdown")
            raise
        except BaseException:
            entry.end("internal_error")
            raise
        connection.stale = connection.stale or exchange.faults.has("stale")
        return not (exchange.closes or exchange.faults.has("close-idle"))

    async def _play(self, exchange: Exchange, answerer: Platform | Control) -> None:
        if exchange.connection.stale and answerer is not self._control:
            raise StruckError("stale", "reset")
        try:
            await answerer.answer(exchange)
        except RefusalError as refusal:
            if refusal.status in _MISTAKES:
                exchange.entry.breaks("request", refusal.message)
            await exchange.refuse(refusal, answerer.error)
            exchange.entry.end("refused")

    def _platform(self, path: str) -> Platform | None:
        """Give the platform with the longest prefix of `path`."""
        fits = [(len(prefix), platform) for prefix, platform in self._platforms if f"{path}/".startswith(f"{prefix}/")]
        return max(fits, key=lambda fit: fit[0])[1] if fits else None

    async def _protest(self, connection: Connection, problem: BadRequestError) -> None:
        """Answer what is no HTTP."""
        body = json.dumps({"error": {"message": str(problem)}}).encode()
        head = f"HTTP/1.1 {problem.status} Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        try:
            await connection.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
            await connection.close(unread=True)
        except ClientGoneError:
            connection.abort()
