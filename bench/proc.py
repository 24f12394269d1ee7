"""What a process costs, read from /proc, and on which core it runs."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
SYNCS: Final = 50
SYNC_BYTES: Final = 4_096


class Cpu(NamedTuple):
    """CPU time of some processes: all of it, and how it divides by the (coarser) ticks of the kernel."""

    total_s: float
    user_s: float
    kernel_s: float
    waited_s: float
    """Not used, but wanted: a core was busy with others."""

    def since(self, before: Cpu) -> Cpu:
        """Return what was used since an earlier look."""
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))


def cpu_of(pids: Iterable[int]) -> Cpu:
    """Add up the CPU time of all threads of these processes. Raises `OSError` where one is gone."""
    total_ns = waited_ns = user_ticks = kernel_ticks = 0
    for pid in pids:
        for task in (_PROC / str(pid) / "task").iterdir():
            ran, waited, _ = (task / "schedstat").read_text().split()
            total_ns, waited_ns = total_ns + int(ran), waited_ns + int(waited)
        fields = _stat(pid)
        user_ticks, kernel_ticks = user_ticks + int(fields[11]), kernel_ticks + int(fields[12])
    return Cpu(total_ns / 1e9, user_ticks * _TICK_S, kernel_ticks * _TICK_S, waited_ns / 1e9)


def rss_of(pids: Iterable[int]) -> int:
    """Add up the resident memory of these processes, in bytes."""
    return sum(int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE for pid in pids)


def peak_rss_of(pids: Iterable[int]) -> int:
    """Add up the most resident memory that each of these processes ever had, in bytes."""
    peaks = (re.search(r"^VmHWM:\s+(\d+) kB$", (_PROC / str(pid) / "status").read_text(), re.MULTILINE) for pid in pids)
    return sum(int(peak[1]) << 10 for peak in peaks if peak is not None)


def sync_ms(folder: Path) -> float:
    """Time a sync of a few bytes to the disk under a folder: the median of some, in milliseconds."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(SYNCS * SYNC_BYTES))
        os.fsync(file.fileno())
        for number in range(SYNCS):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * SYNC_BYTES, number * SYNC_BYTES)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return median(taken) * 1e3


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, ()))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may hold blanks (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


class Cores(NamedTuple):
    """Which core runs what; None lets the kernel choose."""

    middle: int | None
    upstream: int | None
    load: int | None

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Give the relay a core of its own, and share the others."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) == 1:
            return cls(None, None, None)
        return cls(middle=cores[-1], upstream=cores[0], load=cores[-2])


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Run on one core for a while: a process that is started meanwhile inherits it."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Allow as many open files as the machine lets us, here and in what is started later; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def calibrate(core: int | None) -> float:
    """Time a fixed loop on a core, in milliseconds of CPU: it tells a run on a disturbed machine from the others."""
    with pinned(core):
        best = float("inf")
        for _ in range(3):
            begun, total = time.process_time(), 0
            for number in range(200_000):
                total += number
            best = min(best, time.process_time() - begun)
    return best * 1e3
