"""Programs of npm's that tests run: where node is, and whether their packages were installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def node_for(folder: Path, what: str) -> str:
    """Return node's path where the packages of a folder are there; else skip, which on CI is a failure."""
    node = shutil.which("node")
    if node is None or not (folder / "node_modules").exists():
        words = f"{what} not installed: node is missing, or `make test` did not run `npm ci` in tests/{folder.name}"
        assert not os.environ.get("CI"), words
        pytest.skip(words)
    return node
