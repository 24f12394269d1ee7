"""Makes patterns by lot, and texts that they match, nearly match, or match in disguise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from trunkline.guards.matching.pattern import parse
from trunkline.guards.matching.syntax import Chars, CharSet, Choice, Node, Repeat, cases
from trunkline.guards.rule import Rule, Terms

ALPHABETS = ("ab1 -", "aA1.@", "12 -/", "éÉea", "机密ab", "ßsS-", "09.:x", "a_Z ")
_LEFT = ("", "", "", r"\b", "(?<!{})", "(?<={})")
_RIGHT = ("", "", "", r"\b", "(?!{})", "(?={})")
_COUNTS = ("?", "{2}", "{1,3}", "{0,2}", "{,2}", "??", "{3}?")
_ENDLESS = ("*", "+", "{2,}", "*?", "+?")
_WILD = (r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", ".", "[^{}]", r"[\d{}]", r"[^\s{}]", r"\t")
_POOL = "ab1 -.@/_:AZx09éÉ机密ß\n\t…"
_MOST_REPEATS = 4
INVISIBLE = "\u200b\u00ad\u0301\ufe0f\u2060"
_LOOKS = {
    "-": "–−\u2011", " ": "\u00a0\u2009\u3000", ".": "．․", "@": "＠﹫", ":": "：", "/": "／", "a": "ａа𝓪", "A": "ＡА",
    "e": "ｅе", "o": "оο", "s": "ｓѕ", "0": "０٠𝟎", "1": "１١𝟏", "2": "２٢", "9": "９٩", "é": "e\u0301",
    "机": "机\u3164",
}  # fmt: skip


def pattern(rnd: Random, alphabet: str, *, tame: bool = False) -> str:
    """A pattern mostly over few characters. A tame one has no condition behind it and no class without bounds."""
    left, right = rnd.choice(_LEFT), "" if tame else rnd.choice(_RIGHT)
    body = _body(rnd, alphabet, tame=tame)
    return left.format(_one(rnd, alphabet, tame=tame)) + f"(?:{body})" + right.format(_one(rnd, alphabet, tame=tame))


def _body(rnd: Random, alphabet: str, depth: int = 0, *, endless: bool = True, tame: bool = False) -> str:
    kind = rnd.random()
    if depth > 3 or kind < 0.35:
        return _one(rnd, alphabet, tame=tame)
    if kind < 0.65:
        parts = [_body(rnd, alphabet, depth + 1, endless=endless, tame=tame) for _ in range(rnd.randint(2, 3))]
        return "".join(parts)
    opening = rnd.choice(("(", "(?:"))
    if kind < 0.8:
        parts = [_body(rnd, alphabet, depth + 1, endless=endless, tame=tame) for _ in range(rnd.randint(2, 3))]
        return f"{opening}{'|'.join(parts)})"
    # No repeat without end inside of another: the reference would take forever to see that nothing matches.
    count = rnd.choice(_ENDLESS if endless and rnd.random() < 0.5 else _COUNTS)
    return f"{opening}{_body(rnd, alphabet, depth + 1, endless=count in _COUNTS and endless, tame=tame)}){count}"


def _one(rnd: Random, alphabet: str, *, tame: bool) -> str:
    """What stands for one character."""
    kind = rnd.random()
    if kind < 0.6:
        return re.escape(rnd.choice(alphabet))
    if tame or kind < 0.8:
        return f"[{''.join(map(re.escape, rnd.sample(alphabet, rnd.randint(1, 3))))}]"
    return rnd.choice(_WILD).format(re.escape(rnd.choice(alphabet)))


def sample(rnd: Random, node: Node) -> str:
    """A text that a pattern's body matches."""
    if isinstance(node, Chars):
        return _char(rnd, node.chars)
    if isinstance(node, Choice):
        return sample(rnd, rnd.choice(node.items))
    if isinstance(node, Repeat):
        most = node.least + _MOST_REPEATS if node.most is None else min(node.most, node.least + _MOST_REPEATS)
        return "".join(sample(rnd, node.item) for _ in range(rnd.randint(node.least, most)))
    return "".join(sample(rnd, item) for item in node.items)


def _char(rnd: Random, chars: CharSet) -> str:
    known = [char for char in _POOL if _has(chars, char)]
    if known and (chars.negated or rnd.random() < 0.9):
        return rnd.choice(known)
    if chars.negated:
        return next(char for code in range(0x110000) if _has(chars, char := chr(code)))
    first, last = rnd.choice(chars.ranges)
    return chr(rnd.randint(first, last))


def _has(chars: CharSet, char: str) -> bool:
    codes = cases(char) if chars.ignore_case else (ord(char),)
    return any(first <= code <= last for first, last in chars.ranges for code in codes) is not chars.negated


def text(rnd: Random, rules: Sequence[Rule | Terms], alphabet: str, values: Sequence[str] = ()) -> str:
    """A text of what rules match: whole, begun, run into each other, changed, disguised; and noise."""
    parts = []
    for _ in range(rnd.randint(1, 6)):
        kind = rnd.random()
        if kind < 0.65:
            part = _matching(rnd, rnd.choice(rules), values)
            if rnd.random() < 0.3:
                part = part[: rnd.randint(0, len(part))]
            for _ in range(rnd.choice((0, 0, 0, 1, 2))):
                part = changed(rnd, part, alphabet)
            parts.append(part)
        elif kind < 0.9:
            parts.append("".join(rnd.choices(alphabet, k=rnd.randint(1, 4))))
        elif kind < 0.95:
            parts.append(rnd.choice(INVISIBLE) * rnd.randint(5, 11))
        else:
            parts.append(rnd.choice((" ", "\n", ". ", "x", "…")))
    return "".join(parts)


def _matching(rnd: Random, rule: Rule | Terms, values: Sequence[str]) -> str:
    if values and rnd.random() < 0.5:
        return rnd.choice(values)
    if isinstance(rule, Terms):
        return rnd.choice(rule.words)
    return sample(rnd, parse(rule.pattern, ignore_case=rule.ignore_case).body)


def changed(rnd: Random, part: str, alphabet: str) -> str:
    """The same with one character dropped, doubled, replaced, disguised, or an invisible one in front of it."""
    if not part:
        return part
    at = rnd.randrange(len(part))
    char = part[at]
    if rnd.random() < 0.5:
        disguised = (rnd.choice(_LOOKS.get(char, char)), rnd.choice(INVISIBLE) + char, char + rnd.choice(INVISIBLE))
        return part[:at] + rnd.choice(disguised) + part[at + 1 :]
    return part[:at] + rnd.choice(("", char + char, rnd.choice(alphabet), char.swapcase())) + part[at + 1 :]
