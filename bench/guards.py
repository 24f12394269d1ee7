"""What a guard costs: microseconds for each token of a model, on texts of all kinds, with few rules and with many."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec

from bench import guard_texts as given
from bench.figures import Verdict
from bench.plain_filters import PlainRules, Window
from trunkline.core.events import Delta
from trunkline.guards.actions import Secrets
from trunkline.guards.base import Stage
from trunkline.guards.chain import Guard
from trunkline.guards.markdown import MarkdownStrip
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.screen import Screen
from trunkline.guards.settings import GuardSettings
from trunkline.tokens import pieces

TEN: Final = "10 rules"
FIFTY: Final = "50 rules"
ALL: Final = "all that ship"
TERMS: Final = "10 rules, 10,000 terms"
MARKDOWN: Final = "10 rules, Markdown stripped"
WINDOW: Final = 128
_KEY: Final = b"the bench's key"
_MIB: Final = 1 << 20
_ENOUGH_S: Final = 0.2
_WORST: Final = 8


class Streams(NamedTuple):
    """How one text is fed, and how it is closed."""

    feed: Callable[[Any], object]
    close: Callable[[], object]


class Case(NamedTuple):
    """A guard, and the texts that it is given piece by piece, each with stages of its own."""

    name: str
    what: str
    start: Callable[[], Streams]
    texts: Sequence[Sequence[Any]]
    chars: int
    counts: Callable[[], Counting] | None = None
    """Makes the stage that counts its exact scans, where there is one."""


class Figure(msgspec.Struct, omit_defaults=True):
    """What one case took: medians over the repeats."""

    what: str
    tokens: int
    us_per_token: float
    us_per_token_range: tuple[float, float]
    us_per_char: float
    ratio: float | None = None
    """To ten rules in prose, within the same repeat, for each token."""
    p99_us: float | None = None
    """Of a single piece: how long it takes until what it releases is there."""
    exact_share: float | None = None
    """Pieces that went through the exact scan."""


class Found(msgspec.Struct):
    """All that was measured."""

    cases: dict[str, Figure]
    adversarial: dict[str, float]
    """By text: microseconds for each character, times what a character of prose takes with the same rules."""
    start_s: float
    start_mib: float
    memory_mib: float
    """Kept by the automaton of ten thousand terms, after it has seen the prose."""


class Counting(Matcher):
    """A matcher that counts the pieces it scans exactly."""

    __slots__ = ("scans",)

    def __init__(self, automaton: Automaton, secrets: Secrets) -> None:
        super().__init__(automaton, secrets)
        self.scans = 0

    def _scan(self, text: str) -> str:
        self.scans += 1
        return super()._scan(text)


def cases(*, quick: bool) -> list[Case]:
    """Return what is measured, ten rules in prose first."""
    prose, marked = _tokens(given.PROSE.values()), _tokens(given.MARKDOWN)
    digits, data = _tokens([given.DIGITS * 3]), _tokens([given.DATA * 3])
    ten, everything = Automaton(given.TEN_RULES), Automaton(given.ALL_RULES)
    shorter = prose[:1] if quick else prose
    return [
        _matching(TEN, "prose in eight languages", ten, prose),
        _matching(ALL, "prose", everything, prose),
        _matching(FIFTY, "prose", Automaton(given.fifty_rules()), prose),
        _matching(TERMS, "prose", Automaton((*given.TEN_RULES, given.terms())), prose),
        _stripped(MARKDOWN, "Markdown and prose", ten, marked),
        _screened("contact-centre, the whole chain", "prose", GuardSettings(), prose),
        _screened("redact, the whole chain", "Markdown and prose", GuardSettings(profile="redact"), marked),
        _matching(f"{TEN}, digits", "numbers that are no data", ten, digits),
        _matching(f"{ALL}, digits", "numbers that are no data", everything, digits),
        _matching(f"{ALL}, data", "a value in each clause", everything, data),
        _windowed(f"{TEN}, `re` on a window of {WINDOW}", "prose", PlainRules(given.TEN_RULES), shorter),
    ]


def _tokens(texts: Any) -> list[list[str]]:
    return [pieces(text) for text in texts]


def _chars(texts: Sequence[Sequence[str]]) -> int:
    return sum(len(piece) for text in texts for piece in text)


def _streams(stage: Stage) -> Streams:
    return Streams(stage.feed, stage.finish)


def _matching(name: str, what: str, automaton: Automaton, texts: list[list[str]]) -> Case:
    return Case(
        name,
        what,
        lambda: _streams(Matcher(automaton, Secrets(_KEY))),
        texts,
        _chars(texts),
        lambda: Counting(automaton, Secrets(_KEY)),
    )


def _windowed(name: str, what: str, rules: PlainRules, texts: list[list[str]]) -> Case:
    def start() -> Streams:
        window = Window(rules, WINDOW)
        return Streams(window.feed, window.finish)

    return Case(name, what, start, texts, _chars(texts))


def _stripped(name: str, what: str, automaton: Automaton, texts: list[list[str]]) -> Case:
    def start() -> Streams:
        strip, matcher = MarkdownStrip(), Matcher(automaton, Secrets(_KEY))
        return Streams(
            lambda piece: matcher.feed(strip.feed(piece)), lambda: matcher.feed(strip.finish()) + matcher.finish()
        )

    return Case(name, what, start, texts, _chars(texts))


def _screened(name: str, what: str, settings: GuardSettings, texts: list[list[str]]) -> Case:
    guard = Guard(settings)

    def start() -> Streams:
        screen = Screen(guard.for_turn(Secrets(_KEY)))
        return Streams(lambda events: screen.screen(events, 0.0), lambda: screen.finish("stop", 0.0))

    events = [[[Delta(piece, 0)] for piece in text] for text in texts]
    return Case(name, what, start, events, _chars(texts))


def cpu_s(case: Case) -> float:
    """Feed all texts once; return the CPU time of it."""
    total = 0
    for text in case.texts:
        feed, close = case.start()
        begun = time.process_time_ns()
        for piece in text:
            feed(piece)
        close()
        total += time.process_time_ns() - begun
    return total / 1e9


def _rounds_s(case: Case, enough_s: float) -> float:
    """Feed all texts again and again for some time; return the CPU time of one round."""
    rounds, total = 0, 0.0
    while total < enough_s:
        total += cpu_s(case)
        rounds += 1
    return total / rounds


def _p99_us(case: Case) -> float:
    """Time each piece by itself, the second time round."""
    taken: list[int] = []
    for _ in range(2):
        taken = []
        for text in case.texts:
            feed, close = case.start()
            for piece in text:
                begun = time.perf_counter_ns()
                feed(piece)
                taken.append(time.perf_counter_ns() - begun)
            close()
    taken.sort()
    return taken[-(-len(taken) * 99 // 100) - 1] / 1e3


def _exact_share(case: Case) -> float | None:
    if case.counts is None:
        return None
    scans = fed = 0
    for text in case.texts:
        stage = case.counts()
        for piece in text:
            stage.feed(piece)
        scans, fed = scans + stage.scans, fed + len(text)
    return scans / fed


def measure(repeats: int, *, quick: bool, tell: Callable[[str], None]) -> Found:
    """Measure everything, each repeat case after case."""
    chosen = cases(quick=quick)
    enough_s = _ENOUGH_S / (10 if quick else 1)
    taken: list[list[float]] = [[] for _ in chosen]
    for case in chosen:
        cpu_s(case)  # so that rows are made, and what is imported late is there
    for _ in range(repeats):
        for case, times in zip(chosen, taken, strict=True):
            times.append(_rounds_s(case, enough_s))
            tell(f"{case.name}: {times[-1] / _fed(case) * 1e6:.2f} us/token")
    base = [each / _fed(chosen[0]) * 1e6 for each in taken[0]]
    figures = {case.name: _figure(case, times, base) for case, times in zip(chosen, taken, strict=True)}
    tell("adversarial texts ...")
    start_s, start_mib, memory_mib = _start(repeats)
    return Found(figures, _adversarial(repeats, enough_s), start_s, start_mib, memory_mib)


def _fed(case: Case) -> int:
    return sum(map(len, case.texts))


def _figure(case: Case, times: list[float], base: list[float]) -> Figure:
    costs = [each / _fed(case) * 1e6 for each in times]
    return Figure(
        what=case.what,
        tokens=_fed(case),
        us_per_token=median(costs),
        us_per_token_range=(min(costs), max(costs)),
        us_per_char=median(times) / case.chars * 1e6,
        ratio=median(cost / other for cost, other in zip(costs, base, strict=True)),
        p99_us=_p99_us(case),
        exact_share=_exact_share(case),
    )


def _adversarial(repeats: int, enough_s: float) -> dict[str, float]:
    """Return what a character of each text costs with all rules, times what one of prose does; the least of repeats."""
    automaton = Automaton(given.ALL_RULES)
    prose = _matching(ALL, "prose", automaton, _tokens(given.PROSE.values()))
    texts = {name: _matching(ALL, name, automaton, _tokens([text])) for name, text in given.adversarial().items()}
    cpu_s(prose)
    base = min(_rounds_s(prose, enough_s) for _ in range(repeats)) / prose.chars
    found = {}
    for name, case in texts.items():
        cpu_s(case)
        found[name] = min(cpu_s(case) for _ in range(repeats)) / case.chars / base
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _start(repeats: int) -> tuple[float, float, float]:
    """Build the automaton of ten thousand terms; return its CPU time, and its memory at the most and after prose."""
    terms = given.terms()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        Automaton((*given.TEN_RULES, terms)).warm_up(given.PROSE["en"])
        times.append(time.process_time() - begun)
    gc.collect()
    tracemalloc.start()
    try:
        automaton = Automaton((*given.TEN_RULES, terms))
        _, peak = tracemalloc.get_traced_memory()
        cpu_s(_matching(TERMS, "prose", automaton, _tokens(given.PROSE.values())))
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return median(times), peak / _MIB, kept / _MIB


def judge(found: Found) -> list[Verdict]:
    """Hold the figures against the budgets."""
    of = found.cases
    worst = max(found.adversarial.values(), default=None)
    limits = (
        (TEN, "us for a token of prose", 2.0, of[TEN].us_per_token),
        (FIFTY, "times ten rules", 1.3, of[FIFTY].ratio),
        (TERMS, "times ten rules", 1.3, of[TERMS].ratio),
        (MARKDOWN, "us for a token", 5.0, of[MARKDOWN].us_per_token),
        ("adversarial", "worst text, times prose for each character", 40.0, worst),
        (TERMS, "s of CPU to start", 0.5, found.start_s),
        (TERMS, "MiB at the most", 64.0, max(found.start_mib, found.memory_mib)),
    )
    return [
        Verdict(case, what, limit, value, value is not None and value <= limit) for case, what, limit, value in limits
    ]


def table(found: Found) -> str:
    """Lay out the figures for people."""
    head = ("guard", "text", "us/token", "(range)", "us/char", "times 10 rules", "p99 us", "exact scans")
    rows = [head, *(_row(name, figure) for name, figure in found.cases.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    worst = list(found.adversarial.items())[:_WORST]
    lines += ["", f"of {len(found.adversarial)} adversarial texts the slowest, times prose for each character:"]
    lines += [f"  {times:5.1f}  {name}" for name, times in worst]
    lines += [
        "",
        f"{TERMS}: {found.start_s:.2f} s and {found.start_mib:.1f} MiB to start, {found.memory_mib:.1f} after",
    ]
    return "\n".join(lines)


def _row(name: str, figure: Figure) -> Sequence[str]:
    low, high = figure.us_per_token_range
    return (
        name,
        figure.what,
        f"{figure.us_per_token:.2f}",
        f"({low:.2f}-{high:.2f})",
        f"{figure.us_per_char:.2f}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if figure.p99_us is None else f"{figure.p99_us:.1f}",
        "" if figure.exact_share is None else f"{figure.exact_share:.1%}",
    )
