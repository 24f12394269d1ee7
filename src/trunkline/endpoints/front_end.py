"""`GET /stream`, made for a browser's EventSource: `token`, `done` and `error`, and one turn however often it asks.

An EventSource repeats its address after every drop and after every normal end, so the address alone must not start
another turn. The id of the last event, the ticket, or the same question a moment ago tell which turn is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.types import Scope, Send

from trunkline.core.errors import AccessDenied, RequestRefused, TurnForgotten, TurnNotFound
from trunkline.core.events import Delta, Ended
from trunkline.core.ids import CLIENT_ID_PATTERN, is_turn_id
from trunkline.core.request import TurnRequest
from trunkline.endpoints.access import Caller
from trunkline.endpoints.base import Desk, TicketInAddress, desk_of, read_offset
from trunkline.endpoints.once import IDEMPOTENT, start_once, turn_headers
from trunkline.endpoints.problems import PROBLEM_DETAILS, STARTS, route_class
from trunkline.endpoints.settings import FallbackTexts
from trunkline.endpoints.streams import EventStream
from trunkline.log import Follower
from trunkline.repeats import Question
from trunkline.stores.base import Form, TurnLog
from trunkline.turns import Turn

router = APIRouter(route_class=route_class(PROBLEM_DETAILS), tags=["front end"])

RETRY_MS: Final = 1_000
TIMEOUTS: Final = frozenset(
    {"connect_timeout", "handshake_timeout", "first_token_timeout", "between_tokens_timeout", "turn_timeout"}
)
RATE_LIMITS: Final = frozenset({"rate_limited", "quota_exceeded"})
_SHOWN: Final = frozenset({"answer", "relay", "refusal"})
Id = Annotated[str, Query(pattern=CLIENT_ID_PATTERN)]


@router.get(
    "/stream",
    summary="Stream an answer to a browser",
    response_model=None,
    openapi_extra=IDEMPOTENT,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`turn`, `token`*, then `done` or `error`"},
        204: {"description": "the turn has ended and this reader has all of it: an EventSource stops"},
        **PROBLEM_DETAILS.answers(*STARTS),
    },
)
async def stream(  # noqa: PLR0913, PLR0917 - one parameter of the address each
    request: Request,
    session_id: Id,
    dialog_id: Annotated[str, Query(pattern=CLIENT_ID_PATTERN, description="the conversation")],
    input: Annotated[str | None, Query(min_length=1, max_length=4_096)] = None,  # noqa: A002 - its name on the wire
    upstream: Annotated[str | None, Query(max_length=128)] = None,
    language: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9-]{1,35}$", description="of fallback texts")] = None,
    last_event_id: Annotated[str | None, Header(max_length=64, description="`turn.offset`")] = None,
    ticket: TicketInAddress = None,  # noqa: ARG001 - documented; Access reads it
) -> Response:
    """Start a turn, or go on with the one that this EventSource was reading.

    The first event, `turn`, names the turn, so that a reader that is cut off knows which one it was. A `token` holds a
    piece of the answer, `done` all of it, `error` a text for the customer in place of an answer.
    """
    desk = desk_of(request)
    caller = desk.access.caller(request)
    question = Question(caller.principal, session_id, dialog_id, input or "", upstream or "")
    turn, after = await _meant(desk, caller, question, last_event_id)
    found = turn is not None
    if turn is None:
        asked = TurnRequest(
            upstream=upstream,
            input=input,
            session_id=session_id,
            conversation_id=dialog_id,
            dialog_id=dialog_id,
            language=language,
        )
        turn, found = await start_once(
            request, caller.principal, lambda: desk.turns.start(asked, caller.principal, "front_end")
        )
        desk.repeats.asked(question, turn.id)
    await turn.shown()
    desk.access.tickets.bind(caller, turn.id, desk.repeats.digest(question))
    if found and turn.log.ended and after == turn.log.tail:
        return Response(status_code=204)
    return _Stream(desk, question, turn, after)


async def _meant(desk: Desk, caller: Caller, question: Question, last_event_id: str | None) -> tuple[Turn | None, int]:
    """Return the turn that a request goes on with and from where; None where it asks for a new one."""
    if last_event_id:
        turn_id, _, offset = last_event_id.partition(".")
        if not is_turn_id(turn_id):
            raise RequestRefused("invalid_offset", f"Last-Event-ID: expected turn.offset, got {last_event_id!r}.")
        after = read_offset(offset, "Last-Event-ID")
        if caller.only_turn not in (None, turn_id):
            raise AccessDenied("This ticket is for another turn.")
        turn = await desk.turns.find(turn_id, caller.principal)
        turn.log.check_offset(after)
        return turn, after
    if caller.only_turn is not None:
        if caller.about not in (b"", desk.repeats.digest(question)):
            raise AccessDenied("This ticket was used for another question; a new one needs a new ticket.")
        return await desk.turns.find(caller.only_turn, caller.principal), 0
    asked = desk.repeats.unanswered(question)
    if asked is None:
        return None, 0
    with suppress(TurnForgotten, TurnNotFound):
        turn = await desk.turns.find(asked, caller.principal)
        if not turn.is_read:
            desk.repeats.asked(question, asked)  # It may be cut off as early once more.
            return turn, 0
    return None, 0


class _Stream(EventStream):
    """The events of `/stream`. The first says which turn it is: some clients take no id from an event without data."""

    def __init__(self, desk: Desk, question: Question, turn: Turn, after: int) -> None:
        name = turn.id.encode()
        first = b"retry: %d\nevent: turn\ndata: %b\nid: %b.%d\n\n" % (RETRY_MS, name, name, after)
        form = form_of(_texts(desk.fallback_texts, turn.started.language))
        super().__init__(turn, after, form, headers=turn_headers(turn), first=first)
        self._repeats = desk.repeats
        self._question = question

    async def serve(self, follower: Follower, scope: Scope, send: Send) -> None:
        """Stream until the turn has ended; then a dialog whose platform holds the prompt asks a new question."""
        await super().serve(follower, scope, send)
        if not self._question.input:
            self._repeats.answered(self._question, self.turn.id)


# The form


@lru_cache(maxsize=64)
def form_of(texts: FallbackTexts) -> Form:
    """Make the form of one language's fallback texts: readers of a turn share what is rendered in the same form."""

    def form(turn: TurnLog, a: int, b: int) -> bytes:
        head = turn.id.encode()
        out: list[bytes] = []
        for n in range(a, b):
            entry = turn.entries[n]
            event = entry.event
            if type(event) is Delta:
                text = _token(turn, n) if _is_shown(event) else ""
                kind = b"token"
            elif type(event) is Ended:
                text, kind = _last(turn, event, texts)
            else:
                continue
            if text or kind != b"token":
                out.append(b"event: %b\n%bid: %b.%d\n\n" % (kind, _data(text), head, entry.offset))
        return out[0] if len(out) == 1 else b"".join(out)

    return form


def _is_shown(event: Delta) -> bool:
    return event.choice == 0 and event.channel in _SHOWN


def _token(turn: TurnLog, n: int) -> str:
    """Return a piece as it is to be read: every line end is one newline, also one that is cut in two."""
    text = _shown_text(turn, n)
    if "\r" not in text and not text.startswith("\n"):
        return text
    if text.startswith("\n"):
        before = next((_shown_text(turn, m) for m in range(n - 1, -1, -1) if _shown_text(turn, m)), "")
        if before.endswith("\r"):  # its newline went out with the CR
            text = text[1:]
    return _newlines(text)


def _shown_text(turn: TurnLog, n: int) -> str:
    event = turn.entries[n].event
    return event.text if isinstance(event, Delta) and _is_shown(event) else ""


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _data(text: str) -> bytes:
    """Write a text as `data:` lines, one for each of its own."""
    if "\n" not in text:
        return b"data: %b\n" % text.encode()
    return b"".join(b"data: %b\n" % line.encode() for line in text.split("\n"))


def _last(turn: TurnLog, ended: Ended, texts: FallbackTexts) -> tuple[str, bytes]:
    """Return what the last event says: the whole text, or what a customer reads in place of one."""
    if ended.outcome == "completed":
        shown = (_shown_text(turn, n) for n in range(len(turn.entries)))
        return _newlines("".join(shown)), b"done"
    if ended.reason in TIMEOUTS:
        return texts.timeout, b"error"
    return (texts.rate_limit if ended.reason in RATE_LIMITS else texts.other), b"error"


def _texts(configured: Mapping[str, FallbackTexts], language: str) -> FallbackTexts:
    """Return the texts of a language: of the tag, of its first part, English, or the built-in ones."""
    for tag in (language, language.partition("-")[0], "en"):
        if tag in configured:
            return configured[tag]
    return FallbackTexts()
