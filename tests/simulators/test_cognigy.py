"""Cognigy: the configuration, the opening message, the token arrays, and the variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulators.wires import CONFIG, STREAM, WIRES, Clock, Seen, call, link, opening, see, token
from trunkline.simulators import Simulator
from trunkline.simulators.ledger import Record
from trunkline.simulators.texts import TEXTS
from trunkline.simulators.tokens import count, cut

WIRE = WIRES["cognigy"]
VARIABLES = "/api/v2/bot/dialog/d-1/variables"
ORDER = TEXTS["order"]
PIECES = [piece.text for piece in cut(ORDER)[0]]
CONFIGURATION = {"streaming": True, "model": "gpt", "temperature": 0.7, "max_tokens": 1024, "dialog_id": "d-1"}
ANSWER = {
    "variables": [
        {"name": "llm_response", "value": "Hello."},
        {"name": "llm_prompt_tokens", "value": 9},
        {"name": "llm_completion_tokens", "value": 2},
        {"name": "llm_total_tokens", "value": 11},
    ]
}


async def ask(sim: Simulator, prompt: str = "Where is my order?", **changes: Any) -> Seen:
    async with link(sim, STREAM) as socket:
        await socket.send(json.dumps(opening(prompt, **changes)))
        return await see(socket, WIRE.is_end)


async def entry_of(sim: Simulator) -> Record:
    return (await sim.ended(len(sim.ledger)))[-1]


# --- the configuration


async def test_a_configuration_bounds_the_answers_of_its_dialog(sim: Simulator) -> None:
    answer = await call(sim, "PUT", CONFIG, await token(sim), {**CONFIGURATION, "max_tokens": 3})
    assert answer.status_code == 200
    entry = await entry_of(sim)
    assert (entry["method"], entry["body"]) == ("PUT", {**CONFIGURATION, "max_tokens": 3})
    assert WIRE.text((await ask(sim)).messages) == "".join(PIECES[:3])
    assert WIRE.text((await ask(sim, dialog_id="d-2")).messages) == ORDER


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"streaming": False}, "streaming"),
        ({"model": ""}, "$.model"),
        ({"temperature": 2.1}, "$.temperature"),
        ({"temperature": "0.7"}, "$.temperature"),
        ({"max_tokens": 0}, "$.max_tokens"),
        ({"dialog_id": None}, "$.dialog_id"),
        ({"top_p": 1}, "unknown field `top_p`"),
    ],
)
async def test_a_wrong_configuration_is_refused(sim: Simulator, changes: dict[str, Any], words: str) -> None:
    answer = await call(sim, "PUT", CONFIG, await token(sim), {**CONFIGURATION, **changes})
    assert answer.status_code == 400
    assert set(answer.json()) == {"title", "detail", "status", "code", "traceId", "details"}
    assert words in answer.json()["detail"]
    assert words in (await entry_of(sim))["broken"][0]


async def test_who_may_configure_what(sim: Simulator) -> None:
    bearer = await token(sim)
    assert (await call(sim, "PUT", CONFIG, bearer, {**CONFIGURATION, "model": "wrong"})).status_code == 404
    assert (await call(sim, "POST", CONFIG, bearer, CONFIGURATION)).status_code == 405
    assert (await call(sim, "PUT", CONFIG, "s3cret", CONFIGURATION)).status_code == 401
    refused = await call(sim, "PUT", CONFIG, await token(sim, "llm:stream"), CONFIGURATION)
    assert (refused.status_code, refused.json()["detail"]) == (403, "The token lacks api:access.")
    assert (await call(sim, "GET", "/api/v2/llm/other", bearer)).status_code == 404


async def test_a_token_that_has_expired_is_refused(sim: Simulator, clock: Clock) -> None:
    bearer = await token(sim)
    clock.now += 86_399
    answer = await call(sim, "PUT", CONFIG, bearer, CONFIGURATION)
    assert (answer.status_code, answer.json()["detail"]) == (401, "The token is expired.")


async def test_each_call_has_a_queue_of_its_own(sim: Simulator) -> None:
    bearer = await token(sim)
    sim.set_faults(["close-frame=1001/2"])
    sim.set_faults(["status=500"], at="config")
    sim.set_faults(["status=429", "retry-after=0"], connections=2, at="variables")
    assert [(await call(sim, "PUT", CONFIG, bearer, CONFIGURATION)).status_code for _ in range(2)] == [500, 200]
    assert (await ask(sim)).code == 1001
    statuses = [(await call(sim, "POST", VARIABLES, bearer, ANSWER)).status_code for _ in range(4)]
    assert statuses == [429, 429, 201, 200]


# --- the stream


async def test_the_messages_are_those_of_the_wire(sim: Simulator) -> None:
    seen = await ask(sim)
    *pieces, end = seen.messages
    assert [token for piece in pieces for token in piece["tokens"]] == PIECES
    assert {len(piece["tokens"]) for piece in pieces} == {1, 2, 3, 4}
    assert all(
        (set(piece), piece["done"], piece["error"]) == ({"tokens", "done", "error"}, False, "") for piece in pieces
    )
    prompt, done = count("Where is my order?"), count(ORDER)
    usage = {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}
    assert end == {"tokens": [], "done": True, "usage": usage, "error": ""}
    entry = await entry_of(sim)
    assert (entry["turn"], entry["attempt"], entry["completion_tokens"]) == ("s-1", 1, done)


@pytest.mark.parametrize(("word", "where"), [("usage-before", [-2]), ("no-usage", []), ("usage-each", None)])
async def test_usage_may_come_elsewhere(sim: Simulator, word: str, where: list[int] | None) -> None:
    sim.set_faults([word])
    messages = (await ask(sim)).messages
    having = [place - len(messages) for place, message in enumerate(messages) if "usage" in message]
    assert having == (list(range(-len(messages), 0)) if where is None else where)
    if having:
        assert messages[having[-1]]["usage"]["completion_tokens"] == count(ORDER)


async def test_the_opening_directs(sim: Simulator) -> None:
    assert WIRE.text((await ask(sim, "sim:text=echo;sim:interval-ms=0 Hi!")).messages) == "Hi!"
    seen = await ask(sim, "sim:fault=close-frame=1000/2")
    assert seen.code == 1000
    assert (await entry_of(sim))["faults"] == ["close-frame=1000/2"]


async def test_the_same_opening_again_is_another_attempt(sim: Simulator) -> None:
    sim.line_up(["reset-after=0"], ["reset-after=0"])
    for _ in range(3):
        await ask(sim)
    await ask(sim, session_id="s-2")
    entries = [entry for entry in await sim.ended(len(sim.ledger)) if entry["path"] == STREAM]
    assert [entry["attempt"] for entry in entries] == [1, 2, 3, 1]
    assert [entry["ended"] for entry in entries] == ["fault:reset-after"] * 2 + ["completed"] * 2


@pytest.mark.parametrize(
    ("message", "rule", "words"),
    [
        ("hello", "json", "not valid JSON"),
        ("[]", "fields", "object"),
        ('{"dialog_id":"d","session_id":"s"}', "fields", "input"),
        (json.dumps(opening(dialog_id="")), "fields", "$.dialog_id"),
        (json.dumps(opening(user="u")), "fields", "unknown field `user`"),
        (json.dumps(opening("sim:fault=revoked")), "fields", "POST it"),
        (json.dumps(opening("sim:txt=a")), "fields", "sim:text"),
    ],
)
async def test_a_wrong_opening_is_refused(sim: Simulator, message: str, rule: str, words: str) -> None:
    async with link(sim, STREAM) as socket:
        await socket.send(message)
        assert (await see(socket)).code == 4400
    entry = await entry_of(sim)
    assert entry["broken"][0].startswith(f"{rule}: ")
    assert words in entry["broken"][0]


async def test_without_an_opening_the_platform_begins_after_a_while() -> None:
    async with Simulator(opening_wait_s=0.03) as sim:
        async with link(sim, STREAM) as socket:
            assert WIRE.text((await see(socket, WIRE.is_end)).messages) == ORDER
        entry = await entry_of(sim)
        assert (entry["ended"], entry["turn"], entry["attempt"]) == ("completed", None, None)


async def test_a_platform_that_speaks_first_takes_no_opening(sim: Simulator) -> None:
    sim.set_faults(["speaks-first"])
    await call(sim, "PUT", CONFIG, await token(sim), CONFIGURATION)
    async with link(sim, STREAM) as socket:
        await socket.recv()
        await socket.send(json.dumps(opening()))
        assert (await see(socket)).code == 4400
    assert (await entry_of(sim))["broken"] == ["order: expected no message now, received one"]


async def test_an_answer_of_a_dialog_that_nobody_configured_breaks_a_rule_of_the_ledger(sim: Simulator) -> None:
    bearer = await token(sim)
    await call(sim, "PUT", CONFIG, await token(sim, client_id="other"), CONFIGURATION)
    assert WIRE.text((await ask(sim)).messages) == ORDER
    sim.set_faults(["status=500"], at="config")
    await call(sim, "PUT", CONFIG, bearer, CONFIGURATION)
    await ask(sim)
    await call(sim, "PUT", CONFIG, bearer, CONFIGURATION)
    for _ in range(2):
        await ask(sim)
    await ask(sim, dialog_id="d-2")
    none = ["config: expected the configuration of dialog 'd-1' first, received none"]
    broken = [entry["broken"] for entry in await sim.ended(len(sim.ledger)) if entry["path"] == STREAM]
    assert broken == [none, none, [], [], ["config: expected the configuration of dialog 'd-2' first, received none"]]


async def test_without_an_opening_any_dialog_of_the_client_may_be_the_one_that_was_configured(sim: Simulator) -> None:
    for client_id in ("other", "app"):
        sim.set_faults(["speaks-first"])
        async with link(sim, STREAM) as socket:
            await see(socket, WIRE.is_end)
        await call(sim, "PUT", CONFIG, await token(sim, client_id=client_id), CONFIGURATION)
    sim.set_faults(["speaks-first"])
    async with link(sim, STREAM) as socket:
        await see(socket, WIRE.is_end)
    none = ["config: expected the configuration of any dialog first, received none"]
    broken = [entry["broken"] for entry in await sim.ended(len(sim.ledger)) if entry["path"] == STREAM]
    assert broken == [none, none, []]


async def test_a_client_may_be_set_up_to_configure_nothing() -> None:
    async with Simulator(wants_config=False) as sim:
        await ask(sim)
        assert (await entry_of(sim))["broken"] == []


# --- the variables


async def test_variables_are_taken_and_kept_in_the_ledger(sim: Simulator) -> None:
    bearer = await token(sim)
    assert [(await call(sim, "POST", VARIABLES, bearer, ANSWER)).status_code for _ in range(2)] == [201, 200]
    entry = await entry_of(sim)
    assert (entry["body"], entry["path"], entry["broken"]) == (ANSWER, VARIABLES, [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"variables": []}, "$.variables"),
        ({"variables": [{"name": "", "value": 1}]}, "$.variables[0].name"),
        ({"variables": [{"name": "a", "value": {}}]}, "$.variables[0].value"),
        ({"variables": [{"name": "a"}]}, "value"),
        ({"variables": [{"name": "a", "value": 1}] * 2}, "twice"),
        ({"llm_response": "x"}, "llm_response"),
    ],
)
async def test_wrong_variables_are_refused(sim: Simulator, body: Any, words: str) -> None:
    answer = await call(sim, "POST", VARIABLES, await token(sim), body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert (await entry_of(sim))["broken"][0].startswith("request: ")


async def test_who_may_set_variables(sim: Simulator) -> None:
    bearer = await token(sim)
    assert (await call(sim, "PUT", VARIABLES, bearer, ANSWER)).status_code == 405
    assert (await call(sim, "POST", "/api/v2/bot/dialog/d-1", bearer, ANSWER)).status_code == 404
    assert (await call(sim, "POST", VARIABLES, await token(sim, "llm:stream"), ANSWER)).status_code == 403


async def test_the_newest_dialogs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.simulators.cognigy._MAX_KEPT", 1)
    async with Simulator() as sim:
        bearer = await token(sim)
        statuses = []
        for dialog in ("a", "b", "a"):
            path = VARIABLES.replace("d-1", dialog)
            statuses.append((await call(sim, "POST", path, bearer, ANSWER)).status_code)
        assert statuses == [201, 201, 201]
