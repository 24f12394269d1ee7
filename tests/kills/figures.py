"""What a run of the kill test amounts to: counts, times, and the faults that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kills.checks import Fault

ENDPOINTS: Final = {
    "events": "`GET /v1/turns/{id}/events`",
    "sentences": "`GET /v1/turns/{id}/events?unit=sentence`",
    "socket": "`WS /v1/turns/{id}/ws`",
    "stream": "`GET /stream`",
    "proxy": "`WS /ws`",
}


class Times(NamedTuple):
    """Milliseconds."""

    counted: int
    p50: float
    p99: float
    most: float


def times(seconds: Sequence[float]) -> Times:
    """Return the percentiles of times by nearest rank; nothing took no time."""
    if not seconds:
        return Times(0, 0, 0, 0)
    ranked = sorted(second * 1e3 for second in seconds)
    p50, p99 = (ranked[(len(ranked) * q + 99) // 100 - 1] for q in (50, 99))
    return Times(len(ranked), p50, p99, ranked[-1])


@dataclass
class Figures:
    """Of one run."""

    seed: int
    streams: int
    durability: str
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    readers: int = 0
    changes: int = 0
    """How many readers had the answer from more than one endpoint."""
    events: int = 0
    visits: int = 0
    rereads: int = 0
    forgotten: int = 0
    repeats_found: int = 0
    repeats_new: int = 0
    resumed: dict[str, list[float]] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)
    busy: int = 0
    starts: list[float] = field(default_factory=list)
    faults: list[tuple[int, Fault]] = field(default_factory=list)
    """Each with the round that it was found in."""

    @property
    def comebacks(self) -> int:
        """How often a reader came back over a new connection."""
        return len(self.waited) + sum(len(seconds) for seconds in self.resumed.values())

    @property
    def turns(self) -> int:
        """How many turns there were."""
        return self.ends.total()

    def again(self) -> str:
        """Return the command that plays the same rounds once more."""
        last = max((number for number, _ in self.faults), default=self.rounds - 1)
        words = f"--rounds {last + 1} --seed {self.seed} --streams {self.streams} --durability {self.durability}"
        return f'make kill-test ARGS="{words}"'

    def verdict(self) -> str:
        """Return one line."""
        kills = f"{self.rounds} rounds, {self.kills.total()} kills, {self.turns} turns, {self.readers} readers"
        if self.faults:
            return f"FAILED: {len(self.faults)} faults in {kills}; again: {self.again()}"
        if not self.kills or not self.turns:
            return f"FAILED: nothing was tried: {kills}"
        return f"ok: {kills}, {self.events} events; nothing lost, repeated or changed, and nobody hung"

    @property
    def passed(self) -> bool:
        """Whether something was tried and all of it was right."""
        return not self.faults and bool(self.kills) and bool(self.turns)
