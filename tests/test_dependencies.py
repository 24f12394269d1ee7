"""What the source imports is declared, and what is declared is pinned within its bounds."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = {canonicalize_name(need.name): need for need in map(Requirement, PROJECT["dependencies"])}
LOCAL_MODEL = (ROOT / "requirements" / "local.in").read_text(encoding="utf-8")
OPTIONAL = {
    canonicalize_name(Requirement(need).name)
    for need in [*chain(*PROJECT["optional-dependencies"].values()), *re.findall(r"^\w.*$", LOCAL_MODEL, re.MULTILINE)]
}


def imported() -> set[str]:
    """The top names of all that is imported anywhere in the source."""
    names = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"trunkline"}


def test_what_is_imported_is_declared():
    homes = packages_distributions()
    needed = {canonicalize_name(home) for name in imported() for home in homes.get(name, [name])}
    assert needed - OPTIONAL <= set(DECLARED)


def test_what_is_declared_is_pinned_within_its_bounds():
    pins = re.findall(
        r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements" / "base.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    versions = {canonicalize_name(name): version for name, version in pins}
    assert {name for name, need in DECLARED.items() if not need.specifier.contains(versions.get(name, "0"))} == set()
