"""Guards on every endpoint: nothing of a planted value is shown or logged, and a block ends the turn as one."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
import websockets

from conformance.readers import READERS, Seen, library
from conftest import serving, settings_for
from trunkline import Delta, Ended, Guarded, Notice, Relay, ToolCall, TurnRequest
from trunkline.simulators import Simulator
from trunkline.simulators.texts import TEXTS

VALUES = (
    "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "078-05-1120",
)  # fmt: skip
PIECES = ("4111 1111", "5555-5555", "378282246", "078-05")
CUTS = ("whole", "bytes", "random", "7")


def guarded(simulator: Simulator, name: str = "contact-centre", **more: Any) -> dict[str, Any]:
    return settings_for(f"{simulator.url}/v1", upstream={"guards": name, **more.pop("upstream", {})}, **more)


async def everything_else(url: str) -> str:
    """All else that can be read of the relay's turns."""
    async with httpx.AsyncClient(timeout=20) as http:
        turns = (await http.get(f"{url}/v1/turns")).json()["turns"]
        pages = [(await http.get(f"{url}/metrics")).text]
        for turn in turns:
            pages += [(await http.get(f"{url}/v1/turns/{turn['id']}{path}")).text for path in ("", "/events")]
    return "\n".join(pages)


@pytest.mark.parametrize("reader", READERS)
async def test_no_reader_sees_a_planted_value_however_the_stream_is_cut(simulator, reader, caplog):
    with caplog.at_level(logging.DEBUG, logger="trunkline"):
        async with serving(guarded(simulator)) as url:
            prompts = [f"sim:text=cards;sim:fault=cut={cut}" for cut in CUTS]
            seen: list[Seen] = [await READERS[reader](url, prompt) for prompt in prompts]
            rest = await everything_else(url)
    assert {one.outcome for one in seen} == {"completed"}
    assert len({one.text for one in seen}) == 1
    assert "paid with the card [CARD], and" in seen[0].text
    own = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("trunkline"))
    for value in PIECES:
        assert value in TEXTS["cards"]
        for place in (seen[0].text, rest, own):
            assert value not in place
    assert 'trunkline_guard_actions_total{action="mask",rule="card",upstream="support"} ' in rest


@pytest.mark.parametrize("reader", READERS)
async def test_a_block_ends_the_turn_in_each_endpoints_own_form_and_stops_the_platform(simulator, reader):
    async with serving(guarded(simulator, "block")) as url:
        seen = await READERS[reader](url, "sim:text=cards;sim:interval-ms=2")
        rest = await everything_else(url)
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"
    expected = ("completed", "content_filter") if reader.startswith(("openai", "azure")) else ("blocked", "guard_rule")
    assert (seen.outcome, seen.reason) == expected
    assert seen.text == TEXTS["cards"].partition(VALUES[0])[0]
    assert not [value for value in PIECES if value in rest]


async def test_the_library_is_screened_too(simulator):
    async with Relay(guarded(simulator)) as relay:
        seen = await library(relay, "sim:text=cards")
    assert not [value for value in PIECES if value in seen.text]


async def events_of(relay: Relay, prompt: str, **more: Any) -> list[Any]:
    return [event async for event in relay.stream(TurnRequest(input=prompt, **more))]


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def test_names_known_in_advance_are_masked_for_that_turn_only(simulator):
    async with Relay(guarded(simulator)) as relay:
        events = await events_of(relay, "sim:text=german", terms=["Größmann", "Köln"])
        other = await events_of(relay, "sim:text=german")
    assert "Frau [KNOWN_TERM]. Ihre" in text_of(events)
    assert [event.kind for event in events if isinstance(event, Guarded)] == ["term", "term"]
    assert "Größmann" in text_of(other)


async def test_a_value_has_one_name_in_a_conversation_and_another_digest_in_the_next(simulator):
    async with Relay(guarded(simulator, "eu-privacy")) as relay:
        runs = [await events_of(relay, "sim:text=cards", conversation_id=c) for c in ("c-1", "c-1", "c-2")]
    texts = [text_of(events) for events in runs]
    digests = [[event.digest for event in events if isinstance(event, Guarded)] for events in runs]
    assert "the card [CARD_1], and" in texts[0]
    assert "[CARD_2], and a third one, [CARD_3]" in texts[0]
    assert texts[0] == texts[1] == texts[2]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


async def test_a_fallback_is_screened_as_what_was_asked(simulator):
    settings = guarded(simulator, "contact-centre")
    first = settings["upstreams"]["support"]
    settings["upstreams"]["support"] = {**first, "base_url": "http://127.0.0.1:9/v1", "fallbacks": ["local"]}
    settings["upstreams"]["local"] = first
    settings["default_upstream"] = "support"
    async with Relay(settings) as relay:
        assert "[CARD]" in text_of(await events_of(relay, "sim:text=cards"))


async def test_reasoning_refusals_and_tool_arguments_are_screened_as_well(simulator):
    rules = [{"name": "word", "pattern": r"[a-z]{4}", "replacement": "<>"}]
    settings = guarded(simulator, "strict", guards={"strict": {"rules": rules}})
    async with Relay(settings) as relay:
        thought = await events_of(relay, "sim:fault=reasoning")
        refused = await events_of(relay, "sim:fault=refusal")
        called = await events_of(relay, "sim:fault=tool-calls")
    assert "<>" in text_of([event for event in thought if getattr(event, "channel", "") == "reasoning"])
    assert "<>" in text_of(refused)
    assert isinstance(called[-1], Ended)
    assert called[-1].outcome == "blocked", "a match in a name or a key cannot be masked"
    assert not [event for event in called if isinstance(event, ToolCall) and event.arguments]


@pytest.mark.parametrize(("action", "outcome"), [("flag", "completed"), ("fail", "failed")])
async def test_an_answer_that_should_be_json_is_flagged_or_fails_at_once(simulator, action, outcome):
    settings = guarded(simulator, upstream={"expect": "json", "on_unexpected": action})
    async with Relay(settings) as relay:
        events = await events_of(relay, "sim:text=order")
    assert events[-1].outcome == outcome
    if action == "fail":
        assert events[-1].reason == "answer_not_json"
        assert text_of(events) == ""
    else:
        assert [e.kind for e in events if isinstance(e, Notice)] == ["answer_not_json"]
        assert text_of(events) == (await simulator.ended(1))[-1]["text"]


@pytest.mark.parametrize("prompt", ["sim:text=empty", "sim:text=short;sim:fault=finish=length", "sim:text=order"])
async def test_no_answer_and_half_an_answer_are_no_json(simulator, prompt):
    async with Relay(guarded(simulator, upstream={"expect": "json", "on_unexpected": "fail"})) as relay:
        assert (await events_of(relay, prompt))[-1].reason == "answer_not_json"
        assert (await events_of(relay, "sim:fault=tool-calls"))[-1].reason == "tool_calls"


async def test_terms_come_with_a_request_on_every_endpoint_and_stay_in_the_relay(simulator):
    terms, prompt = ["Größmann"], [{"role": "user", "content": "sim:text=german"}]
    async with serving(guarded(simulator)) as url, httpx.AsyncClient() as http:
        body = {"model": "support", "messages": prompt, "terms": terms}
        chat = await http.post(f"{url}/v1/chat/completions", json=body)
        native = await http.post(f"{url}/v1/turns?stream=true", json={"input": "sim:text=german", "terms": terms})
        async with websockets.connect(url.replace("http", "ws", 1) + "/ws") as socket:
            payload = {"messages": prompt, "terms": terms}
            await socket.send(json.dumps({"type": "init", "payload": payload}))
            said = ""
            while '"complete"' not in (frame := str(await socket.recv())):
                said += frame
        for text in (chat.text, native.text, said):
            assert "[KNOWN_TERM]" in text
            assert "Größmann" not in text
        for wrong in (["\u3164"], ["a\U0010ffff"], [""], ["x" * 65], ["y"] * 65):
            refused = await http.post(f"{url}/v1/turns", json={"input": "hi", "terms": wrong})
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert all(turn["state"] == "ended" for turn in (await http.get(f"{url}/v1/turns")).json()["turns"])
    assert not any("terms" in row["body"] for row in await simulator.ended(3))


async def test_ten_thousand_terms_do_not_keep_the_loop_busy_at_start(simulator, tmp_path):
    path = tmp_path / "terms.txt"
    path.write_text("\n".join(f"never say {n} again" for n in range(10_000)))
    settings = guarded(simulator, "strict", guards={"strict": {"terms_file": str(path)}})
    late = 0.0
    async with asyncio.timeout(20):
        starting = asyncio.ensure_future(Relay(settings).__aenter__())
        loop = asyncio.get_running_loop()
        while not starting.done():
            before = loop.time()
            await asyncio.sleep(0.01)
            late = max(late, loop.time() - before)
    relay = starting.result()
    await relay.__aexit__()
    assert late < 2


@pytest.mark.parametrize("guards", ["none", "contact-centre"])
async def test_a_character_that_comes_in_halves_is_one_for_readers(guards):
    async def platform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for content in (rb"Hi \ud83d", rb"\ude00 and \ud83d", rb"", rb"!"):
            writer.write(b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % content)
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(platform, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with Relay(settings_for(url, upstream={"guards": guards})) as relay:
            assert text_of(await events_of(relay, "hi")) == "Hi \N{GRINNING FACE} and \ufffd!"
