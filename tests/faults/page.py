"""Writes the page about the fault matrix."""

from __future__ import annotations

from collections.abc import Sequence

from faults.rows import CALL_LINES, HTTP_LINES, OAUTH, PRESETS, SOCKET_LINES, SOCKETS, SSE, TCP_LINES, Line, Row

_HEAD = """\
# The fault matrix

Written by `make fault-matrix`. Every turn's text, order and end are compared with the ledger of the simulated
platform: nothing lost, nothing doubled, nothing out of order, nothing hanging, and the reason is that of the table.
All turns rest in the durable log (`durability = "process"`). A second reader joins each turn at a random offset, and a
relay that is started afterwards reads it back from the log; both must see what the first reader saw, entry by entry.
"""
_TCP = """\
## TCP

The relay connects to the platform through a proxy that strikes once, at a byte drawn by lot from the whole exchange:
token, calls, handshake, request, answer, farewell. What a turn may end as depends on where that is; each ends in time,
with a true beginning of the platform's text, and with all of it where it is completed. The cells say what was seen.
"""


def page(rows: Sequence[Row]) -> str:
    """Return the page for docs/."""
    turns, wrong = sum(row.turns for row in rows), sum(len(row.wrong) for row in rows)
    tcp = sum(row.turns for row in rows if row.line.strike is not None)
    struck = sum(row.struck for row in rows)
    parts = [
        _HEAD,
        f"{turns} turns, {wrong} not as they must be.",
        f"{tcp} of them were under faults of TCP, of which {struck} struck.\n",
        "## Over HTTP\n",
        _table(rows, HTTP_LINES, SSE),
        "## Tokens, quotas and configurations\n",
        _table(rows, CALL_LINES, OAUTH),
        "## Over a WebSocket\n",
        _table(rows, SOCKET_LINES, SOCKETS),
        _TCP,
        _table(rows, TCP_LINES, PRESETS),
    ]
    return "\n".join(parts)


def _table(rows: Sequence[Row], lines: Sequence[Line], presets: Sequence[str]) -> str:
    found = {(id(row.line), row.preset): row for row in rows}
    written = ["| fault | " + " | ".join(presets) + " |", "|---|" + "---|" * len(presets)]
    for line in lines:
        cells = [_cell(found.get((id(line), preset))) for preset in presets]
        written.append(f"| {line.name} | " + " | ".join(cells) + " |")
    return "\n".join(written) + "\n"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    right = f"{row.turns - len(row.wrong)}/{row.turns}"
    if row.line.strike is None:
        return f"{right} `{row.line.ends[row.preset][0]}`"
    return f"{right}: " + ", ".join(f"{count} `{reason}`" for reason, count in row.ends.most_common())
