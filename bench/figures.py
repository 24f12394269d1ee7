"""What the runs amount to: medians over the repeats, ratios within each repeat, and the budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Final

import msgspec

from bench.cases import Case, Run, floor_of, others_of, runs_of
from bench.load import Outcome, Percentiles
from bench.measure import Measured, Results
from bench.peers import STORES, Store, relay


class Figures(msgspec.Struct, omit_defaults=True):
    """One case on one peer: medians over the repeats."""

    repeats: int
    answers: int
    exact: int
    faults: dict[str, int] = {}
    us_per_token: float | None = None
    """CPU time of the peer, kernel included, for each token that a reader got."""
    us_per_token_range: tuple[float, float] | None = None
    kernel_share: float | None = None
    busy: float | None = None
    """CPU time over time: at 1 its core has no more to give."""
    waited: float | None = None
    """How much of the time it had something to do and its core was with others: the worst of the repeats."""
    rest_busy: float | None = None
    """The same of platform and load: where they lack CPU, the latencies are theirs."""
    tokens_per_s: float | None = None
    latency_us: Percentiles | None = None
    first_us: Percentiles | None = None
    idle_bytes: float | None = None
    """Resident memory for each idle stream or reader."""
    idle_busy: float | None = None
    """CPU time over time while nothing but keep-alives was sent."""
    keep_alives: float | None = None
    """To each of them, meanwhile."""
    delta_us: float | None = None
    """From the platform's write of a token until the last of all readers has it."""
    calibration_ms: float | None = None


class StoreFigures(msgspec.Struct, omit_defaults=True):
    """The relay with one store, and how it compares within each repeat."""

    figures: Figures
    cpu_ratio: float | None = None
    p99_ratio: float | None = None
    journal_us: float | None = None
    """Microseconds of CPU for each token that the memory store does not take."""
    journal_p50_us: float | None = None
    """What it adds to the p50 of the latency with the memory store."""


class CaseFigures(msgspec.Struct, omit_defaults=True):
    """One case: the relay, the baseline, and how they compare within each repeat."""

    relay: Figures
    store: Store
    is_idle: bool = False
    beside: Figures | None = None
    floor: Figures | None = None
    """With nobody between platform and reader."""
    cpu_ratio: float | None = None
    p99_ratio: float | None = None
    first_p50_ratio: float | None = None
    idle_ratio: float | None = None
    by_store: dict[Store, StoreFigures] = {}
    """The relay with each store, its own included, where they are compared."""
    note: str = ""

    @property
    def sides(self) -> dict[str, Figures]:
        """All that was measured, by the names that people read; the relay last, but for its other stores."""
        others = {relay(store): of.figures for store, of in self.by_store.items() if store != self.store}
        sides = {"the baseline": self.beside, relay(self.store): self.relay, **others}
        return {name: figures for name, figures in sides.items() if figures is not None}


def gather(cases: Iterable[Case], results: Results, baseline: str) -> dict[str, CaseFigures]:
    """Put the results of all runs into figures by the name of the case."""
    found = {}
    for case in cases:
        ours_run, beside_run = runs_of(case, baseline)
        ours = results[ours_run]
        figures = CaseFigures(figures_of(ours_run, ours), case.store, case.load.hold, note=case.note)
        if (floor_run := floor_of(case)) is not None and floor_run in results:
            figures.floor = figures_of(floor_run, results[floor_run])
        beside = None if beside_run is None else results[beside_run]
        if beside_run is not None and beside is not None:
            figures.beside = figures_of(beside_run, beside)
            figures.first_p50_ratio = _ratio(ours, beside, lambda o: o.first_us.p50 if o.first_us else None)
            if case.load.hold:
                figures.idle_ratio = _ratio(ours, beside, _idle_bytes)
            else:
                figures.cpu_ratio = _ratio(ours, beside, _us_per_token)
                figures.p99_ratio = _ratio(ours, beside, _p99_us)
        if others := others_of(case):
            figures.by_store = _by_store({case.store: ours_run, **others}, results, beside)
        found[case.name] = figures
    return found


def _by_store(runs: Mapping[Store, Run], results: Results, beside: list[Measured] | None) -> dict[Store, StoreFigures]:
    """Compare the stores with each other, and each of them with the baseline."""
    without = results[runs["memory"]]
    found: dict[Store, StoreFigures] = {}
    for store in STORES:
        ours = results[runs[store]]
        figures = found[store] = StoreFigures(figures_of(runs[store], ours))
        if beside is not None:
            figures.cpu_ratio = _ratio(ours, beside, _us_per_token)
            figures.p99_ratio = _ratio(ours, beside, _p99_us)
        if store != "memory":
            figures.journal_us = _added(ours, without, _us_per_token)
            figures.journal_p50_us = _added(ours, without, lambda o: o.latency_us.p50 if o.latency_us else None)
    return found


Of = Callable[[Outcome], float | None]
"""One figure of an outcome, where it has it."""


def _pairs(ours: list[Measured], theirs: list[Measured], of: Of) -> list[tuple[float, float]]:
    """Return a figure of runs of the same repeat, where both have it."""
    both = ((of(one.outcome), of(other.outcome)) for one, other in zip(ours, theirs, strict=True))
    return [(one, other) for one, other in both if one is not None and other is not None]


def _ratio(ours: list[Measured], theirs: list[Measured], of: Of) -> float | None:
    """Return the median of the ratios within each repeat."""
    ratios = [one / other for one, other in _pairs(ours, theirs, of) if other]
    return median(ratios) if ratios else None


def _added(ours: list[Measured], theirs: list[Measured], of: Of) -> float | None:
    """Return the median of the differences within each repeat."""
    differences = [one - other for one, other in _pairs(ours, theirs, of)]
    return median(differences) if differences else None


def _p99_us(outcome: Outcome) -> float | None:
    return outcome.latency_us.p99 if outcome.latency_us else None


def _idle_bytes(outcome: Outcome) -> float | None:
    return outcome.idle.rss_growth / outcome.answers if outcome.idle else None


def _us_per_token(outcome: Outcome) -> float | None:
    return outcome.cpu_s / outcome.tokens * 1e6 if outcome.tokens and outcome.cpu_s else None


def figures_of(run: Run, measured: list[Measured]) -> Figures:
    """Summarise the repeats of one run."""
    outcomes = [one.outcome for one in measured]
    faults: dict[str, int] = {}
    for outcome in outcomes:
        for fault, count in outcome.faults.items():
            faults[fault] = faults.get(fault, 0) + count
    figures = Figures(
        repeats=len(outcomes),
        answers=sum(outcome.answers for outcome in outcomes),
        exact=sum(outcome.exact for outcome in outcomes),
        faults=faults,
        first_us=_medians([outcome.first_us for outcome in outcomes]),
        calibration_ms=round(median(one.calibration_ms for one in measured), 2),
    )
    if run.load.hold:
        _look_at_idle(figures, outcomes)
    costs = [cost for cost in map(_us_per_token, outcomes) if cost is not None]
    if costs:
        figures.us_per_token, figures.us_per_token_range = median(costs), (min(costs), max(costs))
        figures.kernel_share = median(outcome.kernel_share for outcome in outcomes)
        figures.waited = max(outcome.waited_s / outcome.window_s for outcome in outcomes)
        figures.busy = median(outcome.cpu_s / outcome.window_s for outcome in outcomes)
    figures.rest_busy = median(outcome.rest_cpu_s / outcome.window_s for outcome in outcomes)
    figures.tokens_per_s = median(outcome.tokens / outcome.window_s for outcome in outcomes)
    figures.latency_us = _medians([outcome.latency_us for outcome in outcomes])
    return figures


def _look_at_idle(figures: Figures, outcomes: list[Outcome]) -> None:
    """Fill in what idle streams cost, of the outcomes that came so far."""
    looks = [(outcome.idle, outcome.answers) for outcome in outcomes if outcome.idle is not None]
    if not looks:
        return
    figures.idle_bytes = median(idle.rss_growth / answers for idle, answers in looks)
    figures.idle_busy = median(idle.cpu_s / idle.window_s for idle, _ in looks)
    figures.keep_alives = median(idle.keep_alives / answers for idle, answers in looks)
    deltas = [idle.delta_us for idle, _ in looks if idle.delta_us is not None]
    figures.delta_us = median(deltas) if deltas else None


def _medians(each: list[Percentiles | None]) -> Percentiles | None:
    there = [one for one in each if one is not None]
    if not there:
        return None
    return Percentiles(*(round(median(getattr(one, name) for one in there)) for name in ("p50", "p95", "p99")))


class Budget(msgspec.Struct, frozen=True):
    """An upper bound on one figure of one case."""

    case: str
    what: str
    limit: float
    of: Callable[[CaseFigures], float | None]


KIB: Final = 1_024
_SOCKETS: Final = ("gateway-sse-200", "gateway-ws-200", "cognigy-sse-200", "conversations-sse-200")
FIRST_STEP: Final = (
    Budget("sse-200", "CPU per token, times nginx's", 5, lambda f: f.cpu_ratio),
    Budget("sse-200", "p99 of the latency, times nginx's", 3, lambda f: f.p99_ratio),
    Budget("sse-200", "us per token that the journal adds at process", 10, lambda f: _journal_us(f, "process")),
    Budget("sse-200", "us per token that the journal adds at disk", 20, lambda f: _journal_us(f, "disk")),
    Budget("sse-200", "ms that disk adds to the p50 of the latency", 10, lambda f: _journal_p50_ms(f, "disk")),
    *(
        Budget(case, "CPU per token with a WebSocket upstream, times nginx's", 5, lambda f: f.cpu_ratio)
        for case in _SOCKETS
    ),
    Budget("idle-stream", "KiB for an idle stream and its upstream", 40, lambda f: _kib(f.relay)),
    Budget("idle-reader", "KiB for an idle reader", 25, lambda f: _kib(f.relay)),
)


def _journal_us(figures: CaseFigures, store: Store) -> float | None:
    return figures.by_store[store].journal_us if store in figures.by_store else None


def _journal_p50_ms(figures: CaseFigures, store: Store) -> float | None:
    added_us = figures.by_store[store].journal_p50_us if store in figures.by_store else None
    return None if added_us is None else added_us / 1e3


def _kib(figures: Figures) -> float | None:
    return None if figures.idle_bytes is None else figures.idle_bytes / KIB


class Verdict(msgspec.Struct):
    """How one budget came out."""

    case: str
    what: str
    limit: float
    value: float | None
    met: bool


def judge(found: Mapping[str, CaseFigures], baseline: str) -> list[Verdict]:
    """Hold the figures against the budgets of the cases that were measured; a ratio to anyone but nginx meets none."""
    verdicts = []
    for budget in FIRST_STEP:
        if (figures := found.get(budget.case)) is None:
            continue
        value = budget.of(figures) if baseline == "nginx" or "nginx" not in budget.what else None
        met = value is not None and value <= budget.limit
        verdicts.append(Verdict(budget.case, budget.what, budget.limit, value, met))
    return verdicts


def is_exact(found: Mapping[str, CaseFigures]) -> bool:
    """Whether every text of the relay and of the baseline was exact."""
    return all(side.exact == side.answers for case in found.values() for side in case.sides.values())
