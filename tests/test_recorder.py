"""The recorder: what waits is written soon, the newest of each once, and nothing is lost by a database that fails."""

from __future__ import annotations

import threading

import pytest

from trunkline import recorder as module
from trunkline.core.errors import DatabaseError
from trunkline.guards.actions import Secrets
from trunkline.guards.chain import Conversations
from trunkline.recorder import Recorder, secrets_of
from trunkline.stores.archive import Claim, ConversationKey
from trunkline.telemetry import StoreFailed


class Rows:
    """Records in dictionaries, which can be told to fail."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, str], Claim] = {}
        self.keys: dict[tuple[str, str], ConversationKey] = {}
        self.writes = 0
        self.fault: Exception | None = None
        self.meanwhile = lambda: None

    def claim(self, claims):
        self.meanwhile()
        self.writes += 1
        if self.fault is not None:
            raise self.fault
        self.claims |= {(claim.kind, claim.key): claim for claim in claims}

    def keep_conversations(self, rows):
        self.keys |= {(row.principal, row.conversation_id): row for row in rows}

    def forget_conversations(self, names):
        for name in names:
            self.keys.pop(name, None)


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def told():
    return []


@pytest.fixture
def recorder(rows, told):
    return Recorder(rows, lambda: 7, told.append)


def claim(key: str, turn: str = "t") -> Claim:
    return Claim("ticket", key, turn, 100)


async def test_what_waits_is_written_at_once_and_the_newest_of_each_key(recorder, rows):
    recorder.claim(claim("a", "t1"))
    recorder.claim(claim("b", "t2"))
    recorder.claim(claim("a", "t3"))
    assert await recorder.flush()
    assert rows.writes == 1
    assert {key: one.turn for key, one in rows.claims.items()} == {("ticket", "a"): "t3", ("ticket", "b"): "t2"}


async def test_pseudonyms_go_on_with_the_same_numbers(recorder, rows):
    before = Conversations(lambda: b"k" * 32, recorder.conversation)
    secrets = before.secrets("p", "c")
    names = [secrets.pseudonym("email", digest) for digest in ("d1", "d2", "d1")]
    before.used("p", "c")
    await recorder.flush()
    after = Conversations(lambda: b"x" * 32)
    for row in rows.keys.values():
        after.restore(row.principal, row.conversation_id, secrets_of(row))
    again = after.secrets("p", "c")
    assert again.digest("email", "a@example.com") == secrets.digest("email", "a@example.com")
    assert [again.pseudonym("email", digest) for digest in ("d1", "d2", "d1", "d3")] == [*names, "EMAIL_3"]


async def test_a_conversation_that_is_forgotten_leaves_no_key(recorder, rows):
    recorder.conversation("p", "c", Secrets(b"k"))
    await recorder.flush()
    assert rows.keys
    recorder.conversation("p", "c", None)
    await recorder.flush()
    assert rows.keys == {}


async def test_a_conversation_that_left_the_memory_is_forgotten_in_the_records_too(recorder, rows):
    Conversations(lambda: b"k", recorder.conversation).secrets("p", "c")
    await recorder.flush()
    Conversations(lambda: b"k", recorder.conversation).forget("p", "c")
    await recorder.flush()
    assert rows.keys == {}


async def test_what_could_not_be_written_waits_and_the_newer_wins(recorder, rows, told):
    recorder.claim(claim("a", "old"))
    recorder.claim(claim("b", "kept"))
    rows.fault = DatabaseError("no")
    rows.meanwhile = lambda: recorder.claim(claim("a", "new"))
    assert not await recorder.flush()
    assert [fact.what for fact in told] == ["record"]
    rows.fault, rows.meanwhile = None, lambda: None
    assert await recorder.flush()
    assert {key: one.turn for (_, key), one in rows.claims.items()} == {"a": "new", "b": "kept"}


async def test_only_so_much_waits(recorder, rows, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    for key in "abc":
        recorder.claim(claim(key))
    await recorder.flush()
    assert [key for _, key in rows.claims] == ["b", "c"]


async def test_only_so_much_waits_while_the_records_take_nothing(recorder, rows, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    rows.fault = DatabaseError("no")
    for n in range(5):
        rows.meanwhile = lambda n=n: [recorder.claim(claim(f"{n}-{m}")) for m in range(2)]
        await recorder.flush()
    assert len(recorder._claims) <= 2


async def test_who_waits_for_records_that_do_not_answer_is_told_and_nothing_is_lost(recorder, rows, told, monkeypatch):
    monkeypatch.setattr(module, "LIMIT_S", 0.01)
    answers = threading.Event()
    rows.meanwhile = lambda: answers.wait(10)
    recorder.claim(claim("a"))
    assert not await recorder.flush()
    assert told == [StoreFailed("record", "no answer")]
    monkeypatch.setattr(module, "LIMIT_S", 10)
    answers.set()
    assert await recorder.flush()
    assert [key for _, key in rows.claims] == ["a"]
