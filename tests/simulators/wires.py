"""Raw clients of the three WebSocket platforms, which know their wires and nothing of the relay."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from trunkline.simulators import Simulator
from trunkline.simulators.ledger import Record

CONVERSATIONS = "/api/v2/conversations/websocket"
GATEWAY = "/api/v2/ai/llm/gateway/completions/stream"
STREAM = "/api/v2/llm/stream"
CONFIG = "/api/v2/llm/gateway/config"
SCOPES = {
    CONVERSATIONS: "ai:read conversations:read ai:chat:stream",
    GATEWAY: "ai:llm:gateway:use ai:llm:gateway:stream ai:llm:prompt:read",
    STREAM: "llm:stream bot:dialog:write api:access",
}
EVERYTHING = " ".join(SCOPES.values())
HEADERS = {CONVERSATIONS: {"accept": "application/json"}, GATEWAY: {"x-genesys-client-id": "app"}, STREAM: {}}
# Made once: it is never used, and each would take longer than a test.
_TLS: Final = ssl.create_default_context()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """What came on one WebSocket: messages, those that are no JSON object as text, and the close code."""

    messages: list[Any] = field(default_factory=list)
    code: int | None = None


def client(sim: Simulator) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=sim.url, trust_env=False, verify=_TLS)


async def token(sim: Simulator, scopes: str = EVERYTHING, client_id: str = "app") -> str:
    body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": "s", "scope": scopes}
    async with client(sim) as http:
        answer = await http.post("/oauth/token", json=body)
    return answer.json()["access_token"]


async def call(
    sim: Simulator, method: str, path: str, bearer: str, body: object = None, **headers: str
) -> httpx.Response:
    async with client(sim) as http:
        return await http.request(method, path, json=body, headers={"authorization": f"Bearer {bearer}", **headers})


class _Connect(connect):
    """Follows no redirect: it is the answer."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@asynccontextmanager
async def link(
    sim: Simulator, path: str, bearer: str | None = None, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A WebSocket to `path`, with the headers that its platform wants unless there are others."""
    if bearer is None:
        bearer = await token(sim, SCOPES[path])
    sent = dict(HEADERS[path] if headers is None else headers)
    if bearer:
        sent["authorization"] = f"Bearer {bearer}"
    url = sim.url.replace("http", "ws", 1) + path
    options = {"ping_interval": None, "proxy": None, "max_size": None, "close_timeout": 2, **options}
    async with _Connect(url, additional_headers=sent, user_agent_header=None, **options) as socket:
        yield socket


async def see(socket: ClientConnection, until: Callable[[Any], bool] = lambda _: False) -> Seen:
    """Read until a message that is `until`, or until the end."""
    seen = Seen()
    try:
        while True:
            raw = await socket.recv()
            assert isinstance(raw, str)
            seen.messages.append(_message(raw))
            if until(seen.messages[-1]):
                return seen
    except ConnectionClosed as closed:
        seen.code = closed.rcvd.code if closed.rcvd else 1006
        return seen


def _message(raw: str) -> Any:
    try:
        value = json.loads(raw)
    except ValueError:
        return raw
    return value if isinstance(value, dict) else raw


def subscription(**changes: Any) -> dict[str, Any]:
    one = {
        "event_type": "ai:chat:completion",
        "model_id": "gpt",
        "conversation_context": {"conversation_id": "c-1", "turn_id": "t-1"},
        "max_tokens": 2048,
        "stream_mode": "delta",
    }
    return {"subscriptions": [{**one, **changes}]}


def completion(prompt: str = "Where is my order?", parameters: dict[str, Any] | None = None, **changes: Any) -> Any:
    asked = {"temperature": [0.7], "max_tokens": 1024, "stop_sequences": ["END"], "stream": True}
    context = {"system": "Be kind.", "format": "json", "messages": [{"role": "user", "content": prompt}]}
    body = {"model": "gpt", "prompt_id": "p-1", "parameters": {**asked, **(parameters or {})}, "context": context}
    return {**body, **changes}


def opening(prompt: str = "Where is my order?", **changes: Any) -> dict[str, Any]:
    return {"dialog_id": "d-1", "session_id": "s-1", "input": prompt, **changes}


async def subscribe(socket: ClientConnection, **changes: Any) -> None:
    await socket.send(json.dumps(subscription(**changes)))


async def init(socket: ClientConnection) -> Any:
    await socket.send('{"action":"init_stream","protocol_version":"v2"}')
    return json.loads(await socket.recv())


@dataclass
class Wire:
    """One platform's wire: how to get it to speak, and how to read what it says."""

    path: str
    ask: Callable[[ClientConnection], Any]
    tokens: Callable[[dict[str, Any]], list[str | None]]
    is_end: Callable[[Any], bool]

    def text(self, messages: list[Any]) -> str:
        """The text of all messages as they came, halves of characters put together."""
        tokens = [token or "" for message in messages if isinstance(message, dict) for token in self.tokens(message)]
        return "".join(tokens).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


async def _ask_gateway(socket: ClientConnection) -> None:
    assert await init(socket) == {"status": "stream_ready"}
    await socket.send(json.dumps(completion()))


async def _ask_cognigy(socket: ClientConnection) -> None:
    await socket.send(json.dumps(opening()))


def _own(message: dict[str, Any]) -> bool:
    return message.get("event_type") == "ai:chat:completion" and message["metadata"]["conversation_id"] == "c-1"


WIRES = {
    "genesys-conversations": Wire(
        CONVERSATIONS,
        subscribe,
        lambda message: [message["delta"]] if _own(message) else [],
        lambda message: isinstance(message, dict) and bool(message.get("finish_reason")),
    ),
    "genesys-gateway": Wire(
        GATEWAY,
        _ask_gateway,
        lambda message: [message.get("token")],
        lambda message: isinstance(message, dict) and bool(message.get("finish_reason")),
    ),
    "cognigy": Wire(
        STREAM,
        _ask_cognigy,
        lambda message: message.get("tokens") or [],
        lambda message: isinstance(message, dict) and message.get("done") is True,
    ),
}


@asynccontextmanager
async def asked(sim: Simulator, wire: Wire, **options: Any) -> AsyncIterator[ClientConnection]:
    async with link(sim, wire.path, **options) as socket:
        await wire.ask(socket)
        yield socket


async def whole(sim: Simulator, wire: Wire, *faults: str) -> Seen:
    """Ask, read up to the end mark, and leave."""
    sim.set_faults(faults)
    async with asked(sim, wire) as socket:
        return await see(socket, wire.is_end)


async def to_the_end(sim: Simulator, wire: Wire, *faults: str) -> tuple[Seen, Record]:
    """Ask, read until the platform closes, and give the ledger's entry too."""
    sim.set_faults(faults)
    async with asked(sim, wire) as socket:
        seen = await see(socket)
    return seen, await entry_of(sim, wire)


async def entry_of(sim: Simulator, wire: Wire) -> Record:
    """The entry of the last connection, once all have ended."""
    records = await sim.ended(len(sim.ledger))
    return [record for record in records if record["path"] == wire.path][-1]


def kinds(entry: Record, sender: str) -> list[tuple[str, Any]]:
    return [(frame["kind"], frame["data"]) for frame in entry["frames"] if frame["sender"] == sender]
