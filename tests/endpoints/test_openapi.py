"""The API description, held against the relay by a fuzzer nobody here wrote: no 5xx, no answer it does not name."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import settings_for
from trunkline.app import make_app
from trunkline.config import parse
from trunkline.core.errors import Overloaded
from trunkline.turns import Turns

EXAMPLES = int(os.environ.get("TRUNKLINE_FUZZ_EXAMPLES", "15"))
DESCRIPTION = make_app(parse(settings_for("http://127.0.0.1:9/v1"))).openapi()
OPERATIONS = {
    found.ok().label: found.ok() for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PLATFORM_FAILED = 502
KEY = "tk_fuzz"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def start(*args: str) -> tuple[subprocess.Popen[str], str]:
    """Start a command of ours; return it and the address that it says."""
    running = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-m", "trunkline", *args], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stream = running.stdout if args[0] == "simulate" else running.stderr
    assert stream is not None
    for line in stream:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return running, found.group()
    raise AssertionError(f"trunkline {args[0]} did not start")


@pytest.fixture(scope="module")
def locked_url(tmp_path_factory):
    """A relay with a key and a simulated platform, as processes, since the fuzzer blocks while it asks."""
    simulator, platform = start("simulate", "--port", "0", "--interval-ms", "0")
    path = tmp_path_factory.mktemp("relay") / "trunkline.toml"
    path.write_text(
        f'[server]\nport = 0\nmax_body_bytes = 20000\n[[keys]]\nname = "fuzz"\nsha256 = "{DIGEST}"\n'
        f'[upstreams.support]\npreset = "openai"\nbase_url = "{platform}/v1"\nmodel = "m"\n'
    )
    relay, url = start("serve", "--log-level", "error", "--config", str(path))
    yield url
    for running in (relay, simulator):
        running.terminate()
        running.communicate(timeout=20)


def asks(operation: str) -> list[tuple[str, schemathesis.GenerationMode]]:
    """An operation that takes nothing cannot be asked wrongly."""
    takes = list(OPERATIONS[operation].iter_parameters()) or OPERATIONS[operation].body
    modes = list(schemathesis.GenerationMode) if takes else [schemathesis.GenerationMode.POSITIVE]
    return [(operation, mode) for mode in modes]


@pytest.mark.parametrize(
    ("operation", "mode"),
    [pair for operation in OPERATIONS for pair in asks(operation)],
    ids=lambda part: getattr(part, "value", part),
)
def test_whatever_is_asked_the_answer_is_a_documented_one(operation, mode, locked_url):
    headers = {"X-API-Key": KEY}
    known = httpx.post(f"{locked_url}/v1/turns", json={"input": "sim:text=short"}, headers=headers).json()["id"]
    count = 0

    @given(case=OPERATIONS[operation].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def ask(case: schemathesis.Case) -> None:
        nonlocal count
        count += 1
        if count % 2 and "turn_id" in case.path_parameters:
            case.path_parameters["turn_id"] = known  # a fuzzer would not guess it
        response = case.call(base_url=locked_url, headers=headers, timeout=20)
        refused = response.status_code == PLATFORM_FAILED and b"upstream_error" in response.content
        # What only the platform can refuse (a value inside `options`, say) is its error, and a documented answer.
        case.validate_response(response, checks=CHECKS[1:] if refused else CHECKS)

    ask()


def test_every_operation_asks_for_a_credential_or_tells_nothing_of_turns():
    for path, operations in DESCRIPTION["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert ("security" in operation) is (path not in {"/health", "/ready", "/metrics"})


TURN = "/v1/turns/{turn_id}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/v1/turns"),
        ("get", TURN),
        ("delete", TURN),
        ("post", f"{TURN}/cancel"),
        ("get", f"{TURN}/events"),
        ("delete", "/v1/conversations/{conversation_id}"),
    ],
)
async def test_a_store_that_cannot_be_read_now_is_a_documented_answer(http, relay_url, monkeypatch, method, path):
    async def busy(*_args):
        raise Overloaded("store_error", "It cannot be read now.")

    for name in ("find", "list", "forget_conversation"):
        monkeypatch.setattr(Turns, name, busy)
    response = await http.request(method, relay_url + path.format(turn_id="turn_" + "0" * 32, conversation_id="c"))
    assert (response.status_code, response.json()["code"]) == (503, "store_error")
    assert "503" in DESCRIPTION["paths"][path][method]["responses"]
