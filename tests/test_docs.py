"""The documentation says what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from trunkline.config import parse
from trunkline.core.errors import REASONS

ROOT = Path(__file__).parent.parent


def test_the_table_of_reasons_is_the_codes_own():
    page = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    for reason in REASONS.values():
        assert f"| {reason.outcome} | `{reason.code}` | {reason.status} | {reason.meaning} |" in page
    assert page.count("\n| ") == len(REASONS) + 1


def test_the_settings_of_the_readme_are_valid(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    monkeypatch.setenv("GENESYS_CLIENT_ID", "me")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", "s3cret")
    blocks = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert [list(parse(tomllib.loads(block)).upstreams) for block in blocks] == [["support"], ["genesys", "local"]]


def test_the_python_of_the_readme_compiles():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        compile("async def example():\n" + re.sub(r"^", "    ", block, flags=re.MULTILINE), "README.md", "exec")


def test_no_file_names_a_machine_or_a_package_index():
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text(encoding="utf-8")
