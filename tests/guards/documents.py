"""JSON documents in any spelling, and what screening must make of them, by the standard library."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from cuts import every_cut
from trunkline.core.events import Guarded
from trunkline.guards.actions import Secrets
from trunkline.guards.base import Stage
from trunkline.guards.matcher import Matcher
from trunkline.guards.matching.automaton import Automaton
from trunkline.guards.rule import Rule, Terms
from trunkline.guards.surrogates import SurrogateJoin
from trunkline.guards.tool_arguments import ToolArguments

Found = list[tuple[str, str, int, int, int, int]]


class Result(NamedTuple):
    output: str
    found: Found
    blocked: bool


class Rules:
    """Makes chains for some rules."""

    def __init__(self, *rules: Rule | Terms) -> None:
        self.automaton = Automaton(rules)

    def chain(self) -> list[Stage]:
        return [SurrogateJoin(), Matcher(self.automaton, Secrets(b"key"))]

    def guarded(self, pieces: Sequence[str]) -> Result:
        """Feed the pieces. What is released must never be taken back, nothing may come after a block or stay held."""
        stage = ToolArguments(self.chain)
        released = ""
        for piece in pieces:
            blocked = stage.blocked
            out = stage.feed(piece)
            assert not (blocked and out)
            released += out
        released += stage.finish()
        assert stage.blocked or stage.held == 0
        return Result(released, places(stage.found), stage.blocked)

    def guarded_over_every_cut(self, text: str) -> Result:
        whole = self.guarded([text])
        for pieces in every_cut(text):
            assert self.guarded(pieces) == whole, pieces
        return whole


def places(found: Sequence[Guarded]) -> Found:
    return [(e.rule, e.action, e.start, e.end, e.offset, e.length) for e in found]


# A string, which is a key where a colon follows; a number; anything else character by character.
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(?=(\s*:)?)|-?\d[-+.eE\d]*|[^"]', re.DOTALL)
HEX = "[0-9a-fA-F]"
UNIT = re.compile(rf"\\u[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}}|\\u{HEX}{{4}}|\\.|.", re.DOTALL)
LETTERS = {"n": "\n", "b": "\b", "f": "\f", "r": "\r", "t": "\t"}


def assert_as_by_oracle(rules: Rules, document: str, result: Result) -> None:
    """Each value is screened by itself, and the rest of a document that is JSON is what it was."""
    json.loads(document)
    found: Found = []
    out = 0
    blocked = False
    for token in TOKEN.finditer(document):
        written, in_token, blocked = of_token(rules, token, result.output[out:])
        assert result.output.startswith(written, out)
        at = token.start()
        found += [(rule, action, at + a, at + b, out + c, size) for rule, action, a, b, c, size in in_token]
        out += len(written)
        if blocked:
            break
    assert result == (result.output[:out], found, blocked)


def of_token(rules: Rules, token: re.Match[str], output: str) -> Result:
    """What is written of a token and found in it, counted from where it begins, before and after."""
    raw = token[0]
    is_string = raw[0] == '"'
    if not is_string and raw[0] not in "-0123456789":
        return Result(raw, [], blocked=False)
    text, events, blocked = screened(rules, json.loads(raw) if is_string else raw)
    changes = [event for event in events if event.action != "flag"]
    came = edges(raw[1:-1], 1) if is_string else edges(raw, 0)
    if is_string and token[1] is None:
        written = value_written(raw, text, output, changes, blocked=blocked)
        left = edges(written[1:] if blocked else written[1:-1], 1)
        return Result(written, [in_spelling(event, came, left) for event in events], blocked)
    if not changes:
        return Result(raw, [in_spelling(event, came, came) for event in events], blocked=False)
    first = events.index(changes[0])
    found = [in_spelling(event, came, came) for event in events[:first]]
    block = (changes[0].rule, "block", came[changes[0].start], came[changes[0].end], 0, 0)
    return Result("", [*found, block], blocked=True)


def edges(raw: str, first: int) -> list[int]:
    """Where each character of a spelling begins, counted from a first place, and where the last one ends."""
    return [first + unit.start() for unit in UNIT.finditer(raw)] + [first + len(raw)]


def in_spelling(event: Guarded, came: list[int], left: list[int]) -> tuple[str, str, int, int, int, int]:
    stop = min(event.offset + event.length, len(left) - 1)
    size = left[stop] - left[event.offset]
    return event.rule, event.action, came[event.start], came[event.end], left[event.offset], size


def screened(rules: Rules, text: str) -> tuple[str, list[Guarded], bool]:
    join, matcher = rules.chain()
    joined = join.feed(text) + join.finish()
    return matcher.feed(joined) + matcher.finish(), matcher.found, matcher.blocked


def value_written(raw: str, text: str, output: str, changes: list[Guarded], *, blocked: bool) -> str:
    """What was written of a string value: up to the first change its own spelling, in all what the chain released."""
    if blocked:
        written = output
        assert json.loads(written + '"') == text
    else:
        written = TOKEN.match(output)[0]
        assert json.loads(written) == text
    same = changes[0].offset if changes else len(text)
    if text[:same] == json.loads(raw)[:same]:  # no lone half was replaced
        kept = raw[: edges(raw[1:-1], 1)[same]]
        assert written.startswith(kept)
        assert changes or written == raw
    return written


SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\x7f": "\\u007f"}


def spelled(value: Any, random: Random) -> str:
    """Write a value as JSON, each character in a spelling drawn by lot, white space here and there."""
    space = "".join(random.choices([" ", "\n", "\t", ""], [2, 1, 1, 6], k=2))
    if isinstance(value, str):
        text = '"' + "".join(spelled_char(char, random) for char in value) + '"'
    elif isinstance(value, list):
        text = "[" + ",".join(spelled(item, random) for item in value) + "]"
    elif isinstance(value, dict):
        members = (spelled(key, random) + ":" + spelled(item, random) for key, item in value.items())
        text = "{" + ",".join(members) + "}"
    else:
        text = json.dumps(value)
    return space[:1] + text + space[1:]


def spelled_char(char: str, random: Random) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    by_code = "".join("\\u" + random.choice((unit, unit.upper())) for unit in units)
    plain = [] if char in '"\\\n' else [char] * 6
    return random.choice([*plain, SHORT.get(char, by_code), by_code])


def read(text: str) -> str:
    """What a reader may take a text for that knows escapes, wherever they stand."""
    chars = "".join(read_unit(unit) for unit in UNIT.findall(text))
    return chars.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_unit(unit: str) -> str:
    if re.fullmatch(r"(?:\\u[0-9a-fA-F]{4})+", unit):
        return str(json.loads(f'"{unit}"'))
    if len(unit) == 2:
        return LETTERS.get(unit[1], unit[1])
    return unit
