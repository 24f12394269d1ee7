"""What the Autobahn cases stand on, without the suite: both ends echo, and the page tells every failure."""

from __future__ import annotations

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve

from autobahn.echoing import LIVE, PLAIN, echo_from, relay
from autobahn.page import KNOWN, Report, page, verdict
from autobahn.suite import CLIENT, LANE, SERVER, Case

FINE = Case("1.1.1", "OK", "OK", 2)


@pytest.mark.parametrize("path", [PLAIN, LIVE])
async def test_the_server_gives_back_what_it_gets(path):
    async with relay() as url, websockets.connect(url + path) as socket:
        for message in ("", "é" * 70_000, b"", b"\xff" * 70_000):
            await socket.send(message)
            assert await socket.recv() == message


async def test_the_client_gives_back_what_it_gets():
    sent = ["", "é" * 70_000, b"", b"\xff" * 70_000]
    got = []

    async def talk(socket: ServerConnection) -> None:
        for message in sent:
            await socket.send(message)
            got.append(await socket.recv())

    async with serve(talk, "127.0.0.1", 0) as server:
        end, first = await echo_from(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert got == sent
    assert first == b""
    assert getattr(end, "code", None) == 1000


@pytest.mark.parametrize(
    ("behavior", "close", "word"),
    [
        ("OK", "OK", "ok"),
        ("NON-STRICT", "OK", "non-strict"),
        ("INFORMATIONAL", "INFORMATIONAL", "informational"),
        ("UNIMPLEMENTED", "FAILED", "not offered"),
        ("OK", "WRONG CODE", "failed"),
        ("OK", "UNCLEAN", "failed"),
        ("FAILED", "OK", "failed"),
        ("A NEW WORD", "OK", "failed"),
    ],
)
def test_a_case_is_as_bad_as_the_worse_of_its_two_results(behavior, close, word):
    assert verdict(Case("1.1.1", behavior, close, 2)) == word


def report_of(**results: Case) -> Report:
    report = Report({"picows": "1"})
    report.add({end: [results.get(end, FINE)] for end in (SERVER, CLIENT)} | {LANE: [FINE]})
    return report


def test_all_well_is_all_well():
    assert report_of().passed
    assert "| 1: messages of all sizes | client | 1 | 1 | 0 | 0 | 0 | 0 |" in page(report_of())


def test_a_failure_that_nobody_knows_is_told_and_fails():
    report = report_of(client=Case("1.1.1", "FAILED", "OK", 2))
    assert not report.passed
    assert "- 1.1.1 on the client (FAILED, OK): not known why" in page(report)


def test_a_known_failure_is_told_with_its_reason():
    report = Report({})
    report.add({end: [Case("7.1.2", "FAILED" if end == CLIENT else "OK", "OK", 2)] for end in (SERVER, LANE, CLIENT)})
    assert report.passed
    assert KNOWN[CLIENT, "7.1.2"] in page(report)


def test_an_end_that_lacks_cases_fails():
    report = report_of()
    report.add({CLIENT: [Case("1.1.2", "OK", "OK", 2)]})
    assert not report.passed
