"""What the relay tells about itself: typed facts from the code, metrics and log lines to the outside."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from trunkline.core.errors import TrunklineError

logger = logging.getLogger("trunkline")

FIRST_TOKEN_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
HELD_BUCKETS: Final = (0.0, 4.0, 16.0, 64.0, 320.0, 4_096.0)
STORE_NUMBERS: Final = {
    "journal_bytes": "What the journal takes on the disk.",
    "turns_unarchived": "Ended turns that wait for the archive.",
}
DURATION_BUCKETS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 120.0)


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn was taken on."""

    turn: str
    upstream: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn reached its one end. Times are seconds since its start; `first_token_s` is None where none came.

    `asked` is the upstream it began with, `upstream` the one that answered: they differ after a fallback.
    """

    turn: str
    asked: str
    upstream: str
    model: str
    outcome: str
    reason: str
    duration_s: float
    first_token_s: float | None
    characters: int
    prompt_tokens: int
    completion_tokens: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt failed before any text, and the turn goes on: `following` is the upstream that is asked then."""

    upstream: str
    reason: str
    following: str


@dataclass(frozen=True, slots=True)
class Reopened:
    """A stream that broke off in the middle of an answer is opened again, to be taken up where it was."""

    upstream: str


@dataclass(frozen=True, slots=True)
class RequestServed:
    """An HTTP request was answered; `route` is the template, never the address that was asked for."""

    route: str
    method: str
    status: int


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """An upstream's stream is over; so much came on it."""

    upstream: str
    size: int


@dataclass(frozen=True, slots=True)
class Screened:
    """A turn's answer was screened: how often each (rule, action) acted, how much was held back and for how long.

    `exact` of the `pieces` that were looked at took the exact scan, which costs some ten times the fast one.
    """

    upstream: str
    actions: Mapping[tuple[str, str], int]
    most_held: int
    held_s: float
    pieces: int = 0
    exact: int = 0


@dataclass(frozen=True, slots=True)
class InternalError:
    """A fault of ours: where it happened, never what text was at hand."""

    where: str
    kind: str
    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The log could not be written, kept, or let go of; `what` is a code, `detail` the system's words."""

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """A relay found the log of an earlier one: so many turns that were not archived, of which so many were open.

    `cut` bytes at the end of the journal were a write that broke off; `damaged` bytes elsewhere cannot be read.
    """

    turns: int
    open: int
    cut: int
    damaged: int
    unreadable: tuple[str, ...]
    seconds: float


Numbers = Counter[str] | Counter[tuple[str, str]] | Counter[tuple[str, str, str]]
Fact = (
    TurnStarted
    | TurnEnded
    | Retried
    | Reopened
    | RequestServed
    | BytesReceived
    | Screened
    | InternalError
    | StoreFailed
    | StoreRecovered
)


def internal_error(where: str, error: BaseException) -> InternalError:
    """Describe an exception by its type and place. Its message is left out: it may quote an answer or a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = tuple(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    return InternalError(where, type(error).__name__, places)


def words_of(error: BaseException) -> str:
    """Say in the system's words what went wrong; an exception's own may hold what was at hand."""
    if isinstance(error, TrunklineError):
        return error.detail  # Those are ours: they quote nobody.
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


@dataclass(slots=True)
class _Histogram:
    buckets: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def observe(self, value: float) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.buckets) + 1)
        self.total += value
        for n, bound in enumerate(self.buckets):
            if value <= bound:
                self.counts[n] += 1
                return
        self.counts[-1] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        running = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.buckets), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((bound, running))
        return rows


class Telemetry(Collector):
    """Takes facts, keeps plain numbers, and turns them into Prometheus metrics when somebody asks."""

    def __init__(self) -> None:
        self._turns_open: Counter[str] = Counter()
        self._turns: Counter[tuple[str, str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._characters: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._retries: Counter[tuple[str, str, str]] = Counter()
        self._reopened: Counter[str] = Counter()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._guard_actions: Counter[tuple[str, str, str]] = Counter()
        self._guard_pieces: Counter[tuple[str, str]] = Counter()
        self._held_s: Counter[str] = Counter()
        self._most_held: dict[str, _Histogram] = {}
        self._internal_errors: Counter[str] = Counter()
        self._store_failures: Counter[str] = Counter()
        self._first_token: dict[tuple[str, str], _Histogram] = {}
        self._duration: dict[tuple[str, str, str], _Histogram] = {}
        self.readers = 0
        self.store: Callable[[], Mapping[str, float]] = dict
        """Tells the numbers of the log as they are now."""
        self.breakers: dict[str, Callable[[], str]] = {}
        """By upstream, what tells the state of its breaker now."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def tell(self, fact: Fact) -> None:
        """Take one fact. Never raises, and is cheap: numbers only, and a log line for what an operator must know."""
        match fact:
            case TurnStarted():
                self._turns_open[fact.upstream] += 1
            case TurnEnded():
                self._turn_ended(fact)
            case Retried():
                self._retries[fact.upstream, fact.reason, fact.following] += 1
            case Reopened():
                self._reopened[fact.upstream] += 1
            case RequestServed():
                self._requests[fact.route, fact.method, str(fact.status)] += 1
            case BytesReceived():
                self._bytes[fact.upstream] += fact.size
            case Screened():
                self._screened(fact)
            case InternalError() | StoreFailed() | StoreRecovered():
                self._trouble(fact)

    def _turn_ended(self, fact: TurnEnded) -> None:
        self._turns_open[fact.asked] -= 1
        self._turns[fact.upstream, fact.outcome, fact.reason] += 1
        self._characters[fact.upstream] += fact.characters
        self._tokens[fact.upstream, "input"] += fact.prompt_tokens
        self._tokens[fact.upstream, "output"] += fact.completion_tokens
        error = fact.reason if fact.outcome == "failed" else ""
        key = (fact.upstream, fact.model, error)
        self._duration.setdefault(key, _Histogram(DURATION_BUCKETS)).observe(fact.duration_s)
        if fact.first_token_s is not None:
            first = self._first_token.setdefault((fact.upstream, fact.model), _Histogram(FIRST_TOKEN_BUCKETS))
            first.observe(fact.first_token_s)
        logger.log(
            logging.WARNING if fact.outcome == "failed" else logging.INFO,
            "turn ended turn=%s upstream=%s outcome=%s reason=%s duration_s=%.3f characters=%d%s",
            fact.turn, fact.upstream, fact.outcome, fact.reason, fact.duration_s, fact.characters,
            f" detail={fact.detail!r}" if fact.detail else "",
        )  # fmt: skip

    def _trouble(self, fact: InternalError | StoreFailed | StoreRecovered) -> None:
        match fact:
            case InternalError():
                self._internal_errors[fact.where] += 1
                logger.error("internal error where=%s kind=%s at=%s", fact.where, fact.kind, " < ".join(fact.frames))
            case StoreFailed():
                self._store_failures[fact.what] += 1
                logger.error("the log failed what=%s detail=%s", fact.what, fact.detail)
            case StoreRecovered():
                _log_recovery(fact)

    def _screened(self, fact: Screened) -> None:
        for (rule, action), count in fact.actions.items():
            self._guard_actions[fact.upstream, rule, action] += count
        self._guard_pieces[fact.upstream, "exact"] += fact.exact
        self._guard_pieces[fact.upstream, "fast"] += fact.pieces - fact.exact
        self._held_s[fact.upstream] += fact.held_s  # type: ignore[assignment]
        self._most_held.setdefault(fact.upstream, _Histogram(HELD_BUCKETS)).observe(fact.most_held)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Make the metric families out of the numbers; called at a scrape."""
        yield _counter("trunkline_turns", "Turns that ended.", ["upstream", "outcome", "reason"], self._turns)
        yield _counter("trunkline_released_characters", "Characters released.", ["upstream"], self._characters)
        yield _counter("trunkline_upstream_bytes", "Bytes of upstream streams.", ["upstream"], self._bytes)
        yield _counter(
            "trunkline_upstream_retries",
            "Failures before any text after which another attempt was made.",
            ["upstream", "reason", "next"],
            self._retries,
        )
        yield _counter(
            "trunkline_upstream_reopened_streams",
            "Streams that were opened again in the middle of an answer.",
            ["upstream"],
            self._reopened,
        )
        yield _counter(
            "trunkline_guard_actions", "What guards did.", ["upstream", "rule", "action"], self._guard_actions
        )
        yield _counter("trunkline_guard_held_seconds", "How long text was held back.", ["upstream"], self._held_s)
        yield _counter(
            "trunkline_guard_pieces",
            "Pieces of text looked at, by the path they took.",
            ["upstream", "path"],
            self._guard_pieces,
        )
        held = HistogramMetricFamily(
            "trunkline_guard_held_characters", "The most characters of a turn held back at a time.", labels=["upstream"]
        )
        for upstream, histogram in self._most_held.items():
            held.add_metric([upstream], histogram.cumulative(), histogram.total)
        yield held
        yield _counter("trunkline_http_requests", "Requests answered.", ["route", "method", "status"], self._requests)
        yield _counter("trunkline_internal_errors", "Faults of the relay.", ["where"], self._internal_errors)
        yield _counter(
            "gen_ai_client_token_usage", "Tokens of ended turns.", ["upstream", "gen_ai_token_type"], self._tokens
        )
        yield _counter("trunkline_store_failures", "Failures of the log.", ["what"], self._store_failures)
        for name, value in self.store().items():
            yield GaugeMetricFamily(f"trunkline_store_{name}", STORE_NUMBERS[name], value=value)
        turns_open = GaugeMetricFamily("trunkline_turns_open", "Turns that are streaming now.", labels=["upstream"])
        for upstream, count in self._turns_open.items():
            turns_open.add_metric([upstream], count)
        yield turns_open
        breakers = GaugeMetricFamily(
            "trunkline_upstream_breaker", "1 for the state that a breaker is in.", labels=["upstream", "state"]
        )
        for upstream, state in self.breakers.items():
            now = state()
            for name in ("closed", "open", "half_open"):
                breakers.add_metric([upstream, name], int(name == now))
        yield breakers
        yield GaugeMetricFamily("trunkline_readers", "Readers that follow a turn now.", value=self.readers)
        first = HistogramMetricFamily(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the start of a turn to its first text.",
            labels=["upstream", "gen_ai_request_model"],
        )
        for labels, histogram in self._first_token.items():
            first.add_metric(list(labels), histogram.cumulative(), histogram.total)
        yield first
        duration = HistogramMetricFamily(
            "gen_ai_client_operation_duration_seconds",
            "From the start of a turn to its end.",
            labels=["upstream", "gen_ai_request_model", "error_type"],
        )
        for names, histogram in self._duration.items():
            duration.add_metric(list(names), histogram.cumulative(), histogram.total)
        yield duration


def _log_recovery(fact: StoreRecovered) -> None:
    logger.info("recovered turns=%d open=%d seconds=%.2f", fact.turns, fact.open, fact.seconds)
    if fact.cut:
        logger.warning("cut a broken write off the journal bytes=%d: nobody had seen it", fact.cut)
    if fact.damaged or fact.unreadable:
        turns = ",".join(fact.unreadable)
        logger.error("the journal is damaged bytes=%d unreadable_turns=%s", fact.damaged, turns)


def _counter(name: str, text: str, labels: list[str], numbers: Numbers) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in numbers.items():
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family
