"""Turns as Trunkline sees them: create, show, list, follow, cancel, forget, over HTTP, SSE and WebSocket."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response, WebSocket
from pydantic import BaseModel, ConfigDict, Field

from trunkline.core.errors import TrunklineError, TurnForgotten
from trunkline.core.events import event_name
from trunkline.core.ids import CLIENT_ID_PATTERN
from trunkline.core.record import TurnRecord
from trunkline.core.request import TurnRequest
from trunkline.core.sse import encode
from trunkline.core.times import iso
from trunkline.endpoints.base import TicketInAddress, desk_of, read_offset, usage_fields
from trunkline.endpoints.once import IDEMPOTENT, start_once, turn_headers
from trunkline.endpoints.problems import PROBLEM_DETAILS, STARTS, route_class, shaped, stream_error
from trunkline.endpoints.sentence_view import SentenceView, read_place
from trunkline.endpoints.sockets import SERVICE_RESTART, framed, send_turn
from trunkline.endpoints.streams import Decision, EventStream
from trunkline.log import ReaderGone
from trunkline.stores.base import Form, TurnLog
from trunkline.stores.base import Query as TurnQuery
from trunkline.turns import Turn

router = APIRouter(route_class=route_class(PROBLEM_DETAILS), tags=["turns"])

MAX_OFFSET: Final = 2**63 - 1
MAX_CLIENT_MESSAGE_CHARS: Final = 4_096
TurnId = Annotated[str, Path(description="`turn_` and 32 hex digits", max_length=64)]


class Cancel(BaseModel):
    """The body of a cancel."""

    model_config = ConfigDict(extra="forbid")

    heard_upto: int | None = Field(
        default=None, ge=0, description="How much a barging-in caller had heard, in characters of released text."
    )


def events(turn: TurnLog, a: int, b: int) -> bytes:
    """The native form: one server-sent event for each entry."""
    out = [encode(event_name(entry.event).encode(), entry.json, b"%d" % entry.offset) for entry in turn.entries[a:b]]
    return out[0] if len(out) == 1 else b"".join(out)


def messages(turn: TurnLog, a: int, b: int) -> list[bytes]:
    """The same events as WebSocket messages: `{"id", "type", ...}`."""
    return [b'{"id":%d,%b' % (entry.offset, entry.json[1:]) for entry in turn.entries[a:b]]


FRAMES: Final = framed(messages)


@router.post(
    "/v1/tickets",
    status_code=201,
    summary="Make a ticket for a browser",
    responses=PROBLEM_DETAILS.answers(),
)
async def ticket(request: Request) -> dict[str, Any]:
    """Make a ticket: a browser sends it as `?ticket=` where it cannot set a header (EventSource, WebSocket).

    It is good once, for a turn or a WebSocket, and then only for following that turn.
    """
    desk = desk_of(request)
    made = desk.access.tickets.issue(desk.access.principal(request))
    return {"ticket": made, "expires_in": int(desk.settings.ticket_s)}


@router.post(
    "/v1/turns",
    status_code=201,
    summary="Create a turn",
    response_model=None,
    openapi_extra=IDEMPOTENT,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "with `?stream=true`: the turn's events"},
        201: {"content": {"application/json": {}}, "description": "the turn, and where to read it"},
        **PROBLEM_DETAILS.answers(*STARTS),
    },
)
async def create(
    body: TurnRequest,
    request: Request,
    stream: Annotated[bool, Query(description="answer with the event stream itself")] = False,  # noqa: FBT002
) -> Response:
    """Start a turn. It runs whether anybody reads it or not; the links say where to read it."""
    desk = desk_of(request)
    principal = desk.access.principal(request)
    turn, found = await start_once(request, principal, lambda: desk.turns.start(body, principal, "native"))
    headers = turn_headers(turn, found=found)
    if stream:
        within_s = desk.settings.commit_after_ms / 1_000
        decision = Decision(partial(stream_error, shape=PROBLEM_DETAILS), within_s)
        return EventStream(turn, 0, events, headers=headers, decision=decision)
    await turn.shown()
    links = _links(turn.id, desk.access.tickets.issue(principal, turn.id))
    state = "ended" if turn.log.ended else "open"
    content = {"id": turn.id, "state": state, "tail": turn.log.tail, "links": links}
    return Response(msgspec.json.encode(content), 201, {"location": links["self"], **headers}, "application/json")


@router.get("/v1/turns", summary="List turns", responses=PROBLEM_DETAILS.answers(503))
async def list_turns(
    request: Request,
    conversation_id: Annotated[str | None, Query(pattern=CLIENT_ID_PATTERN)] = None,
    state: Literal["open", "ended"] | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    cursor: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before")] = None,
) -> dict[str, Any]:
    """List one's turns, the newest first, a page at a time."""
    desk = desk_of(request)
    # Ids grow with time: a page goes on below the last id of the one before. One more tells whether there is another.
    query = TurnQuery(desk.access.principal(request), conversation_id, state, cursor, limit + 1)
    found = [_show(record, with_text=False) for record in await desk.turns.list(query)]
    more = len(found) > limit
    return {"turns": found[:limit], "next_cursor": found[limit - 1]["id"] if more else None}


@router.get("/v1/turns/{turn_id}", summary="Show a turn", responses=PROBLEM_DETAILS.answers(404, 410, 503))
async def show(turn_id: TurnId, request: Request) -> dict[str, Any]:
    """Show what a turn amounts to so far."""
    return _show((await _find(request, turn_id)).record())


@router.post(
    "/v1/turns/{turn_id}/cancel",
    status_code=202,
    summary="Cancel a turn",
    responses=PROBLEM_DETAILS.answers(404, 410, 413, 415, 503),
)
async def cancel(turn_id: TurnId, request: Request, body: Cancel | None = None) -> dict[str, Any]:
    """Stop the platform's generation and end the turn; one that has ended stays as it is."""
    turn = await _find(request, turn_id)
    turn.cancel(body.heard_upto if body else None)
    return {"id": turn.id}


@router.delete(
    "/v1/turns/{turn_id}", status_code=204, summary="Forget a turn", responses=PROBLEM_DETAILS.answers(404, 410, 503)
)
async def forget(turn_id: TurnId, request: Request) -> None:
    """Erase a turn's text for good; an open one is cancelled first.

    410 says that this was done before; where it was begun and is not done yet, this goes on with it, as a first call.
    """
    turns = desk_of(request).turns
    try:
        turn = await _find(request, turn_id)
    except TurnForgotten:
        await turns.forget([])
        raise
    await turns.forget([turn.started])


@router.delete(
    "/v1/conversations/{conversation_id}",
    summary="Forget a conversation",
    responses=PROBLEM_DETAILS.answers(503),
)
async def forget_conversation(
    conversation_id: Annotated[str, Path(pattern=CLIENT_ID_PATTERN)], request: Request
) -> dict[str, Any]:
    """Erase the texts of all one's turns of a conversation for good, and say how many there were."""
    desk = desk_of(request)
    count = await desk.turns.forget_conversation(conversation_id, desk.access.principal(request))
    return {"conversation_id": conversation_id, "forgotten": count}


@router.get(
    "/v1/turns/{turn_id}/events",
    summary="Follow a turn",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "ended, and read to the end"},
        **PROBLEM_DETAILS.answers(404, 409, 410, 503),
    },
)
async def follow(
    turn_id: TurnId,
    request: Request,
    after: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="the last offset the reader has")] = 0,
    unit: Annotated[Literal["delta", "sentence"], Query(description="what a `delta` holds")] = "delta",
    last_event_id: Annotated[str | None, Header(max_length=64, description="wins over `after`")] = None,
    ticket: TicketInAddress = None,  # noqa: ARG001 - documented; Access reads it
) -> Response:
    """Stream a turn's events from where the reader is: what is there at once, what comes as it comes.

    Answers 204 where the turn has ended and the reader has all of it, so that a browser's EventSource stops.
    """
    desk = desk_of(request)
    turn = await desk.turns.find(turn_id, desk.access.follower(request, turn_id).principal)
    form: Form = events
    if unit == "sentence":
        after, parts = read_place(last_event_id or str(after), "Last-Event-ID")
        turn.log.check_offset(after)
        if parts is not None:
            form, after = SentenceView(after, parts), turn.log.before(after)
        else:
            form = SentenceView()
    elif last_event_id:
        after = read_offset(last_event_id, "Last-Event-ID")
    turn.log.check_offset(after)
    if turn.log.ended and after == turn.log.tail:
        return Response(status_code=204)
    return EventStream(turn, after, form, headers=turn_headers(turn))


@router.websocket("/v1/turns/{turn_id}/ws")
async def follow_ws(socket: WebSocket, turn_id: str) -> None:
    """The same events, one JSON message each with `id` and `type`; the client may send `{"type":"cancel"}`."""
    try:
        desk = desk_of(socket)
        caller = desk.access.follower(socket, turn_id)
        turn = await desk.turns.find(turn_id, caller.principal)
        follower = turn.follow(read_offset(socket.query_params.get("after", "0"), "after"))
    except TrunklineError as error:
        await socket.send_denial_response(shaped(socket, error, PROBLEM_DETAILS))
        return
    with follower:
        await socket.accept()
        listener = asyncio.ensure_future(_listen(socket, turn, may_cancel=caller.only_turn is None))
        listener.add_done_callback(follower.leave)
        try:
            await send_turn(socket, follower, messages, FRAMES)
            listener.remove_done_callback(follower.leave)
            await socket.close(SERVICE_RESTART if turn.shut_down else 1000)
        except ReaderGone:
            pass
        finally:
            listener.cancel()
            if listener.done():
                listener.result()  # what it stumbled over, if not the client's leaving


async def _listen(socket: WebSocket, turn: Turn, *, may_cancel: bool) -> None:
    """Take what the client says until it leaves; what is no cancel is answered with an error."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text") or ""
        try:
            if len(text) > MAX_CLIENT_MESSAGE_CHARS:
                raise msgspec.ValidationError("the message is too long")
            if not may_cancel:
                raise msgspec.ValidationError("this ticket is only good for following the turn")
            asked = _decode_client(text.encode())
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            detail = f'Expected {{"type":"cancel"}}: {error}.'
            answer = {"type": "error", "message": detail, "code": "invalid_request"}
            await socket.send_text(msgspec.json.encode(answer).decode())
        else:
            turn.cancel(asked.heard_upto)


class _ClientCancel(msgspec.Struct, tag="cancel", tag_field="type", forbid_unknown_fields=True):
    heard_upto: Annotated[int, msgspec.Meta(ge=0)] | None = None


_decode_client = msgspec.json.Decoder(_ClientCancel).decode


async def _find(request: Request, turn_id: str) -> Turn:
    desk = desk_of(request)
    return await desk.turns.find(turn_id, desk.access.principal(request))


def _links(turn_id: str, ticket: str) -> dict[str, str]:
    """Return where a turn is found; the ticket is only good for following it."""
    base, query = f"/v1/turns/{turn_id}", f"?ticket={ticket}"
    return {"self": base, "events": f"{base}/events{query}", "ws": f"{base}/ws{query}", "cancel": f"{base}/cancel"}


def _show(record: TurnRecord, *, with_text: bool = True) -> dict[str, Any]:
    started, ended = record.started, record.ended
    shown: dict[str, Any] = {
        "id": started.turn,
        "state": "ended" if ended else "open",
        "outcome": ended.outcome if ended else None,
        "reason": ended.reason if ended else None,
        "usage": usage_fields(record.usage) if record.usage else None,
        "tail": record.tail,
        "created_at": started.created_at,
        "ended_at": None if record.ended_ms is None else iso(record.ended_ms),
        "upstream": started.upstream,
        "model": started.model,
        "conversation_id": started.conversation_id or None,
        "session_id": started.session_id or None,
    }
    if with_text:
        shown["text"] = record.text
    return shown
