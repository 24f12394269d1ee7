"""Who carries the load: the relay, nginx, a bare relay in Python, or nobody; each a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bench.load import Platform
from bench.proc import Cores, family, pinned

ROOT: Final = Path(__file__).parent.parent
START_S: Final = 20.0  # for a process to listen
STOP_S: Final = 5.0  # for it to end when told so
LOOPBACK: Final = "127.0.0.1"
SAMPLES: Final = "samples.json"
DATA: Final = "data"

Store = Literal["memory", "process", "disk"]
"""How safe the relay keeps a turn: its `[store] durability`."""
STORES: Final[tuple[Store, ...]] = ("memory", "process", "disk")


class Command(NamedTuple):
    """How a peer is started: files to write into its folder, and then what to run there."""

    argv: list[str]
    files: Mapping[str, str] = {}


class Peer(NamedTuple):
    """What listens on a port of this machine."""

    port: int
    pid: int | None

    @property
    def pids(self) -> list[int]:
        """The process and its children, as of now."""
        return [] if self.pid is None else family(self.pid)


def _nginx(port: int, upstream_port: int) -> Command:
    conf = f"""
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  tcp_nodelay on;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream platform {{ server {LOOPBACK}:{upstream_port}; keepalive 256; }}
  server {{
    listen {LOOPBACK}:{port} backlog=4096;
    location / {{
      proxy_pass http://platform;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""
    argv = ["nginx", "-p", "./", "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
    return Command(argv, {"nginx.conf": conf})


def _bare(port: int, upstream_port: int) -> Command:
    return Command([sys.executable, "-m", "bench.bare_relay", str(port), str(upstream_port)])


def relay_settings(port: int, upstream_port: int, store: Store) -> str:
    """Return the settings of a relay in the folder that it is started in."""
    settings = f"""
[server]
port = {port}
max_open_turns = 20000
max_open_turns_per_principal = 20000
drain_s = 0

[store]
durability = "{store}"
data_dir = "{DATA}"

"""
    return settings + "".join(_upstream(name, of, upstream_port) for name, of in _UPSTREAMS.items())


_CLIENT: Final = {"client_id": "bench", "client_secret": "bench"}
_UPSTREAMS: Final[dict[Platform, dict[str, str]]] = {
    "bench": {"preset": "openai"},
    "gateway": {"preset": "genesys-gateway", "prompt_id": "bench", **_CLIENT},
    "cognigy": {"preset": "cognigy", "dialog_id": "bench", **_CLIENT},
    "conversations": {"preset": "genesys-conversations", **_CLIENT},
}


def _upstream(name: str, settings: Mapping[str, str], port: int) -> str:
    lines = "\n".join(f'{key} = "{value}"' for key, value in settings.items())
    return f"""
[upstreams.{name}]
{lines}
base_url = "http://{LOOPBACK}:{port}"
model = "bench-model"

[upstreams.{name}.timeouts]
connect_s = 30
first_token_s = 60
between_tokens_s = 600
turn_s = 600
"""


SETTINGS: Final = "trunkline.toml"
_SERVE: Final = ["serve", "--config", SETTINGS, "--insecure", "--log-level", "warning"]


def _trunkline(store: Store, port: int, upstream_port: int) -> Command:
    argv = [sys.executable, "-m", "trunkline", *_SERVE]
    return Command(argv, {SETTINGS: relay_settings(port, upstream_port, store)})


def _sampled(store: Store, port: int, upstream_port: int) -> Command:
    argv = [sys.executable, "-m", "bench.sampler", SAMPLES, *_SERVE]
    return Command(argv, {SETTINGS: relay_settings(port, upstream_port, store)})


def relay(store: Store, *, sampled: bool = False) -> str:
    """Return the name of the relay with this store; `sampled`: of one that is looked at while it works."""
    return f"{'sampled' if sampled else 'trunkline'} {store}"


PEERS: Final[dict[str, Callable[[int, int], Command]]] = {
    "nginx": _nginx,
    "bare": _bare,
    **{relay(store): partial(_trunkline, store) for store in STORES},
    **{relay(store, sampled=True): partial(_sampled, store) for store in STORES},
}
DIRECT: Final = "direct"
"""Nobody between platform and reader: the floor of every latency."""


def baseline() -> str:
    """Return whom the relay is compared with on this machine."""
    return "nginx" if shutil.which("nginx") else "bare"


@contextlib.contextmanager
def upstream(cores: Cores) -> Iterator[Peer]:
    """Run the platform."""
    port = free_port()
    command = Command([sys.executable, "-m", "bench.upstream", str(port)])
    with temporary_folder() as folder, running(command, folder, cores.upstream) as process:
        yield _listening(process, port, folder)


@contextlib.contextmanager
def peer(name: str, platform: Peer, cores: Cores, folder: Path | None = None) -> Iterator[Peer]:
    """Run a peer in front of a platform, in a folder that is given or passes with it."""
    if name == DIRECT:
        yield Peer(platform.port, None)
        return
    with contextlib.ExitStack() as stack:
        place = folder or stack.enter_context(temporary_folder())
        port = free_port()
        process = stack.enter_context(running(PEERS[name](port, platform.port), place, cores.middle))
        yield _listening(process, port, place)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that passes with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def running(command: Command, folder: Path, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a folder and on a core, and stop it, gently at first. What it says goes to `output`."""
    with pinned(core):
        process = _start(command, folder)
    with _stopping(process):
        yield process


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _start(command: Command, folder: Path) -> subprocess.Popen[bytes]:
    for name, text in command.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    # The relay's settings come from its file alone.
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TRUNKLINE", "OPENAI_", "GENESYS_", "COGNIGY_"))
    }
    kept.pop("WS_PORT", None)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - the commands stand above
            command.argv, cwd=folder, env=kept | {"PYTHONPATH": path}, stdout=output, stderr=output
        )


def _listening(process: subprocess.Popen[bytes], port: int, folder: Path) -> Peer:
    """Wait until it listens. Raises `RuntimeError` with what it said, where it does not."""
    limit = time.monotonic() + START_S
    while time.monotonic() < limit and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 0.5):
            return Peer(port, process.pid)
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen: {said_in(folder)}")


def said_in(folder: Path) -> str:
    """Return the last words of what ran in a folder."""
    return (folder / "output").read_text(encoding="utf-8", errors="replace")[-2_000:]


@contextlib.contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in family(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
