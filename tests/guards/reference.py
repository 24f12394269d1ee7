"""What a guard does to a whole text, by brute force: every rule tried at every place and at every length, with `re`.

It shares the rules, what single characters count as, and what an action writes with the guard; nothing that finds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from trunkline.guards.actions import Secrets, written
from trunkline.guards.matching.view import fold, fold_term, is_word, view_of
from trunkline.guards.rule import Rule, Terms

BARRIER = "\U0010fffe"
_ONE = r"(?:\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[^\\\]])"
_PARTS = re.compile(rf"(\\b|\(\?<[=!]{_ONE}\))?(.*?)(\\b|\(\?[=!]{_ONE}\))?", re.DOTALL)

Found = tuple[str, str, int, int, int, int]
"""Rule, action, start and end in the text, offset and length in the output."""


def seen(text: str) -> tuple[str, list[int]]:
    """The match view of a text, and where its characters stand."""
    view, places, run = "", [], 0
    for place, char in enumerate(text):
        char_seen = view_of(char)
        run = run + 1 if char_seen is None else 0
        if char_seen is None and run > 8:
            char_seen = BARRIER
        if char_seen is not None:
            view += char_seen
            places.append(place)
    return view, places


class OfRule:
    """Where one rule matches."""

    def __init__(self, rule: Rule) -> None:
        left, body, right = _PARTS.fullmatch(rule.pattern).groups()
        self.left, self.body, self.right = (self.compiled(part or "", rule) for part in (left, body, right))
        bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", body)
        unbounded = re.search(r"[*+]|\{[0-9]+,\}", bare) is not None
        self.cap = rule.cap or (128 if unbounded else 320)

    def compiled(self, part: str, rule: Rule) -> re.Pattern[str]:
        if part.isascii() or not rule.ignore_case:
            return re.compile(f"(?:{part})", re.ASCII | (re.IGNORECASE if rule.ignore_case else 0))
        # With that flag `re` would fold ASCII letters only.
        return re.compile(re.sub(r"(\\[wdsb])", r"(?a:\1)", f"(?:{part})"), re.IGNORECASE)

    def ends(self, text: str, start: int) -> list[int]:
        if not self.left.match(text, start) or not self.body.match(text, start):
            return []
        ends = range(start + 1, min(len(text), start + self.cap) + 1)
        return [end for end in ends if self.body.fullmatch(text, start, end) and self.right.match(text, end)]


class OfTerms:
    """Where one list of terms matches."""

    def __init__(self, terms: Terms) -> None:
        self.words = set(map(fold_term, terms.words))
        self.whole_word = terms.whole_word

    def ends(self, text: str, start: int) -> list[int]:
        folded = "".join(map(fold, text))
        return [
            start + len(word)
            for word in self.words
            if folded.startswith(word, start)
            and not (self.whole_word and is_word(word[0]) and start and is_word(text[start - 1]))
            and not (self.whole_word and is_word(word[-1]) and is_word(text[start + len(word) :][:1] or " "))
        ]


@dataclass
class Reference:
    """Guards one whole text. `marks` are what `remove` is seen to have left, one after the other."""

    rules: Sequence[Rule | Terms]
    key: bytes = b"key"
    marks: Sequence[str] = ()
    output: str = ""
    found: list[Found] = field(default_factory=list)
    blocked: bool = False

    def __post_init__(self) -> None:
        self.finders = [OfRule(rule) if isinstance(rule, Rule) else OfTerms(rule) for rule in self.rules]
        self.secrets = Secrets(self.key)
        self.flagged: dict[int, int] = {}

    def guard(self, text: str) -> Reference:
        """Guard the text; return itself."""
        self.text = text
        self.view, self.places = seen(text)
        self.done = 0
        at, before = 0, ""
        while at < len(self.view) and not self.blocked:
            at, before = self.decide(at, before)
        if not self.blocked:
            self.write_to(len(text))
        return self

    def candidates(self, at: int, before: str) -> list[tuple[int, int]]:
        """All that matches at a place and is accepted, as (end, rule), the best first."""
        line = self.view[at:].split(BARRIER)[0]
        found = [
            (at + end - len(before), number)
            for number, finder in enumerate(self.finders)
            for end in finder.ends(before + line, len(before))
        ]
        found.sort(key=lambda item: (-item[0], item[1]))
        return [(end, number) for end, number in found if self.accepts(number, self.view[at:end])]

    def accepts(self, number: int, value: str) -> bool:
        validator = getattr(self.rules[number], "validator", None)
        try:
            return validator is None or bool(validator(value))
        except Exception:  # noqa: BLE001 - whatever it raises, it has not cleared the candidate
            return True

    def decide(self, at: int, before: str) -> tuple[int, str]:
        candidates = self.candidates(at, before)
        for end, number in candidates:
            rule = self.rules[number]
            if rule.action == "flag" and at >= self.flagged.get(number, 0):
                self.write_to(self.places[at])
                self.report(rule, at, end, self.places[end - 1] + 1 - self.places[at])
                self.flagged[number] = end
        taking = [(end, number) for end, number in candidates if self.rules[number].action != "flag"]
        if not taking:
            return at + 1, self.char(at)
        end, number = taking[0]
        blocked = self.blocked_inside(at, before, end)
        if blocked is not None:
            place, block_end, block = blocked
            allowed = self.rules[number].action == "allow"
            self.write_to(self.places[place if allowed or place == at else at])
            self.report(self.rules[block], place, block_end, 0)
            self.blocked = True
            return end, ""
        return end, self.act(number, at, end)

    def blocked_inside(self, at: int, before: str, end: int) -> tuple[int, int, int] | None:
        for place in range(at, end):
            for block_end, number in self.candidates(place, before):
                if self.rules[number].action == "block":
                    return place, block_end, number
            before = self.char(place)
        return None

    def act(self, number: int, at: int, end: int) -> str:
        rule = self.rules[number]
        if rule.action == "allow":
            return self.char(end - 1)
        self.write_to(self.places[at])
        value = self.view[at:end]
        if rule.action == "remove":
            text, self.marks = self.marks[0], self.marks[1:]
        else:
            known = value if isinstance(rule, Rule) else fold_term(value)
            text = written(rule, value, self.secrets.digest(rule.name, known), self.secrets)
        self.report(rule, at, end, len(text))
        self.output += text
        self.done = self.places[end - 1] + 1
        if rule.action == "remove":
            return seen(self.output)[0][-1:].replace(BARRIER, "")
        return self.char(end - 1)

    def char(self, at: int) -> str:
        """The character before the next place; nothing where that is an edge."""
        return self.view[at].replace(BARRIER, "")

    def write_to(self, place: int) -> None:
        if place > self.done:
            self.output += self.text[self.done : place]
            self.done = place

    def report(self, rule: Rule | Terms, at: int, end: int, length: int) -> None:
        start, stop = self.places[at], self.places[end - 1] + 1
        self.found.append((rule.name, rule.action, start, stop, len(self.output), length))
