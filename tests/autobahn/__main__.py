"""The command line of the Autobahn cases: `make autobahn`. It needs Python 2.7, for the suite."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Final

import uvloop

from autobahn.page import Report, page
from autobahn.suite import LIMIT_BYTES, LIMITS, OVER_4_MIB, Python2, against_client, against_server

PAGE: Final = Path("docs/autobahn-report.md")
PROTOCOL: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
COMPRESSION: Final = ("12.*", "13.*")
OURS: Final = ("picows", "uvicorn", "websockets", "uvloop")
THEIRS: Final = ("autobahntestsuite", "autobahn", "Twisted")


async def run(python: Python2, report: Report, *, quick: bool) -> None:
    """Run what is asked for against the server, then against the client."""
    for against in (against_server, against_client):
        report.add(await against(python, PROTOCOL, (), None))
        if not quick:
            report.add(await against(python, (LIMITS,), report.left_out, LIMIT_BYTES))
            report.add(await against(python, COMPRESSION, (), None))


def versions(python: Python2) -> dict[str, str]:
    """Return what was tested, and what with."""
    installed = {found.name: found.version for found in distributions(path=[str(python.packages)])}
    return {name: version(name) for name in OURS} | {name: installed[name] for name in THEIRS}


def main() -> int:
    """Run the suite against both ends; the last line is the verdict."""
    parser = argparse.ArgumentParser(prog="python -m autobahn", description=__doc__)
    parser.add_argument("--python2", required=True, help="a Python 2.7")
    parser.add_argument("--packages", type=Path, required=True, help="the folder that the suite is installed in")
    parser.add_argument("--large", action="store_true", help="messages of 8 and 16 MiB, too")
    parser.add_argument("--quick", action="store_true", help="neither long messages nor compression, and no page")
    asked = parser.parse_args()
    logging.getLogger("picows").setLevel(logging.CRITICAL)  # it says of every case that it is broken, as it is
    python = Python2(asked.python2, asked.packages)
    report = Report(versions(python), () if asked.large or asked.quick else OVER_4_MIB)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(python, report, quick=asked.quick))
    if not asked.quick:
        PAGE.write_text(page(report), encoding="utf-8")
    for end, case in report.unexplained:
        print(f"failed on the {end}: {case.number} ({case.behavior}, {case.close})")  # noqa: T201
    print(report.verdict())  # noqa: T201
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
