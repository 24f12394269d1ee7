"""Tells the story: an answer that streams, and a reader that is cut off and goes on without losing a character."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from trunkline.core.sse import SseDecoder

LIMIT: Final = aiohttp.ClientTimeout(total=300, sock_read=60)
CUT_AFTER_EVENTS: Final = 25
MAX_TOKENS: Final = 400  # a small model may not find its end


class StoryFailed(Exception):
    """Something did not come out as the platform's ledger says."""


@dataclass(slots=True)
class Heard:
    """What one reader has of a turn."""

    text: str = ""
    last_id: str = ""
    ended: dict[str, Any] | None = None
    turn: str = ""
    offsets: list[int] = field(default_factory=list)
    guarded: list[dict[str, Any]] = field(default_factory=list)


class Story:
    """Tells it to a terminal. `ledger_url` is the simulator's; without one (a real model) the relay's log is asked."""

    def __init__(self, relay_url: str, ledger_url: str | None, prompts: Sequence[str]) -> None:
        self._relay = relay_url
        self._ledger = ledger_url
        self._prompts = prompts
        self._session: aiohttp.ClientSession | None = None

    async def tell(self) -> None:
        """Tell the chapters, the third where it is known what the platform will say. Raises `StoryFailed`."""
        async with aiohttp.ClientSession(timeout=LIMIT) as session:
            self._session = session
            await self._an_answer_streams()
            await self._a_reader_is_cut_off()
            if self._ledger is not None:
                await self._an_answer_is_screened(self._ledger)

    async def _an_answer_streams(self) -> None:
        _title("1. An answer streams through the relay")
        heard = Heard()
        begun = time.monotonic()
        first: float | None = None
        async with aclosing(self._create(self._prompts[0], heard)) as pieces:
            async for piece in pieces:
                first = first or time.monotonic()
                print(piece, end="", flush=True)
        seconds = time.monotonic() - begun
        usage = (heard.ended or {}).get("usage") or {}
        tokens = usage.get("completion_tokens", 0)
        to_first = (first or time.monotonic()) - begun
        rate = tokens / max(seconds - to_first, 1e-6)
        print(f"\n\n   {tokens} tokens, first after {to_first * 1_000:.0f} ms, {rate:.0f} tokens/s")
        await self._verify(heard)

    async def _a_reader_is_cut_off(self) -> None:
        _title("2. A reader is cut off in mid-answer, and comes back")
        heard = Heard()
        async with aclosing(self._create(self._prompts[1], heard, cut_after=CUT_AFTER_EVENTS)) as pieces:
            async for piece in pieces:
                print(piece, end="", flush=True)
        print(f"\n\n   --- connection cut after event {heard.last_id}; the turn goes on without its reader ---")
        print(f"   --- GET /v1/turns/{heard.turn}/events   Last-Event-ID: {heard.last_id} ---\n")
        async with aclosing(self._resume(heard)) as pieces:
            async for piece in pieces:
                print(piece, end="", flush=True)
        print("\n")
        if heard.offsets != sorted(set(heard.offsets)):
            raise StoryFailed("an event came twice or out of order")
        await self._verify(heard)

    async def _an_answer_is_screened(self, ledger: str) -> None:
        _title("3. An answer with card numbers and accounts in it, cut anywhere, reaches nobody as it is")
        heard = Heard()
        async with aclosing(self._create(self._prompts[2], heard)) as pieces:
            async for piece in pieces:
                print(piece, end="", flush=True)
        print("\n")
        async with self._http.get(ledger) as response:
            sent = _entries(await response.json())[-1]["text"]
        shown, at = "", 0
        for report in heard.guarded:
            secret = sent[report["start"] : report["end"]]
            if secret in heard.text:
                raise StoryFailed(f"a value of rule {report['rule']} was shown")
            shown += sent[at : report["start"]] + heard.text[report["offset"] :][: report["length"]]
            at = report["end"]
        if not heard.guarded or heard.text != shown + sent[at:]:
            raise StoryFailed("the reader has something else than the platform's text with its values masked")
        counts = Counter(report["rule"] for report in heard.guarded)
        told = ", ".join(f"{count} by {rule}" for rule, count in counts.items())
        print(f"   ok: {len(heard.guarded)} values masked ({told}), every other character is the platform's")

    async def _create(self, prompt: str, heard: Heard, cut_after: int | None = None) -> AsyncGenerator[str, None]:
        body = {"input": prompt, "max_tokens": MAX_TOKENS}
        async with self._http.post(f"{self._relay}/v1/turns?stream=true", json=body) as response:
            if response.status != 200:  # noqa: PLR2004
                raise StoryFailed(f"the relay answered {response.status}: {await response.text()}")
            async for piece in _read(response, heard):
                yield piece
                if cut_after is not None and len(heard.offsets) >= cut_after:
                    connection = response.connection
                    if connection is not None and connection.transport is not None:
                        connection.transport.abort()
                    return

    async def _resume(self, heard: Heard) -> AsyncGenerator[str, None]:
        headers = {"Last-Event-ID": heard.last_id}
        async with self._http.get(f"{self._relay}/v1/turns/{heard.turn}/events", headers=headers) as response:
            if response.status != 200:  # noqa: PLR2004
                raise StoryFailed(f"the relay answered {response.status}: {await response.text()}")
            async for piece in _read(response, heard):
                yield piece

    async def _verify(self, heard: Heard) -> None:
        """Compare what the reader has with what the platform sent."""
        ended = heard.ended
        if ended is None or ended["outcome"] != "completed":
            raise StoryFailed(f"the turn did not complete: {ended}")
        if self._ledger is None:
            async with self._http.get(f"{self._relay}/v1/turns/{heard.turn}") as response:
                text, tokens, who = (await response.json())["text"], None, "the relay's log has"
        else:
            async with self._http.get(self._ledger) as response:
                entry = _entries(await response.json())[-1]
                text, tokens, who = entry["text"], entry["completion_tokens"], "the platform sent"
        if heard.text != text:
            raise StoryFailed(f"the reader has {len(heard.text)} characters, {who} {len(text)}, or other ones")
        counted = ended["usage"]["completion_tokens"]
        if tokens is not None and counted != tokens:
            raise StoryFailed(f"the relay counted {counted} tokens, the platform sent {tokens}")
        print(f"   ok: the reader has exactly the {len(text)} characters that {who}, outcome {ended['outcome']}")

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None  # noqa: S101 - set for as long as the story is told
        return self._session


def how_to_try(relay_url: str, model: str) -> str:
    """Return what a reader may type next."""
    return f"""
The relay serves on {relay_url} until Ctrl-C. Try it:

   curl -N {relay_url}/v1/chat/completions -H 'content-type: application/json' \\
        -d '{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Where is my order?"}}]}}'

   from openai import OpenAI
   client = OpenAI(base_url="{relay_url}/v1", api_key="none")
   for chunk in client.chat.completions.create(model="{model}", stream=True,
           messages=[{{"role": "user", "content": "Where is my order?"}}]):
       print(chunk.choices[0].delta.content or "", end="", flush=True)

   The API:  {relay_url}/docs      Its numbers:  {relay_url}/metrics
"""


async def _read(response: aiohttp.ClientResponse, heard: Heard) -> AsyncGenerator[str, None]:
    decoder = SseDecoder()
    async for data in response.content.iter_any():
        for event in decoder.feed(data):
            said = json.loads(event.data)
            heard.last_id = event.last_id
            heard.offsets.append(int(event.last_id))
            if event.type == "started":
                heard.turn = said["turn"]
            elif event.type == "delta" and said.get("channel", "answer") == "answer":
                heard.text += said["text"]
                yield said["text"]
            elif event.type == "guarded":
                heard.guarded.append(said)
            elif event.type == "ended":
                heard.ended = said


def _entries(ledger: Any) -> list[dict[str, Any]]:
    entries = ledger["entries"] if isinstance(ledger, dict) else ledger
    return list(entries)


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}\n")
