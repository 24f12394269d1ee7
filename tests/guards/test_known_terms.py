"""Names known in advance: found like any terms, bounded, and never quoted."""

from __future__ import annotations

import pytest

from trunkline.guards.actions import Secrets
from trunkline.guards.known_terms import MAX_TERM_CHARS, MAX_TERMS, known_terms
from trunkline.guards.matcher import Matcher

NAMES = ("María García", "AX-9917", "李明")


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_names_are_found_however_they_are_written_and_cut(size: int) -> None:
    stage = Matcher(known_terms(NAMES, "pseudonym"), Secrets(b"key"))
    text = "Hi MARIA GARCI\u0301A, ａｘ‑9917 is yours; 李明说 maria garcía, not Maria Garciar."
    output = "".join(stage.feed(text[at : at + size]) for at in range(0, len(text), size)) + stage.finish()
    assert output == ("Hi [KNOWN_TERM_1], [KNOWN_TERM_2] is yours; [KNOWN_TERM_3]说 [KNOWN_TERM_1], not Maria Garciar.")
    assert {event.rule for event in stage.found} == {"known_term"}


def test_no_more_is_held_than_may_become_a_name() -> None:
    stage = Matcher(known_terms(NAMES), Secrets(b"key"))
    assert stage.feed("We, ma") == "We, "
    assert stage.held == 2
    assert stage.feed("y") == "may"
    assert stage.feed(" maria garcía") == " "
    assert stage.finish() == "[KNOWN_TERM]"


def test_the_action_and_what_a_mask_writes_can_be_chosen() -> None:
    masked = Matcher(known_terms(NAMES, replacement="the customer"), Secrets(b"key"))
    assert masked.feed("Ask 李明。") + masked.finish() == "Ask the customer。"
    blocked = Matcher(known_terms(NAMES, "block"), Secrets(b"key"))
    assert blocked.feed("Ask 李明。") == "Ask "
    assert blocked.blocked


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((*("x" * size for size in range(1, MAX_TERMS + 2)),), "65 terms known in advance, at most 64"),
        (("fine", "secret" * 20), f"known term 1 has 120 characters, at most {MAX_TERM_CHARS}"),
        (("\u200b",), "known_term: term 0 has 0 letters"),
    ],
)
def test_what_is_too_much_is_refused_without_a_quote(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        known_terms(words)
    assert "secret" not in str(refused.value)
