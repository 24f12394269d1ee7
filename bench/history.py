"""The record of past runs: one line of JSON each, so that a claim about speed can name its before and after."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import CaseFigures, Verdict
from bench.peers import ROOT
from bench.proc import Cores


def entry(found: Mapping[str, CaseFigures], verdicts: list[Verdict], cores: Cores, repeats: int) -> dict[str, Any]:
    """Make the line of a run: when, on what, and all figures."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"),
        "python": platform.python_version(),
        "nginx": _said("nginx", "-v").removeprefix("nginx version: "),
        "cpu": _cpu_model(),
        "cores": cores._asdict(),
        "repeats": repeats,
        "budgets": verdicts,
        "cases": found,
    }


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the record."""
    with path.open("ab") as file:
        file.write(_rounded(line) + b"\n")


def _rounded(line: Mapping[str, Any]) -> bytes:
    """Encode with four significant digits for fractions: the rest is noise."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {key: short(item) for key, item in value.items()}
        return [short(item) for item in value] if isinstance(value, list | tuple) else value

    return msgspec.json.encode(short(msgspec.to_builtins(line)))


def _said(program: str, *arguments: str) -> str:
    """Return what a program says about itself, or nothing where it is missing."""
    if (path := shutil.which(program)) is None:
        return ""
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - see callers
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
