"""What the runs amount to: medians over the repeats, ratios within each repeat, and the budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Final

import msgspec

from bench.cases import Case, Run, floor_of, runs_of
from bench.load import Outcome, Percentiles
from bench.measure import Measured, Results


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
    calibration_ms: float | None = None


class CaseFigures(msgspec.Struct, omit_defaults=True):
    """One case: the relay, the baseline, and how they compare within each repeat."""

    relay: Figures
    beside: Figures | None = None
    floor: Figures | None = None
    """With nobody between platform and reader."""
    cpu_ratio: float | None = None
    p99_ratio: float | None = None
    first_p50_ratio: float | None = None
    idle_ratio: float | None = None


def gather(cases: Iterable[Case], results: Results, baseline: str) -> dict[str, CaseFigures]:
    """Put the results of all runs into figures by the name of the case."""
    found = {}
    for case in cases:
        relay_run, beside_run = runs_of(case, baseline)
        relay = results[relay_run]
        figures = CaseFigures(figures_of(relay_run, relay))
        if (floor_run := floor_of(case)) is not None and floor_run in results:
            figures.floor = figures_of(floor_run, results[floor_run])
        if beside_run is not None:
            beside = results[beside_run]
            figures.beside = figures_of(beside_run, beside)
            figures.cpu_ratio = _ratio(relay, beside, _us_per_token)
            figures.p99_ratio = _ratio(relay, beside, lambda o: o.latency_us.p99 if o.latency_us else None)
            figures.first_p50_ratio = _ratio(relay, beside, lambda o: o.first_us.p50 if o.first_us else None)
            if case.load.hold:
                figures.cpu_ratio = figures.p99_ratio = None
                figures.idle_ratio = _ratio(relay, beside, lambda o: o.rss_growth / o.answers)
        found[case.name] = figures
    return found


def _ratio(relay: list[Measured], beside: list[Measured], of: Callable[[Outcome], float | None]) -> float | None:
    """Return the median of the ratios of runs of the same repeat, where both have the figure."""
    pairs = ((of(ours.outcome), of(theirs.outcome)) for ours, theirs in zip(relay, beside, strict=True))
    ratios = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
    return median(ratios) if ratios else None


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
        figures.idle_bytes = median(outcome.rss_growth / outcome.answers for outcome in outcomes)
        return figures
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
FIRST_STEP: Final = (
    Budget("sse-200", "CPU per token, times nginx's", 5, lambda figures: figures.cpu_ratio),
    Budget("sse-200", "p99 of the latency, times nginx's", 3, lambda figures: figures.p99_ratio),
    Budget("idle-stream", "KiB for an idle stream and its upstream", 40, lambda figures: _kib(figures.relay)),
    Budget("idle-reader", "KiB for an idle reader", 25, lambda figures: _kib(figures.relay)),
)


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
    sides = [side for figures in found.values() for side in (figures.relay, figures.beside) if side is not None]
    return all(side.exact == side.answers for side in sides)
