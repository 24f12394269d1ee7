"""The command `trunkline`, also as `python -m trunkline`: what happens before the commands are loaded."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

INTERRUPTED: Final = 130


def main() -> None:
    """Load the commands and run one; Ctrl-C ends the process quietly, also while it loads."""
    heard = signal.getsignal(signal.SIGINT)
    try:
        if heard is signal.default_int_handler:  # and not ignored, as whoever started us may want it
            # Nothing is open yet, and a KeyboardInterrupt in the middle of an import may be swallowed on its way.
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        from trunkline import cli  # noqa: PLC0415 - it takes some tenths of a second

        signal.signal(signal.SIGINT, heard)
        cli.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
