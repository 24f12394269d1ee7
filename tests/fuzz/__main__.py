"""The command line of the fuzz: `make fuzz`, or `PYTHONPATH=tests python -m fuzz --seconds 60`."""

from __future__ import annotations

import argparse
import sys
from random import SystemRandom

from fuzz.run import run


def main() -> int:
    """Try cases for as long as asked for; tell of the first that breaks a law, as small as it gets."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="The number of the first case; the others follow. By default any.")
    asked = parser.parse_args()
    first = SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    outcome = run(first, asked.seconds)
    print(outcome.told())  # noqa: T201
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
