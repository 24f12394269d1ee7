"""The fold of a turn: what its events amount to, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trunkline.core.events import Delta, Ended, Entry, Started, ToolCall, Usage


@dataclass(slots=True)
class ToolCallRecord:
    """One whole tool call: its pieces put together in the order they came."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class ChoiceRecord:
    """The released texts of one choice."""

    answer: str = ""
    reasoning: str = ""
    refusal: str = ""
    relay: str = ""
    tool_calls: dict[int, ToolCallRecord] = field(default_factory=dict)


@dataclass(slots=True)
class TurnRecord:
    """What is known of a turn. Times are Unix milliseconds; `ended` is None while the turn is open."""

    started: Started
    tail: int = 0
    choices: dict[int, ChoiceRecord] = field(default_factory=dict)
    usage: Usage | None = None
    ended: Ended | None = None
    started_ms: int = 0
    first_delta_ms: int | None = None
    ended_ms: int | None = None

    @property
    def text(self) -> str:
        """The released answer of the first choice."""
        return self.choices[0].answer if 0 in self.choices else ""


def outline(first: Entry, last: Entry) -> TurnRecord:
    """Return what the first entry of a turn and the last one so far tell: all but its texts.

    Raises `ValueError` where it does not begin with `Started`.
    """
    if not isinstance(first.event, Started):
        raise ValueError("the entries of a turn begin with Started")  # noqa: TRY004 - the value is wrong, as in `fold`
    record = TurnRecord(first.event, tail=last.offset, started_ms=first.at_ms)
    if isinstance(last.event, Ended):
        record.ended, record.usage, record.ended_ms = last.event, last.event.usage, last.at_ms
    return record


def fold(entries: Iterable[Entry]) -> TurnRecord:
    """Fold the entries of one turn, from its first on. Raises `ValueError` where they do not begin with `Started`."""
    entries = iter(entries)
    first = next(entries, None)
    if first is None or not isinstance(first.event, Started):
        raise ValueError("the entries of a turn begin with Started")
    record = TurnRecord(first.event, tail=first.offset, started_ms=first.at_ms)
    texts: dict[tuple[int, str], list[str]] = {}
    for entry in entries:
        event = entry.event
        record.tail = entry.offset
        match event:
            case Delta():
                texts.setdefault((event.choice, event.channel), []).append(event.text)
                if record.first_delta_ms is None:
                    record.first_delta_ms = entry.at_ms
            case ToolCall():
                _add_tool_call(record, event)
            case Usage():
                record.usage = event
            case Ended():
                record.ended, record.ended_ms = event, entry.at_ms
            case _:
                pass
    for (choice, channel), pieces in sorted(texts.items()):
        setattr(record.choices.setdefault(choice, ChoiceRecord()), channel, "".join(pieces))
    return record


def _add_tool_call(record: TurnRecord, piece: ToolCall) -> None:
    calls = record.choices.setdefault(piece.choice, ChoiceRecord()).tool_calls
    call = calls.setdefault(piece.index, ToolCallRecord())
    call.id = call.id or piece.call_id
    call.name += piece.name
    call.arguments += piece.arguments
