"""`GET /stream`: what a browser's EventSource gets, and that its address starts one turn however often it comes."""

from __future__ import annotations

import asyncio
import hashlib
import json

import httpx
import pytest

from conformance.readers import front_end_events
from conftest import HASTE, serving, settings_for
from trunkline import Relay, TurnRequest
from trunkline.core.events import Delta, Ended, Entry, Started
from trunkline.core.turn import State
from trunkline.endpoints import front_end
from trunkline.endpoints.base import Desk
from trunkline.endpoints.front_end import form_of
from trunkline.endpoints.settings import FallbackTexts
from trunkline.repeats import Question, Repeats
from trunkline.stores.base import TurnLog

TEXTS = FallbackTexts(timeout="slow", rate_limit="busy", other="broken")


def query(**more: str) -> dict[str, str]:
    return {"session_id": "s-1", "dialog_id": "d-1", **more}


async def begin(http, url, **more):
    """Ask, and leave as soon as the headers are there; return the turn's id and what came."""
    async with http.stream("GET", f"{url}/stream", params=query(**more)) as response:
        assert response.status_code == 200
        async for first in response.aiter_bytes():
            return response.headers["x-turn-id"], first.decode()
    raise AssertionError("nothing came")


async def test_an_answer_streams_and_ends_with_all_of_it(http, simulator, relay_url):
    response = await http.get(f"{relay_url}/stream", params=query(input="sim:text=order", upstream="support"))
    turn = response.headers["x-turn-id"]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.startswith(f"retry: 1000\nevent: turn\ndata: {turn}\nid: {turn}.0\n\n")
    *tokens, (kind, whole, last_id) = front_end_events(response.text)
    sent = (await simulator.ended(1))[-1]["text"]
    assert (kind, whole, "".join(text for _, text, _ in tokens)) == ("done", sent, sent)
    shown = (await http.get(f"{relay_url}/v1/turns/{turn}")).json()
    assert last_id == f"{turn}.{shown['tail']}"
    assert (shown["session_id"], shown["conversation_id"]) == ("s-1", "d-1")


async def test_an_event_source_that_has_it_all_is_stopped(http, simulator, relay_url):
    response = await http.get(f"{relay_url}/stream", params=query(input="sim:text=short"))
    last_id = front_end_events(response.text)[-1][2]
    again = await http.get(
        f"{relay_url}/stream", params=query(input="sim:text=short"), headers={"last-event-id": last_id}
    )
    assert (again.status_code, again.content) == (204, b"")
    assert len(await simulator.ended(1)) == 1


async def test_one_that_was_cut_off_goes_on_where_it_was(http, simulator, relay_url):
    asked = query(input="sim:text=unicode")
    events = front_end_events((await http.get(f"{relay_url}/stream", params=asked)).text)
    for n in (0, 3, len(events) - 2):
        again = await http.get(f"{relay_url}/stream", params=asked, headers={"last-event-id": events[n][2]})
        assert front_end_events(again.text) == events[n + 1 :]
    assert len(await simulator.ended(1)) == 1


async def test_the_same_question_a_moment_later_joins_the_turn_that_nobody_read(http, simulator, relay_url):
    turn, _ = await begin(http, relay_url, input="sim:text=order;sim:interval-ms=20")
    while (await http.get(f"{relay_url}/metrics")).text.count("\ntrunkline_readers 0.0") == 0:
        pass
    again = await http.get(f"{relay_url}/stream", params=query(input="sim:text=order;sim:interval-ms=20"))
    assert again.headers["x-turn-id"] == turn
    assert front_end_events(again.text)[-1][1] == (await simulator.ended(1))[-1]["text"]
    assert len(simulator.ledger) == 1


async def test_where_the_platform_holds_the_prompt_an_answered_dialog_asks_anew(simulator):
    repeats, turns = Repeats(lambda: 0.0), []
    for question in (Question("p", "s", "d", "", ""), Question("p", "s", "d", "hi", "")):
        async with Relay(settings_for(f"{simulator.url}/v1")) as relay:
            turn = relay.start(TurnRequest(input="sim:text=short"))
            desk = Desk(relay.turns, None, relay.settings.server, relay.telemetry, repeats)
            repeats.asked(question, turn.id)
            stream = front_end._Stream(desk, question, turn, 0)
            await stream({"type": "http"}, asyncio.Event().wait, _ignore)
            turns.append(repeats.unanswered(question))
    assert [bool(turn) for turn in turns] == [False, True]


async def _ignore(message) -> None:
    """A connection that takes everything."""


async def test_two_that_ask_the_same_at_once_get_a_turn_each(relay_url):
    async with httpx.AsyncClient(timeout=10) as one, httpx.AsyncClient(timeout=10) as other:
        address, asked = f"{relay_url}/stream", query(input="sim:text=order;sim:interval-ms=5")
        first, second = await asyncio.gather(one.get(address, params=asked), other.get(address, params=asked))
    assert first.headers["x-turn-id"] != second.headers["x-turn-id"]


async def test_a_ticket_that_joins_a_turn_follows_it_from_then_on(http, simulator):
    digest = hashlib.sha256(b"tk_test").hexdigest()
    settings = settings_for(f"{simulator.url}/v1", keys=[{"name": "web", "sha256": digest}])
    async with serving(settings, insecure=False) as url:
        asked = query(input="sim:text=order;sim:interval-ms=30")
        turns = []
        for _ in range(2):  # the page is loaded anew, with a new ticket
            made = await http.post(f"{url}/v1/tickets", headers={"x-api-key": "tk_test"})
            turn, first = await begin(http, url, **asked, ticket=made.json()["ticket"])
            turns.append(turn)
            while "\ntrunkline_readers 0.0" not in (await http.get(f"{url}/metrics")).text:
                pass
        assert turns[0] == turns[1]
        last_id = {"last-event-id": f"{turn}.0"}
        again = await http.get(f"{url}/stream", params=asked | {"ticket": made.json()["ticket"]}, headers=last_id)
        assert front_end_events(again.text)[-1][1] == (await simulator.ended(1))[-1]["text"]
        assert first.startswith("retry")


async def test_a_question_whose_turn_was_forgotten_is_a_new_one(http, relay_url):
    turn, _ = await begin(http, relay_url, input="sim:text=order;sim:interval-ms=30")
    await http.delete(f"{relay_url}/v1/turns/{turn}")
    again = await http.get(f"{relay_url}/stream", params=query(input="sim:text=order;sim:interval-ms=30"))
    assert again.status_code == 200
    assert again.headers["x-turn-id"] != turn


async def test_a_thinking_model_does_not_leave_the_connection_quiet(http, simulator):
    settings = settings_for(f"{simulator.url}/v1", server={"keep_alive_s": 0.1})
    async with serving(settings) as url:
        asked = query(input="sim:text=short;sim:fault=reasoning;sim:interval-ms=60")
        assert (await http.get(f"{url}/stream", params=asked)).text.count(": keep-alive") > 1


async def test_a_program_may_come_twice_by_its_key(http, simulator, relay_url):
    key = {"idempotency-key": "k"}
    first = await http.get(f"{relay_url}/stream", params=query(input="sim:text=short"), headers=key)
    again = await http.get(f"{relay_url}/stream", params=query(input="sim:text=short"), headers=key)
    assert first.text == again.text
    assert len(await simulator.ended(1)) == 1


@pytest.mark.parametrize("missing", ["session_id", "dialog_id"])
async def test_both_ids_are_required(http, relay_url, missing):
    response = await http.get(f"{relay_url}/stream", params={k: v for k, v in query().items() if k != missing})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert missing in response.json()["detail"]


@pytest.mark.parametrize("given", ["nonsense", "turn_1.5", "turn_" + "0" * 32, "turn_" + "0" * 32 + ".x"])
async def test_an_id_that_is_none_of_ours_is_refused(http, relay_url, given):
    response = await http.get(f"{relay_url}/stream", params=query(), headers={"last-event-id": given})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_offset")


async def test_a_turn_that_is_not_there_is_not_started_anew(http, simulator, relay_url):
    gone = "turn_" + "0" * 32 + ".7"
    response = await http.get(f"{relay_url}/stream", params=query(), headers={"last-event-id": gone})
    assert response.status_code == 404
    assert not simulator.ledger


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("sim:fault=stall", "I am experiencing high latency. Please try again in a moment."),
        ("sim:fault=status=429;sim:fault=retry-after=0", "Service is temporarily overloaded. Please retry shortly."),
        ("sim:fault=status=400", "An unexpected error occurred. Please contact support."),
    ],
)
async def test_a_failure_is_a_text_for_the_customer(http, hasty_url, prompt, words):
    response = await http.get(f"{hasty_url}/stream", params=query(input=prompt))
    assert response.status_code == 200
    assert [event[:2] for event in front_end_events(response.text)] == [("error", words)]


async def test_fallback_texts_are_those_of_the_language(http, simulator):
    texts = {"de": {"other": "Das ging schief."}, "en": {"other": "That went wrong."}}
    settings = settings_for(f"{simulator.url}/v1", timeouts=HASTE, fallback_texts=texts)
    async with serving(settings) as url:
        for language, key in {"de-AT": "de", "de": "de", "fr": "en"}.items():
            asked = query(input="sim:fault=status=400", language=language, session_id=language)
            response = await http.get(f"{url}/stream", params=asked)
            assert front_end_events(response.text)[-1][:2] == ("error", texts[key]["other"])


async def test_a_browser_comes_by_ticket_and_comes_back_by_it(http, simulator):
    key = "tk_test"
    digest = hashlib.sha256(key.encode()).hexdigest()
    settings = settings_for(f"{simulator.url}/v1", keys=[{"name": "web", "sha256": digest}])
    async with serving(settings, insecure=False) as url:
        asked = query(input="sim:text=order;sim:interval-ms=10")
        assert (await http.get(f"{url}/stream", params=asked)).status_code == 401
        made = await http.post(f"{url}/v1/tickets", headers={"x-api-key": key})
        assert (made.status_code, made.json()["expires_in"]) == (201, 60)
        asked["ticket"] = made.json()["ticket"]
        async with http.stream("GET", f"{url}/stream", params=asked) as response:
            turn = response.headers["x-turn-id"]
        again = await http.get(f"{url}/stream", params=asked)
        assert again.headers["x-turn-id"] == turn
        assert front_end_events(again.text)[-1][1] == (await simulator.ended(1))[-1]["text"]
        other = await http.get(f"{url}/stream", params={**asked, "input": "sim:text=short"})
        assert other.status_code == 401, "a used ticket starts nothing new"
        refused = await http.get(f"{url}/stream", params=asked, headers={"last-event-id": "turn_" + "0" * 32 + ".1"})
        assert refused.status_code == 401
        assert (await http.post(f"{url}/v1/turns", params={"ticket": asked["ticket"]}, json={})).status_code == 401


def log_of(*events) -> TurnLog:
    turn = TurnLog("turn_x")
    started = Started(turn="turn_x", principal="p", upstream="u", model="m", created_at="now", endpoint="front_end")
    turn.entries = [Entry(n, 0, event) for n, event in enumerate([started, *events], 1)]
    turn.visible = len(turn.entries)
    turn.state = State.ENDED
    return turn


@pytest.mark.parametrize("pieces", ["a\r\nb", "a\r|\nb", "a|\r|\n|b", "a\r|\n|b", "a\n|b"])
def test_a_line_end_is_one_newline_however_it_is_cut(pieces):
    turn = log_of(*(Delta(piece, 0) for piece in pieces.split("|")), Ended("completed", "stop"))
    for cuts in ([0, len(turn.entries)], range(len(turn.entries) + 1)):
        body = b"".join(form_of(TEXTS)(turn, a, b) for a, b in zip(cuts, [*cuts][1:], strict=False))
        *tokens, (kind, whole, _) = front_end_events(body.decode())
        assert "".join(text for _, text, _ in tokens) == whole == "a\nb"
        assert kind == "done"


def test_what_is_shown_is_the_first_choices_text_and_no_thought():
    deltas = [Delta("thought", 0, "reasoning"), Delta("one", 0), Delta("other", 1), Delta(" wait", 0, "relay")]
    turn = log_of(*deltas, Ended("completed", "stop"))
    assert [event[1] for event in front_end_events(form_of(TEXTS)(turn, 0, 6).decode())] == ["one", " wait", "one wait"]


def test_an_empty_answer_is_still_done():
    turn = log_of(Ended("completed", "stop"))
    assert form_of(TEXTS)(turn, 0, 2) == b"event: done\ndata: \nid: turn_x.2\n\n"


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        ("failed", "turn_timeout", "slow"),
        ("failed", "quota_exceeded", "busy"),
        ("failed", "upstream_error", "broken"),
        ("blocked", "guard_rule", "broken"),
        ("cancelled", "client_cancelled", "broken"),
    ],
)
def test_every_other_end_is_an_error(outcome, reason, words):
    turn = log_of(Ended(outcome, reason))
    assert front_end_events(form_of(TEXTS)(turn, 0, 2).decode()) == [("error", words, "turn_x.2")]


def test_json_in_a_token_stays_what_it_is():
    text = json.dumps({"a": "b: c"}, indent=1)
    turn = log_of(Delta(text, 0), Ended("completed", "stop"))
    assert front_end_events(form_of(TEXTS)(turn, 0, 2).decode())[0][1] == text
