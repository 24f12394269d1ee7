"""The Autobahn test suite as a process: it needs Python 2.7, and leaves its results as files."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from autobahn.echoing import LIVE, PLAIN, echo_from, relay
from trunkline.dialects.base import Loss

LIMITS: Final = "9.*"
OVER_4_MIB: Final = ("9.1.5", "9.1.6", "9.2.5", "9.2.6")
LIMIT_BYTES: Final = 16 << 20
START_S: Final = 30.0
CLIENT: Final = "client"
SERVER: Final = "server"
LANE: Final = "server, live lane"
_WSTEST: Final = """\
import site, sys
sys.path.insert(0, sys.argv[1])
site.addsitedir(sys.argv[1])
sys.argv = ["wstest"] + sys.argv[2:]
from autobahntestsuite import wstest
wstest.run()
"""


class Python2(NamedTuple):
    """An interpreter, and the folder that the suite is installed in."""

    interpreter: str
    packages: Path


class Case(NamedTuple):
    """What the suite says of one case: of the messages, and of how the connection was closed."""

    number: str
    behavior: str
    close: str
    milliseconds: int


class SuiteFailed(Exception):
    """The suite itself did not run."""


async def against_server(python: Python2, cases: Sequence[str], but: Sequence[str], max_bytes: int | None) -> Results:
    """Run the suite as a client against the relay."""
    with tempfile.TemporaryDirectory() as folder:
        async with relay(max_bytes) as url:
            servers = [{"agent": SERVER, "url": url + PLAIN}, {"agent": LANE, "url": url + LIVE}]
            spec = {"servers": servers, "outdir": f"{folder}/out"}
            async with _running(python, "fuzzingclient", Path(folder), {**spec, **_chosen(cases, but)}) as suite:
                output, _ = await suite.communicate()
        return _results(Path(folder), output)


async def against_client(python: Python2, cases: Sequence[str], but: Sequence[str], max_bytes: int | None) -> Results:
    """Run the suite as a server, and let the relay's client go through its cases."""
    limit = {} if max_bytes is None else {"max_message_bytes": max_bytes}
    with tempfile.TemporaryDirectory() as folder:
        url = f"ws://127.0.0.1:{_free_port()}"
        spec = {"url": url, "outdir": f"{folder}/out", **_chosen(cases, but)}
        async with _running(python, "fuzzingserver", Path(folder), spec) as suite:
            count = await _count(url, suite)
            for number in range(1, count + 1):
                await echo_from(f"{url}/runCase?case={number}&agent={CLIENT}", **limit)
            await echo_from(f"{url}/updateReports?agent={CLIENT}&shutdownOnComplete=true")
            output, _ = await suite.communicate()
        return _results(Path(folder), output)


Results = dict[str, list[Case]]
"""The cases of each end of ours."""


@asynccontextmanager
async def _running(
    python: Python2, mode: str, folder: Path, spec: dict[str, Any]
) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    arguments = [str(python.packages.resolve()), "--mode", mode, "--spec", "spec.json", "--webport", "0"]
    suite = await asyncio.create_subprocess_exec(
        *(python.interpreter, "-E", "-u", "-W", "ignore", "-c", _WSTEST, *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield suite
    finally:
        if suite.returncode is None:
            suite.kill()
            await suite.communicate()


async def _count(url: str, suite: asyncio.subprocess.Process) -> int:
    """Ask how many cases there are, as soon as the suite listens."""
    async with asyncio.timeout(START_S):
        while suite.returncode is None:
            end, said = await echo_from(f"{url}/getCaseCount")
            if said:
                return int(said)
            assert isinstance(end, Loss), end
            await asyncio.sleep(0.1)
    raise SuiteFailed((await suite.communicate())[0].decode())


def _chosen(cases: Sequence[str], but: Sequence[str]) -> dict[str, Any]:
    return {"cases": list(cases), "exclude-cases": list(but), "exclude-agent-cases": {}}


def _results(folder: Path, output: bytes) -> Results:
    path = folder / "out" / "index.json"
    if not path.exists():
        raise SuiteFailed(output.decode(errors="replace")[-4_000:])
    return {
        agent: [
            Case(number, found["behavior"], found["behaviorClose"], found["duration"])
            for number, found in sorted(cases.items(), key=lambda item: [int(part) for part in item[0].split(".")])
        ]
        for agent, cases in json.loads(path.read_text(encoding="utf-8")).items()
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
