"""Terms as ranges of a sorted list: every walk against a plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.guards.matching.nfa import Accept
from trunkline.guards.matching.words import Words

LETTERS = st.sampled_from("ab机\uffff")


@given(st.sets(st.text(LETTERS, min_size=1, max_size=5), min_size=1), st.text(LETTERS))
def test_a_walk_knows_what_ends_here_and_what_goes_on(terms: set[str], text: str) -> None:
    meanings = {term: (Accept(number, None),) for number, term in enumerate(sorted(terms))}
    words = Words(meanings)
    place = words.start()
    for size in range(1, len(text) + 1):
        assert place is not None
        place = words.after(place, text[size - 1])
        read = text[:size]
        assert (place is not None) is any(term.startswith(read) for term in terms)
        if place is None:
            break
        assert words.ending(place) == meanings.get(read, ())
        assert words.goes_on(place) is any(term.startswith(read) and term != read for term in terms)


def test_no_words_begin_nowhere() -> None:
    assert Words({}).start() is None
