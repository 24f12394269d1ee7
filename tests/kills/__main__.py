"""The command line of the kill test: `make kill-test`, or `PYTHONPATH=tests python -m kills --rounds 10`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from random import SystemRandom

from kills.figures import Figures
from kills.page import page
from kills.run import run

PAGE = Path("docs/kill-report.md")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> int:
    """Kill the relay in as many rounds as asked for; the last line is the verdict."""
    parser = argparse.ArgumentParser(prog="python -m kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, help="by default any")
    parser.add_argument("--streams", type=int, default=24, help="turns in flight in each round")
    parser.add_argument("--durability", choices=("process", "disk", "memory"), default="process")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    asked = parser.parse_args()
    seed = SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    _say(f"seed {seed}")
    figures = asyncio.run(run(Figures(seed, asked.streams, asked.durability), asked.rounds, _say))
    if asked.write:
        PAGE.write_text(page(figures), encoding="utf-8")
    _say(figures.verdict())
    return 0 if figures.passed else 1


if __name__ == "__main__":
    sys.exit(main())
