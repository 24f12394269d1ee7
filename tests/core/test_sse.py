"""The event-stream rules of the WHATWG (HTML standard, section 9.2.6) as vectors, and every cut of a stream's bytes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.core.sse import KEEP_ALIVE, SseDecoder, SseEvent, encode

BOM = b"\xef\xbb\xbf"


def message(data: bytes, kind: str = "message", last_id: str = "") -> SseEvent:
    return SseEvent(data, kind, last_id)


VECTORS: dict[str, tuple[bytes, list[SseEvent]]] = {
    # Data
    "one line of data is one event": (b"data: Hel\n\n", [message(b"Hel")]),
    "lines of data are joined by LF": (b"data: a\ndata: b\ndata: c\n\n", [message(b"a\nb\nc")]),
    "no space is needed after the colon": (b"data:Hel\n\n", [message(b"Hel")]),
    "one leading space goes, and no more": (b"data:  Hel\n\n", [message(b" Hel")]),
    "a leading tab stays": (b"data:\tHel\n\n", [message(b"\tHel")]),
    "trailing spaces stay": (b"data: Hel  \n\n", [message(b"Hel  ")]),
    "further colons belong to the value": (b"data:: a: b:\n\n", [message(b": a: b:")]),
    "a field without colon has an empty value": (b"data\n\n", [message(b"")]),
    "two fields without colon are one line end": (b"data\ndata\n\n", [message(b"\n")]),
    "an empty value is an event": (b"data:\n\n", [message(b"")]),
    "a value of one space is empty": (b"data: \n\n", [message(b"")]),
    "empty lines of data are kept": (b"data: a\ndata:\ndata\ndata: b\n\n", [message(b"a\n\n\nb")]),
    "an event without data is none": (b"event: x\nid: 1\nretry: 5\n\n", []),
    "blank lines alone are nothing": (b"\n\n\n\r\n\r\r\n\n\n", []),
    "blank lines before and between are nothing": (
        b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n",
        [message(b"a"), message(b"b")],
    ),
    "an empty stream": (b"", []),
    "U+0000 is data": (b"data: a\0b\n\n", [message(b"a\0b")]),
    # Names of fields
    "unknown fields are skipped": (b"dat: 1\nfoo\nda-ta: 2\ndata_: 3\ndata: 4\n\n", [message(b"4")]),
    "names are case-sensitive": (b"Data: 1\nDATA: 2\nEVENT: x\nID: 9\ndata: 3\n\n", [message(b"3")]),
    "a space before the name or the colon makes another": (b" data: 1\ndata : 2\ndata: 3\n\n", [message(b"3")]),
    "U+0000 in a name makes another": (b"\0data: 1\ndata\0: 2\ndata: 3\n\n", [message(b"3")]),
    "a stream of unknown fields only": (b"foo: 1\n\nbar\n\n", []),
    "everything at once": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata:3\rdata:\r\n data:32\ndata:4\n\n",
        [message(b"\0\n 2\n1\n3\n\n4")],
    ),
    # Comments
    "a comment is nothing": (b": hi\n\n:\n\n", []),
    "a comment inside an event does not end it": (b"data: a\n: hi\n:\ndata: b\n\n", [message(b"a\nb")]),
    "a comment may look like data": (b":data: a\n: data: b\n::\ndata: c\n\n", [message(b"c")]),
    "a comment may be long and hold U+0000": (b":\0" + b"x" * 5000 + b"\ndata: a\n\n", [message(b"a")]),
    # Line ends
    "CR ends a line": (b"data: a\rdata: b\r\r", [message(b"a\nb")]),
    "CRLF ends a line": (b"data: a\r\ndata: b\r\n\r\n", [message(b"a\nb")]),
    "line ends mix": (b"data: a\r\ndata\ndata: b\r\n\rdata: c\n\r\n", [message(b"a\n\nb"), message(b"c")]),
    "LF CR is two line ends": (b"data: a\n\rdata: b\n\r", [message(b"a"), message(b"b")]),
    "CR CRLF is two line ends": (b"data: a\r\r\ndata: b\r\r\n", [message(b"a"), message(b"b")]),
    "CRLF LF is two line ends": (b"data: a\r\n\ndata: b\r\n\n", [message(b"a"), message(b"b")]),
    "CRLF is one line end": (b"data: a\r\ndata: b\r\n", []),
    "other breaks are data": (
        "data: a\v\f\x1c\x85\u2028\u2029b\n\n".encode(),
        [message("a\v\f\x1c\x85\u2028\u2029b".encode())],
    ),
    # The byte order mark
    "one byte order mark is stripped": (BOM + b"data: a\n\n", [message(b"a")]),
    "the second one is part of a name": (BOM + BOM + b"data: a\n\ndata: b\n\n", [message(b"b")]),
    "one inside the stream is part of a name": (b"data: a\n\n" + BOM + b"data: b\n\n", [message(b"a")]),
    "one after a line end is part of a name": (b"\n" + BOM + b"data: a\n\n", []),
    "half a byte order mark is part of a name": (b"\xef\xbbdata: a\n\ndata: b\n\n", [message(b"b")]),
    "a byte order mark in a value is data": (b"data:" + BOM + b"a\n\n", [message(BOM + b"a")]),
    "a byte order mark and a blank line": (BOM + b"\n\ndata: a\n\n", [message(b"a")]),
    # The type
    "a type": (b"event: ping\ndata: a\n\n", [message(b"a", "ping")]),
    "the type is reset after an event": (
        b"event: ping\ndata: a\n\ndata: b\n\n",
        [message(b"a", "ping"), message(b"b")],
    ),
    "the type is reset after an event without data": (b"event: ping\n\ndata: a\n\n", [message(b"a")]),
    "the last type counts": (b"event: a\nevent: b\ndata: c\nevent: d\n\n", [message(b"c", "d")]),
    "an empty type is message": (b"event: \ndata: a\n\n", [message(b"a")]),
    "an empty type takes back an earlier one": (b"event: a\nevent\ndata: b\n\n", [message(b"b")]),
    "a type keeps its second space": (b"event:  a\ndata: b\n\n", [message(b"b", " a")]),
    "a type in another script": ("event: größe\ndata: a\n\n".encode(), [message(b"a", "größe")]),
    # The id
    "an id counts from its event on": (
        b"data: a\n\nid: 1\ndata: b\n\ndata: c\n\n",
        [message(b"a"), message(b"b", last_id="1"), message(b"c", last_id="1")],
    ),
    "an id may follow the data": (b"data: a\nid: 1\n\n", [message(b"a", last_id="1")]),
    "an id without data counts for the next event": (b"id: 1\n\ndata: a\n\n", [message(b"a", last_id="1")]),
    "an empty id resets": (b"id: 1\ndata: a\n\nid:\ndata: b\n\n", [message(b"a", last_id="1"), message(b"b")]),
    "an id without colon resets": (b"id: 1\ndata: a\n\nid\n\ndata: b\n\n", [message(b"a", last_id="1"), message(b"b")]),
    "an id with U+0000 is ignored": (b"id: 1\nid: 2\0\nid: \0\ndata: a\n\n", [message(b"a", last_id="1")]),
    "an id keeps its second space": (b"id:  1 \ndata: a\n\n", [message(b"a", last_id=" 1 ")]),
    "an id in another script": ("id: …é\ndata: a\n\n".encode(), [message(b"a", last_id="…é")]),
    # Bytes
    "other scripts are data": ("data: ok…日本語🙂\n\n".encode(), [message("ok…日本語🙂".encode())]),
    "data stays as it came, also where it is no UTF-8": (
        b"data: \xff\xfe\xed\xa0\x80\n\n",
        [message(b"\xff\xfe\xed\xa0\x80")],
    ),
    "half a character does not eat the line end": (
        b"data: \xe2\x82\n\ndata: a\n\n",
        [message(b"\xe2\x82"), message(b"a")],
    ),
    "a type and an id replace what is no UTF-8": (
        b"event: \xff!\nid: \xe2\x82!\ndata: a\n\n",
        [message(b"a", "\ufffd!", "\ufffd!")],
    ),
    # The end of the stream
    "an event without its blank line is dropped": (b"data: a\n\ndata: b\n", [message(b"a")]),
    "an event without its line end is dropped": (b"data: a\n\ndata: b", [message(b"a")]),
    "a stream that is one unfinished line": (b"data", []),
    "the id of an unfinished event is dropped with it": (b"id: 1\ndata: a\n\nid: 2\n", [message(b"a", last_id="1")]),
}


def decode(*pieces: bytes, limit: int = 1 << 20) -> tuple[list[SseEvent], bool]:
    decoder = SseDecoder(limit)
    return [event for piece in pieces for event in decoder.feed(piece)], decoder.overflowed


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[n : n + 1] for n in range(len(stream))]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("name", VECTORS)
def test_a_stream_gives_the_events_of_the_standard(name):
    stream, expected = VECTORS[name]
    assert decode(stream) == (expected, False)


@pytest.mark.parametrize("name", VECTORS)
def test_single_bytes_and_every_cut_in_two_give_the_same(name):
    stream, expected = VECTORS[name]
    assert decode(*bytewise(stream)) == (expected, False)
    for place in range(min(len(stream), 200)):
        assert decode(stream[:place], b"", stream[place:]) == (expected, False), place


RETRIES: dict[bytes, int | None] = {
    b"retry: 3000": 3000,
    b"retry:0": 0,
    b"retry: 03000": 3000,
    b"retry: 00000000000000003000": 3000,
    b"retry: 10\nretry: 20": 20,
    b"retry: 10\nretry: 1e3": 10,
    b"retry": None,
    b"retry:": None,
    b"retry: -1": None,
    b"retry: +1": None,
    b"retry: 1.5": None,
    b"retry: 1000 ": None,
    b"retry:  1000": None,
    b"retry: 10s": None,
    "retry: ٣٠".encode(): None,
    b"Retry: 1000": None,
}


@pytest.mark.parametrize("line", RETRIES, ids=repr)
def test_a_retry_counts_where_it_is_ascii_digits_and_nothing_else(line):
    decoder = SseDecoder()
    assert decoder.feed(line + b"\n\n") == []
    assert decoder.retry_ms == RETRIES[line]


def test_a_retry_of_ten_thousand_digits_is_no_fault():
    decoder = SseDecoder()
    assert decoder.feed(b"retry: " + b"9" * 10_000 + b"\ndata: a\n\n") == [message(b"a")]


def naive(stream: bytes) -> list[SseEvent]:
    """The standard's own steps, one line after the other, over the whole stream at once."""
    *lines, _ = re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM))
    events: list[SseEvent] = []
    data, kind, last_id, id_buffer = b"", "", "", ""
    for line in lines:
        if not line:
            last_id = id_buffer
            if data:
                events.append(SseEvent(data[:-1], kind or "message", last_id))
            data, kind = b"", ""
        elif not line.startswith(b":"):
            name, value = line, b""
            if b":" in line:
                name, value = line.split(b":", 1)
                value = value[1:] if value[:1] == b" " else value
            if name == b"data":
                data += value + b"\n"
            elif name == b"event":
                kind = value.decode("utf-8", "replace")
            elif name == b"id" and b"\0" not in value:
                id_buffer = value.decode("utf-8", "replace")
    return events


FIELDS = [b"data", b"data: ", b"event:", b"id: ", b"retry: ", b":", b" "]
LINE_ENDS = [b"\n", b"\n", b"\n\n", b"\r", b"\r\n"]
VALUES = ["é".encode(), "🙂".encode(), b"\xf0\x9f", b"\xff", b"\0", BOM, BOM[:2], b"1", b"Hel", b'{"a":"b"}']
streams = st.lists(st.sampled_from(FIELDS + LINE_ENDS + VALUES), max_size=40).map(b"".join)
cuts = st.lists(st.integers(0, 150), max_size=12)


@settings(deadline=None, max_examples=400)
@given(streams, cuts)
@example(BOM + b"data: a\r\n\r\n", [1, 2, 11, 12, 13])
def test_any_cut_of_any_bytes_gives_the_events_of_the_naive_reading(stream: bytes, places: list[int]):
    expected = naive(stream)
    assert decode(stream) == (expected, False)
    assert decode(*cut(stream, places)) == (expected, False)
    assert decode(*bytewise(stream)) == (expected, False)


@settings(deadline=None, max_examples=300)
@given(streams, cuts, st.integers(4, 20))
@example(b"data: 78901\n", [11], 10)
@example(b"data: 7890\n", [10], 10)
@example(b"data: 7890\r\n\r\n", [11, 12], 10)
def test_where_a_stream_overflows_does_not_depend_on_its_cuts(stream: bytes, places: list[int], limit: int):
    expected = decode(stream, limit=limit)
    assert decode(*cut(stream, places), limit=limit) == expected
    assert decode(*bytewise(stream), limit=limit) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=repr)
@pytest.mark.parametrize(
    "block", [b"data: 4567890123456", b"data: 456%bdata: 23456", b"id: 4567890%bdata: 6"], ids=repr
)
def test_an_event_of_exactly_the_limit_passes_at_every_cut_and_one_byte_more_at_none(block: bytes, end: bytes):
    block = block.replace(b"%b", end)
    size = len(block.replace(b"\r\n", b"\n"))
    before, after = b"data: a" + end * 2, b"data: b" + end * 2
    stream = before + block + end * 2 + after
    for a in range(len(stream)):
        for b in range(a, len(stream), 3):
            pieces = (stream[:a], stream[a:b], stream[b:])
            events, overflowed = decode(*pieces, limit=size)
            assert [len(events), overflowed] == [3, False], pieces
            events, overflowed = decode(*pieces, limit=size - 1)
            assert [[e.data for e in events], overflowed] == [[b"a"], True], pieces


def test_an_event_of_the_limit_that_never_ends_overflows_with_its_first_byte_too_many():
    decoder = SseDecoder(10)
    decoder.feed(b"data: 7890")
    assert not decoder.overflowed
    assert decoder.feed(b"1") == []
    assert decoder.overflowed
    assert decoder.feed(b"\n\ndata: a\n\n") == []


LOOKS: dict[bytes, bool] = {
    b"data: a\n\n": True,
    b"data\r\n\r\n": True,
    b": hi\n\n": True,
    b"id: 1\n\n": True,
    b"x: 1\nevent: y\n\n": True,
    BOM + b"retry: 1\r\r": True,
    b'data: {"cho': True,
    b": hi": True,
    BOM + b"event: x\ndat": True,
    b"": False,
    b"\n\n\n\n": False,
    b"<html>\n\n</html>": False,
    b"garbage: 1\n\nmore": False,
    b'{"data":1}\n\n': False,
    b"Data: 1\n\ndatas: 2\n\n": False,
    b"\x1f\x8b\x08\x00\n\n\xff": False,
}


@pytest.mark.parametrize("stream", LOOKS, ids=repr)
def test_an_event_stream_is_told_from_anything_else_by_its_comments_and_known_fields(stream: bytes):
    for pieces in ([stream], bytewise(stream)):
        decoder = SseDecoder()
        for piece in pieces:
            decoder.feed(piece)
        assert decoder.recognised is LOOKS[stream]


class CountedTail(bytearray):
    """Counts the bytes that anybody looks through or copies: what would grow with the square of an event's length."""

    looked_at = 0

    def find(self, what: Any, start: int = 0, *rest: Any) -> int:
        self.looked_at += len(self) - start
        return super().find(what, start, *rest)

    def split(self, *args: Any, **kwargs: Any) -> list[bytearray]:
        self.looked_at += len(self)
        return super().split(*args, **kwargs)

    def __bytes__(self) -> bytes:
        self.looked_at += len(self)
        return bytes(memoryview(self))


def test_a_long_event_byte_by_byte_costs_its_length_and_not_the_square_of_it():
    decoder = SseDecoder()
    decoder.feed(b"d")
    decoder._tail = tail = CountedTail(decoder._tail)
    stream = b"ata: " + b"line\ndata: " * 2_000
    for piece in bytewise(stream):
        assert decoder.feed(piece) == []
    assert decoder._tail is tail
    assert len(stream) <= tail.looked_at <= 3 * len(stream)


names = st.from_regex(r"[a-z_]{1,20}", fullmatch=True).map(str.encode)
one_line = st.text(st.characters(codec="utf-8", exclude_characters="\r\n")).map(str.encode)


@settings(deadline=None)
@given(st.lists(st.tuples(names, one_line, st.integers(0, 2**63).map(str)), max_size=5), cuts)
def test_what_is_encoded_is_decoded(events: list[tuple[bytes, bytes, str]], places: list[int]):
    stream = KEEP_ALIVE.join(encode(kind, data, offset.encode()) for kind, data, offset in events) + KEEP_ALIVE
    expected = [message(data, kind.decode(), offset) for kind, data, offset in events]
    assert decode(*cut(stream, places)) == (expected, False)


def test_the_id_is_the_last_line_of_an_event():
    assert encode(b"delta", b'{"text":"Hel"}', b"7") == b'event: delta\ndata: {"text":"Hel"}\nid: 7\n\n'
