"""The relay as a process that is started on one folder and one port, killed without warning, and started again."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Self

import httpx

from kills.checks import Fault

START_LIMIT_S: Final = 60.0
LOOK_EVERY_S: Final = 0.01
PORTS: Final = range(21_000, 31_000)
UPSTREAMS: Final = {"plain": "none", "screened": "contact-centre"}
"""The upstreams that the harness asks, and what screens their answers."""
COMPLAINTS: Final = ("internal error", "Traceback", "the log failed", "the journal is damaged")
"""What stands in the log only where something went wrong in the relay."""


class RelayDied(Exception):
    """The relay ended by itself."""


def free_port() -> int:
    """Return a port to keep for a run.

    It must lie below those that the kernel gives to connections: somebody else could get it while the relay is down,
    and a client that asks again and again for such a port is connected to itself in the end. It is any of them: two
    runs that start together must not choose the same.
    """
    for port in SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port is free from {PORTS.start} to {PORTS.stop - 1}")


def settings_text(platform_url: str, port: int, store: Mapping[str, Any]) -> str:
    """Write the settings file of a relay in front of the simulator."""
    lines = ["[server]", f"port = {port}", "drain_s = 5", "", "[store]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in store.items()]
    for name, guards in UPSTREAMS.items():
        lines += ["", f"[upstreams.{name}]", 'preset = "openai"', 'model = "sim-model"', f'guards = "{guards}"']
        lines += [f'base_url = "{platform_url}/v1"']
    return "\n".join(lines) + "\n"


class RelayProcess:
    """`trunkline serve` on a settings file. What it logs goes to a file, over all its lives."""

    def __init__(self, settings: Path, log: Path, port: int) -> None:
        self._settings = settings
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._spawned_at = 0.0
        self._read = 0
        self.url = f"http://127.0.0.1:{port}"
        self.up = asyncio.Event()
        """Set while it is known to be ready."""
        self.ready_at = 0.0
        """When it was ready the last time, by the monotonic clock."""
        self.start_times: list[float] = []
        """Seconds from each start until it was ready."""

    @property
    def pid(self) -> int:
        """The process that runs now."""
        if self._process is None:
            raise RuntimeError("the relay was not started")
        return self._process.pid

    async def spawn(self) -> None:
        """Start it, without waiting for anything."""
        with self._log.open("ab") as log:
            self._spawned_at = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "trunkline", "serve", "--insecure", "--config", str(self._settings),
                stdout=log, stderr=log,
            )  # fmt: skip

    async def until_ready(self) -> None:
        """Wait until `GET /ready` answers 200. Raises `RelayDied`."""
        async with httpx.AsyncClient(trust_env=False, timeout=None) as http, asyncio.timeout(START_LIMIT_S):  # noqa: S113
            while not await self._is_ready(http):
                if self._process is not None and self._process.returncode is not None:
                    raise RelayDied(f"exit code {self._process.returncode}: {self.last_words()}")
                await asyncio.sleep(LOOK_EVERY_S)
        self.ready_at = time.monotonic()
        self.start_times.append(self.ready_at - self._spawned_at)
        self.up.set()

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(f"{self.url}/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone. Raises `RelayDied` where it was gone before."""
        self.up.clear()
        if self._process is None:
            return
        if self._process.returncode is not None:
            raise RelayDied(f"exit code {self._process.returncode}: {self.last_words()}")
        self._process.kill()
        await self._process.wait()

    def last_words(self) -> str:
        """Return the end of the log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])

    def complaints(self) -> list[Fault]:
        """Say whether the log has lines, since it was asked last, that a relay never writes where all is well."""
        lines = self._log.read_text(errors="replace").splitlines()
        found = [line for line in lines[self._read :] if any(words in line for words in COMPLAINTS)]
        self._read = len(lines)
        return [Fault("", "the relay's log", f"{len(found)} complaints", "none", found[0])] if found else []

    async def __aenter__(self) -> Self:
        """Start it and wait until it is ready."""
        await self.spawn()
        await self.until_ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing running."""
        self.up.clear()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
