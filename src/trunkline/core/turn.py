"""The states of a turn and the events that may follow in each: law 1, exactly one end, as a table."""

from __future__ import annotations

from enum import Enum
from typing import Final

from trunkline.core.events import AnyEvent, Delta, Ended, Guarded, Notice, Started, ToolCall, Usage


class State(Enum):
    """Where a turn is in its life."""

    NEW = "new"
    OPEN = "open"
    ENDED = "ended"


NEXT: Final[dict[State, dict[type[AnyEvent], State]]] = {
    State.NEW: {Started: State.OPEN},
    State.OPEN: {
        Delta: State.OPEN,
        ToolCall: State.OPEN,
        Guarded: State.OPEN,
        Usage: State.OPEN,
        Notice: State.OPEN,
        Ended: State.ENDED,
    },
    State.ENDED: {},
}


class IllegalEvent(Exception):
    """An event that the state of its turn does not allow: always a fault of the relay, never of a client."""


def advance(state: State, event: AnyEvent) -> State:
    """Return the state after `event`, or raise `IllegalEvent` where the table has no such step."""
    following = NEXT[state].get(type(event))
    if following is None:
        raise IllegalEvent(f"a turn that is {state.value} cannot take a {type(event).__name__}")
    return following
