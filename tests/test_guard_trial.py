"""Trying a guard from the command line: every way to cut, what is held, what took what, what was rejected and why."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from trunkline.cli import cli
from trunkline.core.errors import SettingsError
from trunkline.guard_trial import Rejected, cut, guard_of, steps
from trunkline.guards.settings import GuardSettings

TEXT = "Card 4111 1111 1111 1111, order 4111 1111 1111 1112, to jane@example.com."
SHOWN = "Card [CARD], order 4111 1111 1111 1112, to [EMAIL]."


def run(*args: str, text: str | None = None):
    return CliRunner().invoke(cli, ["guard", *args], input=text)


@pytest.mark.parametrize("how", ["tokens", "chars", "whole", "random", "3"])
def test_what_is_released_is_the_same_for_every_cut(how: str):
    pieces = cut(TEXT + " 🙂 é", how)
    assert "".join(pieces) == TEXT + " 🙂 é"
    found = list(steps(guard_of(GuardSettings(), Rejected()), pieces, b"key"))
    assert "".join(step.released for step in found) == SHOWN + " 🙂 é"
    assert [report.rule for step in found for report in step.reports] == ["card", "email"]
    assert found[-1].held == 0


def test_a_block_ends_the_trial():
    found = list(steps(guard_of(GuardSettings(profile="block"), Rejected()), cut(TEXT, "tokens"), b"key"))
    assert "".join(step.released for step in found) == "Card "
    assert found[-1].blocked == "guard_rule"


def test_without_a_guard_everything_passes():
    found = list(steps(guard_of(None, Rejected()), cut(TEXT, "chars"), b"key"))
    assert "".join(step.released for step in found) == TEXT


def test_a_rejected_candidate_is_named_once_with_its_rule():
    rejected = Rejected()
    list(steps(guard_of(GuardSettings(), rejected), cut(TEXT, "whole"), b"key"))
    assert ("card", "4111 1111 1111 1112") in rejected.found


def test_the_command_shows_delta_by_delta_what_happens():
    result = run("test", "--cut", "chars", TEXT)
    assert result.exit_code == 0
    assert "'@'" in result.stdout
    assert "[card: mask]" in result.stdout
    assert f"released: {SHOWN!r}" in result.stdout


def test_it_explains_what_took_what_and_what_was_rejected():
    told = run("test", "--explain", TEXT).stdout
    assert "card took characters 5 to 24 '4111 1111 1111 1111': mask" in told
    assert "card looked at '4111 1111 1111 1112' and rejected it" in told


def test_json_is_one_object_a_delta(tmp_path):
    path = tmp_path / "answer.txt"
    path.write_text(TEXT)
    for source, text in ((str(path), None), ("-", TEXT)):
        rows = [json.loads(line) for line in run("test", "--json", source, text=text).stdout.splitlines()]
        assert "".join(row["fed"] for row in rows) == TEXT
        assert "".join(row["released"] for row in rows) == SHOWN


def test_a_guard_of_the_settings_is_tried_by_its_name(tmp_path):
    path = tmp_path / "trunkline.toml"
    path.write_text(
        '[upstreams.a]\npreset = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\nguards = "strict"\n'
        '[guards.strict]\nprofile = "redact"\n'
    )
    assert "Card [REDACTED], order" in run("test", "--config", str(path), TEXT).stdout
    assert "Card [CARD], order" in run("test", "--config", str(path), "--profile", "contact-centre", TEXT).stdout
    wrong = run("test", "--config", str(path), "--profile", "strikt", TEXT)
    assert 'Did you mean "strict"?' in wrong.stderr


@pytest.mark.parametrize("args", [["--cut", "0", "x"], ["--cut", "words", "x"], ["--cut", "-1", "x"]])
def test_a_cut_that_is_none_is_a_clear_mistake(args):
    result = run("test", *args)
    assert result.exit_code == 2
    assert "expected tokens, chars, whole, random or a number" in result.stderr


def test_profiles_and_rules_are_listed():
    told = run("rules").stdout
    assert "contact-centre   Personal data" in told
    assert "card               contact-centre: mask, payment: partial" in told
    assert "allow_" not in told


def test_a_profile_that_is_none_is_refused_with_the_nearest(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = run("test", "--profile", "paymnt", "x")
    assert result.exit_code != 0
    assert "payment" in result.stderr or isinstance(result.exception, SettingsError)
