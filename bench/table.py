"""The figures as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.figures import KIB, CaseFigures, Figures, Verdict
from bench.load import Percentiles
from bench.peers import relay

BUSY: Final = 0.9  # from here on a core is no longer a measure of anything but itself
WAITED: Final = 0.05
_HEAD: Final = (
    "case",
    "what",
    "us/token",
    "(range)",
    "ratio",
    "kernel",
    "busy",
    "latency ms p50/p95/p99",
    "p99 ratio",
    "first ms p50/p95/p99",
    "tokens/s",
    "exact",
)


_IDLE_HEAD: Final = (
    "case",
    "what",
    "KiB each",
    "idle CPU ms/s",
    "keep-alives each",
    "delta to all ms",
    "us/delta each",
    "first ms p50/p95/p99",
    "exact",
    "",
)


def table(found: Mapping[str, CaseFigures], baseline: str) -> str:
    """Lay the cases out, the baseline above the relay."""
    flowing = {name: case for name, case in found.items() if not case.is_idle}
    idle = {name: case for name, case in found.items() if case.is_idle}
    parts = []
    if flowing:
        rows = [row for name, case in flowing.items() for row in _rows(name, case, baseline)]
        parts.append("\n".join(_aligned([_HEAD, *rows])))
    if idle:
        rows = [row for name, case in idle.items() for row in _idle_rows(name, case, baseline)]
        parts.append("\n".join(_aligned([_IDLE_HEAD, *rows])))
    parts += ["\n".join(lines) for case in flowing.values() if (lines := _journal_lines(case))]
    if doubts := warnings(found):
        parts.append("\n".join(doubts))
    return "\n\n".join(parts)


def _rows(name: str, case: CaseFigures, baseline: str) -> Iterable[Sequence[str]]:
    if case.floor is not None:
        yield (name, "direct", *_cells(case.floor))
    if case.beside is not None:
        yield (name, baseline, *_cells(case.beside))
    if not case.by_store:
        yield (name, relay(case.store), *_cells(case.relay, case.cpu_ratio, case.p99_ratio))
    for store, of in case.by_store.items():
        yield (name, relay(store), *_cells(of.figures, of.cpu_ratio, of.p99_ratio))


def _cells(figures: Figures, cpu_ratio: float | None = None, p99_ratio: float | None = None) -> Sequence[str]:
    low, high = figures.us_per_token_range or (None, None)
    return (
        _number(figures.us_per_token),
        "" if low is None else f"({low:.1f}-{high:.1f})",
        _number(cpu_ratio, ".2f"),
        _number(figures.kernel_share, ".0%"),
        _number(figures.busy, ".0%"),
        _milliseconds(figures.latency_us),
        _number(p99_ratio, ".2f"),
        _milliseconds(figures.first_us),
        _number(figures.tokens_per_s, ".0f"),
        f"{figures.exact}/{figures.answers}",
    )


def _number(value: float | None, form: str = ".1f") -> str:
    return "" if value is None else format(value, form)


def _milliseconds(values: Percentiles | None) -> str:
    if values is None:
        return ""
    return " / ".join(f"{value / 1e3:.2f}" for value in (values.p50, values.p95, values.p99))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _idle_rows(name: str, case: CaseFigures, baseline: str) -> Iterable[Sequence[str]]:
    if case.beside is not None:
        yield (name, baseline, *_idle_cells(case.beside, ""))
    yield (name, relay(case.store), *_idle_cells(case.relay, case.note))


def _idle_cells(figures: Figures, note: str) -> Sequence[str]:
    return (
        _number(None if figures.idle_bytes is None else figures.idle_bytes / KIB),
        _number(None if figures.idle_busy is None else figures.idle_busy * 1e3),
        _number(figures.keep_alives, ".2f"),
        _number(None if figures.delta_us is None else figures.delta_us / 1e3),
        _number(figures.us_per_token),
        _milliseconds(figures.first_us),
        f"{figures.exact}/{figures.answers}",
        note,
    )


def _journal_lines(case: CaseFigures) -> Iterable[str]:
    """Say what the journal costs where the stores were compared."""
    return [
        f"{relay(store)}, more than memory: {of.journal_us:+.1f} us/token, {(of.journal_p50_us or 0) / 1e3:+.2f} ms p50"
        for store, of in case.by_store.items()
        if of.journal_us is not None
    ]


def warnings(found: Mapping[str, CaseFigures]) -> list[str]:
    """Say what makes figures doubtful: texts that were not exact, and cores that had no more to give."""
    lines = []
    for name, case in found.items():
        for who, figures in case.sides.items():
            lines += [f"NOT EXACT: {name}, {who}: {count} x {fault}" for fault, count in figures.faults.items()]
            if (figures.waited or 0) > WAITED:
                lines.append(f"doubtful: {name}, {who}: others were on its core; it waited up to {figures.waited:.0%}")
            paced = "unpaced" not in name and not case.is_idle  # somebody's core is full, as it should be
            if paced and (figures.rest_busy or 0) > BUSY:
                lines.append(f"doubtful: {name}, {who}: platform and load filled {figures.rest_busy:.0%} of a core")
            if paced and (figures.busy or 0) > BUSY:
                lines.append(f"note: {name}, {who}: its core was {figures.busy:.0%} busy, so its latencies are queues")
    return lines


def verdict_line(verdict: Verdict) -> str:
    """Put a verdict on one budget into words."""
    value = "not measured" if verdict.value is None else f"{verdict.value:.2f}"
    word = "met" if verdict.met else "NOT MET"
    return f"{word:8} {verdict.case}: {verdict.what}: {value}, at most {verdict.limit:g}"
