"""The command line of the soak: `make soak`, or `PYTHONPATH=tests python -m soak --minutes 10`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from soak.run import run


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> int:
    """Load a relay for as long as asked for; the last line is the verdict."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=50, help="turns that are open at a time")
    parser.add_argument("--durability", choices=("process", "disk"), default="process")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    soaked = asyncio.run(run(asked.minutes * 60, asked.streams, asked.durability, asked.seed, _say))
    for fault in soaked.faults:
        _say(fault.told())
    _say(f"ended as {soaked.ends}; done with them: {soaked.done}")
    for level in soaked.levels():
        _say(f"{level.what}: {level.found}; bound {level.bound}")
    _say(soaked.verdict())
    return 0 if soaked.passed else 1


if __name__ == "__main__":
    sys.exit(main())
