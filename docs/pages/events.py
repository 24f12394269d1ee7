"""The page of events: the native wire, each event with an example that the encoder made, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

import msgspec

from pages.markdown import Undescribed, block, code, listed, page, paragraphs, table
from pages.words import Schema, type_in_words
from trunkline.core.events import NOTICES, AnyEvent, Delta, Ended, Guarded, Notice, Started, ToolCall, Usage
from trunkline.core.ids import turn_id
from trunkline.core.turn import NEXT
from trunkline.endpoints.native import events as server_sent
from trunkline.stores.base import TurnLog

AT_MS: Final = 1_767_261_600_000
TURN: Final = turn_id(AT_MS, bytes(range(10)))
USAGE: Final = Usage(24, 11, 35, "platform")
EXAMPLES: Final[tuple[AnyEvent, ...]] = (
    Started(
        turn=TURN,
        principal="web-app",
        upstream="support",
        model="gpt-4o-mini",
        created_at="2026-01-01T10:00:00.000Z",
        endpoint="native",
        conversation_id="case-4711",
        prompt_tokens=24,
    ),
    Delta("Your order will arrive on Friday.", 0),
    ToolCall(0, 0, "call_1", "find_order", '{"number":'),
    Guarded("payment-card", "mask", start=48, end=67, offset=48, length=6),
    USAGE,
    Notice("truncated", "3 of 40 messages left out to fit 8192 tokens"),
    Ended("completed", "stop", finish_reason="stop", usage=USAGE),
)
"""One of each, in an order that the table of states allows."""

INTRO: Final = """\
What a reader of the native routes gets (`GET /v1/turns/TURN/events` and `WS /v1/turns/TURN/ws`), what the log
holds, and what the library yields. All of it is JSON, and a field that has its default value is left out."""
WIRE: Final = """\
Each event has an offset, which only grows. A server-sent event has it as `id`: a reader that comes back names the
last one it has in the header `Last-Event-ID`, or as `?after=`. On the WebSocket the JSON is one message, with the
offset as its first field, `id`."""
ORDER: Final = "A turn begins with one `started` and ends with exactly one `ended`."


def events_page() -> str:
    """Write the page. Raises `Undescribed` where an event has no example or no docstring."""
    kinds: tuple[type[AnyEvent], ...] = get_args(AnyEvent)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    log = TurnLog(TURN)
    log.add(EXAMPLES, AT_MS)
    examples = {type(entry.event): entry.json.decode() for entry in log.entries}
    parts = []
    for kind in kinds:
        if kind not in examples:
            raise Undescribed(f"the event {kind.__name__} has no example")
        fields = table(("field", "type", "default"), _fields(schemas[kind.__name__]))
        parts += [f"## `{_tag(kind)}`", _text(kind), fields, block("json", examples[kind])]
        if kind is Notice:
            parts += [_notices()]
    frame = block("text", server_sent(log, 1, 2).decode().rstrip())
    order = table(("a turn that is", "can get", "and then is"), _steps())
    return page("Events", INTRO, "## On the wire", WIRE, frame, "## In their order", ORDER, order, *parts)


def _tag(kind: type[AnyEvent]) -> str:
    return str(kind.__struct_config__.tag)


def _text(kind: type[AnyEvent]) -> str:
    if not kind.__doc__:
        raise Undescribed(f"the event {kind.__name__} has no docstring")
    text = paragraphs(kind.__doc__).replace("`trunkline.core.errors.REASONS`", "[the closed table](reasons.md)")
    return text.replace("`trunkline.core.events.NOTICES`", "those below")


def _notices() -> str:
    for event in EXAMPLES:
        if isinstance(event, Notice) and event.kind not in NOTICES:
            raise Undescribed(f"the notice {event.kind!r} has no row")
    return table(("kind", "says", "detail"), [(f"`{kind}`", *words) for kind, words in NOTICES.items()])


def _fields(schema: Schema) -> Iterator[tuple[str, str, str]]:
    for name, prop in schema["properties"].items():
        given = prop.get("default")
        default = "always there" if name in schema["required"] else "none" if given is None else code(given)
        yield f"`{name}`", type_in_words(prop), default


def _steps() -> Iterator[tuple[str, str, str]]:
    for state, steps in NEXT.items():
        for after in dict.fromkeys(steps.values()):
            yield state.value, listed(_tag(kind) for kind, then in steps.items() if then is after), after.value
        if not steps:
            yield state.value, "nothing", state.value
