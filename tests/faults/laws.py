"""What must hold of one turn, whatever befell it: the laws that the matrix judges by, beside the platform's ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence

from faults.rows import COGNIGY, SOCKETS, TCP_DEADLINE_S, Line
from trunkline import Delta, Ended, ToolCall
from trunkline.core.errors import REASONS
from trunkline.core.events import Entry
from trunkline.simulators import Simulator, says
from trunkline.simulators.texts import TEXTS

STREAMS = ("/completions", "/websocket", "/stream")


def text_of(entries: Sequence[Entry], channel: str = "answer") -> str:
    """Put a text together as a reader does."""
    return "".join(e.event.text for e in entries if isinstance(e.event, Delta) and e.event.channel == channel)


def problem(line: Line, preset: str, entries: Sequence[Entry], simulator: Simulator, took_s: float) -> str:
    """Return what is wrong with a turn; empty where it is as it must be."""
    ends = [entry.event for entry in entries if isinstance(entry.event, Ended)]
    if len(ends) != 1 or not isinstance(entries[-1].event, Ended):
        return f"{len(ends)} ends, the last event is {type(entries[-1].event).__name__}"
    ended = ends[0]
    if ended.reason not in line.ends[preset]:
        return f"ended as {ended.reason} ({ended.detail}), expected {' or '.join(line.ends[preset])}"
    if ended.outcome != REASONS[ended.reason].outcome:
        return f"{ended.reason} came with the outcome {ended.outcome}"
    if line.strike is not None and took_s > TCP_DEADLINE_S:
        return f"took {took_s:.1f} s"
    broken = [rule for record in simulator.ledger for rule in record["broken"]]
    if broken:
        return f"broke the wire's rules: {broken}"
    return _of_text(line, preset, ended, entries, simulator) or _aside(line, entries)


def _of_text(line: Line, preset: str, ended: Ended, entries: Sequence[Entry], simulator: Simulator) -> str:
    text = text_of(entries)
    meant = "" if {"refusal", "tool-calls"} & {*line.words} else TEXTS[simulator.default_text]
    sent = _sent(preset, simulator)
    if "dangling-surrogate" in line.words:
        # The first half of a character, which the ledger does not count, cannot be shown as it is.
        text = text.removesuffix("\ufffd")
    whole = ended.outcome == "completed"
    right = {
        "all": text == sent == meant,
        "sent": text == sent,
        "part": text != "" and sent.startswith(text),
        "none": text == "",
        "some": sent.startswith(text),
    }[line.text]
    if not right or not meant.startswith(sent) or (whole and text != meant):
        return f"ended as {ended.reason} with {len(text)} characters of {len(sent)} sent and {len(meant)} meant"
    if line.strike is None:
        return ""
    # Which of its reasons a broken connection has is not free either.
    silent = ended.reason == "first_token_timeout"
    late = ended.reason == "between_tokens_timeout" or (ended.reason == "upstream_interrupted" and preset == COGNIGY)
    return f"ended as {ended.reason} with {len(text)} characters" if (silent and text) or (late and not text) else ""


def _sent(preset: str, simulator: Simulator) -> str:
    """Return how far the platform came: over HTTP at its last try, over a WebSocket on all connections of the turn."""
    records = [record for record in simulator.ledger if record["path"].endswith(STREAMS)]
    if preset not in SOCKETS:
        return records[-1]["text"] if records else ""
    meant = next((record["meant"] for record in records if record["meant"]), "")
    # A platform that replays another text on a later connection means another one from then on.
    return meant[: max((record["reached"] for record in records if record["meant"] == meant), default=0)]


def _aside(line: Line, entries: Sequence[Entry]) -> str:
    """Check what is said beside the answer."""
    for word, channel, expected in (
        ("reasoning", "reasoning", says._REASONING),
        ("refusal", "refusal", says._REFUSAL),
    ):
        if text_of(entries, channel) != (expected if word in line.words else ""):
            return f"has another {channel} than the platform said"
    calls: dict[int, tuple[str, str]] = {}
    for entry in entries:
        if isinstance(call := entry.event, ToolCall):
            name, arguments = calls.get(call.index, ("", ""))
            calls[call.index] = (name + call.name, arguments + call.arguments)
    expected_calls = list(says._CALLS) if "tool-calls" in line.words else []
    if [*calls.values()] != expected_calls:
        return f"has other tool calls than the platform made: {json.dumps(calls)}"
    return ""
