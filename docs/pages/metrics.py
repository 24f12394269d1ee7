"""The page of metrics: every family that a scrape of a busy relay holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

from prometheus_client.core import Metric

from pages.markdown import Undescribed, listed, page, table
from trunkline.telemetry import (
    STORE_NUMBERS,
    BytesReceived,
    Fact,
    InternalError,
    Reopened,
    RequestServed,
    Retried,
    Screened,
    StoreFailed,
    StoreRecovered,
    Telemetry,
    TurnEnded,
    TurnStarted,
)

FACTS: Final[tuple[Fact, ...]] = (
    Screened("support", {("card", "mask"): 1}, 19, 0.2, 100, 9),
    TurnStarted("turn", "support", "native"),
    TurnEnded("turn", "support", "support", "model", "failed", "turn_timeout", 120.0, 0.5, 100, 24, 11),
    Retried("support", "rate_limited", "support"),
    Reopened("support"),
    RequestServed("/v1/turns", "POST", 201),
    BytesReceived("support", 1_000),
    InternalError("pump", "ValueError", ()),
    StoreFailed("store_full", "No space left on device"),
    StoreRecovered(3, 1, 40, 0, (), 0.1),
)
"""One of each kind, so that every family has a sample, and so shows its labels."""

INTRO: Final = """\
What `GET /metrics` tells Prometheus. A series appears with the first turn or request that it counts. `outcome` and
`reason` are those of [the table of reasons](reasons.md); `error_type` is the reason of a turn that failed, and empty
for any other. `gen_ai_token_type` is `input` (the prompt) or `output` (the answer)."""
HISTOGRAMS: Final = "A histogram has the series `_bucket`, `_sum` and `_count`. Its buckets reach up to:"


def metrics_page() -> str:
    """Write the page. Raises `Undescribed` where a kind of fact is never told, or a family has no sample or no help."""
    families = list(busy().collect())
    rows = [_row(family) for family in families]
    buckets = [(f"`{family.name}`", _buckets(family)) for family in families if family.type == "histogram"]
    every = table(("metric", "type", "labels", "meaning"), rows)
    return page("Metrics", INTRO, every, "## Histograms", HISTOGRAMS, table(("metric", "buckets"), buckets))


def busy(facts: Iterable[Fact] = FACTS) -> Telemetry:
    """Return a telemetry that was told a fact of every kind. Raises `Undescribed` where one is missing."""
    facts = list(facts)
    untold = {kind.__name__ for kind in get_args(Fact)} - {type(fact).__name__ for fact in facts}
    if untold:
        raise Undescribed(f"no {', '.join(sorted(untold))} is told for the page of metrics")
    telemetry = Telemetry()
    telemetry.breakers = {"support": lambda: "closed"}
    telemetry.store = lambda: dict.fromkeys(STORE_NUMBERS, 1.0)
    for fact in facts:
        telemetry.tell(fact)
    return telemetry


def _row(family: Metric) -> tuple[str, str, str, str]:
    if not family.samples or not family.documentation:
        raise Undescribed(f"the metric {family.name} has no sample or no help")
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = listed(label for label in family.samples[0].labels if label != "le")
    return f"`{name}`", family.type, labels, family.documentation


def _buckets(family: Metric) -> str:
    bounds = [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
    return listed(dict.fromkeys(bounds))
