"""The fault matrix: every fault, several seeds, every preset, each turn compared with the platform's own ledger.

`make fault-matrix` runs it at length and writes docs/fault-matrix.md; a test runs a thousand turns of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trunkline import Delta, Ended, Relay, TurnRequest
from trunkline.simulators import Simulator

PRESETS: Final = ("openai", "genesys-completions", "genesys-chat")
# Fault words, the reason that the turn must end with, and how much of the platform's text it must have.
FAULTS: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    ((), "stop", "all"),
    (("cut=bytes",), "stop", "all"),
    (("cut=random",), "stop", "all"),
    (("cut=random", "crlf"), "stop", "all"),
    (("cut=random", "cr", "bom"), "stop", "all"),
    (("multi-line", "cut=random"), "stop", "all"),
    (("comments", "metadata", "cut=random"), "stop", "all"),
    (("no-space",), "stop", "all"),
    (("ascii",), "stop", "all"),
    (("empty-deltas", "null-deltas"), "stop", "all"),
    (("no-role",), "stop", "all"),
    (("double-done",), "stop", "all"),
    (("after-finish",), "stop", "all"),
    (("no-done",), "stop", "all"),
    (("no-finish",), "end_without_reason", "all"),
    (("finish=length",), "max_tokens", "all"),
    (("content-length",), "stop", "all"),
    (("drip=1", "cut=40"), "stop", "all"),
    (("slow-first=30",), "stop", "all"),
    (("close-idle",), "stop", "all"),
    (("stale",), "stop", "all"),
    (("unauthorized-once",), "stop", "all"),
    (("no-end",), "upstream_interrupted", "all"),
    (("reset-after=4",), "upstream_interrupted", "part"),
    (("close-after=4",), "upstream_interrupted", "part"),
    (("half-event-after=4",), "upstream_interrupted", "part"),
    (("stall-after=4",), "between_tokens_timeout", "part"),
    (("bad-json-after=4",), "upstream_protocol", "part"),
    (("error-after=4",), "upstream_error", "part"),
    (("error-event-after=4",), "upstream_error", "part"),
    (("stall",), "first_token_timeout", "none"),
    (("refuse",), "upstream_interrupted", "none"),
    (("html",), "upstream_protocol", "none"),
    (("garbage",), "upstream_protocol", "none"),
    (("gzip",), "upstream_protocol", "none"),
    (("huge-line=2",), "upstream_protocol", "none"),
    (("status=400",), "upstream_error", "none"),
    (("status=401",), "upstream_auth", "none"),
    (("status=403",), "upstream_forbidden", "none"),
    (("status=429", "retry-after=0"), "rate_limited", "none"),
    (("status=429", "retry-after-date=0"), "rate_limited", "none"),
    (("status=500",), "upstream_error", "none"),
    (("status=503",), "upstream_unavailable", "none"),
)
SOCKET_PRESETS: Final = ("genesys-conversations", "genesys-gateway", "cognigy")
_INTERRUPTED: Final = ("stop", "upstream_interrupted", "upstream_interrupted")
# Fault words of one connection, and the reason that the turn must end with, by preset; a turn that is completed has all
# of the text, any other some of its beginning.
SOCKET_FAULTS: Final[tuple[tuple[tuple[str, ...], tuple[str, str, str]], ...]] = (
    ((), ("stop",) * 3),
    (("fragments=3", "pings"), ("stop",) * 3),
    (("cut=random",), ("stop",) * 3),
    (("metadata", "empty-deltas", "null-deltas"), ("stop",) * 3),
    (("lone-surrogates", "cut=random"), ("stop",) * 3),
    (("finish-with-text", "after-finish"), ("stop",) * 3),
    (("double-done", "closes"), ("stop",) * 3),
    (("missing-key=any", "no-usage"), ("stop",) * 3),
    (("slow-first=30",), ("stop",) * 3),
    (("duplicates", "reorder=8"), ("stop",) * 3),
    (("reset-after=4",), _INTERRUPTED),
    (("reset-after=4", "duplicates", "reorder=4"), _INTERRUPTED),
    (("reset-after=4", "replay=continues"), _INTERRUPTED),
    (("reset-after=4", "no-sequence", "lone-surrogates"), _INTERRUPTED),
    (("reset-after=4", "revoked"), _INTERRUPTED),
    (("close-after=4",), _INTERRUPTED),
    (("close-frame=1000/4",), _INTERRUPTED),
    (("half-event-after=4",), _INTERRUPTED),
    (("no-end",), _INTERRUPTED),
    (("reset-after=4", "no-sequence", "replay=other"), ("replay_mismatch", *_INTERRUPTED[1:])),
    (("gap=2",), ("sequence_gap", "stop", "stop")),
    (("close-frame=4403/4",), ("upstream_forbidden",) * 3),
    (("error-after=4",), ("upstream_error",) * 3),
    (("bad-json-after=4",), ("stop", "upstream_protocol", "upstream_protocol")),
    (("keyless-after=4",), ("stop", "upstream_protocol", "stop")),
    (("stall-after=4",), ("between_tokens_timeout",) * 3),
    (("huge-line=2",), ("upstream_protocol",) * 3),
    (("unauthorized-once",), ("stop",) * 3),
    (("status=403",), ("upstream_forbidden",) * 3),
    (("status=429", "retry-after=0"), ("stop",) * 3),
    (("handshake=rejected",), ("stop", "handshake_rejected", "stop")),
)
TEXTS: Final = ("order", "unicode", "newlines", "german", "markdown")
TIMEOUTS: Final = {"connect_s": 5, "first_token_s": 1.5, "between_tokens_s": 1.5, "turn_s": 30}
TURN_LIMIT_S: Final = 60
ROW_OF_WORDS = tuple[tuple[str, ...], str, str]


@dataclass
class Row:
    """What became of the turns of one preset under one fault."""

    preset: str
    faults: tuple[str, ...]
    expected: str
    turns: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def applies(preset: str, faults: tuple[str, ...]) -> bool:
    """An openai server with a fixed key has no token that could be renewed."""
    return preset != "openai" or faults != ("unauthorized-once",)


def socket_rows() -> list[Row]:
    """Return the rows of the presets whose wire is a WebSocket."""
    return [
        Row(preset, faults, reason)
        for faults, reasons in SOCKET_FAULTS
        for preset, reason in zip(SOCKET_PRESETS, reasons, strict=True)
    ]


async def run(seeds: Iterable[int], at_once: int = 8) -> list[Row]:
    """Run the matrix; a row's `wrong` names every turn that lost, doubled, hung or ended otherwise than it must."""
    rows = [
        Row(preset, faults, reason) for preset in PRESETS for faults, reason, _ in FAULTS if applies(preset, faults)
    ]
    rows += socket_rows()
    says = {faults: how_much for faults, _, how_much in FAULTS}
    gate = asyncio.Semaphore(at_once)

    async def one(row: Row, seed: int) -> None:
        # Every turn has a platform and a relay of its own, so that its ledger holds nothing else.
        async with gate, Simulator(seed=seed) as simulator, Relay(_settings(simulator, row.preset)) as relay:
            how_much = says[row.faults] if row.preset in PRESETS else ""
            problem, end = await _turn(relay, simulator, row, how_much, TEXTS[seed % len(TEXTS)])
        row.turns += 1
        row.ends[end] += 1
        if problem:
            row.wrong.append(f"{row.preset} {';'.join(row.faults)} seed {seed}: {problem}")

    async with asyncio.TaskGroup() as group:
        for row in rows:
            for seed in seeds:
                group.create_task(one(row, seed))
    return rows


async def _turn(relay: Relay, simulator: Simulator, row: Row, says: str, text_name: str) -> tuple[str, str]:
    request = _request(simulator, row, text_name)
    text, ends, after_end = "", [], 0
    try:
        async with asyncio.timeout(TURN_LIMIT_S):
            async for event in relay.stream(request):
                after_end += bool(ends)
                if isinstance(event, Delta):
                    text += event.text
                elif isinstance(event, Ended):
                    ends.append(event)
    except TimeoutError:
        return "hangs", "hanging"
    if len(ends) != 1 or after_end:
        return f"{len(ends)} ends, {after_end} events after the end", "several"
    reason = ends[0].reason
    sent = _sent(simulator, row)
    if not says:
        says = "all" if row.expected == "stop" else "some"
    if reason != row.expected:
        return f"ended as {reason} ({ends[0].detail}), expected {row.expected}", reason
    if (says == "all" and text != sent) or (says == "none" and text) or not sent.startswith(text):
        return f"has {len(text)} characters, the platform sent {len(sent)}", reason
    if says == "part" and not text:
        return "has no text", reason
    return "", reason


def _request(simulator: Simulator, row: Row, text_name: str) -> TurnRequest:
    """Ask for a text, with the faults in the prompt, or, where that would be too late, by the simulator's queue."""
    if row.preset in PRESETS:
        return TurnRequest(input=";".join([f"sim:text={text_name}", *(f"sim:fault={fault}" for fault in row.faults)]))
    simulator.set_faults(row.faults, at="platform")
    ids = {"conversation_id": "c-1", "prompt_id": "p-1", "dialog_id": "d-1", "session_id": "s-1"}
    return TurnRequest(input=f"sim:text={text_name}", **ids)


def _sent(simulator: Simulator, row: Row) -> str:
    """Return what the platform said; over a WebSocket, what it meant to say when it was first asked."""
    if row.preset in PRESETS:
        return [record for record in simulator.ledger if "completions" in record["path"]][-1]["text"]
    return next((record["meant"] for record in simulator.ledger if record["meant"]), "")


def _settings(simulator: Simulator, preset: str) -> dict[str, Any]:
    upstream: dict[str, Any] = {"preset": preset, "model": "gpt-4-1106-preview", "timeouts": TIMEOUTS, "guards": "none"}
    if preset == "openai":
        upstream["base_url"] = f"{simulator.url}/v1"
    else:
        upstream |= {"base_url": simulator.url, "client_id": "me", "client_secret": "s3cret"}
    if preset == "genesys-conversations":
        upstream["gap_s"] = 0.5
    return {"upstreams": {"support": upstream}, "store": {"durability": "memory"}}


def table(rows: list[Row]) -> str:
    """Return the page for docs/."""
    turns = sum(row.turns for row in rows)
    wrong = sum(len(row.wrong) for row in rows)
    lines = [
        "# The fault matrix",
        "",
        "Written by `make fault-matrix`. Every turn's text, order and end are compared with the ledger of the",
        "simulated platform: nothing lost, nothing doubled, nothing hanging, and the reason is the one of the table.",
        "",
        f"{turns} turns, {wrong} not as they must be.",
        "",
        "| fault | ends as | " + " | ".join(PRESETS) + " |",
        "|---|---|" + "---|" * len(PRESETS),
    ]
    for faults, reason, _ in FAULTS:
        found = {row.preset: row for row in rows if row.faults == faults}
        cells = [f"{r.turns - len(r.wrong)}/{r.turns}" if (r := found.get(p)) else "-" for p in PRESETS]
        name = ", ".join(f"`{fault}`" for fault in faults) or "none"
        lines.append(f"| {name} | `{reason}` | " + " | ".join(cells) + " |")
    lines += ["", "Over a WebSocket:", "", "| fault | " + " | ".join(SOCKET_PRESETS) + " |"]
    lines.append("|---|" + "---|" * len(SOCKET_PRESETS))
    for faults, _ in SOCKET_FAULTS:
        found = {row.preset: row for row in rows if row.faults == faults}
        cells = [f"{(r := found[p]).turns - len(r.wrong)}/{r.turns} `{r.expected}`" for p in SOCKET_PRESETS]
        lines.append(f"| {', '.join(f'`{fault}`' for fault in faults) or 'none'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run as many seeds as asked for, print what went wrong, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("docs/fault-matrix.md"))
    asked = parser.parse_args()
    rows = asyncio.run(run(range(asked.seeds)))
    asked.out.write_text(table(rows), encoding="utf-8")
    wrong = [line for row in rows for line in row.wrong]
    print("\n".join(wrong) or f"{sum(row.turns for row in rows)} turns, all as they must be; see {asked.out}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
