"""What the endpoints write is read as it is, wherever it is cut, and nothing is read out of half an event."""

from __future__ import annotations

import pytest

from kills.wires import EventStream, FrontEnd, OpenAI, native, proxy_message, sentence, socket_message

NATIVE = (
    b'event: delta\ndata: {"type":"delta","text":"Hello","choice":0}\nid: 2\n\n'
    b": keep-alive\n\n"
    b'event: ended\ndata: {"type":"ended","outcome":"completed","reason":"stop"}\nid: 7\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_events_come_whole_however_they_are_cut(size):
    stream, found = EventStream(native), []
    for at in range(0, len(NATIVE), size):
        found += stream.feed(NATIVE[at : at + size])
    assert [(event.offset, event.kind, event.text, event.words) for event in found] == [
        (2, "delta", "Hello", ""),
        (7, "ended", "", "completed stop"),
    ]


def test_half_an_event_is_none():
    assert EventStream(native).feed(NATIVE[:60]) == []
    assert len(EventStream(native).feed(NATIVE[:-1])) == 1


def test_a_sentence_has_a_part_and_comes_before_the_entry_that_completed_it():
    body = b'event: delta\ndata: {"type":"delta","text":"Hello. ","choice":0}\nid: 3.1\n\n'
    body += b'event: ended\ndata: {"type":"ended","outcome":"completed","reason":"stop"}\nid: 3\n\n'
    first, last = EventStream(sentence).feed(body)
    assert first.place < last.place
    assert first.place == (3, 1)


def test_an_event_of_another_type_than_it_says_is_refused():
    with pytest.raises(ValueError, match="says that it is 'usage'"):
        EventStream(native).feed(b'event: delta\ndata: {"type":"usage"}\nid: 2\n\n')


def test_a_front_end_stream_names_its_turn_and_may_not_change_it():
    stream = EventStream(FrontEnd())
    assert stream.feed(b"retry: 1000\nevent: turn\ndata: turn_1\nid: turn_1.0\n\n") == []
    (token,) = stream.feed(b"event: token\ndata: two\ndata: lines\nid: turn_1.2\n\n")
    assert (token.offset, token.text) == (2, "two\nlines")
    with pytest.raises(ValueError, match="turn_2"):
        stream.feed(b"event: done\ndata: x\nid: turn_2.3\n\n")


def test_an_openai_stream_ends_with_what_its_chunks_said():
    stream = EventStream(OpenAI())
    body = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\nid: 1\n\n'
    body += b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\nid: 2\n\n'
    body += b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\nid: 5\n\n'
    found = stream.feed(body)
    assert [(event.offset, event.kind, event.text, event.words) for event in found] == [
        (1, "started", "", ""),
        (2, "delta", "Hi", ""),
        (5, "ended", "", "finish stop"),
    ]


def test_an_error_ends_an_openai_stream_too():
    body = b'data: {"error":{"code":"relay_restarted"}}\n\ndata: [DONE]\nid: 9\n\n'
    assert EventStream(OpenAI()).feed(body)[0].words == "error relay_restarted"


def test_messages_of_sockets_are_the_same_events():
    assert socket_message({"id": 2, "type": "delta", "text": "Hi", "choice": 0}).text == "Hi"
    chunk = {"type": "chunk", "id": 2, "data": {"choices": [{"delta": {"content": "Hi"}}]}}
    assert proxy_message(chunk).text == "Hi"
    assert proxy_message({"type": "handshake_ack", "turnId": "turn_1"}) is None
    assert proxy_message({"type": "error", "auditLog": {"reason": "relay_restarted"}}).words == "error relay_restarted"
    with pytest.raises(ValueError, match="no frame"):
        proxy_message({"type": "error", "message": "Invalid handshake type"})
