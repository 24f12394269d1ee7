"""What an OpenAI-compatible server may send that is no answer, and any cut of the bytes of one that is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.openai_wire import BROKEN, CLEAN, DONE, STOPPED, UNREADABLE, choice, chunk, data, failed
from dialects.playbook import Opened, Playbook, Refused
from trunkline.core.events import Delta, Ended, Notice, ToolCall
from trunkline.dialects.base import Item
from trunkline.dialects.openai_chat import OpenAIChat


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "image/png", "application/xml"])
def test_another_content_type_is_a_protocol_error_that_names_it(kind):
    expected = failed("upstream_protocol", f"expected text/event-stream, got {kind.partition(';')[0]!r}")
    Playbook(OpenAIChat()) >> Opened({"content-type": kind}) << expected


@pytest.mark.parametrize("sent", [b"<html>busy</html>", b"busy\n\n", b"\x1f\x8b\x08\x00", b'{"choices":[]}'], ids=repr)
def test_bytes_that_hold_no_event_are_a_protocol_error_at_their_end(play, sent):
    play() >> sent >> CLEAN << UNREADABLE


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "TEXT/Event-Stream;charset=UTF-8"}, {"content-type": "text/plain"}]
)
def test_a_stream_need_not_name_its_type_well(headers):
    Playbook(OpenAIChat()) >> Opened(headers) >> chunk("Hel") << Delta("Hel", 0)


@pytest.mark.parametrize(
    "payload",
    [b"hello", b"", b"{", b"[]", b'[{"choices":[]}]', b"7", b"null", b'"x"', b'{"choices":7}', b'{"choices":[7]}',
     b'{"x":' + b"[" * 100_000],
    ids=lambda payload: payload.decode()[:20] or "nothing",
)  # fmt: skip
def test_data_that_is_no_chunk_is_a_protocol_error(play, payload):
    play() >> chunk("Hel") << Delta("Hel", 0) >> b"data: " + payload + b"\n\n" << UNREADABLE


def test_events_of_other_types_need_not_be_json(play):
    script = play() >> b"event: ping\ndata: hello\n\n" >> b"event: metadata\ndata: {}\n\n" >> b": comment\n\n"
    script >> chunk("Hello", finish="stop") << Delta("Hello", 0) >> DONE << STOPPED


ERRORS: dict[bytes, str] = {
    data({"error": {"message": "overloaded", "type": "server_error", "code": 503}}): "overloaded",
    data({"error": "overloaded"}): "overloaded",
    data({"error": {"code": 503}}): "an error without words",
    data({"error": {"message": "overloaded"}, "choices": [choice("lo")]}): "overloaded",
    data({"object": "error", "message": "overloaded", "code": 503}): "overloaded",
    data({"message": "overloaded", "code": "service.unavailable"}): "overloaded",
    data({"detail": "overloaded"}): "overloaded",
    b"event: error\n" + data({"message": "overloaded"}): "overloaded",
    b"event: error\n" + data({"error": {"message": "overloaded"}}): "overloaded",
    b"event: error\n" + data({"detail": "overloaded"}): "overloaded",
    b"event: error\n" + data({}): "an error without words",
}


@pytest.mark.parametrize("sent", ERRORS, ids=lambda sent: sent.decode().strip())
def test_an_error_in_mid_stream_ends_the_turn_with_its_words(play, sent):
    play() >> chunk("Hel") << Delta("Hel", 0) >> sent + chunk("lo") + DONE << failed("upstream_error", ERRORS[sent])


def test_an_error_event_of_plain_words_is_an_error_too(play):
    play() >> b"event: error\ndata: overloaded\n\n" << failed("upstream_error")


def test_a_line_that_never_ends_is_cut_off_at_1_mib(play):
    # 50 MB in one piece, and read by read: the second way must not take 50 reads to find out.
    play() >> b"data: " + b"x" * 50_000_000 << UNREADABLE
    script = play() >> chunk("Hel") << Delta("Hel", 0) >> b"data: "
    for _ in range(15):
        script >> b"x" * (1 << 16)
    script >> b"x" * (1 << 16) << UNREADABLE


def test_what_precedes_too_long_an_event_is_kept(play):
    play() >> chunk("Hel") + chunk("x" * (1 << 20)) + chunk("lo") << Delta("Hel", 0) << UNREADABLE


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"], ids=repr)
@pytest.mark.parametrize("start", [b"data:", b"data: ", b"id: 7\ndata: ", b": hi\nretry: 5\nevent: message\ndata: "])
def test_the_framing_may_be_any_the_standard_allows(play, start, end):
    stream = b"\xef\xbb\xbf" + chunk("Hel").replace(b"\n\n", b"\n: comment\n\n") + chunk("lo", finish="stop") + DONE
    stream = stream.replace(b"data: ", start).replace(b"\n", end)
    play() >> stream << Delta("Hel", 0) << Delta("lo", 0) << STOPPED


def test_a_chunk_may_come_in_several_lines_of_data(play):
    pretty = json.dumps({"choices": [choice("Hel")]}, indent=2)
    play() >> "".join(f"data: {line}\n" for line in pretty.splitlines()).encode() + b"\n" << Delta("Hel", 0)


# Errors in HTTP

REASONS = {
    400: "upstream_error",
    401: "upstream_auth",
    403: "upstream_forbidden",
    404: "upstream_error",
    413: "upstream_error",
    422: "upstream_error",
    429: "rate_limited",
    500: "upstream_error",
    502: "upstream_unavailable",
    503: "upstream_unavailable",
    504: "upstream_unavailable",
}
BODIES: dict[str, tuple[bytes, str]] = {
    "OpenAI": (b'{"error":{"message":"No such model","type":"invalid_request_error","code":null}}', "No such model"),
    "Ollama": (b'{"error":"model not found"}', "model not found"),
    "FastAPI": (b'{"detail":"Not Found"}', "Not Found"),
    "FastAPI, of a field": (
        b'{"detail":[{"type":"missing","loc":["body","n"],"msg":"Field required"}]}',
        "Field required",
    ),
    "Genesys": (b'{"message":"Rate limit exceeded","code":"too.many","status":429,"errors":[]}', "Rate limit exceeded"),
    "vLLM, older": (b'{"object":"error","message":"too long","type":"BadRequestError","code":400}', "too long"),
    "JSON without words": (b'{"status":"bad"}', ""),
    "an error without words": (b'{"error":{"code":7}}', ""),
    "HTML": (b"<html><body>502 Bad Gateway</body></html>", ""),
    "nothing": (b"", ""),
    "no UTF-8": (b'{"detail":"\xff"}', ""),
    "half a JSON": (b'{"error":{"message":"No su', ""),
    "an array": (b'["no"]', ""),
    "JSON without a bottom": (b'{"detail":' + b"[" * 60_000, ""),
}


@pytest.mark.parametrize("status", REASONS)
def test_an_http_error_has_its_reason(status):
    sent = b'{"error":{"message":"No such model"}}'
    Playbook(OpenAIChat()) >> Refused(status, sent) << failed(REASONS[status], f"HTTP {status}: No such model")


@pytest.mark.parametrize("body", BODIES)
def test_an_http_error_has_the_words_of_the_server_where_it_sent_some(body):
    sent, words = BODIES[body]
    detail = f"HTTP 503: {words}" if words else "HTTP 503"
    Playbook(OpenAIChat()) >> Refused(503, sent) << failed("upstream_unavailable", detail)


def test_a_redirect_is_an_error():
    (
        Playbook(OpenAIChat())
        >> Refused(307, b"", {"location": "https://elsewhere/"})
        << failed("upstream_error", "HTTP 307")
    )


# Any cut

texts = st.text(st.characters(codec="utf-8"), max_size=8)
pieces = st.one_of(
    st.builds(choice, texts, st.integers(0, 1)),
    st.builds(lambda text, index: choice(index=index, reasoning_content=text), texts, st.integers(0, 1)),
    st.builds(
        lambda name, arguments, index: choice(
            tool_calls=[{"index": index, "id": f"call_{index}", "function": {"name": name, "arguments": arguments}}]
        ),
        texts,
        texts,
        st.integers(0, 1),
    ),
)
extras = st.sampled_from([b"", b": keep-alive\n\n", b"event: ping\ndata: -\n\n", b"id: 1\n\n", data({"choices": []})])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A well-formed answer of two choices, in any framing, with or without finish reasons and end mark."""
    ascii_only = draw(st.booleans())
    stream = b""
    for piece in draw(st.lists(pieces, max_size=8)):
        payload = json.dumps({"choices": [piece]}, ensure_ascii=ascii_only)
        stream += b"data: " + payload.encode() + b"\n\n" + draw(extras)
    for index in range(draw(st.integers(0, 2))):
        stream += chunk(index=index, finish=draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"])))
    stream += DONE * draw(st.integers(0, 2))
    if draw(st.booleans()):
        stream = b"\xef\xbb\xbf" + stream
    return stream.replace(b"\n", draw(st.sampled_from([b"\n", b"\r", b"\r\n"])))


def heard(reads: list[bytes]) -> tuple[dict[Any, str], dict[Any, list[str]], list[Item]]:
    """The texts, the tool calls and the end of an answer, put together as a reader would."""
    dialect = OpenAIChat()
    items = [item for read in reads for item in dialect.receive(read, 0.0)] + dialect.closed(CLEAN, 0.0)
    end = next(n for n, item in enumerate(items) if isinstance(item, Ended))
    texts: dict[Any, str] = {}
    calls: dict[Any, list[str]] = {}
    for item in items[:end]:
        if isinstance(item, Delta):
            texts[item.choice, item.channel] = texts.get((item.choice, item.channel), "") + item.text
        elif isinstance(item, ToolCall):
            calls.setdefault((item.choice, item.index), []).extend((item.call_id, item.name, item.arguments))
    return texts, calls, [item for item in items[: end + 1] if isinstance(item, Notice | Ended)]


@settings(deadline=None)
@given(streams(), st.lists(st.integers(0, 1_000), max_size=12))
def test_however_the_bytes_are_cut_texts_tool_calls_and_end_are_the_same(stream: bytes, places: list[int]):
    expected = heard([stream])
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    assert heard([stream[a:b] for a, b in pairwise(edges)]) == expected
    assert heard([stream[n : n + 1] for n in range(len(stream))]) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), texts), max_size=8), st.sampled_from(["completed", "failed"]))
def test_an_answer_is_the_text_that_was_sent(sent: list[tuple[int, str]], outcome: str):
    dialect = OpenAIChat()
    items = dialect.receive(b"".join(chunk(text, index) for index, text in sent), 0.0)
    items += dialect.receive(DONE, 0.0) if outcome == "completed" else dialect.closed(BROKEN, 0.0)
    for index in (0, 1):
        said = [item.text for item in items if isinstance(item, Delta) and item.choice == index]
        assert "".join(said) == "".join(text for index_sent, text in sent if index_sent == index)
    assert [item.outcome for item in items if isinstance(item, Ended)] == [outcome]
