"""The facts of a turn: frozen, tagged, and the same in memory, in the log and on the native wire."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from trunkline.core.errors import Outcome

Channel = Literal["answer", "reasoning", "refusal", "relay"]
"""Which text a delta belongs to; `relay` is our own fallback or filler text, never part of the answer."""


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="type", omit_defaults=True):
    """One fact of a turn. Fields keep their wire names; what has its default value is left out of the JSON."""


class Started(Event, frozen=True, tag="started", kw_only=True):
    """The turn exists. It names who asked whom for what, and holds no text of any message.

    `prompt_tokens` counts what the model is sent; `client_tokens` what the client sent, where its protocol has a way
    of its own to count it and finds another number.
    """

    turn: str
    principal: str
    upstream: str
    model: str
    created_at: str
    endpoint: str
    conversation_id: str = ""
    session_id: str = ""
    dialog_id: str = ""
    prompt_id: str = ""
    language: str = ""
    prompt_tokens: int = 0
    client_tokens: int = 0


class Delta(Event, frozen=True, tag="delta"):
    """A piece of released text. The text of a turn is the concatenation of its deltas of one choice and channel."""

    text: str
    choice: int
    channel: Channel = "answer"


class ToolCall(Event, frozen=True, tag="tool_call"):
    """A piece of a tool call in the platform's order; `arguments` is a piece of a JSON text."""

    choice: int
    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class Guarded(Event, frozen=True, tag="guarded"):
    """A guard acted. `start` and `end` count characters of its input, `offset` and `length` of its output.

    `kind` is `term` where a term of a list was found, else `data`. `digest` is the same for the same value of one
    conversation, and says nothing without that conversation's key.
    """

    rule: str
    action: str
    start: int
    end: int
    offset: int
    length: int
    digest: str = ""
    kind: Literal["data", "term"] = "data"


class Usage(Event, frozen=True, tag="usage"):
    """Tokens of the prompt and of the answer, and who counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    counted_by: Literal["platform", "relay"]


class Notice(Event, frozen=True, tag="notice"):
    """Something a reader may want to know and need not act on; `detail` is never a piece of an answer or a prompt.

    `kind` is one of `trunkline.core.events.NOTICES`.
    """

    kind: str
    detail: str = ""


NOTICES: Final[dict[str, tuple[str, str]]] = {
    "answer_not_json": ("The answer was to be JSON, and is not.", "where, and what is wrong there"),
    "dropped": ("The platform sent text after the end of a choice; it is left out.", "how many characters"),
    "fallback": ("An upstream failed before its first text, and another one is asked.", "both names, and the reason"),
    "held_dropped": ("A guard still held text when the turn ended, and it is not released.", "how many characters"),
    "incomplete_frames": ("The platform's frames lacked keys that its protocol has.", "how many lacked which"),
    "no_end_mark": ("The stream ended properly, but without its end mark.", "which mark"),
    "not_sent": (
        "The platform's wire has no place for something of the request, and it was left out.",
        "which: `input` is the user's last message, `history` those before it, `system` the system's, others by field",
    ),
    "not_streamed": ("The platform sent its whole answer at once.", "the same in words"),
    "reconnected": (
        "The stream broke off in the middle of the answer, and was taken up again.",
        "after how many tries",
    ),
    "skipped": ("The platform sent what is no part of the answer.", "how many events or messages of which kind"),
    "truncated": (
        "The prompt did not fit the context window, and lost its oldest messages.",
        "how many, and the window",
    ),
}
"""Every kind of notice: what it says, and what its detail holds."""


class Ended(Event, frozen=True, tag="ended"):
    """The last event of every turn. `reason` is a code of `trunkline.core.errors.REASONS`.

    `finish_reason` is one of `stop`, `length`, `tool_calls`, `content_filter`, or empty where the platform gave none;
    `finish_reasons` names one for each choice where there are several. `detail` holds the platform's own words about
    an error, screened and cut. `heard_upto` is what a barging-in caller had heard, in characters of released text, and
    no more than there are of those.
    """

    outcome: Outcome
    reason: str
    finish_reason: str = ""
    finish_reasons: tuple[str, ...] = ()
    detail: str = ""
    heard_upto: int | None = None
    usage: Usage | None = None


AnyEvent = Started | Delta | ToolCall | Guarded | Usage | Notice | Ended

UNKNOWN: Final = "unknown_event"
"""The kind of the notice that stands for an event of another version of trunkline."""


_DOES_NOT_KNOW: Final = "This version of trunkline does not know this event"


class _Tagged(msgspec.Struct, gc=False):
    type: str = ""


_encode = msgspec.json.Encoder().encode
_decode_all = msgspec.json.Decoder(list[AnyEvent]).decode
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_tag = msgspec.json.Decoder(_Tagged).decode
_decode = msgspec.json.Decoder(AnyEvent).decode


class Entry(msgspec.Struct, gc=False):
    """An event at its place in the log: `offset` counts from 1 and only grows, `at_ms` is Unix time."""

    offset: int
    at_ms: int
    event: AnyEvent
    _json: bytes = b""

    @property
    def is_known(self) -> bool:
        """False where the event stands for one of another version, as `read_event` has it."""
        return not (isinstance(self.event, Notice | Ended) and self.event.detail.startswith(_DOES_NOT_KNOW))

    @property
    def json(self) -> bytes:
        """The event in native JSON, encoded once for the journal and every reader."""
        if not self._json:
            self._json = _encode(self.event)
        return self._json


def decode_event(data: bytes) -> AnyEvent:
    """Read an event from its native JSON. Raises `msgspec.DecodeError` where it is none."""
    try:
        event: AnyEvent = _decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not an event: {type(error).__name__}") from None
    return event


def read_events(data: bytes) -> list[tuple[AnyEvent, bytes]]:
    """Read a JSON array of events; see `read_event`. Raises `msgspec.DecodeError`."""
    try:
        return [(event, b"") for event in _decode_all(data)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [read_event(bytes(raw)) for raw in _decode_raw(data)]


def read_event(data: bytes) -> tuple[AnyEvent, bytes]:
    """Read an event, with its JSON where it is one of another version, as a log has it after a step back.

    A notice stands for it, or, where it is an end, one that says so: its turn is over. Raises `msgspec.DecodeError`
    where it is no event at all, and for a beginning: whose turn that is cannot be told.
    """
    try:
        return decode_event(data), b""
    except msgspec.DecodeError:
        tag = _decode_tag(data).type
        if tag in {"", "started"}:
            raise
        detail = f"{_DOES_NOT_KNOW}: {tag[:32]}."
        return Ended("failed", "store_error", detail=detail) if tag == "ended" else Notice(UNKNOWN, detail), data


def event_name(event: Event) -> str:
    """Return the type of an event as the wire spells it: `delta`, `ended`, ..."""
    name: Any = event.__struct_config__.tag
    return str(name)
