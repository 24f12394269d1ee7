"""What the WebSocket platforms share: links, pings, the idle cut, and every fault of an answer, on all three wires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode

from simulators.wires import WIRES, Seen, Wire, client, link, see, subscription, token
from trunkline.simulators import Simulator
from trunkline.simulators.fault_words import FAULTS, SOCKET_FAULTS
from trunkline.simulators.ledger import Record
from trunkline.simulators.texts import TEXTS

ORDER = TEXTS["order"]
# A value for each word that takes one and for which 3 is none.
VALUES = {
    "status": "503", "redirect": "http://127.0.0.1:9/", "finish": "length", "cut": "7", "limit-headers": "3/10",
    "close-frame": "1001/3", "replay": "continues", "missing-key": "any", "handshake": "other", "huge-line": "1",
    "drip": "0",
}  # fmt: skip
STALLS = {"stall", "stall-after"}
INSTEAD = {
    "refuse", "status", "retry-after", "retry-after-date", "redirect", "html", "garbage", "unauthorized-once",
}  # fmt: skip
OPENINGS = {"handshake", "speaks-first"}  # of one wire each, which has tests for them


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=5) as simulator:
        yield simulator


@asynccontextmanager
async def asked(sim: Simulator, wire: Wire, **options: Any) -> AsyncIterator[ClientConnection]:
    async with link(sim, wire.path, **options) as socket:
        await wire.ask(socket)
        yield socket


async def whole(sim: Simulator, wire: Wire, *faults: str) -> Seen:
    """Ask, read up to the end mark, and leave."""
    sim.set_faults(faults)
    async with asked(sim, wire) as socket:
        return await see(socket, wire.is_end)


async def to_the_end(sim: Simulator, wire: Wire, *faults: str) -> tuple[Seen, Record]:
    """Ask, read until the platform closes, and give the ledger's entry too."""
    sim.set_faults(faults)
    async with asked(sim, wire) as socket:
        seen = await see(socket)
    return seen, await entry_of(sim, wire)


async def entry_of(sim: Simulator, wire: Wire) -> Record:
    """The entry of the last connection, once all have ended."""
    records = await sim.ended(len(sim.ledger))
    return [record for record in records if record["path"] == wire.path][-1]


def kinds(entry: Record, sender: str) -> list[tuple[str, Any]]:
    return [(frame["kind"], frame["data"]) for frame in entry["frames"] if frame["sender"] == sender]


def example(word: str) -> str:
    return word if (FAULTS | SOCKET_FAULTS)[word].value is None else f"{word}={VALUES.get(word, '3')}"


# --- without faults


async def test_an_answer_is_said_whole_and_the_client_leaves(sim: Simulator, wire: Wire) -> None:
    seen = await whole(sim, wire)
    entry = await entry_of(sim, wire)
    assert wire.text(seen.messages) == ORDER == entry["meant"] == entry["text"]
    assert (entry["ended"], entry["status"], entry["reached"]) == ("completed", 101, len(ORDER))
    assert (entry["client_id"], entry["token"], entry["attempt"]) == ("app", 1, 1)
    assert entry["frames"][-1]["kind"] == "close"
    assert ("close", 1000) in kinds(entry, "client")
    assert [rule for rule in entry["broken"] if not rule.startswith("quota")] == []


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
    async with Simulator(idle_s=0.3) as sim:
        sim.set_faults(["stall-after=2"])
        async with asked(sim, wire) as socket:
            begin = loop.time()
            while loop.time() < begin + 0.6:
                await (await socket.ping())
            assert (await see(socket)).code == 1001
        assert (await entry_of(sim, wire))["ended"] == "idle"


async def test_a_client_that_stays_after_the_end_is_cut_and_has_all(wire: Wire) -> None:
    async with Simulator(idle_s=0.05) as sim:
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


# --- every fault


@pytest.mark.parametrize("word", sorted({*FAULTS, *SOCKET_FAULTS} - STALLS - INSTEAD - OPENINGS))
async def test_every_word_plays_and_the_ledger_knows_how_far_it_got(sim: Simulator, wire: Wire, word: str) -> None:
    seen = await whole(sim, wire, example(word))
    entry = await entry_of(sim, wire)
    assert entry["faults"] == [example(word)]
    assert entry["ended"] in {"completed", f"fault:{word}"}
    assert entry["meant"] == ORDER
    if word not in {"duplicates", "reorder", "gap", "byte-tokens", "dangling-surrogate"}:
        assert wire.text(seen.messages) == entry["text"] == ORDER[: entry["reached"]]
    if entry["ended"] == "completed" and word not in {"gap", "reorder"}:
        assert entry["reached"] == len(ORDER)


@pytest.mark.parametrize("word", sorted(INSTEAD))
async def test_every_word_that_stands_in_place_of_an_answer_plays(sim: Simulator, wire: Wire, word: str) -> None:
    bearer = await token(sim)
    sim.set_faults([example(word)])
    with pytest.raises((InvalidHandshake, EOFError)):
        async with link(sim, wire.path, bearer):
            pass
    assert (await entry_of(sim, wire))["ended"] == f"fault:{word}"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4429])
async def test_a_close_frame_in_mid_answer(sim: Simulator, wire: Wire, code: int) -> None:
    seen, entry = await to_the_end(sim, wire, f"close-frame={code}/4")
    assert (seen.code, entry["ended"], entry["pieces"]) == (code, "fault:close-frame", 4)
    assert wire.text(seen.messages) == ORDER[: entry["reached"]] == entry["text"]
    assert 0 < entry["reached"] < len(ORDER)
    assert kinds(entry, "platform")[-1] == ("close", code)
    assert kinds(entry, "client")[-1] == ("close", code)


@pytest.mark.parametrize("word", ["reset-after", "close-after", "half-event-after"])
async def test_a_link_that_is_lost_in_mid_answer(sim: Simulator, wire: Wire, word: str) -> None:
    seen, entry = await to_the_end(sim, wire, f"{word}=4")
    assert (seen.code, entry["ended"], entry["pieces"]) == (1006, f"fault:{word}", 4)
    assert wire.text(seen.messages) == ORDER[: entry["reached"]]


async def test_a_fault_before_the_first_piece(sim: Simulator, wire: Wire) -> None:
    seen, entry = await to_the_end(sim, wire, "reset-after=0")
    assert (seen.messages, entry["ended"], entry["text"]) == ([], "fault:reset-after", "")


async def test_no_end_is_a_clean_close_without_an_end_mark(sim: Simulator, wire: Wire) -> None:
    seen, entry = await to_the_end(sim, wire, "no-end")
    assert (seen.code, entry["ended"]) == (1000, "fault:no-end")
    assert wire.text(seen.messages) == ORDER
    assert not any(map(wire.is_end, seen.messages))


async def test_the_platform_closes_first_where_it_is_told_to(sim: Simulator, wire: Wire) -> None:
    seen, entry = await to_the_end(sim, wire, "closes")
    assert (seen.code, entry["ended"]) == (1000, "completed")
    assert wire.is_end(seen.messages[-1])


async def test_an_end_mark_twice_and_text_after_it(sim: Simulator, wire: Wire) -> None:
    seen, entry = await to_the_end(sim, wire, "double-done", "after-finish", "closes")
    assert [wire.is_end(message) for message in seen.messages[-3:]] == [True, True, False]
    assert wire.text(seen.messages) == ORDER + " And one more thing."
    assert entry["text"] == ORDER


async def test_the_end_mark_may_carry_the_last_piece(sim: Simulator, wire: Wire) -> None:
    seen = await whole(sim, wire, "finish-with-text")
    assert wire.text(seen.messages) == ORDER
    assert wire.text(seen.messages[-1:])


@pytest.mark.parametrize("word", ["bad-json-after", "not-an-object-after", "keyless-after"])
async def test_a_message_that_is_none_and_the_stream_goes_on(sim: Simulator, wire: Wire, word: str) -> None:
    seen = await whole(sim, wire, f"{word}=2")
    odd = [message for message in seen.messages if not isinstance(message, dict) or message == {"status": "alive"}]
    assert len(odd) == 1
    assert wire.text([message for message in seen.messages if message not in odd]) == ORDER


async def test_an_error_has_words_that_nobody_should_see(sim: Simulator, wire: Wire) -> None:
    seen, entry = await to_the_end(sim, wire, "error-after=3")
    assert "jane.doe@example.com" in json.dumps(seen.messages[-1])
    assert entry["ended"] == "fault:error-after"
    assert wire.text(seen.messages) == ORDER[: entry["reached"]]


@pytest.mark.parametrize("words", [["cut=bytes"], ["cut=random"], ["cut=whole"], ["cut=33", "drip=0"], ["fragments=5"],
                                   ["fragments=3", "pings", "cut=random"], ["ascii"]])  # fmt: skip
async def test_however_it_is_written_it_says_the_same(sim: Simulator, wire: Wire, words: list[str]) -> None:
    sim.default_text = "unicode"
    assert wire.text((await whole(sim, wire, *words)).messages) == TEXTS["unicode"]
    entry = await entry_of(sim, wire)
    assert (entry["ended"], entry["text"]) == ("completed", TEXTS["unicode"])


async def test_a_huge_message_comes_ahead_of_the_text(sim: Simulator, wire: Wire) -> None:
    seen = await whole(sim, wire, "huge-line=1")
    assert seen.messages[0] == {"padding": "x" * (1 << 20)}


async def test_deltas_may_be_empty_and_null(sim: Simulator, wire: Wire) -> None:
    seen = await whole(sim, wire, "empty-deltas", "null-deltas")
    assert wire.text(seen.messages) == ORDER
    assert "" in [token for message in seen.messages for token in wire.tokens(message)]
    assert any(message.get(key, "") is None for message in seen.messages for key in ("delta", "token", "tokens"))


async def test_noise_is_not_of_the_answer(sim: Simulator, wire: Wire) -> None:
    quiet = await whole(sim, wire)
    noisy = await whole(sim, wire, "metadata")
    assert len(noisy.messages) > len(quiet.messages)
    assert wire.text(noisy.messages) == ORDER


async def test_characters_are_cut_between_their_surrogates(sim: Simulator, wire: Wire) -> None:
    sim.default_text = "unicode"
    seen = await whole(sim, wire, "lone-surrogates")
    tokens = [token or "" for message in seen.messages for token in wire.tokens(message)]
    assert any("\ud800" <= token[-1:] <= "\udbff" for token in tokens)
    assert any("\udc00" <= token[:1] <= "\udfff" for token in tokens)
    assert wire.text(seen.messages) == TEXTS["unicode"] == (await entry_of(sim, wire))["text"]


async def test_a_link_lost_inside_a_character_has_not_reached_it(sim: Simulator, wire: Wire) -> None:
    sim.default_text = "unicode"
    for after in range(1, 20):
        seen, entry = await to_the_end(sim, wire, "lone-surrogates", f"close-after={after}")
        whole_characters = wire.text(seen.messages).encode(errors="ignore").decode()
        assert whole_characters == entry["text"] == TEXTS["unicode"][: entry["reached"]]


async def test_half_a_character_that_is_never_completed(sim: Simulator, wire: Wire) -> None:
    seen = await whole(sim, wire, "dangling-surrogate")
    assert wire.text(seen.messages) == ORDER + "\ud83d"
    assert (await entry_of(sim, wire))["text"] == ORDER


async def test_tokens_may_be_the_bytes_of_the_model(sim: Simulator, wire: Wire) -> None:
    sim.default_text = "unicode"
    seen = await whole(sim, wire, "byte-tokens")
    assert wire.text(seen.messages).encode("latin-1").decode() == TEXTS["unicode"]
    assert (await entry_of(sim, wire))["text"] == TEXTS["unicode"]


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
