"""Whoever writes a program with the library gets its types: programs that use it are checked as mypy would theirs."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.build import build_wheel

import trunkline

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROGRAMS = sorted(set(HERE.glob("*.py")) - {Path(__file__)})


def test_programs_that_use_the_library_have_the_types_they_assert_and_the_errors_they_name():
    # Without the settings of this project: the library is found where it is installed, as a user has it.
    flags = ["--config-file=", "--strict", "--warn-unreachable", "--enable-error-code=ignore-without-code"]
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'programs'}"
    command = [sys.executable, "-m", "mypy", *flags, "--no-error-summary", cache, *map(str, PROGRAMS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own files
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)


def test_every_public_name_is_used_by_a_program():
    used = set()
    for program in PROGRAMS:
        for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "trunkline":
                used |= {alias.name for alias in node.names}
    assert used == set(trunkline.__all__)


def test_the_wheel_says_that_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        assert "trunkline/py.typed" in wheel.namelist()
