"""Thompson's construction: the patterns of all rules as one automaton with jumps, each repetition written out."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from trunkline.guards.matching import syntax
from trunkline.guards.matching.sets import Condition, Sets
from trunkline.guards.matching.syntax import Chars, Choice, Node, Repeat, Sequence

NO_LIMIT: Final = 1 << 60
DEFAULT_CAP: Final = 320
UNBOUNDED_CAP: Final = 128  # what a pattern without an end of its own may hold back


class Accept(NamedTuple):
    """A rule has matched up to here, if the condition on the next character holds."""

    rule: int
    right: Condition | None


class Nfa:
    """States are numbers. Each has an edge (the bit of a set, and where it leads), or jumps, or is a rule's end."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self.edges: list[tuple[int, int] | None] = []
        self.ends: dict[int, Accept] = {}
        self.last: list[int] = []
        """How many characters a match may have at most where it is in this state, to end within the rule's cap."""
        self._jumps: list[list[int]] = []
        self._closures: dict[int, tuple[int, ...]] = {}

    def add(self, body: Node, accept: Accept, cap: int | None) -> tuple[int, int]:
        """Add a rule; return the state that it starts in and the length of its longest match."""
        first = len(self.edges)
        start = self._state()
        end = self._build(body, start)
        self.ends[end] = accept
        bound = syntax.longest(body)
        if cap is None:
            cap = UNBOUNDED_CAP if bound is None else DEFAULT_CAP
        needed = self._needed(first, end)
        if bound is not None and bound <= cap:
            self.last += [NO_LIMIT if more is not None else -1 for more in needed]
        else:
            self.last += [cap - more if more is not None else -1 for more in needed]
        return start, cap if bound is None else min(bound, cap)

    def closure(self, state: int) -> tuple[int, ...]:
        """Return the states with an edge or an end that jumps lead to from here, itself too; no dead ones."""
        found = self._closures.get(state)
        if found is None:
            reached = {state}
            stack = [state]
            while stack:
                new = [target for target in self._jumps[stack.pop()] if target not in reached]
                reached.update(new)
                stack += new
            useful = (s for s in reached if self.last[s] >= 0 and (self.edges[s] is not None or s in self.ends))
            found = self._closures[state] = tuple(sorted(useful))
        return found

    def _state(self) -> int:
        self.edges.append(None)
        self._jumps.append([])
        return len(self.edges) - 1

    def _jump_to_new(self, source: int) -> int:
        target = self._state()
        self._jumps[source].append(target)
        return target

    def _build(self, node: Node, start: int) -> int:
        """Add the states of a node, from `start` on; return the state it ends in, which has no edge yet."""
        if isinstance(node, Chars):
            end = self._state()
            self.edges[start] = (self._sets.bit(node.chars), end)
            return end
        if isinstance(node, Sequence):
            for item in node.items:
                start = self._build(item, start)
            return start
        if isinstance(node, Choice):
            ends = [self._build(item, self._jump_to_new(start)) for item in node.items]
            return self._joined(ends)
        return self._repeat(node, start)

    def _repeat(self, node: Repeat, start: int) -> int:
        for _ in range(node.least):
            start = self._build(node.item, start)
        if node.most is None:
            # The loop has a head of its own: what leads to `start` must not see the jumps back.
            head = self._jump_to_new(start)
            self._jumps[self._build(node.item, self._jump_to_new(head))].append(head)
            return self._jump_to_new(head)
        exits = [start]
        for _ in range(node.most - node.least):
            start = self._build(node.item, self._jump_to_new(start))
            exits.append(start)
        return self._joined(exits)

    def _joined(self, ends: list[int]) -> int:
        joined = self._state()
        for end in ends:
            self._jumps[end].append(joined)
        return joined

    def _needed(self, first: int, end: int) -> list[int | None]:
        """Return for each state of a rule how many characters its end is away, None where it cannot be reached."""
        sources: list[list[tuple[int, int]]] = [[] for _ in range(first, len(self.edges))]
        for state in range(first, len(self.edges)):
            for target in self._jumps[state]:
                sources[target - first].append((state, 0))
            edge = self.edges[state]
            if edge is not None:
                sources[edge[1] - first].append((state, 1))
        needed: list[int | None] = [None] * len(sources)
        queue = deque([(end, 0)])
        while queue:
            state, chars = queue.popleft()
            if needed[state - first] is not None:
                continue
            needed[state - first] = chars
            for source, step in sources[state - first]:
                # In order of distance: what a jump leads from is as near as this, and comes before what is farther.
                (queue.append if step else queue.appendleft)((source, chars + step))
        return needed
