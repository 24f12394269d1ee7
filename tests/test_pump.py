"""One turn end to end, with a scripted dialect, a scripted platform and a clock in the test's hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.attempts import Route
from trunkline.backlog import SLICE_CHARS
from trunkline.connect.breaker import Breaker
from trunkline.connect.credentials import ApiKey
from trunkline.core.events import Delta, Ended, Guarded, Notice, Started, ToolCall, Usage
from trunkline.core.request import TurnRequest
from trunkline.dialects.base import Ask, Call, Close, Item, Loss, Open, Send
from trunkline.dialects.presets import Retries
from trunkline.guards.chain import Conversations
from trunkline.log import Log
from trunkline.pump import House, Pump
from trunkline.stores.base import TurnLog
from trunkline.stores.memory import MemoryStore
from trunkline.stores.settings import StoreSettings
from trunkline.tasks import Tasks
from trunkline.telemetry import Telemetry
from trunkline.upstream_settings import Timeouts


class Scripted:
    """A dialect that returns what the test tells it to, or raises it."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {"start": [Open("POST", "/x")]}

    def _reply(self, name: str) -> list[Item]:
        reply = self.replies.get(name, [])
        if isinstance(reply, Exception):
            raise reply
        return list(reply)

    def start(self, ask: Ask, now: float) -> list[Item]:
        return self._reply("start")

    def opened(self, headers: Mapping[str, str], now: float) -> list[Item]:
        return self._reply("opened")

    def receive(self, data: bytes, now: float) -> list[Item]:
        return self._reply("receive")

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        return self._reply("refused")

    def answered(self, call: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> list[Item]:
        return self._reply("answered")

    def closed(self, loss: Loss, now: float) -> list[Item]:
        return self._reply("closed")

    def wake(self, now: float) -> list[Item]:
        return self._reply("wake")

    def last_words(self) -> list[Notice]:
        return self.replies.pop("last_words", [])


class Wire:
    """A source that writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def send(self, data: bytes) -> None:
        self.asked.append(data)

    def finish(self) -> None:
        self.asked.append("finish")

    def close(self) -> None:
        self.asked.append("close")


class Holding:
    """A guard stage that holds back the last two characters, masks `key` and blocks at `bomb`."""

    def __init__(self) -> None:
        self.found: list[Guarded] = []
        self.blocked = False
        self._text = ""

    @property
    def held(self) -> int:
        return len(self._text)

    def feed(self, text: str) -> str:
        self._text += text
        if "!" in self._text:
            raise ValueError(self._text)
        if "bomb" in self._text:
            before, _, _ = self._text.partition("bomb")
            self._text, self.blocked = "", True
            self.found.append(Guarded("bomb", "block", len(before), len(before) + 4, len(before), 0))
            return before
        cut = max(0, len(self._text) - 3)
        released, self._text = self._text[:cut], self._text[cut:]
        return released

    def finish(self) -> str:
        released, self._text = self._text, ""
        return released


class Chains:
    """A guard whose stages the test gives."""

    def __init__(self, stages: Callable[[], list[Any]]) -> None:
        self.text = self.arguments = self.word = stages
        self.fault: Exception | None = None

    def for_turn(self, secrets: Any, names: Any) -> Chains:
        return self


class Bench:
    """A pump on a bench: everything around it is plain."""

    def __init__(self, stages: Callable[[], list[Any]] = list, **limits: Any) -> None:
        self.now = 0.0
        self.deferred: list[Callable[[], None]] = []
        self.telemetry = Telemetry()
        store = MemoryStore(StoreSettings())
        self.log = Log(store, self.deferred.append, lambda: 1_000)
        self.dialect = Scripted()
        self.wires: list[Wire] = []
        self.ended_calls = 0
        settings = SimpleNamespace(
            max_answer_chars=limits.get("max_answer_chars", 1_000),
            model="m",
            attempts=1,
            expect=limits.get("expect"),
            on_unexpected=limits.get("on_unexpected", "flag"),
        )
        self.receivers: list[Any] = []
        self.wait_s = 0.0

        async def open_stream(source: Wire, command: Open, headers: Any, receiver: Any) -> None:
            self.receivers.append(receiver)

        async def authorise(on_wait: Callable[[float], None]) -> dict[str, str]:
            on_wait(self.wait_s)
            return {"authorization": "Bearer sk-SECRET-123"}

        self.upstream = upstream = SimpleNamespace(
            name="up",
            settings=settings,
            dialect=lambda: self.dialect,
            source=self._wire,
            guard=Chains(stages),
            open=open_stream,
            authorise=authorise,
            breaker=Breaker(),
            credentials=ApiKey(None),
            without_secrets=lambda words: words.replace("sk-SECRET-123", "[secret]"),
            heard=lambda status, headers: None,
            timeouts=Timeouts(),
            retries=Retries(),
        )
        self.turn: TurnLog = self.log.create("turn_" + "0" * 32)
        started = Started(
            turn=self.turn.id,
            principal="local",
            upstream="up",
            model="m",
            created_at="",
            endpoint="test",
            prompt_tokens=3,
        )
        self.log.append(self.turn, [started])
        self.tasks = Tasks(self.telemetry)
        conversations = Conversations(lambda: b"key")
        house = House(self.log, self.tasks, self.telemetry, conversations, lambda: self.now, lambda: 0.0)
        routes = [Route(upstream, "m")]  # type: ignore[arg-type]
        self.pump = Pump(house, self.turn, TurnRequest(input="hi"), routes, self._count_end)

    def _wire(self) -> Wire:
        self.wires.append(Wire())
        return self.wires[-1]

    def _count_end(self) -> None:
        self.ended_calls += 1

    def say(self, *items: Item) -> None:
        """Let the dialect make these of the next read."""
        self.dialect.replies["receive"] = items
        self.pump.receive(b"...")

    @property
    def events(self) -> list[Any]:
        while self.deferred:
            self.deferred.pop(0)()
        return [entry.event for entry in self.turn.entries[1 : self.turn.visible]]

    @property
    def end(self) -> Ended:
        ends = [event for event in self.events if isinstance(event, Ended)]
        assert len(ends) == 1
        assert self.events[-1] is ends[0]
        assert self.ended_calls == 1
        return ends[0]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))


@pytest.fixture
async def bench():
    bench = Bench()
    bench.pump.start()
    yield bench
    await bench.tasks.close()


DONE = Ended("completed", "stop", "stop")


async def test_events_reach_the_log_and_the_connection_is_let_go(bench):
    bench.say(Delta("Hel", 0), Delta("lo", 0))
    bench.say(Usage(1, 2, 3, "platform"), DONE)
    assert bench.text == "Hello"
    assert (bench.end.reason, bench.end.usage) == ("stop", Usage(1, 2, 3, "platform"))
    assert bench.wires[0].asked == ["finish"]


async def test_nothing_follows_the_end_whatever_the_dialect_says(bench):
    bench.say(Delta("a", 0), DONE, Delta("b", 0), DONE)
    bench.say(Delta("c", 0), Ended("failed", "upstream_error"))
    bench.pump.closed(Loss(clean=True))
    bench.pump.cancel("client_cancelled")
    bench.now = 1e9
    bench.pump.sweep(bench.now)
    assert bench.text == "a"
    assert bench.end.reason == "stop"


@pytest.mark.parametrize("where", ["opened", "receive", "refused", "closed"])
async def test_a_bug_in_a_dialect_ends_its_turn_and_shows_no_text(bench, caplog, where):
    bench.dialect.replies[where] = RuntimeError("my password is hunter2")
    with caplog.at_level(logging.DEBUG):
        match where:
            case "opened":
                bench.pump.opened({})
            case "receive":
                bench.pump.receive(b"")
            case "refused":
                bench.pump.refused(500, {}, b"")
            case _:
                bench.pump.closed(Loss(clean=True))
    assert (bench.end.outcome, bench.end.reason) == ("failed", "internal_error")
    assert "hunter2" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert b'trunkline_internal_errors_total{where="pump"} 1.0' in bench.telemetry.exposition()


async def test_a_bug_at_the_start_ends_the_turn_too():
    bench = Bench()
    bench.dialect.replies["start"] = KeyError("x")
    bench.pump.start()
    assert bench.end.reason == "internal_error"
    await bench.tasks.close()


@pytest.mark.parametrize(
    ("moments", "reason"),
    [
        ([(20, None)], "first_token_timeout"),
        ([(19, "a"), (38, None), (39, None)], "between_tokens_timeout"),
        ([(n * 19, "a") for n in range(1, 7)] + [(119, None), (120, None)], "turn_timeout"),
    ],
)
async def test_each_time_out_has_its_own_reason(bench, moments, reason):
    for moment, text in moments[:-1]:
        bench.now = moment
        if text:
            bench.say(Delta(text, 0))
        bench.pump.sweep(bench.now)
        assert not bench.pump.ended
    bench.now = moments[-1][0]
    bench.pump.sweep(bench.now)
    assert bench.end.reason == reason
    assert bench.wires[0].asked == ["close"]


async def test_a_cancel_closes_the_platforms_stream_now_and_counts_what_was_said(bench):
    bench.say(Delta("Hello there, how are you?", 0))
    bench.pump.cancel("client_cancelled", 5)
    assert (bench.end.outcome, bench.end.heard_upto) == ("cancelled", 5)
    assert bench.end.usage == Usage(3, 7, 10, "relay")
    assert bench.wires[0].asked == ["close"]


async def test_an_answer_that_is_too_long_is_cut_and_failed():
    bench = Bench(max_answer_chars=10)
    bench.pump.start()
    bench.say(Delta("x" * 8, 0))
    bench.say(Delta("y" * 8, 0), Delta("z", 0))
    assert bench.end.reason == "answer_too_long"
    assert bench.text == "x" * 8 + "y" * 2
    await bench.tasks.close()


async def test_commands_are_obeyed_in_their_order(bench):
    bench.say(Send(b"1"), Delta("a", 0), Send(b"2"), Close())
    assert bench.wires[0].asked == [b"1", b"2", "close"]
    assert bench.text == "a"


async def test_a_source_that_was_replaced_is_not_heard_any_more(bench):
    while not bench.receivers:
        await bench.tasks.idle()
    old = bench.receivers[0]
    bench.say(Open("POST", "/again"))
    bench.dialect.replies |= {"closed": [Ended("failed", "upstream_interrupted")], "opened": [Delta("old", 0)]}
    old.opened({})
    old.closed(Loss(clean=False))
    old.refused(500, {}, b"")
    assert bench.events == []
    assert bench.wires[0].asked == ["close"]


async def test_held_text_is_released_at_a_proper_end_only():
    for ended, text, dropped in (
        (DONE, "abcdef", None),
        (Ended("completed", "tool_calls", "tool_calls"), "abcdef", None),
        (Ended("completed", "max_tokens", "length"), "abc", Notice("held_dropped", "3 characters")),
        (Ended("failed", "upstream_interrupted"), "abc", Notice("held_dropped", "3 characters")),
    ):
        bench = Bench(stages=lambda: [Holding()])
        bench.pump.start()
        bench.say(Delta("abcdef", 0), ended)
        assert bench.text == text
        assert bench.end.reason == ended.reason
        assert [event for event in bench.events if isinstance(event, Notice)] == ([dropped] if dropped else [])
        await bench.tasks.close()


async def test_a_block_releases_what_precedes_and_stops_the_platform():
    bench = Bench(stages=lambda: [Holding()])
    bench.pump.start()
    bench.say(Delta("a bo", 0))
    bench.say(Delta("mb and more", 0), Delta("never", 0))
    bench.say(Delta("never", 0))
    assert bench.text == "a "
    assert (bench.end.outcome, bench.end.reason) == ("blocked", "guard_rule")
    assert [event.rule for event in bench.events if isinstance(event, Guarded)] == ["bomb"]
    assert bench.wires[0].asked == ["close"]
    await bench.tasks.close()


async def test_a_guard_that_fails_blocks_and_its_words_are_nowhere(caplog):
    bench = Bench(stages=lambda: [Holding()])
    bench.pump.start()
    with caplog.at_level(logging.DEBUG):
        bench.say(Delta("secret words", 0))
        bench.say(Delta("!", 0))
    assert (bench.end.outcome, bench.end.reason) == ("blocked", "guard_error")
    assert "words" not in bench.text
    assert "secret" not in caplog.text
    await bench.tasks.close()


async def test_a_platforms_words_about_an_error_are_screened_and_cut():
    bench = Bench(stages=lambda: [Holding()])
    bench.pump.start()
    bench.say(Ended("failed", "upstream_error", detail="x" * 300 + "\r\n"))
    assert len(bench.end.detail) == 200
    await bench.tasks.close()
    bench = Bench(stages=lambda: [Holding()])
    bench.pump.start()
    bench.say(Ended("failed", "upstream_error", detail="a bomb for you"))
    assert bench.end.detail == "withheld by a guard"
    await bench.tasks.close()


async def test_our_own_credential_in_a_platforms_words_reaches_nobody(bench):
    while not bench.receivers:
        await bench.tasks.idle()
    bench.say(Ended("failed", "upstream_error", detail="Incorrect API key provided: sk-SECRET-123."))
    assert bench.end.detail == "Incorrect API key provided: [secret]."


async def test_a_source_that_fails_to_close_does_not_keep_the_turn_open(bench):
    class Broken(Wire):
        def close(self) -> None:
            raise OSError("no")

    bench.pump._source = Broken()
    with pytest.raises(OSError, match="no"):
        bench.pump.cancel("client_cancelled")
    assert bench.end.reason == "client_cancelled"


async def test_the_ids_and_names_of_tool_calls_count_for_the_bound(bench):
    bench.say(ToolCall(0, 0, "x" * 1_001, "", ""))
    assert bench.end.reason == "answer_too_long"


async def test_tool_calls_count_as_text_for_the_clock_and_the_bound(bench):
    bench.now = 19
    bench.say(ToolCall(0, 0, "c", "f", "{}"))
    bench.now = 30
    bench.pump.sweep(bench.now)
    assert not bench.pump.ended
    bench.say(ToolCall(0, 0, "", "", "x" * 1_001))
    assert bench.end.reason == "answer_too_long"


async def test_what_a_turn_has_under_way_ends_with_it(bench):
    begun, broken_off = asyncio.Event(), asyncio.Event()

    async def call(command: Call, on_wait: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()

    bench.upstream.call = call
    bench.say(Call("config", "PUT", "/config", {}))
    await begun.wait()
    bench.pump.cancel("client_cancelled")
    await bench.tasks.idle()
    await broken_off.wait()
    assert bench.end.reason == "client_cancelled"


async def test_a_wait_for_a_place_that_nobody_has_time_for_is_not_begun():
    bench = Bench()
    bench.wait_s = 20.0
    bench.pump.start()
    while not bench.pump.ended:
        await bench.tasks.idle()
    assert (bench.end.reason, bench.receivers) == ("rate_limited", [])
    assert bench.end.detail == "the platform takes no more requests for 20 s"
    await bench.tasks.close()


async def test_a_wait_for_a_place_is_no_silence_of_the_platform():
    bench = Bench()
    bench.wait_s = 19.0
    bench.pump.start()
    while not bench.receivers:
        await bench.tasks.idle()
    bench.now = 38.9
    bench.pump.sweep(bench.now)
    assert not bench.pump.ended
    bench.now = 39.0
    bench.pump.sweep(bench.now)
    assert bench.end.reason == "first_token_timeout"
    await bench.tasks.close()


async def test_a_long_piece_is_looked_at_in_slices_and_in_its_order():
    text = "".join(f"{n} " for n in range(20_000))
    bench = Bench(max_answer_chars=1_000_000)
    bench.pump.start()
    bench.say(Delta("Begin ", 0), Delta(text, 0))
    seen = bench.text
    assert len(seen) <= SLICE_CHARS + len("Begin ")
    bench.say(Delta("end.", 0), DONE)
    while not bench.pump.ended:
        await bench.tasks.idle()
        assert len(bench.text) - len(seen) <= SLICE_CHARS
        seen = bench.text
    assert seen == f"Begin {text}end."
    assert bench.end.reason == "stop"
    await bench.tasks.close()


async def test_what_is_over_the_bound_is_neither_released_nor_kept():
    bench = Bench(max_answer_chars=20_000)
    bench.pump.start()
    bench.say(Delta("x" * 1_000_000, 0))
    while not bench.pump.ended:
        bench.say(Delta("y" * 1_000_000, 0), DONE)
        await bench.tasks.idle()
    assert bench.text == "x" * 20_000
    assert bench.end.reason == "answer_too_long"
    await bench.tasks.close()


async def test_what_a_dialect_counted_is_told_at_whatever_end(bench):
    skipped = Notice("skipped", "events: 3 of another type")
    bench.dialect.replies["last_words"] = [skipped]
    bench.say(Delta("a", 0))
    bench.now = 1_000.0
    bench.pump.sweep(bench.now)
    assert bench.events[1:] == [skipped, bench.end.usage, bench.end]


async def test_what_a_dialect_counted_is_told_before_its_platform_is_asked_anew(bench):
    skipped = Notice("skipped", "events: 3 of another type")
    bench.dialect.replies["last_words"] = [skipped]
    bench.pump.closed(Loss(clean=False, code=4_401))
    bench.pump.start()
    assert bench.events == [skipped]


async def test_an_end_that_cannot_be_written_as_it_is_is_an_end_all_the_same(bench):
    bench.say(Delta("a", 0))
    bench.dialect.replies["last_words"] = [Notice("skipped", "\ud83d")]
    bench.say(DONE)
    assert (bench.text, bench.end.reason) == ("a", "internal_error")
    assert bench.wires[0].asked == ["close"]
    assert b'trunkline_internal_errors_total{where="pump.end"} 1.0' in bench.telemetry.exposition()


async def test_a_fault_of_a_guard_is_told_without_its_words(caplog):
    bench = Bench(stages=lambda: [Holding()])
    bench.pump.start()
    bench.say(Delta("my PIN is 4711!", 0))
    assert bench.end.outcome == "blocked"
    assert b'trunkline_internal_errors_total{where="guard"} 1.0' in bench.telemetry.exposition()
    assert "4711" not in caplog.text
    await bench.tasks.close()


async def test_an_answer_in_endless_tiny_pieces_is_too_long(monkeypatch):
    monkeypatch.setattr("trunkline.pump.MAX_ENTRIES", 10)
    bench = Bench()
    bench.pump.start()
    while not bench.pump.ended:
        bench.say(Delta("x", 0))
    assert (bench.end.reason, bench.end.detail) == ("answer_too_long", "more than 10 pieces")
    assert len(bench.text) == 10
    await bench.tasks.close()


@pytest.mark.parametrize("words", [["x" * 20_000], ["x" * 4] * 4_500], ids=["one piece", "many pieces"])
async def test_an_answer_within_the_bound_comes_whole_however_many_pieces_it_has(words):
    bench = Bench(max_answer_chars=20_000)
    bench.pump.start()
    bench.say(*[Delta(word, 0) for word in words], DONE)
    while not bench.pump.ended:
        await bench.tasks.idle()
    assert bench.text == "".join(words)
    assert bench.end.reason == "stop"
    await bench.tasks.close()


async def test_what_waits_of_an_attempt_that_failed_is_of_no_other(bench):
    bench.upstream.settings.attempts = 2
    bench.say(Ended("failed", "upstream_unavailable"), *[Delta("stale", 0)] * 300, Ended("failed", "upstream_error"))
    await bench.tasks.idle()
    await bench.tasks.idle()
    assert bench.events == []
    assert not bench.pump.ended
    bench.pump.start()
    bench.say(Delta("fresh", 0), DONE)
    assert (bench.text, bench.end.reason) == ("fresh", "stop")
