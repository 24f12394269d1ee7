"""Runs `trunkline` and looks, on each tick of the CPU time that it uses, at what it is doing: where does the time go?

`python -m bench.sampler FILE serve ...` writes the samples when the relay has stopped. The kernel's tick bounds how
often it looks: 250 times for each second of CPU time, on many kernels.
"""

from __future__ import annotations

import dis
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import msgspec

from bench.text import now_us

EVERY_S: Final = 0.001
MAX_DEPTH: Final = 60


class Sample(msgspec.Struct, frozen=True):
    """What the process was doing at a moment: functions as `path:name`, the innermost first."""

    at_us: int
    stack: tuple[str, ...]


class Sampler:
    """Takes samples in a signal handler, and puts them into words only afterwards."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, int, list[CodeType]]] = []

    def start(self) -> None:
        """Begin to look."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def stop(self) -> list[Sample]:
        """Look no more; return what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return [Sample(at_us, _named(last, codes)) for at_us, last, codes in self._seen]

    def _look(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        last = frame.f_lasti
        codes: list[CodeType] = []
        while frame is not None and len(codes) < MAX_DEPTH:
            codes.append(frame.f_code)
            frame = frame.f_back
        self._seen.append((now_us(), last, codes))


def _named(last: int, codes: Sequence[CodeType]) -> tuple[str, ...]:
    """Name the functions of a stack.

    Python handles a signal when C code returns to it. A function that has only just begun has used no time: what came
    before it was its caller, or the C code of the event loop.
    """
    if len(codes) > 1 and last <= _beginning(codes[0]):
        codes = codes[1:]
    return tuple(f"{code.co_filename}:{code.co_qualname}" for code in codes)


def _beginning(code: CodeType) -> int:
    return next((step.offset for step in dis.get_instructions(code) if step.opname == "RESUME"), -1)


def main() -> None:
    """Run `trunkline` with the arguments after the first, which names the file for the samples."""
    from trunkline.cli import main as trunkline  # noqa: PLC0415 - the report needs no relay

    target = Path(sys.argv[1])
    sys.argv = ["trunkline", *sys.argv[2:]]
    sampler = Sampler()
    sampler.start()
    try:
        trunkline()
    finally:
        target.write_bytes(msgspec.json.encode(sampler.stop()))


if __name__ == "__main__":
    main()
