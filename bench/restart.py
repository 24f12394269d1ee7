"""How long a relay takes to be ready on a full folder: a large archive, and a journal of turns that are not in it."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.full_folder import Filled, Scale, fill
from bench.peers import DATA, LOOPBACK, PEERS, free_port, relay, running, said_in, temporary_folder
from bench.proc import Cores, cpu_of, family, peak_rss_of
from trunkline.core.events import Ended
from trunkline.records.records import Records
from trunkline.stores.settings import StoreSettings

NOBODY: Final = 9  # the platform's port: nothing is asked of it
READY_LIMIT_S: Final = 300.0
ARCHIVED_LIMIT_S: Final = 900.0
LOOK_S: Final = 0.05
ROOM_BYTES: Final = 3 << 30
_UNARCHIVED: Final = re.compile(rb"^trunkline_store_turns_unarchived (\S+)$", re.MULTILINE)
_MIB: Final = 1 << 20
MAX_FAULTS: Final = 10  # that are told


FULL: Final = Scale(100_000, segments=30)  # the journal is 1 GB
QUICK: Final = Scale(2_000, segments=1)


class Restart(msgspec.Struct):
    """What a start took."""

    archived: int
    unarchived: int
    open: int
    records: int
    journal_mib: float
    database_mib: float
    empty_ready_s: float
    """From the spawn until `/ready`, in an empty folder."""
    ready_s: float
    ready_cpu_s: float
    archived_s: float
    """From the spawn until all that had ended is in the archive."""
    archived_cpu_s: float
    slowest_ms: float
    """Of the requests that were made while it archived, one after another."""
    peak_rss_mib: float
    faults: list[str]

    @property
    def ms_per_turn(self) -> float:
        """The CPU time for a turn that is archived after the start, in milliseconds."""
        return (self.archived_cpu_s - self.ready_cpu_s) / (self.unarchived + self.open) * 1e3


def measure(cores: Cores, *, quick: bool, tell: Callable[[str], None]) -> Restart:
    """Fill a folder, start a relay on it, and look whether everything is archived. Raises `RuntimeError`."""
    scale = QUICK if quick else FULL
    with temporary_folder() as folder:
        if (free := shutil.disk_usage(folder).free) < ROOM_BYTES:
            raise RuntimeError(f"{folder} has room for {free >> 20} MiB, and this takes up to {ROOM_BYTES >> 20} MiB")
        empty = folder / "empty"
        empty.mkdir()
        with _started(empty, cores) as (_, _, empty_ready_s):
            pass
        tell(f"an empty folder: ready after {empty_ready_s:.2f} s")
        began = time.monotonic()
        filled = fill(folder / DATA, scale)
        tell(f"filled a folder in {time.monotonic() - began:.0f} s")
        return _measure(folder, filled, empty_ready_s, cores)


def _measure(folder: Path, filled: Filled, empty_ready_s: float, cores: Cores) -> Restart:
    with _started(folder, cores) as (process, client, ready_s):
        began = time.monotonic() - ready_s
        pids = family(process.pid)
        ready_cpu_s = cpu_of(pids).total_s
        slowest_s = _wait_until_archived(client)
        archived_s, archived_cpu_s = time.monotonic() - began, cpu_of(pids).total_s
        peak_rss = peak_rss_of(pids)
    return Restart(
        archived=filled.archived,
        unarchived=len(filled.unarchived),
        open=len(filled.open),
        records=filled.records,
        journal_mib=filled.journal_bytes / _MIB,
        database_mib=filled.database_bytes / _MIB,
        empty_ready_s=empty_ready_s,
        ready_s=ready_s,
        ready_cpu_s=ready_cpu_s,
        archived_s=archived_s,
        archived_cpu_s=archived_cpu_s,
        slowest_ms=slowest_s * 1e3,
        peak_rss_mib=peak_rss / _MIB,
        faults=check(folder / DATA, filled),
    )


@contextlib.contextmanager
def _started(folder: Path, cores: Cores) -> Iterator[tuple[subprocess.Popen[bytes], http.client.HTTPConnection, float]]:
    """Start a relay in a folder; lend its process, a connection, and the seconds from its spawn until it was ready."""
    port = free_port()
    command = PEERS[relay("process")](port, NOBODY)
    began = time.monotonic()
    with running(command, folder, cores.middle) as process:
        client = http.client.HTTPConnection(LOOPBACK, port, timeout=READY_LIMIT_S)
        with contextlib.closing(client):
            # The relay listens before it has looked at its folder, and answers once it has.
            while not _connects(client):
                if process.poll() is not None or time.monotonic() - began > READY_LIMIT_S:
                    raise RuntimeError(f"the relay does not listen: {said_in(folder)}")
                time.sleep(LOOK_S / 10)
            status, body = _get(client, "/ready")
            if status != http.client.OK:
                raise RuntimeError(f"GET /ready was answered {status} {body!r}")
            yield process, client, time.monotonic() - began


def _connects(client: http.client.HTTPConnection) -> bool:
    try:
        client.connect()
    except ConnectionRefusedError:
        return False
    return True


def _get(client: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    client.request("GET", path)
    response = client.getresponse()
    return response.status, response.read()


def _wait_until_archived(client: http.client.HTTPConnection) -> float:
    """Ask until nothing waits for the archive; return how long the slowest answer took. Raises `RuntimeError`."""
    slowest_s, left, until = 0.0, -1.0, time.monotonic() + ARCHIVED_LIMIT_S
    while time.monotonic() < until:
        asked = time.monotonic()
        _, body = _get(client, "/metrics")
        slowest_s = max(slowest_s, time.monotonic() - asked)
        said = _UNARCHIVED.search(body)
        if said is None:
            raise RuntimeError("the relay does not say how many turns wait for the archive")
        left = float(said[1])
        if not left:
            return slowest_s
        time.sleep(LOOK_S)
    raise RuntimeError(f"after {ARCHIVED_LIMIT_S:g} s {left:g} turns are not archived")


def check(data: Path, filled: Filled) -> list[str]:
    """Say what is wrong with the archive of a folder after a start; nothing where it is as it should be."""
    records = Records.open(StoreSettings(data_dir=data))
    try:
        faults = []
        ids = [*filled.unarchived, *filled.open]
        known = records.known(ids)
        if missing := sum(not known.get(turn_id, False) for turn_id in ids):
            faults.append(f"{missing} of {len(ids)} turns are not in the archive")
        for turn_id, chars in {**filled.unarchived, **filled.open}.items():
            entries = records.find(turn_id) or []
            said = sum(len(text) for entry in entries if (text := getattr(entry.event, "text", None)))
            if said != chars:
                faults.append(f"{turn_id} has {said} characters instead of {chars}")
            last = entries[-1].event if entries else None
            reason = "relay_restarted" if turn_id in filled.open else "stop"
            if not isinstance(last, Ended) or last.reason != reason:
                faults.append(f"{turn_id} did not end with {reason}")
    finally:
        records.close()
    return faults


def report(found: Restart) -> str:
    """Put it into words."""
    lines = [
        f"archive: {found.archived:,} turns in {found.database_mib:.0f} MiB",
        f"journal: {found.records:,} records in {found.journal_mib:.0f} MiB",
        f"turns in the journal: {found.unarchived:,} that have ended, {found.open} that have not",
        "",
        f"ready on an empty folder after {found.empty_ready_s:.2f} s",
        f"ready on this one after {found.ready_s:.2f} s ({found.ready_cpu_s:.2f} s of CPU)",
        f"all archived after {found.archived_s:.2f} s ({found.archived_cpu_s:.2f} s of CPU)",
        f"CPU for each turn that was archived: {found.ms_per_turn:.2f} ms",
        f"the slowest answer while it archived: {found.slowest_ms:.0f} ms",
        f"most memory: {found.peak_rss_mib:.0f} MiB",
    ]
    lines += [f"NOT EXACT: {fault}" for fault in found.faults[:MAX_FAULTS]]
    return "\n".join(lines)
