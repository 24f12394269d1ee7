"""Builds a relay from its settings, starts it, drains it and stops it: as a library, and as an ASGI application."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any, Self

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from trunkline.admission import Admission
from trunkline.config import Settings, parse
from trunkline.connect.breaker import Breaker
from trunkline.connect.http import HttpClient
from trunkline.connect.oauth import TokenCache
from trunkline.core.events import AnyEvent
from trunkline.core.request import TurnRequest
from trunkline.endpoints import ENDPOINTS, shape_of
from trunkline.endpoints.access import TICKET, Access, Keys, Tickets
from trunkline.endpoints.base import Desk
from trunkline.endpoints.middleware import Gate
from trunkline.endpoints.problems import shaped
from trunkline.forgetting import forget_as_asked
from trunkline.log import Log
from trunkline.pump import House
from trunkline.repeats import IDEMPOTENCY, Repeats
from trunkline.sources.http_stream import HttpPool
from trunkline.storage import Storage, open_durable, open_in_memory, wall_ms
from trunkline.tasks import Tasks
from trunkline.telemetry import Telemetry, internal_error
from trunkline.tokens import warm_up
from trunkline.turns import Limits, Turn, Turns
from trunkline.upstreams import Transports, make_upstreams
from trunkline.version import VERSION


def _breaker_state(breaker: Breaker) -> str:
    return breaker.state(time.monotonic())


class Relay:
    """A running relay.

        async with Relay(settings) as relay:
            async for event in relay.stream(TurnRequest(input="Where is my order?")):
                ...

    `settings` is a `Settings`, or a mapping of the shape of trunkline.toml. It belongs to the event loop it was
    entered in; several relays may live in one process.
    """

    def __init__(self, settings: Settings | Mapping[str, Any]) -> None:
        """Check the settings; nothing is opened yet. Raises `SettingsError`."""
        self.settings = settings if isinstance(settings, Settings) else parse(settings)
        self.telemetry = Telemetry()
        self._turns: Turns | None = None
        self._storage: Storage | None = None
        self._transports: Transports | None = None
        self._tasks: Tasks | None = None

    @property
    def turns(self) -> Turns:
        """The relay's turns. Raises `RuntimeError` outside of `async with`."""
        if self._turns is None:
            raise RuntimeError("the relay is not running: use `async with Relay(settings) as relay`")
        return self._turns

    @property
    def is_running(self) -> bool:
        """True inside of `async with`."""
        return self._turns is not None

    @property
    def storage(self) -> Storage:
        """Where its turns rest. Raises `RuntimeError` outside of `async with`."""
        if self._storage is None:
            raise RuntimeError("the relay is not running: use `async with Relay(settings) as relay`")
        return self._storage

    async def find(self, turn_id: str, *, principal: str = "local") -> Turn:
        """Return a turn, also one of before a restart. Raises `TurnNotFound`, `TurnForgotten`, `Overloaded`."""
        return await self.turns.find(turn_id, principal)

    async def __aenter__(self) -> Self:
        """Start. Raises `SettingsError` where the log cannot be used."""
        self._tasks = Tasks(self.telemetry)
        try:
            self._storage = await self._open_storage(self._tasks)
            await self._start(self._tasks, self._storage)
        except BaseException:
            await self._stop()
            raise
        return self

    async def _start(self, tasks: Tasks, storage: Storage) -> None:
        settings, loop = self.settings, asyncio.get_running_loop()
        await asyncio.to_thread(warm_up, [upstream.model for upstream in settings.upstreams.values()])
        http = HttpClient()
        tokens = TokenCache(http, clock=time.monotonic, wall=time.time, random=random.random)  # noqa: TID251 - a shell
        self._transports = Transports(
            HttpPool(),
            http,
            tokens,
            time.monotonic,
            time.time,  # noqa: TID251 - a shell
            random.random,
        )
        guards = await asyncio.to_thread(settings.make_guards)
        upstreams = make_upstreams(settings.upstreams, self._transports, guards)
        self.telemetry.breakers = {
            name: partial(_breaker_state, upstream.breaker) for name, upstream in upstreams.items()
        }
        log = Log(storage.store, loop.call_soon, wall_ms, self._report)
        house = House(log, tasks, self.telemetry, storage.conversations, time.monotonic, random.random)
        server = settings.server
        limits = Limits(server.max_open_turns, server.max_open_turns_per_principal, server.keep_alive_s)
        admission = Admission(upstreams, settings.sole_upstream, settings.models)
        self._turns = Turns(house, upstreams, admission, limits, wall_ms)
        if storage.durable is not None:
            self._turns.recorded = storage.durable.recorder.flush
            self._turns.erased = storage.durable.erased
        tasks.spawn(self._sweep(self._turns), "sweep")
        if storage.durable is not None:
            tasks.spawn(forget_as_asked(self._turns, storage.durable), "forget")

    def _report(self, error: Exception) -> None:
        self.telemetry.tell(internal_error("log", error))

    async def _open_storage(self, tasks: Tasks) -> Storage:
        store = self.settings.store
        if store.durability == "memory":
            return open_in_memory(store)
        return await open_durable(store, (IDEMPOTENCY, TICKET), wall_ms, tasks, self.telemetry)

    async def __aexit__(self, *_: object) -> None:
        """Cancel what is still open, and stop."""
        try:
            await self.drain(0)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        self._turns = None
        async with AsyncExitStack() as whatever_fails:  # the last first
            for part in (self._transports, self._tasks, self._storage):
                if part is not None:
                    whatever_fails.push_async_callback(part.close)

    async def drain(self, limit_s: float | None = None) -> None:
        """Take no new turns, and let the open ones end for up to `limit_s` seconds (default: `server.drain_s`)."""
        await self.turns.drain(self.settings.server.drain_s if limit_s is None else limit_s)
        self.turns.house.log.flush()
        await self.storage.close()

    def start(self, request: TurnRequest, *, principal: str = "local") -> Turn:
        """Start a turn that runs whether it is read or not. Raises `RequestRefused`, `Overloaded`."""
        return self.turns.start(request, principal, "library")

    async def stream(self, request: TurnRequest, *, principal: str = "local") -> AsyncGenerator[AnyEvent, None]:
        """Start a turn and iterate over its events, `Started` to `Ended`; leaving the loop early cancels it."""
        turn = self.turns.start(request, principal, "library", policy="cancel")
        with turn.follow() as follower:
            async with aclosing(follower.entries()) as batches:
                async for batch in batches:
                    for entry in batch:
                        yield entry.event

    async def _sweep(self, turns: Turns) -> None:
        every_s = turns.sweep_s
        while True:
            await asyncio.sleep(every_s)
            try:
                turns.sweep()
            except Exception as error:  # noqa: BLE001 - without this clock no turn would ever time out again
                self.telemetry.tell(internal_error("sweep", error))


def make_app(settings: Settings, *, insecure: bool = False, relay: Relay | None = None) -> FastAPI:
    """Make the ASGI application of a relay; its lifespan starts and stops the relay."""
    relay = relay or Relay(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if not relay.is_running:
                await stack.enter_async_context(relay)
            storage = relay.storage
            keys = Keys(None if insecure else settings.keys, settings.server.key_header)
            tickets = Tickets(
                settings.server,
                time.time,  # noqa: TID251 - a shell
                storage.key,
                spent=storage.claims(TICKET),
                record=storage.record,
            )
            access = Access(keys, tickets)
            repeats = Repeats(wall_ms, storage.claims(IDEMPOTENCY), storage.record, key=storage.key)
            app.state.desk = Desk(
                relay.turns, access, settings.server, relay.telemetry, repeats, settings.fallback_texts
            )
            yield

    app = FastAPIOffline(
        title="Trunkline",
        version=VERSION,
        description="A streaming relay for LLM answers in contact centres.",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.key_header = settings.server.key_header
    if settings.server.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.server.allowed_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["location", "retry-after", "x-request-id", "x-turn-id", "idempotent-replayed"],
            max_age=600,
        )
    app.add_middleware(
        Gate,
        settings=settings.server,
        loopback_only=insecure,
        telemetry=lambda: relay.telemetry,
        shape_of=shape_of,
    )
    app.add_exception_handler(HTTPException, _no_route)
    for router in ENDPOINTS.values():
        app.include_router(router)
    app.openapi = partial(_describe, app, FastAPI.openapi)  # type: ignore[method-assign]
    return app


def _describe(app: FastAPI, describe: Callable[[FastAPI], dict[str, Any]]) -> dict[str, Any]:
    """Describe the API: the framework's own words, with the credentials, and without the 422 that is a 400 here."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = describe(app)
    key_header = {"type": "apiKey", "in": "header", "name": app.state.key_header}
    components = schema.setdefault("components", {})
    ticket = {"type": "apiKey", "in": "query", "name": "ticket"}
    bearer = {"type": "http", "scheme": "bearer"}
    components["securitySchemes"] = {"bearer": bearer, "key": key_header, "ticket": ticket}
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            if "operations" not in operation.get("tags", ()):
                ticketed = any(parameter["name"] == "ticket" for parameter in operation.get("parameters", ()))
                operation["security"] = [{"bearer": []}, {"key": []}, *([{"ticket": []}] if ticketed else [])]
    return schema


async def _no_route(request: Request, error: Exception) -> Response:
    return shaped(request, error, shape_of(request.scope["path"]))
