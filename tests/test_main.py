"""The process of a command: Ctrl-C at whatever moment, and what the library hands out."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

import trunkline

# Sends Ctrl-C to the process at the moment when it begins to load a module.
INTERRUPTED = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["trunkline", "stream", "hello"]
runpy.run_module("trunkline", run_name="__main__", alter_sys=True)
"""


async def ended(code: str) -> tuple[int | None, bytes]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
    )  # fmt: skip
    said, _ = await running.communicate()
    return running.returncode, said


@pytest.mark.parametrize("module", ["trunkline.cli", "click", "pydantic", "aiohttp", "trunkline.app"])
async def test_ctrl_c_while_a_command_loads_ends_it_quietly(module: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = await ended(INTERRUPTED.format(module=module))
    assert (code, said.strip()) == (130, b"")


async def test_ctrl_c_stays_ignored_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ignoring = f"import signal\nsignal.signal(signal.SIGINT, signal.{signal.SIG_IGN.name})\n"
    code, said = await ended(ignoring + INTERRUPTED.format(module="trunkline.cli"))
    assert code == 1  # nobody listens there
    assert b"upstream_unavailable" in said


def test_the_library_hands_out_all_that_it_names():
    assert [name for name in trunkline.__all__ if getattr(trunkline, name, None) is None] == []
    with pytest.raises(AttributeError, match="has no attribute 'Rely'"):
        _ = trunkline.Rely


async def test_the_package_itself_loads_nothing_slow():
    told = "import sys, trunkline; print([name for name in sys.modules if name.startswith('trunkline.')])"
    assert await ended(told) == (0, b"['trunkline.version']\n")
