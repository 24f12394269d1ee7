"""The bench of guards: its texts and rules are what they are called, and a budget that is not met is found out."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from click.testing import CliRunner

from bench import __main__ as command_line
from bench import guard_texts, guards
from trunkline.guards.actions import Secrets
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.rule import Rule
from trunkline.tokens import pieces


def figure(us, ratio=1.0):
    return guards.Figure(
        what="prose", tokens=10, us_per_token=us, us_per_token_range=(us, us), us_per_char=us, ratio=ratio
    )


FOUND = guards.Found(
    cases={
        guards.TEN: figure(1.0),
        guards.FIFTY: figure(1.2, 1.2),
        guards.TERMS: figure(1.1, 1.1),
        guards.MARKDOWN: figure(4.0),
    },
    adversarial={"bad": 39.0, "good": 1.0},
    start_s=0.4,
    start_mib=60,
    memory_mib=63,
)


def cases_of(found):
    return {verdict.case for verdict in guards.judge(found) if not verdict.met}


def test_each_budget_is_met_or_not():
    assert cases_of(FOUND) == set()
    assert cases_of(msgspec.structs.replace(FOUND, adversarial={"bad": 41.0})) == {"adversarial"}
    assert cases_of(msgspec.structs.replace(FOUND, start_s=0.6)) == {guards.TERMS}
    assert cases_of(msgspec.structs.replace(FOUND, memory_mib=65)) == {guards.TERMS}
    for name, slow in (
        (guards.TEN, figure(2.1)),
        (guards.FIFTY, figure(1.0, 1.4)),
        (guards.TERMS, figure(1.0, 1.4)),
        (guards.MARKDOWN, figure(5.1)),
    ):
        assert cases_of(msgspec.structs.replace(FOUND, cases=FOUND.cases | {name: slow})) == {name}


def test_a_quick_look_measures_everything_and_keeps_nothing(tmp_path):
    history = tmp_path / "history.jsonl"
    asked = ["--guards", "--quick", "--history", str(history)]
    done = CliRunner().invoke(command_line.main, asked, catch_exceptions=False)
    assert done.exit_code == 0
    for name in (guards.TEN, guards.ALL, guards.FIFTY, guards.TERMS, guards.MARKDOWN, "`re` on a window of 128"):
        assert name in done.stdout
    assert done.stdout.count("met  ") + done.stdout.count("NOT MET") == 7
    assert not history.exists()


@pytest.mark.parametrize(("start_s", "check", "code"), [(9.0, True, 1), (9.0, False, 0), (0.1, True, 0)])
def test_a_budget_that_is_not_met_fails_where_asked(monkeypatch, tmp_path, start_s, check, code):
    found = msgspec.structs.replace(FOUND, start_s=start_s)
    monkeypatch.setattr(guards, "measure", lambda repeats, quick, tell: found)
    history = tmp_path / "history.jsonl"
    asked = ["--guards", "--history", str(history), *(["--check"] if check else [])]
    done = CliRunner().invoke(command_line.main, asked, catch_exceptions=False)
    assert done.exit_code == code
    (line,) = history.read_text().splitlines()
    assert msgspec.json.decode(line)["guards"]["cases"][guards.TEN]["us_per_token"] == 1


def test_there_are_as_many_rules_and_terms_as_it_says():
    fifty = guard_texts.fifty_rules()
    assert len({rule.name for rule in fifty}) == len(fifty) == 50
    assert len(guard_texts.TEN_RULES) == 10
    terms = guard_texts.terms()
    assert len(set(terms.words)) == 10_000
    assert guard_texts.terms() == terms
    Automaton((*fifty, dataclasses.replace(terms, words=terms.words[:100])))


def test_only_the_data_holds_data():
    automaton = Automaton(guard_texts.ALL_RULES)

    def found(text):
        stage = guards.Counting(automaton, Secrets(b"key"))
        for piece in pieces(text):
            stage.feed(piece)
        stage.finish()
        return [event.rule for event in stage.found]

    assert [found(text) for text in (*guard_texts.PROSE.values(), *guard_texts.MARKDOWN, guard_texts.DIGITS)] == [
        [] for _ in range(2 * len(guard_texts.PROSE) + 2)
    ]
    assert len(found(guard_texts.DATA)) == 10


def test_each_rule_has_texts_that_begin_it():
    texts = guard_texts.adversarial()
    assert len(texts) == 10 + 2 * len(guard_texts.ALL_RULES)
    assert {len(text) for text in texts.values()} <= set(range(1_900, 2_200))
    for rule in guard_texts.ALL_RULES:
        matcher = guards.Counting(Automaton([rule]), Secrets(b"key"))
        most = 0
        for char in texts[f"{rule.name}, not ended"][:100]:
            matcher.feed(char)
            most = max(most, matcher.held)
        assert most >= 5, rule.name


def test_exact_scans_are_counted():
    stage = guards.Counting(Automaton([Rule("one", "abc")]), Secrets(b"key"))
    for piece in ("x", "ab", "d", "abc", "x"):
        stage.feed(piece)
    assert stage.scans == 1
