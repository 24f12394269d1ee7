"""The archive on both databases: what is kept, found, listed, forgotten, and what outlives the process beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import pytest

from records.archived import every_kind_of_event, ids, plain, turn, turn_id
from trunkline.core.errors import DatabaseError, TurnForgotten
from trunkline.core.record import fold
from trunkline.records.expiry import FORGOTTEN_FOR_MS
from trunkline.records.records import Records
from trunkline.records.standing import ForgetRequest
from trunkline.records.turn_rows import TurnRows
from trunkline.stores.archive import Archive, Claim, ConversationKey
from trunkline.stores.base import Query, TurnLog


def keep(records: Records, *numbers: int, **more) -> None:
    for number in numbers:
        records.keep(turn_id(number), turn(number, "Hello", **more))


def listed(records: Records, *query, **more) -> list[int]:
    return ids(records.list(Query(*query, **more)))


def test_records_are_an_archive(records):
    archive: Archive = records
    assert archive.find(turn_id(1)) is None


# Keeping and finding


def test_what_is_kept_is_found_as_it_was(records):
    entries = every_kind_of_event()
    records.keep(turn_id(1), entries)
    assert plain(records.find(turn_id(1))) == plain(entries)


def test_a_turn_is_found_by_a_process_that_comes_later(place):
    with closing(Records.open(place.settings)) as records:
        keep(records, 1)
    assert plain(place.open().find(turn_id(1))) == plain(turn(1, "Hello"))


def test_keeping_a_turn_again_changes_nothing(records):
    keep(records, 1)
    records.keep(turn_id(1), turn(1, "something else"))
    assert plain(records.find(turn_id(1))) == plain(turn(1, "Hello"))
    assert listed(records) == [1]


def test_a_turn_that_has_not_ended_is_not_kept(records):
    with pytest.raises(ValueError, match="begin with Started and end with Ended"):
        records.keep(turn_id(1), turn(1, "Hello")[:-1])
    with pytest.raises(ValueError, match="begin with Started and end with Ended"):
        records.keep(turn_id(1), [])
    assert records.known([turn_id(1)]) == {}


def test_a_failure_in_the_middle_leaves_nothing_and_the_turn_can_be_kept_again(place):
    records = place.open()
    place.run("ALTER TABLE turn_logs RENAME TO elsewhere")
    with pytest.raises(DatabaseError):
        keep(records, 1)
    assert place.run("SELECT id FROM turns") == []
    place.run("ALTER TABLE elsewhere RENAME TO turn_logs")
    keep(records, 1)
    assert plain(records.find(turn_id(1))) == plain(turn(1, "Hello"))


def test_a_fault_of_ours_after_the_last_statement_leaves_nothing(place, monkeypatch):
    class Broken(TurnRows):
        def add(self, connection, turn_id, entries):
            super().add(connection, turn_id, entries)
            raise RuntimeError("a bug")

    monkeypatch.setattr("trunkline.records.records.TurnRows", Broken)
    with pytest.raises(RuntimeError, match="a bug"):
        keep(place.open(), 1)
    monkeypatch.undo()
    assert place.open().known([turn_id(1)]) == {}


def test_a_model_with_a_null_in_its_name_is_kept(place):
    entries = turn(1, "Hello")
    entries[0].event = msgspec.structs.replace(entries[0].event, model="a\0b")
    records = place.open()
    records.keep(turn_id(1), entries)
    assert records.list(Query())[0].started.model == "a\0b"
    assert place.run("SELECT model FROM turns") == [("a\ufffdb",)]


def test_a_log_that_cannot_be_read_is_an_error_and_no_answer(place):
    records = place.open()
    keep(records, 1)
    place.run("UPDATE turn_logs SET entries = :entries", entries=b"\x01no")
    with pytest.raises(DatabaseError, match=f"The log of turn {turn_id(1)} is damaged"):
        records.find(turn_id(1))
    place.run("DELETE FROM turn_logs")
    with pytest.raises(DatabaseError, match="is damaged"):
        records.find(turn_id(1))


def test_which_turns_are_known_is_told_for_any_number_of_them(records):
    keep(records, 1, 2)
    records.forget([(turn_id(2), "anna")], 5)
    assert records.known([turn_id(number) for number in range(2_500)]) == {turn_id(1): True, turn_id(2): False}
    assert records.known([]) == {}


# Listing


def test_turns_are_listed_without_their_texts_the_newest_first(records):
    keep(records, 2, 3, 1)
    found = records.list(Query())
    assert ids(found) == [3, 2, 1]
    log = TurnLog.of(turn_id(3), turn(3, "Hello"))
    assert found[0] == log.summary()
    assert found[0].usage == fold(log.entries).usage is not None


def test_a_list_goes_on_where_the_last_one_ended(records):
    keep(records, *range(1, 8))
    assert listed(records, limit=3) == [7, 6, 5]
    assert listed(records, before=turn_id(5), limit=3) == [4, 3, 2]
    assert listed(records, before=turn_id(2), limit=3) == [1]


def test_a_list_is_of_one_principal_or_conversation_or_both(records):
    keep(records, 1, principal="anna", conversation="c1")
    keep(records, 2, principal="bert", conversation="c1")
    keep(records, 3, principal="anna", conversation="c2")
    keep(records, 4, principal="anna", conversation="")
    assert listed(records, "anna") == [4, 3, 1]
    assert listed(records, conversation_id="c1") == [2, 1]
    assert listed(records, "anna", "c1") == [1]
    assert listed(records, "anna", "") == [4]
    assert listed(records, "cleo") == []


def test_all_that_is_archived_has_ended(records):
    keep(records, 1)
    assert listed(records, state="ended") == [1]
    assert listed(records, state="open") == []


def test_a_row_that_cannot_be_read_is_an_error(place):
    records = place.open()
    keep(records, 1)
    for damage in ("{", "", '{"type":"delta","text":"","choice":0}'):
        place.run("UPDATE turns SET started = :damage", damage=damage)
        with pytest.raises(DatabaseError, match=f"The row of turn {turn_id(1)} is damaged"):
            records.list(Query())


# Forgetting


def test_a_forgotten_turn_is_gone_and_known_as_forgotten(records):
    keep(records, 1, 2)
    records.forget([(turn_id(1), "anna")], 5)
    with pytest.raises(TurnForgotten) as raised:
        records.find(turn_id(1))
    assert raised.value.principal == "anna"
    assert listed(records) == listed(records, "anna") == listed(records, conversation_id="c1") == [2]


def test_of_a_forgotten_turn_only_its_id_its_principal_and_the_time_are_left(place):
    records = place.open()
    keep(records, 1, detail="the platform's words")
    records.forget([(turn_id(1), "anna")], 5)
    row = place.run("SELECT * FROM turns")[0]
    assert [value for value in row if value is not None] == [turn_id(1), "anna", 5]
    assert place.run("SELECT * FROM turn_logs WHERE length(entries) > 0") == []


def test_a_turn_that_was_never_kept_can_be_forgotten_and_is_not_kept_afterwards(place):
    records = place.open()
    records.forget([(turn_id(1), "anna")], 5)
    keep(records, 1)
    with pytest.raises(TurnForgotten) as raised:
        records.find(turn_id(1))
    assert raised.value.principal == "anna"
    assert place.run("SELECT * FROM turn_logs WHERE length(entries) > 0") == []


def test_whose_a_turn_was_and_when_it_was_forgotten_is_said_once(place):
    records = place.open()
    keep(records, 1)
    records.forget([(turn_id(1), "bert")], 5)
    records.forget([(turn_id(1), "bert"), (turn_id(1), "cleo")], 6)
    assert place.run("SELECT principal, forgotten_ms FROM turns") == [("anna", 5)]


def test_many_turns_are_forgotten_at_once_or_none(records):
    keep(records, *range(30))
    records.forget([], 5)
    records.forget([(turn_id(number), "anna") for number in range(2_500)], 5)
    assert listed(records) == []
    assert set(records.known([turn_id(0), turn_id(2_499)]).values()) == {False}


# Expiry


def test_turns_expire_by_their_end_the_oldest_first_and_so_many_at_once(records):
    for number, ended_ms in ((1, 40), (2, 10), (3, 30), (4, 20), (5, 50)):
        keep(records, number, ended_ms=ended_ms)
    assert records.expire(50, 100, limit=3) == 3
    assert listed(records) == [5, 1]
    assert records.expire(50, 100, limit=3) == 1
    assert records.expire(50, 100, limit=3) == 0
    assert listed(records) == [5]
    with pytest.raises(TurnForgotten):
        records.find(turn_id(1))


def test_more_turns_expire_at_once_than_one_statement_takes(place):
    records = place.open()
    place.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
        "INSERT INTO turns (id, principal, ended_ms) SELECT 'turn_' || i, 'anna', i FROM n"
    )
    assert records.expire(2_400, 5_000, limit=2_200) == 2_200
    assert place.run("SELECT count(*), max(ended_ms), min(ended_ms) FROM turns") == [(2_500, 2_500, 2_201)]


def test_that_a_turn_was_forgotten_is_itself_forgotten_after_thirty_days(records):
    records.forget([(turn_id(1), "anna"), (turn_id(2), "anna")], 5)
    records.forget([(turn_id(3), "anna")], 6)
    assert records.expire(0, 5 + FORGOTTEN_FOR_MS, limit=1) == 0
    assert len(records.known([turn_id(1), turn_id(2), turn_id(3)])) == 3
    assert records.expire(0, 6 + FORGOTTEN_FOR_MS, limit=1) == 0
    assert records.known([turn_id(1), turn_id(2), turn_id(3)]) == {turn_id(3): False}
    assert records.find(turn_id(1)) is None


def test_claims_and_unused_keys_expire_however_many_they_are(records):
    records.claim([Claim("key", str(until_ms), "t", until_ms) for until_ms in range(10)])
    records.keep_conversations([ConversationKey("anna", str(used), b"k", b"n", used) for used in range(10)])
    assert records.expire(ended_before_ms=4, now_ms=6, limit=2) == 0
    assert [claim.until_ms for claim in records.claims("key", 0, 99)] == [7, 8, 9]
    assert [row.used_ms for row in records.conversations(99)] == [4, 5, 6, 7, 8, 9]


# Claims


def test_claims_stand_until_their_time_the_longest_are_kept_and_come_last(records):
    records.claim([Claim("key", "c", "t3", 30, b"\0\xff"), Claim("key", "a", "t1", 10), Claim("key", "b", "t2", 20)])
    records.claim([Claim("ticket", "a", "t4", 99)])
    assert [claim.key for claim in records.claims("key", 9, 10)] == ["a", "b", "c"]
    assert [claim.key for claim in records.claims("key", 10, 10)] == ["b", "c"]
    assert records.claims("key", 0, 1) == [Claim("key", "c", "t3", 30, b"\0\xff")]
    assert records.claims("other", 0, 10) == []


def test_a_claim_is_replaced_by_a_later_one_also_in_one_call(records):
    records.claim([Claim("key", "a", "t1", 10), Claim("key", "a", "t2", 20, b"x")])
    assert records.claims("key", 0, 10) == [Claim("key", "a", "t2", 20, b"x")]
    records.claim([Claim("key", "a", "t3", 15)])
    assert records.claims("key", 0, 10) == [Claim("key", "a", "t3", 15)]


def test_released_claims_are_gone(records):
    records.claim([Claim("key", "a", "t1", 10), Claim("key", "b", "t2", 10), Claim("ticket", "a", "t3", 10)])
    records.release([("key", "a"), ("key", "unknown")])
    assert [claim.key for claim in records.claims("key", 0, 10)] == ["b"]
    assert [claim.key for claim in records.claims("ticket", 0, 10)] == ["a"]


# Conversation keys


def test_the_conversations_that_were_used_last_are_kept_and_come_last(records):
    rows = [ConversationKey("anna", f"c{used}", b"key", b"names", used) for used in (30, 10, 20)]
    records.keep_conversations(rows)
    assert [row.used_ms for row in records.conversations(10)] == [10, 20, 30]
    assert records.conversations(1) == [rows[0]]
    records.keep_conversations([ConversationKey("anna", "c10", b"new", b"other", 40)])
    assert records.conversations(1) == [ConversationKey("anna", "c10", b"new", b"other", 40)]
    assert len(records.conversations(10)) == 3


def test_a_conversation_is_one_principals(records):
    records.keep_conversations([ConversationKey(who, "c1", who.encode(), b"", 1) for who in ("anna", "bert")])
    records.forget_conversations([("anna", "c1"), ("cleo", "c1")])
    assert [row.principal for row in records.conversations(10)] == ["bert"]


def test_nothing_to_do_is_nothing_done(records):
    records.claim([])
    records.release([])
    records.keep_conversations([])
    records.forget_conversations([])
    assert (records.claims("key", 0, 10), records.conversations(10)) == ([], [])


def test_what_claims_were_used_for_is_forgotten_with_their_turns_and_that_they_were_used_is_not(records):
    one, other = Claim("key", "a", turn_id(1), 50, b"words"), Claim("key", "b", turn_id(2), 60, b"others")
    unbound = Claim("ticket", "n", "", 70)
    records.claim([one, other, unbound])
    records.forget([(turn_id(1), "anna")], 5)
    assert records.claims("key", 0, 10) == [one._replace(about=b""), other]
    assert records.claims("ticket", 0, 10) == [unbound]


def test_a_claim_that_comes_later_than_the_forgetting_of_its_turn_says_no_more(records):
    records.forget([(turn_id(1), "anna")], 5)
    late = Claim("key", "a", turn_id(1), 50, b"words")
    records.claim([late, late._replace(key="b", turn=turn_id(2))])
    assert [claim.about for claim in records.claims("key", 0, 10)] == [b"", b"words"]


# Requests of other processes


def test_another_process_asks_to_forget_and_sees_when_it_is_done(place):
    relay, command_line = place.open(), place.open()
    first = command_line.ask_to_forget("c1", "anna", 5)
    second = command_line.ask_to_forget("c2", None, 6)
    assert relay.asked_to_forget() == [ForgetRequest(first, "c1", "anna"), ForgetRequest(second, "c2", None)]
    relay.has_forgotten(first)
    assert command_line.forget_request(first) is None
    assert command_line.forget_request(second) == ForgetRequest(second, "c2", None)
    relay.has_forgotten(first)
    relay.cannot_forget(first, "too late")
    relay.cannot_forget(second, "the disk is full")
    assert relay.asked_to_forget() == [ForgetRequest(second, "c2", None, "the disk is full")]
    assert command_line.forget_request(second) == ForgetRequest(second, "c2", None, "the disk is full")


def test_the_number_of_a_request_is_never_used_again(records):
    first = records.ask_to_forget("c1", None, 5)
    records.has_forgotten(first)
    assert records.ask_to_forget("c1", None, 6) > first


# Room


def test_the_size_grows_with_what_is_kept_and_compacting_tells_both(records):
    empty = records.size()
    for number in range(20):
        records.keep(turn_id(number), turn(number, *(f"{number * index:x}" for index in range(2_000))))
    full = records.size()
    assert full > empty + 20_000
    assert records.compact() == (full, records.size())
    assert listed(records) == list(range(19, -1, -1))


# Several at once


def test_threads_that_keep_read_and_forget_do_not_disturb_each_other(records):
    def work(worker: int) -> None:
        for step in range(20):
            number = worker * 100 + step
            keep(records, number)
            assert plain(records.find(turn_id(number))) == plain(turn(number, "Hello"))
            assert len(records.list(Query(limit=5))) in range(6)
            if step % 4 == 0:
                records.forget([(turn_id(number), "anna")], 5)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert len(records.list(Query(limit=1_000))) == 6 * 15
    assert [progress.findings for progress in records.verify() if progress.findings] == []


WRITER = """
import sys
from records.archived import turn, turn_id
from trunkline.records.records import Records
from trunkline.stores.settings import StoreSettings
records = Records.open(StoreSettings.model_validate_json(sys.argv[1]))
for number in range(100):
    records.keep(turn_id(number), turn(number, "Hello"))
    print(number, flush=True)
"""


def test_another_process_reads_whole_turns_while_one_writes(place):
    records = place.open()
    database = place.settings.database
    settings = {"data_dir": str(place.settings.data_dir)} | (
        {"database": database.get_secret_value()} if database else {}
    )
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as writer:  # noqa: S603 - it is ours
        assert writer.stdout is not None
        for line in writer.stdout:
            number = int(line)
            assert plain(records.find(turn_id(number))) == plain(turn(number, "Hello"))
            assert listed(records, limit=1)[0] >= number
    assert writer.returncode == 0
    assert len(records.list(Query(limit=1_000))) == 100
