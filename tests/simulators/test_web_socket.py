"""What the WebSocket platforms share: how links open, how they are kept alive, how they end, and what breaks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from simulators.wires import (
    WIRES,
    Wire,
    asked,
    client,
    entry_of,
    kinds,
    link,
    see,
    subscription,
    to_the_end,
    token,
    whole,
)
from trunkline.simulators import Simulator
from trunkline.simulators.texts import TEXTS

ORDER = TEXTS["order"]


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=5) as simulator:
        yield simulator


# --- without faults


async def test_an_answer_is_said_whole_and_the_client_leaves(sim: Simulator, wire: Wire) -> None:
    seen = await whole(sim, wire)
    entry = await entry_of(sim, wire)
    assert wire.text(seen.messages) == ORDER == entry["meant"] == entry["text"]
    assert (entry["ended"], entry["status"], entry["reached"]) == ("completed", 101, len(ORDER))
    assert (entry["client_id"], entry["token"], entry["attempt"]) == ("app", 1, 1)
    assert entry["frames"][-1]["kind"] == "close"
    assert ("close", 1000) in kinds(entry, "client")
    assert [rule for rule in entry["broken"] if not rule.startswith(("quota", "config"))] == []


async def test_a_client_that_drops_the_link_after_the_end_has_all(sim: Simulator, wire: Wire) -> None:
    async with asked(sim, wire) as socket:
        await see(socket, wire.is_end)
        socket.transport.abort()
    assert (await entry_of(sim, wire))["ended"] == "completed"


async def test_a_client_that_leaves_in_mid_answer_is_noticed(sim: Simulator, wire: Wire) -> None:
    for drop in (False, True):
        sim.set_faults(["stall-after=2"])
        async with asked(sim, wire) as socket:
            await see(socket, lambda message: bool("".join(filter(None, wire.tokens(message)))))
            if drop:
                socket.transport.abort()
        entry = await entry_of(sim, wire)
        assert entry["ended"] == "client_gone"
        assert 0 < entry["reached"] == len(entry["text"]) < len(ORDER)


async def test_a_message_in_mid_answer_is_out_of_order(sim: Simulator, wire: Wire) -> None:
    sim.set_faults(["stall-after=2"])
    async with asked(sim, wire) as socket:
        await see(socket, lambda message: bool(wire.tokens(message)))
        await socket.send("{}")
        assert (await see(socket)).code == 4400
    entry = await entry_of(sim, wire)
    assert entry["ended"] == "refused"
    assert entry["broken"][-1] == "order: expected no message now, received one"


async def test_a_message_after_the_end_is_out_of_order(sim: Simulator, wire: Wire) -> None:
    async with asked(sim, wire) as socket:
        await see(socket, wire.is_end)
        await socket.send("{}")
        assert (await see(socket)).code == 4400
    assert (await entry_of(sim, wire))["ended"] == "refused"


async def test_the_interval_paces_the_pieces(wire: Wire) -> None:
    async with Simulator(interval_ms=1) as sim:
        begin = asyncio.get_running_loop().time()
        await whole(sim, wire)
        pieces = (await entry_of(sim, wire))["pieces"]
        assert asyncio.get_running_loop().time() - begin >= (pieces - 1) / 1000


# --- the handshake


async def test_a_plain_request_is_told_to_upgrade(sim: Simulator, wire: Wire) -> None:
    async with client(sim) as http:
        answer = await http.get(wire.path)
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert (await http.post(wire.path)).status_code == 405
        answer = await http.get(wire.path, headers={"upgrade": "websocket", "connection": "upgrade"})
        assert answer.status_code == 400
    assert [entry["ended"] for entry in sim.ledger] == ["refused"] * 3
    assert all(entry["broken"][0].startswith("request: ") for entry in sim.ledger)


@pytest.mark.parametrize("bearer", ["", "s3cret"])
async def test_nobody_is_let_in_without_a_token(sim: Simulator, wire: Wire, bearer: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, wire.path, bearer):
            pass
    assert refused.value.response.status_code == 401
    assert "www-authenticate" in refused.value.response.headers


async def test_a_scope_that_is_missing_is_named(sim: Simulator, wire: Wire) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, wire.path, await token(sim, "ai:read")):
            pass
    assert refused.value.response.status_code == 403
    assert b"stream" in (refused.value.response.body or b"")
    assert (await entry_of(sim, wire))["broken"] == []


@pytest.mark.parametrize(
    ("words", "status", "headers"),
    [
        (["status=429", "retry-after=2"], 429, {"retry-after": "2"}),
        (["status=503"], 503, {}),
        (["redirect=http://127.0.0.1:9/"], 307, {"location": "http://127.0.0.1:9/"}),
        (["html"], 200, {"content-type": "text/html; charset=utf-8"}),
    ],
)
async def test_faults_strike_at_the_handshake(
    sim: Simulator, wire: Wire, words: list[str], status: int, headers: dict[str, str]
) -> None:
    bearer = await token(sim)
    sim.set_faults(words)
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, wire.path, bearer):
            pass
    answer = refused.value.response
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in headers} == headers
    assert (await entry_of(sim, wire))["ended"] == f"fault:{words[0].partition('=')[0]}"


async def test_unauthorized_once_revokes_the_token(sim: Simulator, wire: Wire) -> None:
    bearer = await token(sim)
    sim.set_faults(["unauthorized-once"])
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            async with link(sim, wire.path, bearer):
                pass
        assert refused.value.response.status_code == 401
    assert (await whole(sim, wire)).messages


async def test_limit_headers_and_late_headers_come_with_the_acceptance(sim: Simulator, wire: Wire) -> None:
    sim.set_faults(["limit-headers=2/30", "slow-headers=5"])
    async with asked(sim, wire) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-ratelimit-remaining"] == "2"
        await see(socket, wire.is_end)


async def test_the_101_may_be_later_than_a_client_waits(sim: Simulator, wire: Wire) -> None:
    sim.set_faults(["late-101=60000"])
    with pytest.raises(TimeoutError):
        async with link(sim, wire.path, open_timeout=0.05):
            pass
    entry = await entry_of(sim, wire)
    assert (entry["ended"], entry["status"]) == ("client_gone", None)
    assert wire.text((await whole(sim, wire, "late-101=5")).messages) == ORDER


async def test_a_refusal_is_no_later_for_it(sim: Simulator, wire: Wire) -> None:
    sim.set_faults(["late-101=60000", "status=503"])
    with pytest.raises(InvalidStatus):
        async with link(sim, wire.path):
            pass


async def test_a_token_that_was_revoked_is_good_for_the_open_link_only(sim: Simulator, wire: Wire) -> None:
    bearer = await token(sim)
    sim.set_faults(["revoked"])
    async with asked(sim, wire, bearer=bearer) as socket:
        assert wire.text((await see(socket, wire.is_end)).messages) == ORDER
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, wire.path, bearer):
            pass
    assert refused.value.response.status_code == 401


# --- pings and the idle cut


async def test_a_ping_is_answered_while_nothing_is_said(sim: Simulator, wire: Wire) -> None:
    sim.set_faults(["stall-after=1"])
    async with asked(sim, wire) as socket:
        await (await socket.ping())
    entry = await entry_of(sim, wire)
    assert ("ping", None) in kinds(entry, "client")
    assert ("pong", None) in kinds(entry, "platform")


async def test_a_ping_is_answered_in_mid_answer(sim: Simulator, wire: Wire) -> None:
    sim.default_text = "long"
    async with asked(sim, wire) as socket:
        await see(socket, lambda message: bool(wire.tokens(message)))
        await (await socket.ping())
        assert (await see(socket, wire.is_end)).code is None
    assert (await entry_of(sim, wire))["ended"] == "completed"


async def test_without_a_pong_everything_else_still_comes(sim: Simulator, wire: Wire) -> None:
    sim.set_faults(["no-pong"])
    async with asked(sim, wire) as socket:
        pong = await socket.ping()
        seen = await see(socket, wire.is_end)
        assert not pong.done()
    entry = await entry_of(sim, wire)
    assert wire.text(seen.messages) == ORDER
    assert ("ping", None) in kinds(entry, "client")
    assert ("pong", None) not in kinds(entry, "platform")


async def test_the_platform_pings_and_notes_the_pongs(sim: Simulator, wire: Wire) -> None:
    assert wire.text((await whole(sim, wire, "pings")).messages) == ORDER
    entry = await entry_of(sim, wire)
    assert kinds(entry, "platform").count(("ping", None)) >= entry["pieces"]
    assert ("pong", None) in kinds(entry, "client")


async def test_a_link_on_which_nothing_moves_is_cut(wire: Wire) -> None:
    async with Simulator(idle_s=0.05) as sim:
        seen, entry = await to_the_end(sim, wire, "stall-after=2")
        assert (seen.code, entry["ended"]) == (1001, "idle")
        moved = [frame["at_ms"] for frame in entry["frames"] if frame["kind"] == "text"]
        closed = next(frame["at_ms"] for frame in entry["frames"] if frame["kind"] == "close")
        assert closed - moved[-1] >= 49


async def test_a_client_that_never_speaks_is_cut_too() -> None:
    async with Simulator(idle_s=0.05) as sim:
        async with link(sim, WIRES["genesys-gateway"].path) as socket:
            assert (await see(socket)).code == 1001
        assert (await sim.ended(2))[1]["ended"] == "idle"


async def test_pings_keep_a_link_alive(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    async with Simulator(idle_s=0.4) as sim:
        sim.set_faults(["stall-after=2"])
        async with asked(sim, wire) as socket:
            begin = loop.time()
            while loop.time() < begin + 0.8:
                await (await socket.ping())
            assert (await see(socket)).code == 1001
        assert (await entry_of(sim, wire))["ended"] == "idle"


async def test_pings_that_are_not_answered_keep_a_link_alive_too(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    async with Simulator(idle_s=0.4) as sim:
        sim.line_up(["stall-after=2", "no-pong"], ["stall-after=2"])
        async with asked(sim, wire) as socket, asked(sim, wire) as pacing:
            begin = loop.time()
            while loop.time() < begin + 0.8:
                await socket.ping()
                await (await pacing.ping())
            assert socket.state is State.OPEN
            assert (await see(socket)).code == 1001


async def test_an_answer_that_comes_slowly_is_not_cut(wire: Wire) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    async with Simulator(idle_s=0.5, interval_ms=60, texts={"slow": text}) as sim:
        sim.default_text = "slow"
        assert wire.text((await whole(sim, wire)).messages) == text


async def test_a_client_that_stays_after_the_end_is_cut_and_has_all(wire: Wire) -> None:
    async with Simulator(idle_s=0.5) as sim:
        seen, entry = await to_the_end(sim, wire)
        assert (seen.code, entry["ended"], wire.text(seen.messages)) == (1001, "completed", ORDER)


# --- broken frames


async def test_what_breaks_rfc_6455_is_refused(sim: Simulator, wire: Wire) -> None:
    async with link(sim, wire.path) as socket:
        socket.transport.write(Frame(Opcode.TEXT, b"{}").serialize(mask=False))
        assert (await see(socket)).code == 1002
    assert (await entry_of(sim, wire))["broken"][0].startswith("framing: ")


async def test_bytes_that_are_no_text_are_refused(sim: Simulator, wire: Wire) -> None:
    for data, code, rule in ((b"\xff", 1007, "framing"), (b"{}", 1003, "json")):
        async with link(sim, wire.path) as socket:
            await socket.send(data, text=code == 1007)
            assert (await see(socket)).code == code
        assert (await entry_of(sim, wire))["broken"][0].startswith(f"{rule}: ")


async def test_a_message_that_is_too_large_is_refused(sim: Simulator, wire: Wire) -> None:
    async with link(sim, wire.path) as socket:
        await socket.send("x" * (600 << 10))
        assert (await see(socket)).code == 1009
    assert (await entry_of(sim, wire))["broken"][0].startswith("framing: ")


async def test_a_first_message_in_fragments_is_put_together(sim: Simulator) -> None:
    wire = WIRES["genesys-conversations"]
    message = json.dumps(subscription())
    async with link(sim, wire.path) as socket:
        await socket.send([message[:9], message[9:30], message[30:]])
        assert wire.text((await see(socket, wire.is_end)).messages) == ORDER


async def test_a_message_may_come_together_with_the_handshake(sim: Simulator) -> None:
    wire = WIRES["genesys-conversations"]
    head = [f"GET {wire.path} HTTP/1.1", "host: s", "upgrade: websocket", "connection: upgrade"]
    head += ["sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "accept: application/json"]
    head += [f"authorization: Bearer {await token(sim)}", "", ""]
    host, port = sim.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    frame = Frame(Opcode.TEXT, json.dumps(subscription()).encode()).serialize(mask=True)
    writer.write("\r\n".join(head).encode() + frame)
    received = await reader.readuntil(b'"finish_reason":"stop"')
    assert received.startswith(b"HTTP/1.1 101 ")
    writer.close()
    assert (await entry_of(sim, wire))["text"] == ORDER


async def test_a_ping_of_the_platform_comes_between_the_fragments_of_a_message(sim: Simulator) -> None:
    wire = WIRES["genesys-conversations"]
    sim.set_faults(["pings", "fragments=40"])
    pieces: list[tuple[Opcode, bool]] = []
    async with asked(sim, wire) as socket:
        socket.protocol.recv_frame = _noting(socket.protocol.recv_frame, pieces)  # type: ignore[method-assign]
        await see(socket, wire.is_end)
    text = pieces.index((Opcode.TEXT, False))
    assert pieces[text + 1] == (Opcode.PING, True)
    assert pieces[text + 2][0] is Opcode.CONT


def _noting(take: Callable[[Frame], None], pieces: list[tuple[Opcode, bool]]) -> Callable[[Frame], None]:
    def noting(frame: Frame) -> None:
        pieces.append((frame.opcode, frame.fin))
        take(frame)

    return noting


# --- the queue


async def test_each_of_the_next_connections_has_its_own_faults(sim: Simulator, wire: Wire) -> None:
    bearer = await token(sim)
    sim.line_up(["close-frame=1001/2"], [], ["status=429"])
    async with asked(sim, wire) as socket:
        assert (await see(socket)).code == 1001
    async with asked(sim, wire) as socket:
        assert (await see(socket, wire.is_end)).code is None
    with pytest.raises(InvalidStatus) as refused:
        async with link(sim, wire.path, bearer):
            pass
    assert refused.value.response.status_code == 429


async def test_the_simulator_closes_with_links_open(wire: Wire) -> None:
    sim = Simulator()
    async with sim:
        sim.set_faults(["stall-after=1"])
        async with asked(sim, wire) as socket:
            await see(socket, lambda message: bool(wire.tokens(message)))
            await sim.close()
            assert (await see(socket)).code == 1006
    assert [entry["ended"] for entry in sim.ledger if entry["path"] == wire.path] == ["shutdown"]
