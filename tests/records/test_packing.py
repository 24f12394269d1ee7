"""The packed log of a turn: read as it was written, and never as something else."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from records.archived import every_kind_of_event, plain, turn
from trunkline.core.events import Delta, Ended, Entry, Notice, Started
from trunkline.records.packing import pack, unpack

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ENTRIES = st.lists(
    st.builds(Entry, st.integers(0, 1 << 62), st.integers(0, 1 << 62), st.builds(Delta, TEXTS, st.just(0)))
)


@given(ENTRIES)
@example(every_kind_of_event())
@example([])
def test_what_is_packed_is_unpacked(entries):
    assert plain(unpack(pack(entries))) == plain(entries)


def test_the_json_that_readers_got_is_what_is_packed():
    entries = turn(1, "Hello")
    entries[1]._json = b'{"type":"delta","text":"from the cache","choice":0}'
    assert unpack(pack(entries))[1].event == Delta("from the cache", 0)


def test_the_form_is_an_array_of_offset_time_and_event():
    data = pack(turn(1, "Hello"))
    rows = json.loads(zlib.decompress(data[1:]))
    assert data[:1] == b"\x01"
    assert [row[:2] for row in rows] == [[1, 1_001], [2, 1_002], [3, 1_003], [4, 1_004]]
    assert rows[1][2] == {"type": "delta", "text": "Hello", "choice": 0}


def test_fields_that_a_later_version_adds_are_passed_over():
    rows = json.loads(zlib.decompress(pack(turn(1))[1:]))
    rows[0][2]["push"] = {"to": "somewhere"}
    event = unpack(b"\x01" + zlib.compress(json.dumps(rows).encode()))[0].event
    assert isinstance(event, Started)
    assert event.principal == "anna"


def packed(text: bytes) -> bytes:
    return b"\x01" + zlib.compress(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected the format"),
        (b"\x02" + zlib.compress(b"[]"), "expected the format"),
        (b"\x01", "cannot be decompressed"),
        (b"\x01[]", "cannot be decompressed"),
        (pack(turn(1, "Hello"))[:-3], "cannot be decompressed"),
        (packed(b""), "something else"),
        (packed(b"[" * 100_000), "something else"),
        (packed(b"{}"), "something else"),
        (packed(b"[[1,2]]"), "something else"),
        (packed(b'[["1",2,{"type":"delta","text":"a","choice":0}]]'), "something else"),
        (packed(b'[[1,2,{"kind":"unknown"}]]'), "something else"),
        (packed(b'[[1,2,{"type":"started"}]]'), "something else"),
        (packed(b'[[1,2,{"type":"delta","text":"\xff","choice":0}]]'), "something else"),
    ],
)
def test_anything_else_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        unpack(data)


def test_events_of_another_version_are_read_as_notices_and_written_as_they_were():
    data = packed(b'[[1,2,{"type":"notice","kind":"a"}],[2,2,{"type":"image","pixels":[1]}],[3,2,{"type":"ended"}]]')
    entries = unpack(data)
    assert [type(entry.event) for entry in entries] == [Notice, Notice, Ended]
    assert [entry.is_known for entry in entries] == [True, False, False]
    assert entries[2].event.outcome == "failed"
    assert b'{"type":"image","pixels":[1]}' in zlib.decompress(pack(entries)[1:])
