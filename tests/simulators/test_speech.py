"""Every fault of an answer over a WebSocket, on all three wires: what the client sees, and what the ledger knows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidHandshake

from simulators.wires import WIRES, Wire, entry_of, kinds, link, to_the_end, token, whole
from trunkline.simulators import Simulator
from trunkline.simulators.fault_words import FAULTS, SOCKET_FAULTS
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
LATE = {"early-end"}  # something comes behind the end mark, at which these readers leave; it has tests of its own


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=5) as simulator:
        yield simulator


def example(word: str) -> str:
    return word if (FAULTS | SOCKET_FAULTS)[word].value is None else f"{word}={VALUES.get(word, '3')}"


@pytest.mark.parametrize("word", sorted({*FAULTS, *SOCKET_FAULTS} - STALLS - INSTEAD - OPENINGS - LATE))
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
