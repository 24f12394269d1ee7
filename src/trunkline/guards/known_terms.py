"""The names that the caller of a turn knows in advance, such as those in a customer's record, as an automaton."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.matching.view import MARKDOWN_MARKS
from trunkline.guards.rule import Action, Terms

MAX_TERMS: Final = 64  # a record of a person, not a second configuration
MAX_TERM_CHARS: Final = 64
MAX_ROWS: Final = 1_000  # bounds the memory of a turn; a name needs about a row for each of its letters
RULE: Final = "known_term"


def known_terms(words: Sequence[str], action: Action = "mask", replacement: str | None = None) -> Automaton:
    """Make what a `Matcher` needs to find a turn's own terms; made once, it serves all texts of the turn.

    It is small and grows as the text needs it, so that a turn pays little for it. Raises `ValueError`, which never
    quotes a term, where there are too many or one is too long or has no letter.
    """
    if len(words) > MAX_TERMS:
        raise ValueError(f"{len(words)} terms known in advance, at most {MAX_TERMS} are allowed")
    for place, word in enumerate(words):
        if len(word) > MAX_TERM_CHARS:
            raise ValueError(f"known term {place} has {len(word)} characters, at most {MAX_TERM_CHARS} are allowed")
    terms = Terms(RULE, tuple(words), action, replacement)
    return Automaton([terms], hidden=MARKDOWN_MARKS, max_rows=MAX_ROWS)
