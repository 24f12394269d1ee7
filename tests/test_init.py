"""The package's front door: every name of it is there, and loads when it is asked for."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import trunkline


@pytest.mark.parametrize("name", trunkline.__all__)
def test_every_name_that_is_promised_is_there(name):
    assert getattr(trunkline, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = trunkline.Nothing


SLOW = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "trunkline.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
import runpy
runpy.run_module("trunkline", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_while_a_command_loads_ends_it_without_a_word():
    ended = subprocess.run([sys.executable, "-c", SLOW], capture_output=True, text=True, check=False)  # noqa: S603
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGINT, "", "")


def test_the_package_itself_loads_nothing_slow():
    told = "import sys, trunkline; print([name for name in sys.modules if name.startswith('trunkline.')])"
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)  # noqa: S603
    assert ended.stdout == "[]\n"
