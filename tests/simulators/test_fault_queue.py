"""How faults wait for their requests: one list for several, one list each, and a queue for every sort of request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.wires import client as client_of
from trunkline.simulators import Simulator
from trunkline.simulators.faults import FaultQueue, parse


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with Simulator() as simulator, client_of(simulator) as http:
        yield http


def taken(queue: FaultQueue, times: int = 4) -> list[list[str]]:
    return [queue.take().words for _ in range(times)]


def test_each_request_gets_its_own() -> None:
    queue = FaultQueue()
    queue.line_up([parse(["stall"]), parse([]), parse(["bom"])])
    assert taken(queue) == [["stall"], [], ["bom"], []]


def test_a_new_line_stands_in_place_of_the_old() -> None:
    queue = FaultQueue()
    queue.line_up([parse(["stall"]), parse(["bom"])])
    queue.set(parse(["cr"]), 2)
    assert taken(queue) == [["cr"], ["cr"], [], []]
    queue.set(parse(["cr"]))
    queue.line_up([])
    assert taken(queue) == [[], [], [], []]


def test_words_find_their_sort_and_a_line_keeps_its_places() -> None:
    queue = FaultQueue()
    queue.line_up([parse(["quota-slots=0", "stall"]), parse(["bom"]), parse(["quota-slots=3"])])
    assert [queue.take("quota").words for _ in range(4)] == [["quota-slots=0"], [], ["quota-slots=3"], []]
    assert taken(queue) == [["stall"], ["bom"], [], []]
    assert queue.take("token").words == []


def test_any_word_can_be_sent_to_a_sort() -> None:
    queue = FaultQueue()
    queue.set(parse(["bom"]))
    queue.set(parse(["status=503"]), 2, at="variables")
    queue.line_up([parse([]), parse(["stall"])], at="config")
    assert [queue.take("variables").words for _ in range(3)] == [["status=503"], ["status=503"], []]
    assert [queue.take("config").words for _ in range(3)] == [[], ["stall"], []]
    assert taken(queue) == [["bom"], [], [], []]
    queue.set(parse(["stall"]), at="config")
    queue.set(parse([]), at="config")
    assert queue.take("config").words == []


def test_the_record_tells_what_waits_of_each_sort() -> None:
    queue = FaultQueue()
    queue.line_up([parse(["stall"]), parse(["bom"])])
    queue.set(parse(["html"]), 3, at="quota")
    assert queue.record() == {
        "faults": ["stall"],
        "connections": 1,
        "then": [{"faults": ["bom"], "connections": 1}],
        "quota": {"faults": ["html"], "connections": 3},
    }
    queue.set(parse([]))
    assert queue.record() == {"faults": [], "connections": 0}


async def test_faults_are_lined_up_over_http(client: httpx.AsyncClient) -> None:
    answer = await client.post("/_sim/faults", json={"each": [["status=503"], [], ["status=500"]]})
    assert [run["faults"] for run in answer.json()["then"]] == [[], ["status=500"]]
    assert [(await client.get("/v1/models")).status_code for _ in range(4)] == [503, 200, 500, 200]
    answer = await client.post("/_sim/faults", json={"faults": ["status=418"], "connections": 2, "at": "config"})
    assert answer.json()["config"] == {"faults": ["status=418"], "connections": 2}
    assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"each": ["stall"]}, "each"),
        ({"each": {}}, "each"),
        ({"each": [["stal"]]}, "each"),
        ({"faults": "stall"}, "faults"),
        ({"faults": ["stall"], "connections": 0}, "connections"),
        ({"faults": ["stall"], "connections": True}, "connections"),
        ({"faults": ["stall"], "at": "openai"}, "at"),
        ({"words": ["stall"]}, None),
        ([], None),
    ],
)
async def test_a_wrong_line_is_refused(client: httpx.AsyncClient, body: Any, param: str | None) -> None:
    answer = await client.post("/_sim/faults", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (await client.get("/_sim/faults")).json() == {"faults": [], "connections": 0}
