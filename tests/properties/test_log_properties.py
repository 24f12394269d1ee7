"""The log against plain lists: whatever is appended, read, left and resumed in whatever order, every reader sees the
entries of its turn, all of them, in order, once, and never one that was not yet shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from trunkline.core.errors import OffsetPastTail
from trunkline.core.events import AnyEvent, Delta, Ended, Notice, Started
from trunkline.core.record import fold
from trunkline.core.turn import IllegalEvent
from trunkline.log import SLICE, Follower, Log
from trunkline.stores.base import TurnLog
from trunkline.stores.memory import MemoryStore
from trunkline.stores.settings import StoreSettings

STARTED = Started(turn="t", principal="p", upstream="u", model="m", created_at="now", endpoint="native")
ENDED = Ended("completed", "stop", "stop")

Seen = list[tuple[int, AnyEvent]]


@dataclass(eq=False)
class ModelTurn:
    """A turn as two numbers and a list: what was appended, and how much of it a tick has shown."""

    log: TurnLog
    appended: Seen = field(default_factory=list)
    shown: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.appended) and self.appended[-1][1] == ENDED


@dataclass(eq=False)
class ModelReader:
    """A client: what it has seen over all its connections, and the follower of the one that is open."""

    turn: ModelTurn
    after: int
    follower: Follower | None
    seen: Seen = field(default_factory=list)
    closed: int = 0


def lines(log: TurnLog, a: int, b: int) -> bytes:
    return b"".join(b"%d %s\n" % (entry.offset, entry.json) for entry in log.entries[a:b])


class LogMachine(RuleBasedStateMachine):
    turns = Bundle("turns")
    readers = Bundle("readers")
    away = Bundle("away")

    @initialize()
    def begin(self) -> None:
        self.ticks: list[Callable[[], None]] = []
        self.log = Log(MemoryStore(StoreSettings()), self.ticks.append, lambda: 0)
        self.all_turns: list[ModelTurn] = []
        self.all_readers: list[ModelReader] = []

    @rule(target=turns)
    def start_a_turn(self) -> ModelTurn:
        turn = ModelTurn(self.log.create(f"turn {len(self.all_turns)}"))
        self.all_turns.append(turn)
        self._append(turn, [STARTED])
        return turn

    @rule(turn=turns, texts=st.lists(st.text(max_size=3), min_size=1, max_size=5))
    def append(self, turn: ModelTurn, texts: list[str]) -> None:
        self._append(turn, [Delta(text, 0) if text else Notice("empty") for text in texts])

    @rule(turn=turns, size=st.integers(SLICE - 2, SLICE + 2))
    def flood(self, turn: ModelTurn, size: int) -> None:
        if len(turn.appended) < 3 * SLICE:
            self._append(turn, [Delta(str(n), 0) for n in range(size)])

    @rule(turn=turns, last=st.lists(st.just(Delta("bye", 0)), max_size=2))
    def end(self, turn: ModelTurn, last: list[AnyEvent]) -> None:
        self._append(turn, [*last, ENDED])

    @rule()
    def tick(self) -> None:
        ticks = self.ticks[:]
        self.ticks.clear()
        for one in ticks:
            one()
        self._shown()

    @rule()
    def flush(self) -> None:
        self.log.flush()
        self._shown()

    @rule(target=readers, turn=turns, back=st.integers(0, 5), whole=st.booleans())
    def follow(self, turn: ModelTurn, back: int, whole: bool) -> ModelReader:  # noqa: FBT001
        after = 0 if whole else max(0, turn.log.tail - back)
        reader = ModelReader(turn, after, None)
        self._connect(reader, after)
        self.all_readers.append(reader)
        return reader

    @rule(turn=turns, beyond=st.integers(1, 3))
    def follow_past_the_tail(self, turn: ModelTurn, beyond: int) -> None:
        with pytest.raises(OffsetPastTail) as caught:
            self.log.follow(turn.log, turn.log.tail + beyond)
        assert caught.value.tail == turn.shown

    @rule(reader=readers)
    def take(self, reader: ModelReader) -> None:
        assert reader.follower is not None
        a, b = reader.follower.take()
        assert 0 <= b - a <= SLICE
        reader.seen += [(entry.offset, entry.event) for entry in reader.turn.log.entries[a:b]]
        assert reader.turn.log.render(lines, a, b) == lines(reader.turn.log, a, b)

    @rule(target=away, reader=consumes(readers))
    def leave(self, reader: ModelReader) -> ModelReader:
        self._disconnect(reader)
        return reader

    @rule(target=readers, reader=consumes(away))
    def come_back(self, reader: ModelReader) -> ModelReader:
        self._connect(reader, reader.seen[-1][0] if reader.seen else reader.after)
        return reader

    @rule(target=readers, reader=consumes(readers))
    def be_replaced(self, reader: ModelReader) -> ModelReader:
        """A new connection comes before the old one is known to be dead."""
        old = reader.follower
        self._connect(reader, reader.seen[-1][0] if reader.seen else reader.after)
        assert old is not None
        old.leave()
        old.close()
        return reader

    @invariant()
    def every_reader_has_seen_a_beginning_of_what_is_shown(self) -> None:
        for reader in getattr(self, "all_readers", ()):
            shown = reader.turn.appended[reader.after : reader.turn.shown]
            assert reader.seen == shown[: len(reader.seen)]

    @invariant()
    def the_tail_is_the_last_that_is_shown(self) -> None:
        for turn in getattr(self, "all_turns", ()):
            assert turn.log.tail == turn.shown
            assert turn.log.ended == (turn.ended and turn.shown == len(turn.appended))

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        self.tick()
        for reader in self.all_readers:
            if reader.follower is None:
                self.come_back(reader)
            while reader.follower is not None and reader.follower.cursor < reader.turn.log.visible:
                self.take(reader)
            assert reader.seen == reader.turn.appended[reader.after :]
            assert reader.follower is not None
            assert reader.follower.done == reader.turn.ended
            self._disconnect(reader)
        assert not self.log.followers
        for turn in self.all_turns:
            assert not turn.log.followers
            text = "".join(event.text for _, event in turn.appended if isinstance(event, Delta))
            assert fold(turn.log.entries).text == text

    def _append(self, turn: ModelTurn, events: list[AnyEvent]) -> None:
        if turn.ended:
            with pytest.raises(IllegalEvent):
                self.log.append(turn.log, events)
        else:
            self.log.append(turn.log, events)
            turn.appended += enumerate(events, len(turn.appended) + 1)

    def _shown(self) -> None:
        for turn in self.all_turns:
            turn.shown = len(turn.appended)

    def _connect(self, reader: ModelReader, after: int) -> None:
        def closed() -> None:
            reader.closed += 1

        reader.follower = self.log.follow(reader.turn.log, after, closed)

    def _disconnect(self, reader: ModelReader) -> None:
        assert reader.follower is not None
        closed = reader.closed
        reader.follower.close()
        reader.follower.close()
        assert reader.closed == closed + 1
        reader.follower = None


LogMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestEveryReaderSeesEverythingOnce = LogMachine.TestCase
