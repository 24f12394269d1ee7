"""The native routes: create, show, list, follow, resume, cancel, forget, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json

import httpx
import pytest
import websockets

from conformance.readers import native_events
from conftest import serving, settings_for
from trunkline.config import parse
from trunkline.server import Server, bind
from trunkline.stores.journal import Journal

SLOW = "sim:text=long;sim:interval-ms=20"


async def create(http: httpx.AsyncClient, url: str, prompt: str = "sim:text=order", **more: object) -> dict:
    response = await http.post(f"{url}/v1/turns", json={"input": prompt, **more})
    assert response.status_code == 201, response.text
    return response.json()


async def ended(http: httpx.AsyncClient, url: str, turn: str) -> dict:
    """Wait for a turn's end by reading it, and show it."""
    await http.get(f"{url}/v1/turns/{turn}/events")
    return (await http.get(f"{url}/v1/turns/{turn}")).json()


async def test_creating_says_where_the_turn_is(http, relay_url):
    response = await http.post(f"{relay_url}/v1/turns", json={"input": "hi", "conversation_id": "c-1"})
    turn = response.json()
    assert response.headers["location"] == turn["links"]["self"] == f"/v1/turns/{turn['id']}"
    assert turn["state"] == "open"
    shown = await ended(http, relay_url, turn["id"])
    assert shown["state"] == "ended"
    assert shown["conversation_id"] == "c-1"
    assert shown["usage"]["counted_by"] == "platform"
    assert shown["ended_at"] >= shown["created_at"]


async def test_every_offset_is_a_place_to_resume(http, relay_url):
    turn = (await create(http, relay_url))["id"]
    whole = native_events((await http.get(f"{relay_url}/v1/turns/{turn}/events")).text)
    assert whole[0]["type"] == "started"
    for after in range(len(whole)):
        by_query = await http.get(f"{relay_url}/v1/turns/{turn}/events?after={after}")
        assert native_events(by_query.text) == whole[after:]
        by_header = await http.get(f"{relay_url}/v1/turns/{turn}/events", headers={"Last-Event-ID": str(after)})
        assert by_header.text == by_query.text


async def test_the_header_wins_over_the_query_and_the_end_is_204(http, relay_url):
    turn = (await create(http, relay_url))["id"]
    shown = await ended(http, relay_url, turn)
    tail = str(shown["tail"])
    response = await http.get(f"{relay_url}/v1/turns/{turn}/events?after=0", headers={"Last-Event-ID": tail})
    assert (response.status_code, response.content) == (204, b"")


async def test_an_offset_the_log_does_not_have_is_a_409_with_the_tail(http, relay_url):
    turn = (await create(http, relay_url))["id"]
    tail = (await ended(http, relay_url, turn))["tail"]
    response = await http.get(f"{relay_url}/v1/turns/{turn}/events?after={tail + 1}")
    assert response.status_code == 409
    assert response.json()["code"] == "offset_past_tail"
    assert response.json()["tail"] == tail


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "9" * 40, "١"])
async def test_a_last_event_id_that_is_no_offset_is_refused(http, relay_url, bad):
    turn = (await create(http, relay_url))["id"]
    response = await http.get(f"{relay_url}/v1/turns/{turn}/events", headers={"Last-Event-ID": bad.encode()})
    assert response.status_code == 400
    assert response.json()["code"] in ("invalid_offset", "invalid_request")


async def test_a_cancel_stops_the_platform_and_tells_every_reader(http, simulator, relay_url):
    turn = (await create(http, relay_url, SLOW))["id"]
    async with http.stream("GET", f"{relay_url}/v1/turns/{turn}/events") as response:
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith("event: delta"):
                break
        cancelled = await http.post(f"{relay_url}/v1/turns/{turn}/cancel", json={"heard_upto": 3})
        assert cancelled.status_code == 202
        rest = [line async for line in lines]
    last = json.loads(next(line for line in reversed(rest) if line.startswith("data: ")).removeprefix("data: "))
    assert (last["outcome"], last["reason"], last["heard_upto"]) == ("cancelled", "client_cancelled", 3)
    assert last["usage"]["counted_by"] == "relay"
    assert last["usage"]["completion_tokens"] > 0
    record = (await simulator.ended(1))[-1]
    assert record["ended"] == "client_gone"
    again = await http.post(f"{relay_url}/v1/turns/{turn}/cancel")
    assert again.status_code == 202


async def test_forgetting_erases_a_turn_and_leaves_410(http, relay_url):
    turn = (await create(http, relay_url))["id"]
    await ended(http, relay_url, turn)
    assert (await http.delete(f"{relay_url}/v1/turns/{turn}")).status_code == 204
    for path in ("", "/events"):
        response = await http.get(f"{relay_url}/v1/turns/{turn}{path}")
        assert (response.status_code, response.json()["code"]) == (410, "turn_forgotten")


async def test_deleting_again_says_whether_it_is_done(http, simulator, tmp_path, monkeypatch):
    erase, fails = Journal.erase, [True]

    def erase_or_fail(journal, turns):
        if fails[0]:
            raise OSError(errno.EIO, "the disk is ill")
        return erase(journal, turns)

    monkeypatch.setattr(Journal, "erase", erase_or_fail)
    store = {"durability": "process", "data_dir": str(tmp_path)}
    async with serving(settings_for(f"{simulator.url}/v1", store=store)) as url:
        made = await http.post(f"{url}/v1/turns", json={"input": "sim:text=short"})
        where = f"{url}/v1/turns/{made.json()['id']}"
        answers = [await http.delete(where) for _ in range(2)]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "store_unavailable")] * 2
        assert (await http.get(where)).status_code == 410
        fails[0] = False
        assert (await http.delete(where)).status_code == 410


async def test_forgetting_an_open_turn_ends_its_readers(http, simulator, relay_url):
    turn = (await create(http, relay_url, SLOW))["id"]
    async with http.stream("GET", f"{relay_url}/v1/turns/{turn}/events") as response:
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith("event: delta"):
                break
        assert (await http.delete(f"{relay_url}/v1/turns/{turn}")).status_code == 204
        rest = [line async for line in lines]
    assert "event: ended" in rest
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"


async def test_lists_are_paged_newest_first_and_filtered(http, relay_url):
    turns = [(await create(http, relay_url, conversation_id=f"c-{n % 2}"))["id"] for n in range(5)]
    for turn in turns:
        await ended(http, relay_url, turn)
    first = (await http.get(f"{relay_url}/v1/turns?limit=2")).json()
    assert [turn["id"] for turn in first["turns"]] == [turns[4], turns[3]]
    second = (await http.get(f"{relay_url}/v1/turns?limit=2&cursor={first['next_cursor']}")).json()
    assert [turn["id"] for turn in second["turns"]] == [turns[2], turns[1]]
    third = (await http.get(f"{relay_url}/v1/turns?limit=2&cursor={second['next_cursor']}")).json()
    assert ([turn["id"] for turn in third["turns"]], third["next_cursor"]) == ([turns[0]], None)
    odd = (await http.get(f"{relay_url}/v1/turns?conversation_id=c-1&state=ended")).json()
    assert [turn["id"] for turn in odd["turns"]] == [turns[3], turns[1]]
    assert (await http.get(f"{relay_url}/v1/turns?state=open")).json()["turns"] == []


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"{", 400, "invalid_json", "JSON"),
        (b"[]", 400, "invalid_request", ""),
        (b'{"input":"x","messages":[{"role":"user","content":"y"}]}', 400, "invalid_request", "not both"),
        (b"{}", 400, "input_required", "messages"),
        (b'{"messages":[]}', 400, "invalid_request", "/messages"),
        (b'{"messages":[{"role":"boss","content":"x"}]}', 400, "invalid_request", "/messages/0/role"),
        (b'{"input":"x","temperature":2.1}', 400, "invalid_request", "/temperature"),
        (b'{"input":"x","max_tokens":0}', 400, "invalid_request", "/max_tokens"),
        (b'{"input":"x","conversation_id":"a b"}', 400, "invalid_request", "/conversation_id"),
        (b'{"input":"x","temprature":1}', 400, "invalid_request", "unknown field"),
        (b'{"input":"x","upstream":"suport"}', 404, "model_not_found", 'Did you mean "support"?'),
        (b'{"input":"' + b"x" * 1_100_000 + b'"}', 413, "body_too_large", "1048576"),
    ],
)
async def test_bad_input_is_refused_with_a_problem(http, relay_url, body, status, code, words):
    response = await http.post(f"{relay_url}/v1/turns", content=body, headers={"content-type": "application/json"})
    problem = response.json()
    assert (response.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"]
    assert "Traceback" not in response.text


async def test_a_body_without_a_length_is_bounded_too(http, relay_url):
    async def endless():
        yield b'{"input":"'
        for _ in range(2_000):
            yield b"x" * 1_000

    response = await http.post(f"{relay_url}/v1/turns", content=endless(), headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_endless_headers_are_bounded(relay_url):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(relay_url.rpartition(":")[2]))
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nx-long: ")
        for _ in range(200):
            writer.write(b"y" * 1_000)
            await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()


async def test_endless_trailers_are_bounded(relay_url):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(relay_url.rpartition(":")[2]))
    with contextlib.suppress(ConnectionError):
        writer.write(b"POST /v1/turns HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
        for _ in range(40):
            writer.write(b"x-trailer: y\r\n" * 50_000)
            await writer.drain()
        await reader.read()
    writer.close()


async def test_no_turn_is_lost_between_two_pages(http, relay_url):
    made = [
        turn["id"] for turn in await asyncio.gather(*(create(http, relay_url, "sim:text=short") for _ in range(40)))
    ]
    seen, cursor = [], ""
    while cursor is not None:
        page = (await http.get(f"{relay_url}/v1/turns?limit=7" + (f"&cursor={cursor}" if cursor else ""))).json()
        seen += [turn["id"] for turn in page["turns"]]
        cursor = page["next_cursor"]
    assert seen == sorted(made, reverse=True)


async def test_half_a_character_is_refused(http, relay_url):
    body = b'{"input":"x","options":{"seed":"\\ud800"}}'
    response = await http.post(f"{relay_url}/v1/turns", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_unknown_turns_and_paths_are_404(http, relay_url):
    for path in ("/v1/turns/turn_" + "0" * 32, "/v1/turns/nonsense", "/v1/turns/nonsense/events", "/nowhere"):
        response = await http.get(relay_url + path)
        assert response.status_code == 404
        assert response.json()["code"] in ("turn_not_found", "not_found")
    assert (await http.put(f"{relay_url}/v1/turns")).json()["code"] == "method_not_allowed"


async def test_a_websocket_resumes_cancels_and_is_told_what_is_wrong(http, simulator, relay_url):
    turn = (await create(http, relay_url, SLOW))["id"]
    address = f"{relay_url.replace('http', 'ws', 1)}/v1/turns/{turn}/ws"
    async with websockets.connect(address) as socket:
        first = json.loads(await socket.recv())
        assert (first["id"], first["type"]) == (1, "started")
        second = json.loads(await socket.recv())
    async with websockets.connect(f"{address}?after={second['id']}") as socket:
        third = json.loads(await socket.recv())
        assert third["id"] == second["id"] + 1
        for nonsense in ("{", '{"type":"dance"}', '{"type":"cancel","heard_upto":-1}', "x" * 5_000):
            await socket.send(nonsense)
            while (message := json.loads(await socket.recv()))["type"] != "error":
                pass
            assert message["code"] == "invalid_request"
        await socket.send('{"type":"cancel","heard_upto":7}')
        messages = [json.loads(message) async for message in socket]
    text = (await http.get(f"{relay_url}/v1/turns/{turn}")).json()["text"]
    ended = messages[-1]
    assert (ended["type"], ended["reason"]) == ("ended", "client_cancelled")
    assert ended["heard_upto"] == min(7, len(text)), "nobody heard more than was said"
    assert (await simulator.ended(1))[-1]["ended"] == "client_gone"


async def test_a_websocket_to_nothing_is_refused_with_a_problem(relay_url):
    address = f"{relay_url.replace('http', 'ws', 1)}/v1/turns/turn_{'0' * 32}/ws"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(address):
            pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body or b"")["code"] == "turn_not_found"


async def test_quiet_streams_say_that_they_live(simulator, http):
    settings = settings_for(f"{simulator.url}/v1", server={"keep_alive_s": 0.1, "commit_after_ms": 0})
    async with serving(settings) as url:
        response = await http.post(
            f"{url}/v1/turns?stream=true", json={"input": "sim:text=short;sim:fault=slow-first=500"}
        )
    assert response.text.count(": keep-alive\n\n") >= 2
    assert native_events(response.text)[-1]["outcome"] == "completed"


async def test_headers_go_out_in_time_when_the_platform_is_slow(simulator, http):
    settings = settings_for(f"{simulator.url}/v1", server={"commit_after_ms": 50})
    async with serving(settings) as url:
        body = {"input": "sim:fault=slow-headers=600;sim:fault=status=500"}
        async with http.stream("POST", f"{url}/v1/turns?stream=true", json=body) as response:
            assert response.status_code == 200
            events = native_events((await response.aread()).decode())
    assert (events[-1]["outcome"], events[-1]["reason"]) == ("failed", "upstream_error")


@pytest.mark.parametrize(
    ("policy", "reason"), [("cancel", "client_left"), ("cancel_after", "client_left"), ("finish", "stop")]
)
async def test_what_happens_when_the_last_reader_is_gone(simulator, http, policy, reason):
    settings = settings_for(f"{simulator.url}/v1", server={"keep_alive_s": 0.2})
    async with serving(settings) as url:
        prompt = "sim:text=order;sim:interval-ms=3"
        turn = (await create(http, url, prompt, on_last_reader_gone=policy, cancel_after_s=0.1))["id"]
        async with http.stream("GET", f"{url}/v1/turns/{turn}/events") as response:
            async for line in response.aiter_lines():
                if line.startswith("event: delta"):
                    break
        record = (await simulator.ended(1, 10))[-1]
        assert record["ended"] == ("completed" if policy == "finish" else "client_gone")
        while (shown := (await http.get(f"{url}/v1/turns/{turn}")).json())["state"] == "open":
            await asyncio.sleep(0)
        assert shown["reason"] == reason


async def test_a_reader_that_comes_back_in_time_keeps_the_turn(simulator, http):
    settings = settings_for(f"{simulator.url}/v1", server={"keep_alive_s": 0.2})
    async with serving(settings) as url:
        turn = (await create(http, url, "sim:text=short;sim:interval-ms=100", cancel_after_s=5))["id"]
        async with http.stream("GET", f"{url}/v1/turns/{turn}/events") as response:
            async for line in response.aiter_lines():
                if line.startswith("event: delta"):
                    break
        assert (await ended(http, url, turn))["outcome"] == "completed"


async def test_many_readers_see_the_same(http, relay_url):
    turn = (await create(http, relay_url, "sim:text=order;sim:interval-ms=1"))["id"]
    texts = await asyncio.gather(*(http.get(f"{relay_url}/v1/turns/{turn}/events") for _ in range(20)))
    assert len({response.text for response in texts}) == 1


async def test_a_reader_that_stalls_is_let_go_and_slows_nobody(simulator, http):
    server = {"stall_s": 1.5, "keep_alive_s": 0.2}
    settings = settings_for(f"{simulator.url}/v1", server=server, upstream={"max_answer_chars": 10_000_000})
    async with serving(settings) as url:
        turn = (await create(http, url, "sim:tokens=40000;sim:fault=flood", on_last_reader_gone="finish"))["id"]
        host, port = url.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port), limit=1_024)
        writer.write(f"GET /v1/turns/{turn}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        text = (await http.get(f"{url}/v1/turns/{turn}/events")).text
        assert native_events(text)[-1]["outcome"] == "completed"
        async with asyncio.timeout(10):
            while "trunkline_readers 0.0" not in (await http.get(f"{url}/metrics")).text:
                await asyncio.sleep(0.05)
        writer.transport.abort()


async def test_the_links_of_a_turn_are_good_for_following_it_and_nothing_else(simulator, http):
    digest = hashlib.sha256(b"tk_test").hexdigest()
    settings = settings_for(f"{simulator.url}/v1", keys=[{"name": "web", "sha256": digest}])
    async with serving(settings, insecure=False) as url:
        key = {"x-api-key": "tk_test"}
        made = (await http.post(f"{url}/v1/turns", headers=key, json={"input": SLOW})).json()
        other = (await http.post(f"{url}/v1/turns", headers=key, json={"input": "sim:text=short"})).json()
        async with websockets.connect(url.replace("http", "ws", 1) + made["links"]["ws"]) as socket:
            assert json.loads(await socket.recv())["type"] == "started"
            await socket.send('{"type":"cancel"}')
            while (answer := json.loads(await socket.recv()))["type"] != "error":
                pass
            assert "only good for following" in answer["message"]
        assert (await http.post(url + made["links"]["cancel"], headers=key)).status_code == 202
        events = native_events((await http.get(url + made["links"]["events"])).text)
        assert events[-1]["reason"] == "client_cancelled"
        ticket = made["links"]["events"].partition("?")[2]
        assert (await http.get(f"{url}/v1/turns/{other['id']}/events?{ticket}")).status_code == 401
        assert (await http.get(f"{url}{made['links']['self']}?{ticket}")).status_code == 401


async def test_the_same_key_and_body_make_one_turn(http, simulator, relay_url):
    key = {"idempotency-key": "order-7"}
    first = await http.post(f"{relay_url}/v1/turns", json={"input": "sim:text=short"}, headers=key)
    again = await http.post(f"{relay_url}/v1/turns", json={"input": "sim:text=short"}, headers=key)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    other = await http.post(f"{relay_url}/v1/turns", json={"input": "sim:text=order"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    streamed = await http.post(f"{relay_url}/v1/turns?stream=true", json={"input": "sim:text=short"}, headers=key)
    assert streamed.status_code == 409, "asked in another way it is another request"
    assert len(await simulator.ended(1)) == 1


async def test_another_conversation_or_an_odd_body_is_no_other_error(http, relay_url):
    body = {"model": "support", "messages": [{"role": "user", "content": "sim:text=short"}]}
    key = {"idempotency-key": "k"}
    one = {**key, "x-conversation-id": "a"}
    assert (await http.post(f"{relay_url}/v1/chat/completions", json=body, headers=one)).status_code == 200
    other = {**key, "x-conversation-id": "b"}
    assert (await http.post(f"{relay_url}/v1/chat/completions", json=body, headers=other)).status_code == 409
    odd = b'{"input":"hi","metadata":{"a":"\\ud800"}}'
    sent = {"content-type": "application/json", "idempotency-key": "k2"}
    assert (await http.post(f"{relay_url}/v1/turns", content=odd, headers=sent)).status_code == 400
    empty = {"idempotency-key": ""}
    turns = [await http.post(f"{relay_url}/v1/turns", json={"input": "hi"}, headers=empty) for _ in range(2)]
    assert turns[0].json()["id"] != turns[1].json()["id"]


async def test_a_turn_that_failed_unheard_may_be_asked_for_again_by_its_key(http, simulator, relay_url):
    body, key = {"input": "sim:fault=status=503"}, {"idempotency-key": "k"}
    first = await http.post(f"{relay_url}/v1/turns?stream=true", json=body, headers=key)
    again = await http.post(f"{relay_url}/v1/turns?stream=true", json=body, headers=key)
    assert first.status_code == again.status_code == 503
    assert first.headers["x-turn-id"] != again.headers["x-turn-id"]


async def test_a_refused_request_uses_no_key_up(http, relay_url):
    key = {"idempotency-key": "k"}
    assert (await http.post(f"{relay_url}/v1/turns", json={"upstream": "no"}, headers=key)).status_code == 404
    assert (await http.post(f"{relay_url}/v1/turns", json={"input": "hi"}, headers=key)).status_code == 201


async def test_a_stream_that_was_cut_off_is_asked_for_again_by_its_key(http, simulator, relay_url):
    body, key = {"input": "sim:text=order;sim:interval-ms=5"}, {"idempotency-key": "k"}
    async with http.stream("POST", f"{relay_url}/v1/turns?stream=true", json=body, headers=key) as response:
        turn = response.headers["x-turn-id"]
        await anext(response.aiter_bytes())
    again = await http.post(f"{relay_url}/v1/turns?stream=true", json=body, headers=key)
    assert again.headers["x-turn-id"] == turn
    text = "".join(event["text"] for event in native_events(again.text) if event["type"] == "delta")
    assert [text] == [row["text"] for row in await simulator.ended(1)]


async def test_one_principal_cannot_take_every_turn(http, simulator):
    settings = settings_for(f"{simulator.url}/v1", server={"max_open_turns_per_principal": 2})
    async with serving(settings) as url:
        turns = [(await create(http, url, SLOW))["id"] for _ in range(2)]
        refused = await http.post(f"{url}/v1/turns", json={"input": SLOW})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_turns")
        assert refused.headers["retry-after"]
        await http.post(f"{url}/v1/turns/{turns[0]}/cancel")
        await create(http, url, "sim:text=short")


async def test_a_websocket_that_ends_with_a_shutdown_says_come_back(simulator):
    settings = parse(settings_for(f"{simulator.url}/v1"))
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = Server(settings, bind(settings), insecure=True)
    running = asyncio.ensure_future(server.run(ready.set_result))
    url = await ready
    async with httpx.AsyncClient() as http:
        links = (await create(http, url, SLOW))["links"]
    async with websockets.connect(url.replace("http", "ws", 1) + links["ws"]) as socket:
        await socket.recv()
        server.stop()
        messages = [json.loads(message) async for message in _until_closed(socket)]
        assert messages[-1]["reason"] == "shutdown"
        assert socket.close_code == 1012
    await asyncio.wait_for(running, 10)


async def _until_closed(socket):
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            yield await socket.recv()
