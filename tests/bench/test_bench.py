"""The bench proves what it says: a text that is not exact is found out, and so is a budget that is not met."""

from __future__ import annotations

import asyncio
import os
import zlib
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trunkline
from bench import __main__ as command_line
from bench import (
    bare_relay,
    cases,
    figures,
    history,
    load,
    measure,
    peers,
    proc,
    profiling,
    sampler,
    table,
    text,
    upstream,
)
from conftest import serving, settings_for

PACED = load.Load(streams=3, tokens=20, interval_us=1_000)
NOWHERE = proc.Cores(None, None, None)


def spoken(count):
    words = [text.token(index, 1_000 + index) for index in range(count)]
    return [word.decode() for word in words] + [text.closing(zlib.crc32(b"".join(words))).decode()]


def judged(pieces, count):
    proof = text.Proof(count)
    sent = [moment for piece in pieces for moment in proof.take(piece)]
    return sent, proof.finish()


@given(st.integers(1, 30), st.lists(st.integers(0, 800)))
def test_a_text_is_exact_however_it_is_cut(count, cuts):
    whole = "".join(spoken(count))
    bounds = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[a:b] for a, b in pairwise(bounds)]
    assert judged(pieces, count) == ([1_000 + index for index in range(count)], "")


@given(st.integers(2, 20), st.data())
def test_any_piece_dropped_repeated_or_swapped_is_found(count, data):
    words = spoken(count)
    at = data.draw(st.integers(0, count - 1))
    assert judged(words[:at] + words[at + 1 :], count)[1]
    assert judged([*words[: at + 1], *words[at:]], count)[1]
    assert judged([*words[:at], words[at + 1], words[at], *words[at + 2 :]], count)[1]
    assert judged([*words, words[at]], count)[1]


def test_a_changed_stamp_is_found_by_the_checksum():
    words = spoken(3)
    words[1] = text.token(1, 7).decode()
    assert "checksum" in judged(words, 3)[1]


class Faithful(bare_relay.Side):
    """The platform's side of a relay that changes nothing, and counts reads for those that do."""

    reads = 0

    def data_received(self, data):
        self.reads += 1
        for part in self.passed_on(data):
            super().data_received(part)

    def passed_on(self, data):
        return [data]


class Forgetful(Faithful):
    def passed_on(self, data):
        return [] if self.reads == 5 else [data]


class Stuttering(Faithful):
    def passed_on(self, data):
        return [data, data] if self.reads == 5 else [data]


class Breaking(Faithful):
    def passed_on(self, data):
        if self.reads == 5:
            self.transport.close()
        return [data]


def platform():
    """What makes the connections of one platform."""
    held = set()
    return lambda: upstream.Connection(held)


@asynccontextmanager
async def listening(factory):
    """Serve on a free port, and wait in the end until every connection is gone."""
    loop, gone = asyncio.get_running_loop(), []

    def tracked():
        protocol, left = factory(), loop.create_future()
        gone.append(left)
        tell = protocol.connection_lost
        protocol.connection_lost = lambda exc: (tell(exc), left.set_result(None))
        return protocol

    async with await loop.create_server(tracked, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*gone)


async def outcome_through(side, shape=PACED):
    relay = type("Relay", (bare_relay.Client,), {"platform": side})
    async with listening(platform()) as upstream_port, listening(lambda: relay(upstream_port)) as port:
        return await load.run(load.Job(shape, "openai", port, [os.getpid()], [], limit_s=5, platform=upstream_port))


async def test_a_faithful_relay_is_exact():
    outcome = await outcome_through(Faithful)
    assert (outcome.exact, outcome.faults, outcome.tokens) == (3, {}, 60)
    assert outcome.latency_us.p50 >= 0
    assert outcome.cpu_s > 0


@pytest.mark.parametrize(
    ("side", "words"),
    [(Forgetful, "was due"), (Stuttering, "was due"), (Breaking, "it ended after"), (None, "no connection")],
)
async def test_a_relay_that_drops_repeats_breaks_off_or_is_not_there_is_caught(side, words):
    if side is None:
        async with listening(asyncio.Protocol) as port:
            pass
        outcome = await load.run(load.Job(PACED, "openai", port, [], [], limit_s=5))
    else:
        outcome = await outcome_through(side)
    assert outcome.exact == 0
    assert sum(outcome.faults.values()) == 3
    assert all(words in fault for fault in outcome.faults)


async def test_a_stream_that_does_not_end_is_a_fault_and_not_a_wait():
    async with listening(platform()) as port:
        shape = load.Load(streams=1, tokens=9, interval_us=10_000_000)
        outcome = await load.run(load.Job(shape, "openai", port, [], [], limit_s=0.2))
    assert outcome.faults == {"it did not end in time": 1}


async def test_on_a_ramp_only_the_steady_state_counts():
    outcome = await outcome_through(Faithful, load.Load(streams=4, tokens=100, interval_us=8_000, ramp_s=0.1))
    assert outcome.exact == 4
    assert 0 < outcome.tokens < 400


@pytest.mark.parametrize("way", ["openai", "turn", "turn-ws", "proxy-ws"])
async def test_the_load_speaks_every_way_into_the_relay(way):
    async with listening(platform()) as upstream_port:
        settings = settings_for(f"http://127.0.0.1:{upstream_port}/v1")
        settings["upstreams"] = {"bench": settings["upstreams"]["support"]}
        async with serving(settings) as address:
            shape = load.Load(streams=2, tokens=20, interval_us=1_000, readers=2 if way == "turn" else 1)
            outcome = await load.run(load.Job(shape, way, int(address.rpartition(":")[2]), [], [], limit_s=5))
    assert outcome.faults == {}
    assert outcome.tokens == 20 * shape.delivered


def test_a_peer_is_started_warmed_measured_and_stopped():
    with peers.upstream(NOWHERE) as platform, peers.peer("bare", platform, NOWHERE) as at:
        measure.warm_up(at, platform, NOWHERE)
        outcome = measure.carry("openai", PACED, at, platform, NOWHERE)
        pid = at.pid
        assert proc.cpu_of([pid]).total_s > 0
    assert (outcome.exact, outcome.answers) == (3, 3)
    with pytest.raises(OSError, match="No such file"):
        proc.cpu_of([pid])


def test_a_peer_that_does_not_come_up_says_why():
    with peers.upstream(NOWHERE) as platform, pytest.raises(RuntimeError, match="warm-up failed"):
        measure.warm_up(platform._replace(port=1), platform, NOWHERE)


def test_each_run_is_planned_once_and_the_baseline_comes_first():
    runs = cases.plan(cases.CASES, "nginx", first=True)
    assert len(set(runs)) == len(runs)
    relays = [peers.relay(store) for store in peers.STORES]
    assert {run.peer for run in runs} == {"nginx", cases.DIRECT, *relays}
    assert [run.peer for run in runs[:3]] == [cases.DIRECT, "nginx", "trunkline process"]
    later = cases.plan(cases.CASES, "nginx", first=False)
    assert not any(run.load.hold or run.peer == cases.DIRECT for run in later)


def outcome_of(us_per_token, p99_us=100, exact=10, p50_us=10, idle=None):
    """One second with 1,000 tokens of 10 streams."""
    return load.Outcome(
        answers=10,
        exact=exact,
        faults={"it broke": 10 - exact} if exact < 10 else {},
        begin_us=0,
        end_us=1_000_000,
        tokens=1_000,
        cpu_s=us_per_token / 1e3,
        kernel_share=0.5,
        waited_s=0.0,
        rest_cpu_s=0.1,
        latency_us=load.Percentiles(p50_us, 50, p99_us),
        first_us=load.Percentiles(100, 200, 300),
        idle=idle,
    )


def found_of(relay, beside, name="sse-200", **others):
    """Gather the outcomes of one case; `others`: those of the relay with other stores, by the store."""
    case = next(case for case in cases.CASES if case.name == name)
    runs = dict(zip(cases.runs_of(case, "nginx"), (relay, beside), strict=True))
    runs |= {run: others.get(store, relay) for store, run in cases.others_of(case).items()}
    results = {run: [measure.Measured(outcome, 5.0) for outcome in outcomes] for run, outcomes in runs.items() if run}
    return figures.gather([case], results, "nginx")


def test_ratios_are_of_the_same_repeat_and_then_the_median():
    found = found_of([outcome_of(40), outcome_of(90), outcome_of(50)], [outcome_of(20), outcome_of(30), outcome_of(10)])
    assert found["sse-200"].cpu_ratio == pytest.approx(3)
    assert found["sse-200"].relay.us_per_token == pytest.approx(50)
    assert found["sse-200"].relay.us_per_token_range == pytest.approx((40, 90))


def test_a_budget_that_is_not_met_or_not_measured_is_no_budget_met():
    found = found_of([outcome_of(110, p99_us=200)], [outcome_of(20)])
    cpu, p99, *_ = figures.judge(found, "nginx")
    assert (cpu.met, cpu.value, p99.met, p99.value) == (False, pytest.approx(5.5), True, 2)
    assert not any(verdict.met for verdict in figures.judge(found, "bare") if "nginx" in verdict.what)
    assert table.verdict_line(cpu).startswith("NOT MET")


def test_a_websocket_upstream_has_its_budget():
    found = found_of([outcome_of(101)], [outcome_of(20)], name="gateway-sse-200")
    (verdict,) = figures.judge(found, "nginx")
    assert (verdict.met, verdict.value, verdict.limit) == (False, pytest.approx(5.05), 5)
    (kept,) = figures.judge(found_of([outcome_of(99)], [outcome_of(20)], name="gateway-sse-200"), "nginx")
    assert kept.met


def test_every_budget_is_one_of_a_case_that_is_measured_without_being_named():
    usual = {case.name for case in command_line._chosen(None, 1 << 20, quick=False)}
    assert {budget.case for budget in figures.FIRST_STEP} <= usual
    assert "gateway-sse-unpaced" not in usual
    assert [case.asks for case in command_line._chosen("gateway-sse-unpaced", 1 << 20, quick=True)] == ["gateway"]


def test_what_the_journal_costs_is_the_difference_to_the_memory_store_of_the_same_repeat():
    memory = [outcome_of(30, p50_us=1_000), outcome_of(40, p50_us=1_000), outcome_of(80, p50_us=9_000)]
    process = [outcome_of(41), outcome_of(50), outcome_of(89)]
    disk = [outcome_of(49, p50_us=4_000), outcome_of(61, p50_us=12_000), outcome_of(102, p50_us=20_500)]
    found = found_of(process, [outcome_of(20)] * 3, memory=memory, disk=disk)
    by_store = found["sse-200"].by_store
    assert by_store["process"].journal_us == pytest.approx(10)
    assert by_store["disk"].journal_us == pytest.approx(21)
    assert by_store["disk"].journal_p50_us == pytest.approx(11_000)
    assert by_store["memory"].journal_us is None
    journal = [(verdict.met, verdict.limit) for verdict in figures.judge(found, "bare") if "nginx" not in verdict.what]
    assert journal == [(True, 10), (False, 20), (False, 10)]
    lines = table.table(found, "nginx").splitlines()
    assert [line.split()[1:3] for line in lines[2:5]] == [["trunkline", store] for store in peers.STORES]
    assert "trunkline disk, more than memory: +21.0 us/token, +11.00 ms p50" in lines


def test_what_settles_is_waited_for(monkeypatch):
    looks = iter([0.0, 0.15, 0.3, 0.301, 9.0])
    waits = []
    monkeypatch.setattr(measure, "cpu_of", lambda pids: proc.Cpu(next(looks), 0, 0, 0))
    monkeypatch.setattr(measure.time, "sleep", waits.append)
    measure.settle(peers.Peer(1, None))
    assert waits == [measure.SETTLE_LOOK_S] * 3


def test_an_inexact_text_is_named_below_the_table():
    found = found_of([outcome_of(40)], [outcome_of(20)], disk=[outcome_of(40, exact=9)])
    assert not figures.is_exact(found)
    assert "NOT EXACT: sse-200, trunkline disk: 1 x it broke" in table.table(found, "nginx")
    assert figures.is_exact(found_of([outcome_of(40)], [outcome_of(20)]))


def test_a_core_that_others_used_makes_figures_doubtful():
    disturbed = outcome_of(40)
    disturbed.waited_s = 0.2
    calm = [outcome_of(40)] * 2
    found = found_of([outcome_of(40), disturbed], [outcome_of(20)] * 2, memory=calm, disk=calm)
    assert table.warnings(found) == [
        "doubtful: sse-200, trunkline process: others were on its core; it waited up to 20%"
    ]
    assert table.warnings(found_of([outcome_of(40)], [outcome_of(20)])) == []


def test_the_history_gets_one_line_of_json_for_each_run(tmp_path):
    found = found_of([outcome_of(40)], [outcome_of(20)])
    for _ in range(2):
        history.append(tmp_path / "history.jsonl", history.entry(found, figures.judge(found, "nginx"), NOWHERE, 1))
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert '"us_per_token":40.0' in lines[1]


def test_percentiles_are_by_nearest_rank():
    assert load.percentiles(range(1, 101)) == load.Percentiles(50, 95, 99)
    assert load.percentiles([7]) == load.Percentiles(7, 7, 7)
    assert load.percentiles([]) is None


def test_a_pinned_process_gets_its_cores_back():
    before = os.sched_getaffinity(0)
    with proc.pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_the_sampler_sees_who_uses_the_time():
    def busy(limit_s):
        begun = proc.cpu_of([os.getpid()]).total_s
        while proc.cpu_of([os.getpid()]).total_s - begun < limit_s:
            sum(range(1_000))

    looking = sampler.Sampler()
    looking.start()
    busy(0.5)
    samples = looking.stop()
    assert samples
    assert any("busy" in function for sample in samples for function in sample.stack)


def test_a_stack_belongs_to_the_innermost_area_that_it_names():
    stack = ["/lib/json.py:loads", "/x/trunkline/dialects/openai_chat.py:receive", "/x/trunkline/sources/a.py:read"]
    assert profiling.area_of(stack) == "dialect"
    assert profiling.area_of(["/x/trunkline/endpoints/openai.py:_chunks"]) == "encode"
    assert profiling.area_of(["/nowhere.py:f"]) == "other"
    source = Path(trunkline.__file__).parents[1]
    ours = [
        place.partition(":")[0] for _, places in profiling.AREAS for place in places if place.startswith("trunkline/")
    ]
    assert [place for place in ours if not (source / place).exists()] == []
    assert "dialect" in profiling.report("sse-200", [outcome_of(40)], [stack])
