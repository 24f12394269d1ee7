"""The documentation says what the code does, all of it, and its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from types import ModuleType
from typing import Annotated, Any, get_args

import click
import msgspec
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, Field, HttpUrl, SecretStr

from trunkline.cli import cli
from trunkline.config import Settings, load
from trunkline.core.errors import REASONS
from trunkline.core.events import NOTICES, AnyEvent, decode_event
from trunkline.dialects.presets import PRESETS
from trunkline.environment import settings_from
from trunkline.simulators.fault_words import FAULTS, TABLES

ROOT = Path(__file__).parent.parent
MARKDOWN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "changelog.d").glob("*.md"))]


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """docs/generate.py, imported as it is when it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        yield importlib.import_module("generate")


@pytest.fixture
def pages(generate: ModuleType) -> dict[str, str]:
    return {name: make() for name, make in generate.PAGES.items()}


@pytest.fixture
def settings_page(generate: ModuleType) -> Any:
    return generate.PAGES["settings.md"]


# The reference pages


def test_the_reference_pages_say_what_the_code_says(generate):
    assert generate.stale() == []


def test_pages_that_differ_or_are_missing_are_named(generate, tmp_path):
    assert generate.stale(tmp_path) == list(generate.PAGES)
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []
    (tmp_path / "events.md").write_text("# Events\n", encoding="utf-8")
    (tmp_path / "metrics.md").unlink()
    assert generate.stale(tmp_path) == ["events.md", "metrics.md"]


def test_every_page_says_how_it_is_made(pages):
    for page in pages.values():
        assert "`python docs/generate.py`" in page.splitlines()[2]


def keys_below(annotation: Any) -> list[str]:
    """The plain keys of all models in an annotation."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return [key for inner in get_args(annotation) for key in keys_below(inner)]
    keys = []
    for name, field in annotation.model_fields.items():
        keys += keys_below(field.annotation) or [name]
    return keys


def test_every_key_of_the_settings_has_its_row(pages):
    rows = re.findall(r"^\| `(\w+)` \|.*\| \S.* \|$", pages["settings.md"], re.MULTILINE)
    assert sorted(rows) == sorted(keys_below(Settings))


def test_a_key_without_a_description_fails(generate, settings_page):
    class Section(BaseModel):
        """`[section]`: a section."""

        port: int = 1

    class Bare(BaseModel):
        section: Section = Section()

    with pytest.raises(generate.Undescribed, match=r"the key port of `\[section\]` has no description"):
        settings_page(Bare)


def test_a_section_without_a_docstring_fails(generate, settings_page):
    class Section(BaseModel):
        port: int = Field(default=1, description="The port.")

    class Bare(BaseModel):
        sections: tuple[Section, ...] = ()

    with pytest.raises(generate.Undescribed, match=r"`\[\[sections\]\]` has no docstring"):
        settings_page(Bare)


def test_sections_are_headed_as_in_the_file_and_say_what_their_key_and_their_model_say(settings_page):
    class Inner(BaseModel):
        """One `[outer.NAME.inner]`: deep inside."""

        port: int = Field(default=1, description="The port.")

    class Outer(BaseModel):
        """`[outer.NAME]`."""

        inner: Inner | None = None
        key: str = Field(description="A key.")

    class Whole(BaseModel):
        outer: dict[str, Outer] = Field(default={}, description="By name.")
        rows: list[Inner] = []

    headed = re.findall(r"^## (.*)\n\n(.*)\n\n\| key", settings_page(Whole), re.MULTILINE)
    assert headed == [
        ("`[outer.NAME]`", "By name."),
        ("`[outer.NAME.inner]`", "Deep inside."),
        ("`[[rows]]`", "Deep inside."),
    ]


def test_a_type_without_words_fails(generate, settings_page):
    class Odd(BaseModel):
        anything: Any = Field(default=None, description="Whatever it is.")

    with pytest.raises(generate.Undescribed, match="no words for the type"):
        settings_page(Odd)


def row_of(settings_page: Any, annotation: Any, field: Any = None) -> str:
    """The type, default and bounds of a key."""
    kinds = {"__annotations__": {"key": annotation}, "__module__": __name__, "key": field or Field(description="It.")}
    page = settings_page(type("Made", (BaseModel,), kinds))
    return page[page.index("| `key` | ") + 10 : page.index(" | It. |")]


@pytest.mark.parametrize(
    ("annotation", "row"),
    [
        (str, "text | **required** | "),
        (bool, "`true` or `false` | **required** | "),
        (Annotated[int, Field(ge=1)], "whole number | **required** | at least 1"),
        (Annotated[int, Field(le=9)], "whole number | **required** | at most 9"),
        (Annotated[int, Field(ge=0, le=9)], "whole number | **required** | 0 to 9"),
        (Annotated[float, Field(gt=0.5, lt=2)], "number | **required** | more than 0.5, less than 2"),
        (Annotated[str, Field(min_length=1)], "text | **required** | not empty"),
        (Annotated[str, Field(max_length=5)], "text | **required** | at most 5 characters"),
        (Annotated[str, Field(pattern="^(a|b)$")], r"text | **required** | like `^(a\|b)$`"),
        (HttpUrl | None, "address | **required** | "),
        (dict[str, SecretStr], "table of secrets | **required** | "),
        (list[Annotated[int, Field(ge=1)]], "list of whole numbers | **required** | each at least 1"),
        (tuple[HttpUrl, ...], "list of addresses | **required** | "),
        (str | list[int], "text or list of whole numbers | **required** | "),
    ],
)
def test_types_and_bounds_are_in_plain_words(settings_page, annotation, row):
    assert row_of(settings_page, annotation) == row


@pytest.mark.parametrize(
    ("default", "words"),
    [(None, "none"), ((), "none"), (15.0, "`15`"), (0.5, "`0.5`"), ("a|b", r'`"a\|b"`'), (True, "`true`"), (0, "`0`")],
)
def test_defaults_are_written_as_in_the_file(settings_page, default, words):
    field = Field(default=default, description="It.")
    assert row_of(settings_page, str | None, field) == f"text | {words} | "


def test_every_event_has_an_example_that_a_reader_understands(pages):
    examples = re.findall(r"```json\n(.*)\n```", pages["events.md"])
    assert [type(decode_event(example.encode())) for example in examples] == list(get_args(AnyEvent))
    for example in map(msgspec.json.decode, examples):
        section = pages["events.md"].partition(f"## `{example['type']}`")[2].partition("\n## ")[0]
        assert all(f"| `{name}` | " in section for name in example)


def test_every_notice_that_is_made_has_its_row(generate, pages, monkeypatch):
    # A `Tally` makes one of the kind that it is given; what is no constant passes on what was made elsewhere.
    made = {
        call.args[0].value
        for path in sorted((ROOT / "src").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in {"Notice", "Tally"}
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert made == set(NOTICES)
    section = pages["events.md"].partition("## `notice`")[2].partition("\n## ")[0]
    for kind, (meaning, detail) in NOTICES.items():
        assert f"| `{kind}` | {meaning} | {detail} |" in section
    monkeypatch.delitem(NOTICES, "truncated")
    with pytest.raises(generate.Undescribed, match="the notice 'truncated' has no row"):
        generate.PAGES["events.md"]()


def test_every_reason_has_its_row(pages):
    for reason in REASONS.values():
        assert f"| {reason.outcome} | `{reason.code}` | {reason.status} | {reason.meaning} |" in pages["reasons.md"]
    assert pages["reasons.md"].count("\n| ") == len(REASONS) + 1


def test_every_metric_that_a_scrape_shows_has_its_row(generate, pages):
    busy = importlib.import_module("pages.metrics").busy
    shown = re.findall(r"^# TYPE (\S+) (\S+)$", busy().exposition().decode(), re.MULTILINE)
    for name, kind in shown:
        assert f"| `{name}` | {kind} | " in pages["metrics.md"]
    assert pages["metrics.md"].partition("##")[0].count("\n| `") == len(shown)
    with pytest.raises(generate.Undescribed, match=r"^no BytesReceived, InternalError, .* is told"):
        busy(())


def test_every_preset_says_where_it_connects_to_and_for_what_it_asks(pages):
    for name, preset in PRESETS.items():
        section = pages["presets.md"].partition(f"## `{name}`")[2].partition("\n## ")[0]
        assert all(f"`{word}`" in section for word in [*preset.paths.values(), *preset.scopes])


@pytest.mark.parametrize(
    ("preset", "sent", "left_out"),
    [
        ("openai", ["system", "history", "input"], []),
        ("genesys-conversations", [], ["system", "history", "input"]),
        ("genesys-gateway", ["system", "history", "input"], []),
        ("cognigy", ["input"], ["system", "history"]),
    ],
)
def test_every_preset_says_what_of_a_request_is_sent(pages, preset, sent, left_out):
    section = pages["presets.md"].partition(f"## `{preset}`")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (is (?:sent|left out)[^|]*) \| (.*) \| .*\|$", section, re.MULTILINE))
    told = [re.findall(r"\(`(\w+)`\)", cell) for cell in rows.values()]
    assert told == [sent, left_out]


def test_every_variable_that_makes_an_upstream_stands_with_what_it_becomes(pages, monkeypatch):
    section = pages["presets.md"].partition("## From the environment alone")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (.*) \|$", section, re.MULTILINE)
    names = {preset: [re.findall(r"`([A-Z_]+)` \(`(\w+)`", cell) for cell in cells] for preset, *cells in rows}
    client = [
        ("GENESYS_CLIENT_ID", "client_id"),
        ("GENESYS_CLIENT_SECRET", "client_secret"),
        ("GENESYS_MODEL_ID", "model"),
    ]
    by_region = {name: [*client, ("GENESYS_REGION", "region"), *ids] for name, ids in {
        "genesys-completions": [],
        "genesys-conversations": [("GENESYS_CONVERSATION_ID", "conversation_id")],
        "genesys-gateway": [("GENESYS_PROMPT_ID", "prompt_id")],
    }.items()}  # fmt: skip
    assert {name: made + more for name, (made, more) in names.items() if name in by_region} == by_region
    assert {name: cells for name, cells in names.items() if name not in by_region} == {
        "openai": [[("OPENAI_API_KEY", "api_key"), ("OPENAI_BASE_URL", "base_url")], [("OPENAI_MODEL", "model")]],
        "genesys-chat": [
            [(f"GENESYS_CLOUD_{key.upper()}", key) for key in ("base_url", "client_id", "client_secret")],
            [("GENESYS_MODEL_ID", "model")],
        ],
        "cognigy": [
            [(f"COGNIGY_{key.upper()}", key) for key in ("environment", "client_id", "client_secret")],
            [("COGNIGY_MODEL_ID", "model")],
        ],
    }  # fmt: skip
    assert "else `gpt-4o`" in section
    monkeypatch.chdir(ROOT / "docs")  # no settings there
    settings, _ = load(env={name: "x" for name, _ in client} | {"GENESYS_REGION": "eu_west_1"})
    assert settings.default_upstream == "genesys-completions"
    assert list(settings.upstreams) == list(by_region)


def test_every_command_is_there_with_its_options(pages):
    for name, command in cli.commands.items():
        section = pages["command-line.md"].partition(f"## `trunkline {name}`")[2].partition("\n## ")[0]
        for parameter in command.params:
            options = isinstance(parameter, click.Option)
            assert (f"| `{parameter.opts[0]}" if options else parameter.human_readable_name) in section


@pytest.mark.parametrize(
    ("words", "answer", "code"),
    [("forget --conversation c-1", b"n\n", 130), ("stream", b"", 2), ("simulate --port 0", None, 0)],
)
def test_exit_codes_are_as_the_page_says(words, answer, code, tmp_path):
    command = [sys.executable, "-m", "trunkline", *words.split()]
    with subprocess.Popen(command, cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:  # noqa: S603 - ours
        if answer is None:
            assert process.stdout is not None
            assert b"The simulator plays" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
        process.communicate(answer, timeout=20)
    assert process.returncode == code


def test_every_fault_is_listed_with_what_stands_for_its_value():
    listed = CliRunner().invoke(cli, ["simulate", "--faults"]).output
    for table in TABLES.values():
        for word, fault in table.items():
            sign = "" if fault.value is None else f"={fault.value.sign}"
            assert f"\n  {word}{sign} " in listed
    assert {fault.value is None for fault in FAULTS.values()} == {True, False}


def test_a_command_without_help_fails(generate):
    group = click.Group("trunkline", {"bare": click.Command("bare")})
    with pytest.raises(generate.Undescribed, match="`trunkline bare` has no help"):
        generate.PAGES["command-line.md"](group)


# All pages


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!\w+://)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_the_variables_in_the_readme_make_the_upstreams_that_it_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| (`(?:OPENAI|GENESYS|COGNIGY)_.*) \|$", readme, re.MULTILINE)
    assert len(rows) == 4
    for upstreams, variables in rows:
        env = dict.fromkeys(re.findall(r"`([A-Z_]+)`", variables), "eu_west_1")
        assert list(settings_from(env, has_upstreams=False).table["upstreams"]) == re.findall(r"`([a-z-]+)`", upstreams)


def test_the_python_of_the_readme_compiles():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        compile("async def example():\n" + re.sub(r"^", "    ", block, flags=re.MULTILINE), "README.md", "exec")


def test_no_file_names_a_machine_or_a_package_index():
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text(encoding="utf-8")
