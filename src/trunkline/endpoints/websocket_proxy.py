"""`WS /ws`: the WebSocket proxy protocol that integrations bring along, with `cancel` and `resume` added to it.

The client sends `init` and gets `handshake_ack`, `chunk`*, and exactly one of `complete`, `blocked` and `error`;
then it may send another. The first and the last frame of a turn carry its `turnId`, and each chunk the `id` from which
to resume; an `error` without a `turnId` is about what the client said and ends nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from trunkline.core.errors import REASONS, AccessDenied, RequestRefused, TrunklineError
from trunkline.core.events import Delta, Ended, Guarded, ToolCall
from trunkline.core.ids import is_client_id
from trunkline.core.record import TurnRecord, fold
from trunkline.core.request import ClientId, LastReaderPolicy, Message, Terms, TurnRequest
from trunkline.core.times import iso
from trunkline.endpoints.access import Caller
from trunkline.endpoints.base import Desk, desk_of, usage_fields
from trunkline.endpoints.chunk import chunk_of, finish_chunks
from trunkline.endpoints.problems import PROBLEM_DETAILS, problem_of_end, shaped
from trunkline.endpoints.sockets import SERVICE_RESTART, Messages, framed, send_turn
from trunkline.log import Follower, ReaderGone
from trunkline.stores.base import TurnLog
from trunkline.telemetry import internal_error
from trunkline.tokens import count_prompt
from trunkline.turns import Turn

router = APIRouter()

STATUS: Final = {"completed": "success", "failed": "failed", "blocked": "blocked", "cancelled": "cancelled"}
_json: Final = msgspec.json.Encoder().encode


# What the client says


class Payload(BaseModel):
    """The payload of `init`."""

    model_config = ConfigDict(extra="ignore")

    modelId: str | None = Field(default=None, min_length=1, max_length=256)  # noqa: N815 - its name on the wire
    messages: tuple[Message, ...] = Field(min_length=1, max_length=2_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    sessionId: ClientId | None = None  # noqa: N815
    conversationId: ClientId | None = None  # noqa: N815
    terms: Terms = ()
    on_last_reader_gone: LastReaderPolicy | None = None
    cancel_after_s: float = Field(default=30, ge=0, le=3_600)


class Init(BaseModel):
    """`{"type": "init", "payload"}`: start a turn."""

    type: Literal["init"]
    payload: Payload


class Resume(BaseModel):
    """`{"type": "resume", "turnId", "after"}`: go on with a turn from an offset."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["resume"]
    turnId: str = Field(max_length=64)  # noqa: N815
    after: int = Field(default=0, ge=0, lt=10**18)


class Cancel(BaseModel):
    """`{"type": "cancel", "heard_upto"}`: stop the open turn."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["cancel"]
    turnId: str | None = Field(default=None, max_length=64)  # noqa: N815
    heard_upto: int | None = Field(default=None, ge=0)


_KINDS: Final[dict[str, type[Init | Resume | Cancel]]] = {"init": Init, "resume": Resume, "cancel": Cancel}


def read(text: str) -> Init | Resume | Cancel:
    """Read one message of a client. Raises `RequestRefused` in the words that clients of this protocol match on."""
    try:
        given = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        given = None
    kind = given.get("type") if isinstance(given, dict) else None
    model = _KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise RequestRefused("invalid_handshake", "Invalid handshake type")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _Invalid(error) from None


class _Invalid(RequestRefused):
    """A message that does not have the shape of its type; `said` tells where."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__("invalid_request", "Schema validation failed")
        first = error.errors(include_url=False)[0]
        self.said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


# The socket


@router.websocket("/ws")
async def serve(socket: WebSocket) -> None:
    """Serve turns one after another on one socket."""
    desk = desk_of(socket)
    try:
        caller = desk.access.caller(socket)
        if caller.only_turn is not None:
            raise AccessDenied("This ticket is only good for following its turn.")
        for name in ("sessionId", "conversationId"):
            if (given := socket.query_params.get(name)) and not is_client_id(given):
                raise RequestRefused("invalid_request", f"{name}: expected 1 to 128 of A-Z a-z 0-9 . _ : -")
    except TrunklineError as error:
        await socket.send_denial_response(shaped(socket, error, PROBLEM_DETAILS))
        return
    await socket.accept()
    talk = _Talk(socket, desk, caller)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            await talk.hear(message.get("text") or "")
    except WebSocketDisconnect:
        pass
    finally:
        await talk.close()


class _Talk:
    """One socket: at most one open turn at a time, which a task of its own sends."""

    def __init__(self, socket: WebSocket, desk: Desk, caller: Caller) -> None:
        self._socket = socket
        self._desk = desk
        self._caller = caller
        self._turn: Turn | None = None
        self._follower: Follower | None = None
        self._sending: asyncio.Future[None] | None = None
        self._last_turn = ""

    async def hear(self, text: str) -> None:
        """Take one message; what cannot be done is answered with an `error`, and the socket stays open."""
        try:
            asked = read(text)
            if isinstance(asked, Cancel):
                self._cancel(asked)
            elif isinstance(asked, Init):
                await self._init(asked.payload)
            else:
                await self._resume(asked)
        except _Invalid as error:
            await self._say({"type": "error", "message": error.detail, "code": error.code, "detail": error.said})
        except TrunklineError as error:
            await self._say({"type": "error", "message": error.detail, "code": error.code})
        except WebSocketDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - nothing else stands between a fault and the client
            self._desk.telemetry.tell(internal_error("websocket_proxy", error))
            await self._socket.close(1011)

    async def close(self) -> None:
        """The client is gone, or will be: stop sending; what becomes of an open turn is its policy's business."""
        if self._follower is not None:
            self._follower.leave()
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def _check_free(self) -> None:
        if self._turn is not None:
            raise RequestRefused("turn_open", "A turn is open on this socket; wait for its end, or cancel it.")

    async def _init(self, payload: Payload) -> None:
        self._check_free()
        in_address = self._socket.query_params
        request = TurnRequest(
            model=payload.modelId,
            messages=payload.messages,
            temperature=payload.temperature,
            max_tokens=payload.max_tokens,
            session_id=payload.sessionId or in_address.get("sessionId") or None,
            conversation_id=payload.conversationId or in_address.get("conversationId") or None,
            terms=payload.terms,
            on_last_reader_gone=payload.on_last_reader_gone,
            cancel_after_s=payload.cancel_after_s,
        )
        tokens = count_prompt(payload.messages)  # always in the one vocabulary that clients of this protocol know
        turn = self._desk.turns.start(request, self._caller.principal, "websocket_proxy", client_tokens=tokens)
        await self._send(turn, 0)

    async def _resume(self, asked: Resume) -> None:
        self._check_free()
        turn = await self._desk.turns.find(asked.turnId, self._caller.principal)
        after = asked.after
        if turn.log.ended and after == turn.log.tail:
            after = turn.log.before(after)  # It has all chunks; the last frame has no id, and may be what it lost.
        await self._send(turn, after)

    async def _send(self, turn: Turn, after: int) -> None:
        model_id = turn.started.upstream
        tokens = turn.started.client_tokens or turn.started.prompt_tokens
        self._last_turn = turn.id
        follower = turn.follow(after)
        self._turn, self._follower = turn, follower
        try:
            await follower.shown()
            ack = {"type": "handshake_ack", "tokenCount": tokens, "modelId": model_id, "turnId": turn.id}
            await self._say(ack)
        except BaseException:
            follower.close()
            raise
        self._sending = asyncio.ensure_future(self._send_all(turn, follower, messages_of(model_id, tokens)))

    async def _send_all(self, turn: Turn, follower: Follower, messages: Messages) -> None:
        try:
            with follower:
                await send_turn(self._socket, follower, messages, framed(messages))
            if turn.shut_down:
                await self._socket.close(SERVICE_RESTART)
        except (ReaderGone, WebSocketDisconnect):
            pass
        except Exception as error:  # noqa: BLE001 - the client must not wait for frames that will not come
            self._desk.telemetry.tell(internal_error("websocket_proxy", error))
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(1011)
        finally:
            self._turn = self._follower = None

    def _cancel(self, asked: Cancel) -> None:
        if asked.turnId not in (None, self._last_turn):
            raise RequestRefused("no_open_turn", f"Turn {asked.turnId!r} is not open on this socket.")
        if self._turn is not None:  # Otherwise it crossed the turn's end on the way.
            self._turn.cancel(asked.heard_upto)

    async def _say(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(_json(message).decode())


# What the client is sent


def messages_of(model_id: str, tokens: int) -> Messages:
    """Make the frames of a turn after its `handshake_ack`; `model_id` and `tokens` are what that said."""

    def messages(turn: TurnLog, a: int, b: int) -> list[bytes]:
        out: list[bytes] = []
        for entry in turn.entries[a:b]:
            event = entry.event
            if isinstance(event, Delta | ToolCall):
                out.append(b'{"type":"chunk","id":%d,"data":%b}' % (entry.offset, chunk_of(turn.started, event)))
            elif isinstance(event, Ended):
                out += _end(turn, event, model_id, tokens)
        return out

    return messages


def _end(turn: TurnLog, ended: Ended, model_id: str, tokens: int) -> list[bytes]:
    """Return the frames of an end: what closes the choices after an answer, then the one last frame."""
    record = fold(turn.entries)
    rest = {"turnId": turn.id, "auditLog": _audit(record, ended, model_id, tokens, turn)}
    if ended.outcome == "completed":
        closing = [b'{"type":"chunk","data":%b}' % chunk for chunk in finish_chunks(record.started, ended)]
        return [*closing, _json({"type": "complete", **rest})]
    if ended.outcome == "blocked":
        return [_json({"type": "blocked", "reason": _blocked_words(turn), **rest})]
    if ended.reason in ("client_cancelled", "client_left"):
        return [_json({"type": "complete", **rest})]
    problem = problem_of_end(ended)
    words = problem.detail if record.choices else "Stream initiation failed after retries"
    return [_json({"type": "error", "message": words, "code": ended.reason, "detail": problem.detail, **rest})]


def _blocked_words(turn: TurnLog) -> str:
    """Return the words that clients match on: a rule about personal data, or anything else."""
    reports = [entry.event for entry in turn.entries if isinstance(entry.event, Guarded)]
    data = any(report.action == "block" and report.kind == "data" for report in reports)
    return "PII detected" if data else "Safety guardrail violation"


def _audit(record: TurnRecord, ended: Ended, model_id: str, tokens: int, turn: TurnLog) -> dict[str, Any]:
    ended_ms = record.ended_ms or 0
    reports = [entry.event for entry in turn.entries if isinstance(entry.event, Guarded)]
    filtered = any(report.kind == "data" and report.action != "flag" for report in reports)
    audit = {
        "requestId": turn.id,
        "modelId": model_id,
        "timestamp": iso(ended_ms),
        "status": STATUS[REASONS[ended.reason].outcome],
        "reason": ended.reason,
        "tokenCount": tokens,
        "latencyMs": ended_ms - record.started_ms,
        "ppiFiltered": filtered,
        "piiFiltered": filtered,
        "safetyPassed": ended.outcome != "blocked",
    }
    if ended.usage is not None:
        audit["usage"] = usage_fields(ended.usage)
    return audit
