"""A thousand turns of the fault matrix, and that it holds every fault there is."""

from __future__ import annotations

import pytest

from faults.matrix import run
from faults.page import page
from faults.rows import COGNIGY, CONVERSATIONS, GATEWAY, LINES, OAUTH, PRESETS, SOCKETS, SSE, all_rows
from trunkline.simulators.fault_words import FAULTS, QUOTA_FAULTS, SOCKET_FAULTS, TOKEN_FAULTS

# What a WebSocket does not have: an HTTP body and its framing, events and their spelling, `[DONE]`, roles and channels,
# and a connection that serves another turn. `half-event-after`, `no-end` and the like it has.
NOT_OVER_A_WEBSOCKET = {
    "close-idle", "stale", "json", "gzip", "content-length", "error-event-after", "comments", "no-role", "no-done",
    "no-finish", "bom", "cr", "crlf", "no-space", "multi-line", "reasoning", "refusal", "tool-calls",
}  # fmt: skip
# What only one of the wires has: sequence numbers and replay, a handshake by message, arrays of tokens.
ONLY = {
    CONVERSATIONS: {"gap", "early-end", "replay", "no-sequence", "unnumbered", "unnumbered-end"},
    GATEWAY: {"handshake"},
    COGNIGY: {"speaks-first", "byte-tokens"},
}


def known(preset: str) -> set[str]:
    """The fault words that can befall a preset."""
    words = set(FAULTS)
    if preset in SOCKETS:
        others = set().union(*(words for other, words in ONLY.items() if other != preset))
        words = (words - NOT_OVER_A_WEBSOCKET) | (set(SOCKET_FAULTS) - others)
    if preset in OAUTH:
        words |= set(TOKEN_FAULTS)
    return words | (set(QUOTA_FAULTS) if preset == CONVERSATIONS else set())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_fault_that_can_befall_a_preset_is_in_one_of_its_rows(preset: str):
    rows = {word.partition("=")[0] for line in LINES if preset in line.ends for word in line.words}
    assert known(preset) - rows == set()


def test_every_preset_meets_every_fault_of_tcp_toward_both_sides():
    struck = {(row.preset, *row.line.strike) for row in all_rows() if row.line.strike is not None}
    hows = {how for _, how, _ in struck}
    assert hows == {"reset", "close", "half-close", "swallow", "trickle"}
    assert struck == {(preset, how, side) for preset in PRESETS for how in hows for side in ("client", "server")}
    assert set(PRESETS) == {*SSE, *SOCKETS}


@pytest.mark.timeout(400)
async def test_a_thousand_turns_under_every_fault_come_out_as_they_must():
    rows = await run(range(2))
    assert sum(row.turns for row in rows) >= 1_000
    assert [line for row in rows for line in row.wrong] == []
    # A strike may fall behind the last byte of an exchange that is a few bytes shorter than the one it was drawn from.
    tcp = [row for row in rows if row.line.strike is not None]
    assert sum(row.struck for row in tcp) >= 0.9 * sum(row.turns for row in tcp)
    assert f"{sum(row.turns for row in rows)} turns, 0 not as they must be" in page(rows)
