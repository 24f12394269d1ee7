"""A load of streams on one relay: opens them, proves each text exact, and measures the relay meanwhile.

It runs as a process of its own: `python -m bench.load` reads a `Job` from its standard input and prints an `Outcome`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final, Literal

import msgspec
import picows
import uvloop

from bench.proc import cpu_of, rss_of
from bench.speech import Asked
from bench.text import now_us
from bench.upstream import RELEASE
from bench.wires import Answer, JsonCall, SocketReader, SseReader, Tally

Way = Literal["openai", "turn", "turn-ws", "proxy-ws"]
"""POST /v1/chat/completions; POST /v1/turns and then its events, or its WebSocket; the WebSocket proxy protocol."""
Platform = Literal["bench", "gateway", "cognigy", "conversations"]
"""Which of the relay's upstreams is asked: OpenAI's event stream, or one of those with a WebSocket."""

SETTLE_S: Final = 0.25  # after the last stream was opened and before the first one ends, where nothing counts
GOLDEN: Final = 0.618034  # multiples of it, less their whole part, lie evenly between 0 and 1
CALM_S: Final = 1.0  # for what an idle stream still had to do, and for closing what is open


class Load(msgspec.Struct, frozen=True):
    """So many turns, opened over `ramp_s`, each of so many tokens and with so many readers."""

    streams: int
    tokens: int
    interval_us: int = 0
    ramp_s: float = 0
    readers: int = 1
    hold: bool = False
    """The platform falls silent after the first token, and goes on when memory and the quiet have been looked at."""
    quiet_s: float = 0.1
    """For so long it is then silent: nothing but keep-alives is to be seen."""

    @property
    def delivered(self) -> int:
        """How many answers arrive."""
        return self.streams * self.readers

    @property
    def length_s(self) -> float:
        """How long it takes at least."""
        return self.ramp_s + self.hold * self.quiet_s + self.tokens * self.interval_us / 1e6

    def opens_at_s(self, index: int) -> float:
        """Return when turn `index` is asked for. On a ramp, no two send their tokens in step: strangers never do."""
        if not self.ramp_s:
            return 0
        phase = index * GOLDEN % 1
        return self.ramp_s * index / self.streams + phase * self.interval_us / 1e6


class Job(msgspec.Struct):
    """A load, the relay that is to carry it, and the processes to measure."""

    load: Load
    way: Way
    port: int
    watch: list[int]
    """The relay's processes."""
    upstream: list[int]
    """The platform's: where these or the load itself lack CPU, the latencies are not the relay's."""
    limit_s: float
    platform: int = 0
    """The platform's port, where held streams are released."""
    asks: Platform = "bench"


class Percentiles(msgspec.Struct):
    """In microseconds."""

    p50: int
    p95: int
    p99: int


class Idle(msgspec.Struct):
    """What streams cost on which nothing is said, and what it takes to say something on all of them."""

    rss_growth: int
    """Bytes, from before the first stream until the end of the quiet."""
    window_s: float
    cpu_s: float
    keep_alives: int
    delta_us: int | None
    """From the platform's write of a token until the last reader has it: the median; None where one does not."""


class Outcome(msgspec.Struct):
    """What was measured; everything between `begin_us` and `end_us` except `first_us` and the counts of answers.

    Of idle streams that is the time after their release, without the first token and without the end.
    """

    answers: int
    exact: int
    faults: dict[str, int]
    begin_us: int
    end_us: int
    tokens: int
    cpu_s: float
    kernel_share: float
    """How much of the CPU time was the kernel's."""
    waited_s: float
    """How long the relay had something to do and no core: others were on it."""
    rest_cpu_s: float
    """The CPU time of platform and load together."""
    latency_us: Percentiles | None
    first_us: Percentiles | None
    idle: Idle | None = None

    @property
    def window_s(self) -> float:
        """How long it was measured."""
        return (self.end_us - self.begin_us) / 1e6


def percentiles(values: Sequence[int]) -> Percentiles | None:
    """Return the percentiles by nearest rank, or None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return Percentiles(*(ranked[(len(ranked) * q + 99) // 100 - 1] for q in (50, 95, 99)))


class _Window:
    """Two looks at processes and tally."""

    def __init__(self, job: Job, tally: Tally) -> None:
        self._job = job
        self._tally = tally
        self.open()

    def open(self) -> None:
        """Look for the first time, or begin anew."""
        self._closed = False
        self._tally.latencies_us.clear()
        self.begin_us = now_us()
        self._rest = cpu_of(self._job.upstream).total_s + time.process_time()
        self._before = cpu_of(self._job.watch)

    def close(self) -> None:
        """Look for the second time; a later call changes nothing."""
        if self._closed:
            return
        self._closed = True
        self.cpu = cpu_of(self._job.watch).since(self._before)
        self.end_us = now_us()
        self.rest_cpu_s = cpu_of(self._job.upstream).total_s + time.process_time() - self._rest
        self.latencies_us = self._tally.latencies_us.copy()

    @property
    def length_s(self) -> float:
        return (self.end_us - self.begin_us) / 1e6


async def run(job: Job) -> Outcome:
    """Carry out a job; it takes little longer than `limit_s`."""
    tally = Tally()
    answers: list[Answer] = []
    window = _Window(job, tally)
    idle: Idle | None = None
    opening = [asyncio.ensure_future(_open(job, index, tally, answers)) for index in range(job.load.streams)]
    steady = asyncio.ensure_future(_steady(job.load, window))
    try:
        rss_before = rss_of(job.watch)
        async with asyncio.timeout(job.limit_s):
            await asyncio.gather(*opening)
            if job.load.hold:
                idle = await _idle(job, tally, answers, rss_before)
                await _release(job, window, idle)
            await asyncio.wait([answer.closed for answer in answers])
    except TimeoutError:
        pass  # what is not there yet is found below
    finally:
        steady.cancel()
        for task in opening:
            task.cancel()
    window.close()
    faults = Counter(_fault(answer) for answer in answers)
    faults["it was never opened"] += job.load.delivered - len(answers)
    exact = faults.pop("", 0)
    for answer in answers:
        answer.hang_up()
    if connected := [answer.closed for answer in answers if not answer.closed.done()]:
        await asyncio.wait(connected, timeout=CALM_S)
    ticks = window.cpu.user_s + window.cpu.kernel_s
    return Outcome(
        answers=job.load.delivered,
        exact=exact,
        faults={fault: count for fault, count in faults.items() if count},
        begin_us=window.begin_us,
        end_us=window.end_us,
        tokens=len(window.latencies_us),
        cpu_s=window.cpu.total_s,
        kernel_share=window.cpu.kernel_s / ticks if ticks else 0.0,
        waited_s=window.cpu.waited_s,
        rest_cpu_s=window.rest_cpu_s,
        latency_us=percentiles(window.latencies_us),
        first_us=percentiles(tally.first_us),
        idle=idle,
    )


async def _idle(job: Job, tally: Tally, answers: list[Answer], rss_before: int) -> Idle:
    """Wait until all have spoken, and look at the quiet that follows."""
    await asyncio.wait([answer.spoke for answer in answers])
    await asyncio.sleep(CALM_S)
    quiet, keep_alives = _Window(job, tally), tally.keep_alives
    await asyncio.sleep(job.load.quiet_s)
    quiet.close()
    growth = rss_of(job.watch) - rss_before
    return Idle(growth, quiet.length_s, quiet.cpu.total_s, tally.keep_alives - keep_alives, delta_us=None)


async def _release(job: Job, window: _Window, idle: Idle) -> None:
    """Let the platform go on, and measure until half an interval after the last token: the end does not count."""
    window.open()
    await _call(job.platform, _post(RELEASE, {}))
    await asyncio.sleep((job.load.tokens - 1.5) * job.load.interval_us / 1e6)
    window.close()
    idle.delta_us = slowest(window.latencies_us, job.load.delivered, job.load.tokens - 1)


def slowest(latencies_us: Sequence[int], readers: int, deltas: int) -> int | None:
    """Return how long a delta takes to the last of its readers, the median of deltas that came one after another."""
    if not readers or len(latencies_us) != readers * deltas:
        return None
    return round(median(max(latencies_us[at : at + readers]) for at in range(0, len(latencies_us), readers)))


async def _steady(load: Load, window: _Window) -> None:
    """Measure again, only while all streams run: from the end of the ramp until the first stream ends."""
    length_s = load.tokens * load.interval_us / 1e6 - load.ramp_s - 2 * SETTLE_S
    if load.ramp_s and length_s > 0 and not load.hold:
        await asyncio.sleep(load.ramp_s + SETTLE_S)
        window.open()
        await asyncio.sleep(length_s)
        window.close()


def _fault(answer: Answer) -> str:
    return answer.closed.result() if answer.closed.done() else "it did not end in time"


async def _open(job: Job, index: int, tally: Tally, answers: list[Answer]) -> None:
    """Open one turn and its readers, in its place on the ramp."""
    load = job.load
    await asyncio.sleep(load.opens_at_s(index))
    asked_us = now_us()
    readers = [Answer(load.tokens, tally, asked_us) for _ in range(load.readers)]
    answers += readers
    prompt = Asked(load.tokens, load.interval_us, load.hold).word()
    # Only this platform is sent no prompt; elsewhere a turn belongs to no conversation.
    conversation = f"{prompt}.{index}" if job.asks == "conversations" else None
    try:
        turn = await _create_turn(job, prompt, conversation) if job.way in ("turn", "turn-ws") else ""
        for number, answer in enumerate(readers):
            if load.hold and number:
                await asyncio.sleep(load.ramp_s / load.readers)
                answer.asked_us = now_us()
            await _connect(job, prompt, conversation, turn, answer)
    except (OSError, picows.WSError) as error:
        for answer in readers:
            answer.close(f"no connection: {error!r}")


async def _connect(job: Job, prompt: str, conversation: str | None, turn: str, answer: Answer) -> None:
    loop = asyncio.get_running_loop()
    if job.way == "proxy-ws":
        await _connect_socket(f"ws://127.0.0.1:{job.port}/ws", answer, _init(job, prompt, conversation))
    elif job.way == "turn-ws":
        await _connect_socket(f"ws://127.0.0.1:{job.port}/v1/turns/{turn}/ws", answer, None)
    else:
        request = _completion(job, prompt, conversation) if job.way == "openai" else _get(f"/v1/turns/{turn}/events")
        await loop.create_connection(lambda: SseReader(request, answer), "127.0.0.1", job.port)


def _init(job: Job, prompt: str, conversation: str | None) -> bytes:
    payload: dict[str, object] = {"modelId": job.asks, "messages": _messages(prompt), "temperature": 0.5}
    if conversation is not None:
        payload["conversationId"] = conversation
    return msgspec.json.encode({"type": "init", "payload": payload})


def _completion(job: Job, prompt: str, conversation: str | None) -> bytes:
    body: dict[str, object] = {"model": job.asks, "messages": _messages(prompt), "stream": True}
    body["stream_options"] = {"include_usage": True}
    if conversation is not None:
        body["metadata"] = {"conversation_id": conversation}
    return _post("/v1/chat/completions", body)


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


async def _connect_socket(url: str, answer: Answer, first: bytes | None) -> None:
    await picows.ws_connect(lambda: SocketReader(answer, first), url)


async def _create_turn(job: Job, prompt: str, conversation: str | None) -> str:
    """Create a turn and return its id."""
    asked = {"input": prompt, "upstream": job.asks, "conversation_id": conversation}
    status, body = await _call(job.port, _post("/v1/turns", asked))
    if status != 201:  # noqa: PLR2004 - Created
        raise OSError(f"POST /v1/turns was answered {status} {body[:200]!r}")
    return str(msgspec.json.decode(body)["id"])


async def _call(port: int, request: bytes) -> tuple[int, bytes]:
    loop = asyncio.get_running_loop()
    _, call = await loop.create_connection(lambda: JsonCall(request), "127.0.0.1", port)
    return await call.answered


def _post(path: str, body: object) -> bytes:
    data = msgspec.json.encode(body)
    return _head("POST", path, "content-type: application/json", f"content-length: {len(data)}") + data


def _get(path: str) -> bytes:
    return _head("GET", path, "accept: text/event-stream")


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *headers, "\r\n"]).encode()


def main() -> None:
    """Read the job, carry it out, print what was measured."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    gc.freeze()
    gc.disable()  # its pauses would count as the relay's
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(job))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
