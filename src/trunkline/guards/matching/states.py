"""The deterministic automaton: what may still match from one place of a text on; made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from trunkline.guards.matching.classes import CharClass
from trunkline.guards.matching.nfa import NO_LIMIT, Accept, Nfa
from trunkline.guards.matching.sets import Condition
from trunkline.guards.matching.words import Place, Words

MAX_STATES: Final = 50_000  # bounds memory, as does the next
MAX_TRANSITIONS: Final = 500_000


class Beginning(NamedTuple):
    """Where the patterns of a rule, or the words of lists, begin, and the condition on the character before."""

    left: Condition | None
    at: int | Words


class State:
    """Everything that one match, begun at one place, may still become. Objects are compared by identity."""

    __slots__ = ("accepts", "last", "live", "next", "nfa", "places", "sure", "waits")

    def __init__(self, nfa: frozenset[int], places: tuple[Place, ...], tables: Nfa) -> None:
        self.nfa = nfa
        self.places = places
        self.accepts: tuple[Accept, ...] = (
            *(tables.ends[state] for state in nfa if state in tables.ends),
            *(accept for place in places for accept in place.words.ending(place)),
        )
        """The rules that match what was read so far."""
        self.live = any(tables.edges[s] is not None for s in nfa) or any(place.words.goes_on(place) for place in places)
        """Whether another character may be part of the match."""
        self.waits = any(accept.right is not None for accept in self.accepts)
        """Whether a rule matches only if the next character is right."""
        self.sure = any(accept.right is None for accept in self.accepts)
        """Whether a rule matches whatever comes."""
        self.last = min((tables.last[state] for state in nfa), default=NO_LIMIT)
        """How many characters may have been read here; after more, `States.within` says what is left of it."""
        self.next: dict[CharClass, State] = {}

    def matches(self, beside: int, inside: int) -> bool:
        """Whether a rule that waited for the next character matches with this one."""
        return any(accept.right is not None and accept.right.holds(beside, inside) for accept in self.accepts)


class States:
    """Makes the states of some rules, and forgets them all when there are too many; those in use stay valid."""

    def __init__(self, nfa: Nfa, beginnings: Sequence[Beginning], max_states: int = MAX_STATES) -> None:
        self._nfa = nfa
        self._beginnings = beginnings
        self._max_states = max_states
        self._known: dict[tuple[frozenset[int], tuple[Place, ...]], State] = {}
        self._starts: dict[tuple[int, CharClass], State] = {}
        self._transitions = 0
        self.dead: Final = State(frozenset(), (), nfa)

    def start(self, before: int, seen: CharClass) -> State:
        """Return the state after a first character, if that before it is in these sets (0 at an edge of the text)."""
        state = self._starts.get((before, seen))
        if state is None:
            nfa: set[int] = set()
            places: list[Place] = []
            for left, at in self._beginnings:
                if left is not None and not left.holds(before, seen.sets):
                    continue
                if isinstance(at, Words):
                    start = at.start()
                    places += [start] if start is not None else []
                else:
                    nfa.update(self._nfa.closure(at))
            state = self._starts[before, seen] = self._after(nfa, places, seen)
        return state

    def after(self, state: State, seen: CharClass) -> State:
        """Return the state after one more character; the caller minds `last`."""
        following = state.next.get(seen)
        if following is None:
            following = state.next[seen] = self._after(state.nfa, state.places, seen)
            self._transitions += 1
            if len(self._known) > self._max_states or self._transitions > MAX_TRANSITIONS:
                self._forget()
        return following

    def within(self, state: State, read: int) -> State:
        """Return what is left of a state after so many characters: no rule that cannot end within its cap."""
        if read <= state.last:
            return state
        return self._state(frozenset(s for s in state.nfa if self._nfa.last[s] >= read), state.places)

    def _after(self, nfa: frozenset[int] | set[int], places: Sequence[Place], seen: CharClass) -> State:
        reached: set[int] = set()
        for state in nfa:
            edge = self._nfa.edges[state]
            if edge is not None and edge[0] & seen.sets:
                reached.update(self._nfa.closure(edge[1]))
        following = (place.words.after(place, seen.letter) for place in places) if seen.letter else ()
        return self._state(frozenset(reached), tuple(place for place in following if place is not None))

    def _state(self, nfa: frozenset[int], places: tuple[Place, ...]) -> State:
        if not nfa and not places:
            return self.dead
        key = (nfa, places)
        state = self._known.get(key)
        if state is None:
            state = self._known[key] = State(nfa, places, self._nfa)
        return state

    def _forget(self) -> None:
        """Empty the tables, also those of the states: one that a turn still uses must not keep the others alive."""
        for state in self._known.values():
            state.next.clear()
        self._known.clear()
        self._starts.clear()
        self._transitions = 0
