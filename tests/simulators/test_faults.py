"""Every fault word, over real sockets and down to the bytes: what the client sees, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import random
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import httpx
import pytest

from trunkline.simulators import Simulator
from trunkline.simulators.base import UnknownWordError
from trunkline.simulators.body import Body
from trunkline.simulators.fault_words import FAULTS, TOKEN_FAULTS
from trunkline.simulators.faults import FaultQueue, Faults, parse
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import cut

CHAT = "/v1/chat/completions"
ORDER = [piece.text for piece in cut(TEXTS["order"])[0]]
# A value for each word that takes one, so that a new word is tried without a line here where it takes none.
VALUES = {
    "slow-headers": "5", "slow-first": "5", "drip": "1", "status": "503", "retry-after": "7", "retry-after-date": "60",
    "redirect": "http://127.0.0.1:9/v1", "huge-line": "1", "finish": "content_filter", "cut": "random",
    "limit-headers": "3/10", "token-missing-scope": "ai:llm:read", "token-status": "503",
}  # fmt: skip
STALLS = {"stall", "stall-after"}


@dataclass
class Seen:
    """What a client saw of one connection until its end, and how that came: `eof` or `reset`."""

    raw: bytes
    end: str

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode()

    @property
    def chunked(self) -> bool:
        return "transfer-encoding: chunked" in self.head

    @property
    def clean(self) -> bool:
        """Whether a chunked body came to its last chunk."""
        return self.raw.endswith(b"\r\n0\r\n\r\n")

    @property
    def body(self) -> bytes:
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if not self.chunked:
            return rest
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if not size or int(size, 16) == 0:
                break
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body

    @property
    def events(self) -> list[tuple[str, str]]:
        """The events by the rules of the WHATWG, as (type, data)."""
        text = self.body.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        events = []
        for block in text.split("\n\n")[:-1]:
            lines = [re.fullmatch("([^:]*)(?:: ?(.*))?", line) for line in block.split("\n")]
            fields = [(match[1], match[2] or "") for match in lines if match]
            data = [value for name, value in fields if name == "data"]
            if data:
                events.append((dict(fields).get("event", "message"), "\n".join(data)))
        return events

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The chunks among the events."""
        found = []
        for kind, data in self.events:
            try:
                value = json.loads(data)
            except ValueError:
                continue
            if kind == "message" and isinstance(value, dict) and value.get("object") == "chat.completion.chunk":
                found.append(value)
        return found

    @property
    def deltas(self) -> list[dict[str, Any] | None]:
        return [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", [])]

    @property
    def text(self) -> str:
        return "".join((delta or {}).get("content") or "" for delta in self.deltas)

    @property
    def finishes(self) -> list[str]:
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]

    @property
    def dones(self) -> int:
        return self.events.count(("message", "[DONE]"))


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=3) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sim.url, trust_env=False) as http:
        yield http


def ask(message: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": message}], "stream": True, **fields}


def request(message: str, *, close: bool = True, **fields: Any) -> bytes:
    body = json.dumps(ask(message, **fields)).encode()
    option = "close" if close else "keep-alive"
    head = f"POST {CHAT} HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\nconnection: {option}\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


class Raw:
    """A socket that keeps what came ahead of a reset, and leaves when it goes out of scope."""

    def __init__(self, sim: Simulator) -> None:
        host, port = sim.url.removeprefix("http://").split(":")
        self._address = (host, int(port))
        self._socket = socket.socket()
        self._socket.setblocking(False)  # noqa: FBT003
        self.raw = b""
        self.reads: list[bytes] = []

    async def __aenter__(self) -> Self:
        await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def until(self, words: bytes) -> None:
        while words not in self.raw:
            assert await self.more(), f"the connection ended ahead of {words!r}"

    async def rest(self) -> Seen:
        try:
            while await self.more():
                pass
        except ConnectionResetError:
            return Seen(self.raw, "reset")
        return Seen(self.raw, "eof")

    async def more(self) -> bool:
        data = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
        self.raw += data
        self.reads.append(data)
        return bool(data)


async def see(sim: Simulator, *words: str, message: str = "", **fields: Any) -> Seen:
    directives = ";".join([f"sim:fault={word}" for word in words] + ([message] if message else []))
    async with Raw(sim) as raw:
        await raw.send(request(directives or "Hello", **fields))
        return await raw.rest()


def ended(sim: Simulator) -> str:
    return sim.ledger[-1]["ended"]


def example(word: str) -> str:
    if (FAULTS | TOKEN_FAULTS)[word].value is None:
        return word
    return f"{word}={VALUES.get(word, '3')}"


# --- the table


def test_words_are_read_and_written_alike() -> None:
    table = FAULTS | TOKEN_FAULTS
    words = [example(word) for word in table]
    assert parse(words).words == words
    assert all(fault.doc and not fault.doc.endswith(".") for fault in table.values())
    assert [word for word in table if word.startswith("token-")] == list(TOKEN_FAULTS)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("reset-afer=3", '"reset-after"'),
        ("no_done", '"no-done"'),
        ("", "unknown fault"),
        ("stall=3", "no value"),
        ("cut=0", "1 to"),
        ("cut=all", "1 to"),
        ("drip=-1", "0 to"),
        ("drip=\u0661", "0 to"),
        ("status=200", "400 to 599"),
        ("huge-line=2000", "1 to 1024"),
        ("redirect=http://x\r\nset-cookie: a", "printable"),
        ("finish=", "printable"),
        ("limit-headers=3", "REMAINING/RESET"),
        ("limit-headers=3/x", "whole number"),
        ("token-expires=1e3", "a number"),
        ("token-expires=\u0661", "a number"),
        ("token-expires=.", "a number"),
        ("token-expires=", "a number"),
    ],
)
def test_a_wrong_word_says_what_was_expected(word: str, says: str) -> None:
    with pytest.raises(UnknownWordError, match=re.escape(says)):
        parse([word])


def test_the_later_value_counts_and_a_word_outside_the_table_is_a_mistake() -> None:
    faults = parse(["drip=1", "drip=2"]) | parse(["cut=7"])
    assert (faults.number("drip"), faults.text("cut"), faults.text("drip")) == (2, "7", None)
    assert faults.has("no-done", "cut")
    with pytest.raises(KeyError):
        faults.has("no-such-word")


def test_a_queue_gives_its_faults_as_often_as_it_was_told() -> None:
    queue = FaultQueue()
    queue.set(parse(["bom"]), 2)
    assert [queue.take().words for _ in range(3)] == [["bom"], ["bom"], []]
    assert queue.record() == {"faults": [], "connections": 0}
    assert queue.take() == Faults()


@pytest.mark.parametrize("word", sorted(set(FAULTS) - STALLS))
async def test_every_word_plays_alone_and_the_ledger_has_the_text_that_arrived(sim: Simulator, word: str) -> None:
    seen = await see(sim, example(word), stream_options={"include_usage": True})
    (entry,) = await sim.ended(1)
    assert entry["faults"] == [example(word)]
    if "text/event-stream" in seen.head and word not in {"gzip", "garbage", "after-finish"}:
        assert seen.text == entry["text"]


@pytest.mark.parametrize("word", sorted(set(FAULTS) - STALLS))
async def test_every_word_has_a_meaning_or_none_where_nothing_is_streamed(sim: Simulator, word: str) -> None:
    seen = await see(sim, example(word), stream=False)
    (entry,) = await sim.ended(1)
    assert seen.raw or entry["ended"] == "fault:refuse"


# --- the connection


async def test_reset_after_n_pieces(sim: Simulator) -> None:
    seen = await see(sim, "reset-after=5")
    assert (seen.end, seen.text, seen.clean) == ("reset", "".join(ORDER[:5]), False)
    assert (ended(sim), sim.ledger[0]["pieces"]) == ("fault:reset-after", 5)
    assert (await see(sim, "reset-after=0")).deltas == [{"role": "assistant", "content": ""}]


async def test_close_after_n_pieces(sim: Simulator) -> None:
    seen = await see(sim, "close-after=5")
    assert (seen.end, seen.text, seen.clean) == ("eof", "".join(ORDER[:5]), False)
    assert ended(sim) == "fault:close-after"


async def test_a_fault_after_more_pieces_than_there_are_does_not_strike(sim: Simulator) -> None:
    seen = await see(sim, "reset-after=9999")
    assert (seen.text, ended(sim)) == (TEXTS["order"], "completed")
    seen = await see(sim, f"close-after={len(ORDER)}")
    assert (seen.text, seen.finishes, ended(sim)) == (TEXTS["order"], [], "fault:close-after")


async def test_stall_after_n_pieces_keeps_the_connection_until_the_client_leaves(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:fault=stall-after=2"))
        await raw.until(json.dumps(ORDER[1]).encode())
        assert (ended(sim), sim.ledger[0]["text"]) == ("open", "".join(ORDER[:2]))
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["client_gone_after"]) == ("client_gone", 2)


async def test_stall_never_answers(sim: Simulator) -> None:
    sim.set_faults(["stall"])
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(timeout=0.05, trust_env=False) as client:
            await client.get(sim.url + "/v1/models")
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["status"], entry["client_gone_after"]) == ("client_gone", None, 0)


async def test_refuse_closes_without_a_byte(sim: Simulator) -> None:
    assert await see(sim, "refuse") == Seen(b"", "eof")
    assert ended(sim) == "fault:refuse"


async def test_close_idle_closes_a_connection_that_was_to_stay(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:text=short;sim:fault=close-idle", close=False))
        seen = await raw.rest()
    assert "connection: keep-alive" in seen.head
    assert (seen.end, seen.clean, seen.dones, ended(sim)) == ("eof", True, 1, "completed")


async def test_stale_resets_at_the_next_request(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:text=short;sim:fault=stale", close=False))
        await raw.until(b"\r\n0\r\n\r\n")
        first = len(raw.raw)
        await raw.send(request("sim:text=short", close=False))
        seen = await raw.rest()
    assert (seen.end, len(seen.raw)) == ("reset", first)
    assert [entry["ended"] for entry in sim.ledger] == ["completed", "fault:stale"]


# --- time


@pytest.mark.parametrize(("word", "headers_first"), [("slow-headers=60000", False), ("slow-first=60000", True)])
async def test_slow_starts(sim: Simulator, word: str, headers_first: bool) -> None:  # noqa: FBT001
    async with Raw(sim) as raw:
        await raw.send(request(f"sim:fault={word}"))
        if headers_first:
            await raw.until(b"\r\n\r\n")
            assert raw.raw.endswith(b"\r\n\r\n")
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["status"]) == ("client_gone", 200 if headers_first else None)


async def test_a_drip_waits_between_two_writes(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:fault=drip=60000"))
        await raw.until(b'"role"')
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["text"]) == ("client_gone", "")


async def test_the_interval_passes_between_pieces_but_not_in_a_flood(sim: Simulator) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await see(sim, message="sim:tokens=6;sim:interval-ms=20")
    assert loop.time() - began >= 0.1
    seen = await see(sim, "flood", message="sim:interval-ms=60000")
    assert seen.text == TEXTS["order"]


# --- another answer


async def test_status_and_retry_after(sim: Simulator) -> None:
    seen = await see(sim, "status=503", "retry-after=Wed, 21 Oct 2026 07:28:00 GMT")
    assert seen.head.startswith("HTTP/1.1 503 ")
    assert "\r\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT" in seen.head
    error = json.loads(seen.body)["error"]
    assert (error["type"], set(error)) == ("server_error", {"message", "type", "param", "code"})
    assert ended(sim) == "fault:status"
    seen = await see(sim, "retry-after=2")
    assert seen.head.startswith("HTTP/1.1 429 ")
    assert json.loads(seen.body)["error"]["code"] == "rate_limit_exceeded"


async def test_retry_after_may_be_a_date_ahead(sim: Simulator) -> None:
    seen = await see(sim, "status=429", "retry-after-date=60")
    match = re.search("retry-after: (.*)", seen.head)
    assert match
    ahead = email.utils.parsedate_to_datetime(match[1]) - datetime.now(UTC)
    assert 50 < ahead.total_seconds() <= 60


async def test_a_fault_comes_ahead_of_any_check(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.set_faults(["status=500"])
    assert (await client.post(CHAT, content=b"nonsense")).status_code == 500


async def test_redirect_html_and_garbage(sim: Simulator) -> None:
    seen = await see(sim, "redirect=http://127.0.0.1:1/x")
    assert seen.head.startswith("HTTP/1.1 307 ")
    assert "\r\nlocation: http://127.0.0.1:1/x" in seen.head
    seen = await see(sim, "html")
    assert "content-type: text/html" in seen.head
    assert b"<html" in seen.body
    seen = await see(sim, "garbage")
    assert "content-type: text/event-stream" in seen.head
    assert seen.clean
    with pytest.raises(UnicodeDecodeError):
        seen.body.decode()
    assert [entry["ended"] for entry in sim.ledger] == ["fault:redirect", "fault:html", "fault:garbage"]


async def test_json_instead_of_a_stream(sim: Simulator) -> None:
    seen = await see(sim, "json", message="sim:text=short")
    assert "content-type: application/json" in seen.head
    assert json.loads(seen.body)["choices"][0]["message"]["content"] == "Hello."
    assert ended(sim) == "completed"


# --- events


async def test_an_event_that_is_no_json_or_no_object_and_on(sim: Simulator) -> None:
    seen = await see(sim, "bad-json-after=2", "not-an-object-after=4")
    strange = [place for place, (_, data) in enumerate(seen.events) if not data.startswith('{"id"')]
    assert strange == [3, 6, len(seen.events) - 1]
    with pytest.raises(ValueError):
        json.loads(seen.events[3][1])
    assert seen.events[6][1] == "[1,2]"
    assert (seen.text, seen.dones, ended(sim)) == (TEXTS["order"], 1, "completed")


async def test_half_an_event_then_a_clean_end(sim: Simulator) -> None:
    seen = await see(sim, "half-event-after=3")
    assert seen.clean
    assert seen.body.rpartition(b"\n\n")[2].startswith(b'data: {"id"')
    assert (seen.text, seen.dones, ended(sim)) == ("".join(ORDER[:3]), 0, "fault:half-event-after")


@pytest.mark.parametrize(("word", "kind", "dones"), [("error-after", "message", 1), ("error-event-after", "error", 0)])
async def test_an_error_in_mid_stream(sim: Simulator, word: str, kind: str, dones: int) -> None:
    seen = await see(sim, f"{word}=3")
    (error,) = [event for event in seen.events if "server_error" in event[1]]
    assert error[0] == kind
    assert "jane.doe@example.com" in json.loads(error[1])["error"]["message"]
    assert (seen.text, seen.dones, seen.clean, seen.finishes) == ("".join(ORDER[:3]), dones, True, [])
    assert ended(sim) == f"fault:{word}"


async def test_a_huge_line(sim: Simulator) -> None:
    seen = await see(sim, "huge-line=2", message="sim:text=short")
    assert max(len(line) for line in seen.body.split(b"\n")) > 2 << 20
    assert (seen.text, seen.dones) == ("Hello.", 1)


async def test_a_huge_line_stops_when_the_client_leaves(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:fault=huge-line=1024"))
        await raw.until(b"xxxx")
    (entry,) = await sim.ended(1)
    assert (entry["ended"], entry["client_gone_after"]) == ("client_gone", 0)


async def test_what_a_reader_passes_over(sim: Simulator) -> None:
    seen = await see(sim, "comments", "metadata", "empty-deltas", "null-deltas")
    assert (seen.text, seen.dones, seen.finishes) == (TEXTS["order"], 1, ["stop"])
    body = seen.body.decode()
    assert "\n\n: ping\n\n" in body
    assert "\n\n: ping\nid: " in body
    assert "retry: 3000\n" in body
    assert {kind for kind, _ in seen.events} == {"message", "metadata", "ping"}
    assert any("choices" not in chunk for chunk in seen.chunks)
    assert any(chunk.get("choices") == [] for chunk in seen.chunks)
    for delta in (None, {}, {"content": None}, {"content": ""}):
        assert delta in seen.deltas
    assert sim.ledger[0]["pieces"] == len(ORDER)


async def test_no_role(sim: Simulator) -> None:
    seen = await see(sim, "no-role")
    assert seen.deltas[0] == {"content": ORDER[0]}


# --- the end


@pytest.mark.parametrize(
    ("word", "finishes", "dones", "end"),
    [
        ("no-done", ["stop"], 0, "completed"),
        ("no-finish", [], 1, "completed"),
        ("no-end", [], 0, "fault:no-end"),
        ("double-done", ["stop"], 2, "completed"),
        ("finish=content_filter", ["content_filter"], 1, "completed"),
    ],
)
async def test_ends(sim: Simulator, word: str, finishes: list[str], dones: int, end: str) -> None:
    seen = await see(sim, word)
    assert (seen.text, seen.finishes, seen.dones, seen.clean) == (TEXTS["order"], finishes, dones, True)
    assert ended(sim) == end


async def test_after_finish(sim: Simulator) -> None:
    seen = await see(sim, "after-finish", message="sim:text=short")
    assert seen.text.startswith("Hello.")
    assert len(seen.text) > len("Hello.")
    assert seen.chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert sim.ledger[0]["text"] == "Hello."


async def test_usage_faults(sim: Simulator) -> None:
    asked = {"stream_options": {"include_usage": True}, "message": "sim:text=short"}
    seen = await see(sim, "no-usage", **asked)
    assert not any(chunk.get("usage") for chunk in seen.chunks)
    seen = await see(sim, "usage-each", message="sim:text=short")
    assert [chunk["usage"]["completion_tokens"] for chunk in seen.chunks] == [0, 1, 2, 2, 2]


# --- spelling


async def test_spelling(sim: Simulator) -> None:
    assert (await see(sim, "bom")).body.startswith(b"\xef\xbb\xbfdata: ")
    seen = await see(sim, "cr")
    assert b"\n" not in seen.body
    assert seen.body.endswith(b"data: [DONE]\r\r")
    assert (await see(sim, "crlf")).body.endswith(b"data: [DONE]\r\n\r\n")
    assert b"data: " not in (await see(sim, "no-space")).body
    seen = await see(sim, "multi-line", "crlf", "no-space", "bom")
    assert seen.body.count(b"data:") > 10 * len(seen.events)
    assert (seen.text, seen.dones) == (TEXTS["order"], 1)
    seen = await see(sim, "ascii", message="sim:text=unicode")
    assert b"\\ud83d\\udc4b" in seen.body
    assert seen.body.isascii()
    assert seen.text == TEXTS["unicode"]


# --- how it is carried


async def test_gzip(sim: Simulator, client: httpx.AsyncClient) -> None:
    seen = await see(sim, "gzip", message="sim:text=short")
    assert "content-encoding: gzip" in seen.head
    assert gzip.decompress(seen.body).endswith(b"data: [DONE]\n\n")
    answer = await client.post(CHAT, json=ask("sim:text=short;sim:fault=gzip", stream=False))
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    seen = await see(sim, "gzip", "reset-after=1")
    assert sim.ledger[-1]["pieces"] == 1


async def test_a_body_until_the_connection_closes(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:text=short;sim:fault=content-length", close=False))
        seen = await raw.rest()
    assert "chunked" not in seen.head
    assert "content-length" not in seen.head
    assert "connection: close" in seen.head
    assert (seen.end, seen.text, seen.dones) == ("eof", "Hello.", 1)


@pytest.mark.parametrize("cut_by", ["whole", "bytes", "random", "1", "7", "5000"])
async def test_cuts_change_the_writes_and_nothing_else(sim: Simulator, cut_by: str) -> None:
    seen = await see(sim, f"cut={cut_by}", message="sim:text=unicode")
    assert (seen.text, seen.dones, seen.clean) == (TEXTS["unicode"], 1, True)
    assert sim.ledger[0]["text"] == TEXTS["unicode"]


async def test_a_cut_is_seen_on_the_wire(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:text=short;sim:fault=cut=bytes;sim:fault=drip=1"))
        seen = await raw.rest()
    assert seen.text == "Hello."
    # The reader shares the loop with the writer, so now and then it finds two bytes at once.
    assert sum(len(data) == 1 for data in raw.reads) > len(raw.raw) / 4


async def test_a_piece_is_in_the_ledger_when_its_last_byte_is_written(sim: Simulator) -> None:
    async with Raw(sim) as raw:
        await raw.send(request("sim:fault=cut=2000;sim:fault=drip=60000"))
        await raw.until(b"data: ")
        while len(raw.raw.partition(b"\r\n\r\n")[2]) < 2000:
            assert await raw.more()
        whole = Seen(raw.raw, "open").body.rpartition(b"\n\n")[0] + b"\n\n"
        (entry,) = sim.ledger
    assert entry["pieces"] == whole.count(b'"content":') - 1
    assert entry["text"] == "".join(ORDER[: entry["pieces"]])


async def test_a_cut_that_holds_bytes_back_gives_them_ahead_of_a_fault(sim: Simulator) -> None:
    seen = await see(sim, "cut=whole", "reset-after=4")
    assert (seen.end, seen.text) == ("reset", "".join(ORDER[:4]))


class Writes:
    """Takes the writes of a body."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def write(self, data: bytes) -> None:
        self.sizes.append(len(data))

    async def sleep(self, seconds: float) -> None:
        pass


@pytest.mark.parametrize(
    ("word", "sizes"),
    [("flood", [16384, 4]), ("cut=whole", [16388]), ("cut=9000", [9000, 7388]), ("drip=0", [2] * 8194)],
)
async def test_the_sizes_of_writes(word: str, sizes: list[int]) -> None:
    writes = Writes()
    body = Body(writes, parse([word]), random.Random(1), chunked=False)
    for _ in range(8194):
        await body.send(b"xx")
    await body.finish()
    assert writes.sizes == sizes


async def test_random_cuts_are_the_same_for_the_same_seed() -> None:
    sizes = []
    for seed in (1, 1, 2):
        writes = Writes()
        body = Body(writes, parse(["cut=random"]), random.Random(seed), chunked=True)
        await body.send(b"x" * 5000)
        await body.finish()
        sizes.append(writes.sizes)
    assert sizes[0] == sizes[1] != sizes[2]
    assert len(set(sizes[0])) > 5


# --- what is said


async def test_reasoning_comes_first_and_is_not_the_answer(sim: Simulator) -> None:
    seen = await see(sim, "reasoning", "close-after=1", message="sim:text=short")
    channels = [next(iter(delta)) for delta in seen.deltas[1:] if delta]
    assert set(channels[:-1]) == {"reasoning_content"}
    assert channels[-1] == "content"
    assert (sim.ledger[0]["text"], sim.ledger[0]["pieces"]) == ("Hello", 1)
    seen = await see(sim, "reasoning", message="sim:text=short", stream_options={"include_usage": True})
    usage = seen.chunks[-1]["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] - 2
    assert usage["completion_tokens"] == sim.ledger[1]["completion_tokens"]


async def test_refusal(sim: Simulator) -> None:
    seen = await see(sim, "refusal")
    assert "".join((delta or {}).get("refusal") or "" for delta in seen.deltas).startswith("I am sorry")
    assert (seen.text, seen.finishes, sim.ledger[0]["text"]) == ("", ["stop"], "")


async def test_tool_calls(sim: Simulator, client: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": "find_parcel"}}]
    seen = await see(sim, "tool-calls", tools=tools)
    calls: dict[int, dict[str, str]] = {}
    for delta in seen.deltas:
        for piece in (delta or {}).get("tool_calls", []):
            call = calls.setdefault(piece["index"], {"arguments": "", **piece.get("function", {})})
            call["arguments"] += piece["function"]["arguments"]
    assert [call["name"] for call in calls.values()] == ["find_parcel", "open_ticket"]
    assert all(isinstance(json.loads(call["arguments"]), dict) for call in calls.values())
    assert (seen.finishes, sim.ledger[0]["text"]) == (["tool_calls"], "")
    answer = await client.post(CHAT, json=ask("sim:fault=tool-calls", stream=False))
    (choice,) = answer.json()["choices"]
    assert (choice["finish_reason"], len(choice["message"]["tool_calls"])) == ("tool_calls", 2)


# --- setting faults


async def test_faults_wait_for_the_next_requests_to_a_platform(sim: Simulator, client: httpx.AsyncClient) -> None:
    answer = await client.post("/_sim/faults", json={"faults": ["status=500", "retry-after=1"], "connections": 2})
    assert answer.json() == {"faults": ["status=500", "retry-after=1"], "connections": 2}
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.get("/v1/models")).status_code == 500
    assert (await client.get("/_sim/faults")).json()["connections"] == 1
    assert (await client.get("/v1/models")).status_code == 500
    assert (await client.get("/v1/models")).status_code == 200
    assert [entry["faults"] for entry in sim.ledger][1:] == [["status=500", "retry-after=1"]] * 2 + [[]]


async def test_faults_can_be_cleared_and_set_in_the_same_process(sim: Simulator, client: httpx.AsyncClient) -> None:
    sim.set_faults(["status=500"], connections=5)
    assert (await client.delete("/_sim/faults")).json() == {"faults": [], "connections": 0}
    assert (await client.get("/v1/models")).status_code == 200
    with pytest.raises(UnknownWordError):
        sim.set_faults(["statsu=500"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"faults": ["stal"]}, '"stall"'),
        ({"faults": "stall"}, "must be"),
        ({"faults": [1]}, "must be"),
        ([], "must be"),
        ({"faults": [], "connections": 0}, "connections"),
        ({"faults": [], "connections": True}, "connections"),
    ],
)
async def test_wrong_faults_are_refused(client: httpx.AsyncClient, body: object, says: str) -> None:
    answer = await client.post("/_sim/faults", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_faults_of_the_queue_and_of_the_request_add_up(sim: Simulator) -> None:
    sim.set_faults(["crlf", "close-after=9"])
    seen = await see(sim, "close-after=2", "no-role")
    assert sim.ledger[0]["faults"] == ["crlf", "close-after=2", "no-role"]
    assert seen.body.endswith(b"\r\n\r\n")
    assert seen.text == "".join(ORDER[:2])
