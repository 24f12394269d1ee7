"""All rules of one configuration as one automaton: made once, shared by all turns, remembers but never changes."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from trunkline.guards.matching.classes import Classes
from trunkline.guards.matching.nfa import DEFAULT_CAP, Accept, Nfa
from trunkline.guards.matching.pattern import parse
from trunkline.guards.matching.rows import Rows
from trunkline.guards.matching.sets import OUTSIDE_WORD, TERM_WORD, Sets
from trunkline.guards.matching.states import Beginning, States
from trunkline.guards.matching.view import MAX_TRANSPARENT, fold_term, is_word
from trunkline.guards.matching.words import Words
from trunkline.guards.rule import Rule, Terms

MAX_ROWS: Final = 20_000  # bounds memory
_NO_SUCH_CHAR: Final = "\U0010ffff"


class Automaton:
    """What some rules match, ready for `trunkline.guards.matcher`.

    The characters of `hidden` are transparent besides those that always are: where Markdown is kept, its marks.
    Raises `PatternError` for a pattern that cannot run, `ValueError` for a term that cannot.
    """

    __slots__ = ("blocks", "changes", "classes", "max_held", "rows", "rules", "states")

    def __init__(self, rules: Sequence[Rule | Terms], *, hidden: str = "", max_rows: int = MAX_ROWS) -> None:
        self.rules: Final = tuple(rules)
        built = _Builder(frozenset(hidden))
        for number, rule in enumerate(self.rules):
            if isinstance(rule, Rule):
                built.add_pattern(number, rule)
            else:
                built.add_terms(number, rule)
        self.classes: Final = Classes(built.sets, built.side, frozenset(built.alphabet), built.hidden)
        actions = frozenset(rule.action for rule in self.rules)
        self.states: Final = States(built.nfa, built.beginnings(self.rules, actions))
        self.blocks: Final = States(built.nfa, built.beginnings(self.rules, {"block"})) if "block" in actions else None
        """The states of the blocking rules alone, which are also looked for inside other matches."""
        changing = actions - {"flag", "allow"}
        self.changes: Final = States(built.nfa, built.beginnings(self.rules, changing)) if "remove" in actions else None
        """Where a rule removes, the states of all rules that do not leave their matches as they are."""
        self.rows: Final = Rows(self.classes, self.states, max_rows)
        self.max_held: Final = built.longest * (1 + MAX_TRANSPARENT)
        """A bound on how many characters can be held at a time."""

    def warm_up(self, text: str) -> None:
        """Make the rows that a text like this one needs, so that the first turns do not have to."""
        row = self.rows.quiet(0)
        for char in text:
            row = row[char]
            if row.loud:
                row = self.rows.quiet(0)


class _Builder:
    """Collects patterns and terms."""

    def __init__(self, hidden: frozenset[str]) -> None:
        self.hidden: Final = hidden
        self.sets: Final = Sets()
        self.nfa: Final = Nfa(self.sets)
        self.alphabet: Final[set[str]] = set()
        self.side = 0
        self.longest = 0
        self._patterns: list[tuple[int, Beginning]] = []
        # Terms that may begin anywhere, and terms that must not begin within a word.
        self._words: Final[dict[bool, dict[str, list[Accept]]]] = {False: {}, True: {}}

    def add_pattern(self, number: int, rule: Rule) -> None:
        pattern = parse(rule.pattern, ignore_case=rule.ignore_case)
        left, right = self.sets.condition(pattern.left), self.sets.condition(pattern.right)
        start, longest = self.nfa.add(pattern.body, Accept(number, right), rule.cap)
        self._patterns.append((number, Beginning(left, start)))
        if left is not None:
            self.side |= left.bit
        if right is not None and right.boundary:
            self.side |= right.bit
        self.longest = max(self.longest, longest)

    def add_terms(self, number: int, terms: Terms) -> None:
        self.side |= TERM_WORD
        for place, term in enumerate(terms.words):
            word = "".join(letter for letter in fold_term(term) if letter not in self.hidden)
            # A term is never quoted: it may be a name out of a customer's record.
            if not word or len(word) > DEFAULT_CAP or _NO_SUCH_CHAR in word:
                raise ValueError(f"{terms.name}: term {place} has {len(word)} letters, expected 1 to {DEFAULT_CAP}")
            edged = terms.whole_word and is_word(word[0])
            right = OUTSIDE_WORD if terms.whole_word and is_word(word[-1]) else None
            self._words[edged].setdefault(word, []).append(Accept(number, right))
            self.alphabet.update(word)
            self.longest = max(self.longest, len(word))

    def beginnings(self, rules: Sequence[Rule | Terms], actions: AbstractSet[str]) -> list[Beginning]:
        """Return where the rules with these actions begin."""
        found = [beginning for number, beginning in self._patterns if rules[number].action in actions]
        for edged, meanings in self._words.items():
            chosen = {
                word: accepts
                for word, all_accepts in meanings.items()
                if (accepts := tuple(accept for accept in all_accepts if rules[accept.rule].action in actions))
            }
            if chosen:
                found.append(Beginning(OUTSIDE_WORD if edged else None, Words(chosen)))
        return found
