"""Idle streams: the bench counts what is sent on them, finishes them all, and says how many there could be."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager

import msgspec
import pytest

from bench import cases, figures, load, measure, peers, proc, table, upstream, wires
from conftest import serving, settings_for


@asynccontextmanager
async def platform():
    """Run the platform in this process; its port."""
    held = set()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: upstream.Connection(held), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def outcome_of(shape, way="openai", keep_alive_s=15):
    async with platform() as upstream_port:
        settings = settings_for(f"http://127.0.0.1:{upstream_port}/v1")
        settings["upstreams"] = {"bench": settings["upstreams"]["support"]}
        settings["server"] = settings.get("server", {}) | {"keep_alive_s": keep_alive_s}
        async with serving(settings) as address:
            port = int(address.rpartition(":")[2])
            return await load.run(load.Job(shape, way, port, [os.getpid()], [], 10, platform=upstream_port))


async def test_idle_streams_are_looked_at_and_then_all_of_them_end(monkeypatch):
    monkeypatch.setattr(load, "CALM_S", 0.05)
    shape = load.Load(streams=3, tokens=3, interval_us=100_000, hold=True, quiet_s=0.05)
    outcome = await outcome_of(shape)
    assert (outcome.exact, outcome.faults) == (3, {})
    assert outcome.tokens == 6  # neither the first of each, nor the end
    assert outcome.idle.window_s >= 0.05
    assert outcome.idle.cpu_s > 0
    assert outcome.idle.keep_alives == 0
    assert 0 < outcome.idle.delta_us < 100_000


async def test_keep_alives_of_idle_readers_are_counted(monkeypatch):
    monkeypatch.setattr(load, "CALM_S", 0.05)
    shape = load.Load(streams=1, readers=4, tokens=2, interval_us=50_000, hold=True, quiet_s=0.6)
    outcome = await outcome_of(shape, "turn", keep_alive_s=0.1)
    assert (outcome.exact, outcome.faults) == (4, {})
    assert outcome.idle.keep_alives >= 4


async def test_a_stream_that_is_not_released_is_a_fault():
    async with platform() as port, platform() as other:
        shape = load.Load(streams=1, tokens=2, interval_us=1_000, hold=True)
        outcome = await load.run(load.Job(shape, "openai", port, [], [], limit_s=1.5, platform=other))
    assert outcome.faults == {"it did not end in time": 1}
    assert outcome.idle.delta_us is None


async def test_a_comment_is_no_event():
    tally = wires.Tally()
    reader = wires.SseReader(b"", wires.Answer(1, tally, 0))
    reader.on_body(b": keep-alive\n\n: keep")
    reader.on_body(b"-alive\n\n")
    assert (tally.keep_alives, tally.latencies_us) == (2, [])


def test_a_delta_is_as_slow_as_its_last_reader():
    assert load.slowest([1, 9, 2, 3, 4, 5, 7, 8, 7], readers=3, deltas=3) == 8
    assert load.slowest([1, 9, 2, 3, 4], readers=3, deltas=2) is None
    assert load.slowest([], readers=0, deltas=2) is None


def case_of(name):
    return next(case for case in cases.CASES if case.name == name)


def test_idle_streams_fit_the_limit_on_open_files_and_the_case_says_so():
    case = case_of("idle-stream")
    assert cases.within(case, 20_000) == case
    assert cases.within(case, 500).load.streams == 200
    assert cases.shortened(case).beside.streams == 200
    many = cases.within(case_of("idle-stream-10000"), 20_000)
    assert (many.load.streams, many.note) == (9_950, "9,950 of 10,000: RLIMIT_NOFILE 20000")


def idle_of(growth, delta_us=5_000):
    return load.Idle(rss_growth=growth, window_s=2.0, cpu_s=0.01, keep_alives=20, delta_us=delta_us)


def found_of(case, idle, exact=10):
    """Figures of ten answers in a run of a second."""
    outcome = load.Outcome(
        answers=10,
        exact=exact,
        faults={"it broke": 10 - exact} if exact < 10 else {},
        begin_us=0,
        end_us=1_000_000,
        tokens=10,
        cpu_s=0.0005,
        kernel_share=0.5,
        waited_s=0.0,
        rest_cpu_s=0.99,
        latency_us=load.Percentiles(1, 2, 3),
        first_us=load.Percentiles(1, 2, 3),
        idle=idle,
    )
    beside = msgspec.structs.replace(outcome, idle=idle_of(1_024), exact=10, faults={})
    runs = zip(cases.runs_of(case, "nginx"), (outcome, beside), strict=True)
    return figures.gather([case], {run: [measure.Measured(one, 5.0)] for run, one in runs if run}, "nginx")


def test_idle_memory_is_judged_by_each_stream():
    found = found_of(case_of("idle-stream"), idle_of(10 * 41 * 1_024))
    (verdict,) = figures.judge(found, "nginx")
    assert (verdict.value, verdict.met) == (41, False)
    assert found["idle-stream"].idle_ratio == pytest.approx(410)


def test_the_table_says_what_idle_streams_cost_and_how_many_there_were():
    case = cases.within(case_of("idle-stream-10000"), 20_000)
    rows = table.table(found_of(case, idle_of(10 * 2_048)), "nginx").splitlines()
    assert rows[1].split() == [
        "idle-stream-10000", "trunkline", "process", "2.0", "5.0", "2.00", "5.0", "50.0", "0.00", "/", "0.00", "/",
        "0.00", "10/10", "9,950", "of", "10,000:", "RLIMIT_NOFILE", "20000",
    ]  # fmt: skip
    assert len(rows) == 2  # a core that is full while a delta goes to everybody is no reason to doubt


def test_idle_streams_that_were_never_seen_have_no_memory_and_are_named():
    found = found_of(case_of("idle-stream"), None, exact=0)
    assert not figures.judge(found, "nginx")[0].met
    assert "NOT EXACT: idle-stream, trunkline process: 10 x it broke" in table.table(found, "nginx")


def test_the_platform_is_reached_through_a_process_of_its_own():
    nowhere = proc.Cores(None, None, None)
    shape = load.Load(streams=2, tokens=2, interval_us=50_000, hold=True)
    with peers.upstream(nowhere) as at:
        outcome = measure.carry("openai", shape, at, at, nowhere)
    assert (outcome.exact, outcome.faults) == (2, {})
    assert outcome.tokens == 2
