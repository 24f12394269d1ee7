"""The rules that ship: what each finds, in plain writing and in disguise, and what none of them may take."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guards.planted import LANGUAGES, MAKERS, PER_TEXT, planted, prose
from guards.reference import Reference
from trunkline.guards.actions import Secrets
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.rules import RULES, pieces

HERE = Path(__file__).parent / "rules"
HARD_NEGATIVES = (HERE / "hard_negatives.txt").read_text().splitlines()
ALLOWING = [name for name, rule in RULES.items() if rule.action == "allow"]
AUTOMATON = Automaton(tuple(RULES.values()))

Span = tuple[int, int]


def found(text: str, automaton: Automaton = AUTOMATON) -> list[tuple[str, int, int]]:
    """What all rules together take of a text."""
    matcher = Matcher(automaton, Secrets(b"key"))
    matcher.feed(text)
    matcher.finish()
    assert not matcher.blocked
    return [(event.rule, event.start, event.end) for event in matcher.found]


def unmarked(marked: str) -> tuple[str, list[Span]]:
    """A text without its marks, and the spans that were marked."""
    text, spans = "", []
    for part in re.split("([⟦⟧])", marked.replace("¦", "")):
        if part == "⟦":
            spans.append((len(text), -1))
        elif part == "⟧":
            spans[-1] = (spans[-1][0], len(text))
        else:
            text += part
    return text, spans


def cases() -> Iterator[Any]:
    for path in sorted(HERE.glob("*.yaml")):
        for rule, kinds in yaml.safe_load(path.read_text()).items():
            for kind, texts in kinds.items():
                for number, text in enumerate(texts):
                    yield pytest.param(rule, kind, text, id=f"{rule}-{kind}-{number}")


CASES = list(cases())


@pytest.mark.parametrize(("rule", "kind", "marked"), CASES)
def test_a_rule_takes_exactly_what_is_marked(rule, kind, marked):
    text, spans = unmarked(marked)
    assert bool(spans) is (kind != "passed")
    assert [(start, end) for name, start, end in found(text) if name == rule] == spans


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_examples_agree_with_brute_force(language):
    texts = [unmarked(case.values[2])[0] for case in CASES[LANGUAGES.index(language) :: len(LANGUAGES)]]
    for text in texts:
        reference = Reference(tuple(RULES.values())).guard(text)
        assert [(rule, start, end) for rule, _, start, end, _, _ in reference.found] == found(text)


def test_every_rule_that_takes_something_has_examples_and_a_maker():
    taking = set(RULES) - set(ALLOWING)
    assert {case.values[0] for case in CASES} == taking
    assert set(MAKERS) == taking
    assert {(case.values[0], case.values[1]) for case in CASES} == {
        (rule, kind) for rule in taking for kind in ("found", "disguised", "passed")
    }


def test_at_most_one_hard_negative_in_four_hundred_is_taken():
    assert len(HARD_NEGATIVES) == len(set(HARD_NEGATIVES)) >= 400
    taken = {line: hits for line in HARD_NEGATIVES if (hits := found(line))}
    assert len(taken) <= len(HARD_NEGATIVES) // 400, taken


@pytest.mark.parametrize("name", ALLOWING)
def test_each_allowing_rule_is_needed(name):
    without = Automaton([rule for rule in RULES.values() if rule.name != name])
    assert [line for line in HARD_NEGATIVES if found(line, without) and not found(line)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_that_is_planted_is_taken(language):
    seen = set()
    for seed in range(3 * len(RULES)):
        text, places = planted(seed, language)
        taken = found(text)
        assert len(places) == PER_TEXT
        for rule, start, end in places:
            seen.add(rule)
            assert any(first <= start and end <= last for _, first, last in taken), (seed, rule, text[start:end])
    assert seen == set(MAKERS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_taken_of_prose(language):
    assert found(prose(0, language)) == []


def test_planting_is_repeatable():
    assert planted(7, "en") == planted(7, "en")
    assert planted(7, "en") != planted(8, "en")


@pytest.mark.parametrize("rule", ["card", "iban", "us_ssn", "email", "es_dni", "br_cpf", "de_tax_id"])
def test_every_value_that_a_maker_can_make_is_taken(rule):
    random = Random(rule)
    for _ in range(300):
        value = MAKERS[rule](random)
        taken = found(f"It is {value} then.")
        assert [(start, end) for _, start, end in taken] == [(6, 6 + len(value))], value


@pytest.mark.parametrize(
    "rule", ["card", "iban", "es_dni", "es_nie", "fr_nir", "it_codice_fiscale", "in_aadhaar", "cn_resident_id"]
)
def test_a_wrong_check_digit_is_passed(rule):
    random = Random(rule)
    validator = RULES[rule].validator
    assert validator is not None
    for _ in range(100):
        value = MAKERS[rule](random)
        place = random.choice([place for place, char in enumerate(value) if char.isdigit() and place > len(value) // 2])
        wrong = value[:place] + str((int(value[place]) + random.randrange(1, 9)) % 10) + value[place + 1 :]
        assert validator(value)
        assert not validator(wrong)


@given(st.data())
def test_no_validator_raises_on_what_its_pattern_matches(data):
    rule = data.draw(st.sampled_from([rule for rule in RULES.values() if rule.validator is not None]))
    body = re.sub(r"^\(\?<!(?:\[[^\]]*\]|\\d)\)|\(\?!(?:\[[^\]]*\]|\\d)\)$", "", rule.pattern)
    candidate = data.draw(st.from_regex(re.compile(body, re.ASCII), fullmatch=True))
    assert rule.validator is not None
    assert rule.validator(candidate) in {True, False}


def test_a_label_is_found_in_any_case_with_or_without_accents_and_spaces():
    label = re.compile(pieces.phrases("né le, birth date"))
    assert all(label.fullmatch(text) for text in ("né le", "NÉ LE", "Ne le", "birth_date", "BirthDate", "birth-date"))
    assert not label.fullmatch("birth  date")


def test_prose_is_held_for_one_word_at_most():
    for language in LANGUAGES:
        matcher = Matcher(AUTOMATON, Secrets(b"key"))
        for char in prose(0, language):
            matcher.feed(char)
            assert matcher.held <= 24


def test_the_rules_are_imported_without_the_metadata_of_phone_numbers():
    code = "import sys, trunkline.guards.rules; print(*sys.modules, sep='\\n')"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603 - our own code
    modules = run.stdout.split()
    assert "trunkline.guards.rules.phone" in modules
    assert not [name for name in modules if name.startswith("phonenumbers.data.region_")]
