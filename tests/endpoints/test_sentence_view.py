"""Sentences in place of deltas: the same text, the same events, and every id is a place to come back to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline.core.errors import RequestRefused
from trunkline.core.events import Delta, Ended, Entry, Guarded, Started
from trunkline.core.turn import State
from trunkline.endpoints.sentence_view import SentenceView, read_place
from trunkline.stores.base import TurnLog

PIECES = ["Hello th", "ere. How are", " you? I", " am fine.", " Dr. No is not. Bye"]


def log_of(*events) -> TurnLog:
    turn = TurnLog("turn_x")
    started = Started(turn="turn_x", principal="p", upstream="u", model="m", created_at="now", endpoint="native")
    turn.entries = [Entry(n, 0, event) for n, event in enumerate([started, *events], 1)]
    turn.visible = len(turn.entries)
    turn.state = State.ENDED
    return turn


TURN = log_of(*(Delta(piece, 0) for piece in PIECES), Guarded("x", "flag", 0, 1, 0, 1), Ended("completed", "stop"))


def read(body: bytes) -> list[tuple[str, str, Any]]:
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["id"], fields["event"], json.loads(fields["data"]).get("text")))
    return found


WHOLE = read(SentenceView()(TURN, 0, 8))


def test_an_answer_comes_in_sentences_and_its_text_is_the_same():
    texts = [text for _, event, text in WHOLE if event == "delta"]
    assert "".join(texts) == "".join(PIECES)
    assert [text.strip() for text in texts] == ["Hello there.", "How are you?", "I am fine.", "Dr. No is not.", "Bye"]
    assert [event for _, event, _ in WHOLE if event != "delta"] == ["started", "guarded", "ended"]


@pytest.mark.parametrize("size", range(1, 9))
def test_it_does_not_matter_how_the_log_is_read(size: int):
    view, body = SentenceView(), b""
    for a in range(0, 8, size):
        body += view(TURN, a, min(8, a + size))
    assert read(body) == WHOLE


def test_what_could_not_be_sent_is_asked_for_again_with_more():
    view = SentenceView()
    body = view(TURN, 0, 2)
    view(TURN, 2, 4)
    body += view(TURN, 2, 6)
    body += view(TURN, 6, 8)
    assert read(body) == WHOLE


@pytest.mark.parametrize("n", range(len(WHOLE)))
def test_every_id_is_a_place_to_come_back_to(n: int):
    offset, parts = read_place(WHOLE[n][0], "Last-Event-ID")
    view = SentenceView() if parts is None else SentenceView(offset, parts)
    after = offset if parts is None else TURN.before(offset)
    assert read(view(TURN, TURN.position(after), 8)) == WHOLE[n + 1 :]


def test_two_choices_have_sentences_of_their_own():
    turn = log_of(
        Delta("One. T", 0), Delta("Eins. Zw", 1), Delta("wo.", 0), Delta("ei.", 1), Ended("completed", "stop")
    )
    deltas = [json.loads(line[6:]) for line in SentenceView()(turn, 0, 6).decode().split("\n") if '"text"' in line]
    assert ["".join(d["text"] for d in deltas if d["choice"] == c) for c in (0, 1)] == ["One. Two.", "Eins. Zwei."]


@pytest.mark.parametrize("text", ["", "x", "1.", "1.x", ".1", "0.1", "1.2.3", "-1"])
def test_a_place_that_is_none_is_refused(text: str):
    with pytest.raises(RequestRefused):
        read_place(text, "Last-Event-ID")


async def test_the_route_speaks_in_sentences_where_it_is_asked_to(http, simulator, relay_url):
    turn = (await http.post(f"{relay_url}/v1/turns", json={"input": "sim:text=order"})).json()
    address = f"{relay_url}/v1/turns/{turn['id']}/events"
    found = read((await http.get(address, params={"unit": "sentence"})).content)
    assert "".join(text for _, event, text in found if event == "delta") == (await simulator.ended(1))[-1]["text"]
    middle = len(found) // 2
    headers = {"last-event-id": found[middle][0]}
    rest = await http.get(address, params={"unit": "sentence"}, headers=headers)
    assert read(rest.content) == found[middle + 1 :]
    done = await http.get(address, params={"unit": "sentence"}, headers={"last-event-id": found[-1][0]})
    assert done.status_code == 204
    assert (await http.get(address, headers={"last-event-id": "3.1"})).status_code == 400
