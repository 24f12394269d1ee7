"""A guard made of its settings: what goes first, what each setting changes, and whose secrets are whose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.core.events import AnyEvent, Delta, Guarded, ToolCall
from trunkline.guards.actions import Secrets
from trunkline.guards.chain import Conversations, Guard, rules_of
from trunkline.guards.profiles import PROFILES
from trunkline.guards.rule import Rule
from trunkline.guards.rules import RULES
from trunkline.guards.screen import Screen
from trunkline.guards.settings import GuardSettings

CARD, OTHER_CARD = "4111 1111 1111 1111", "5555-5555-5555-4444"


def screened(text: str, *names: str, **fields: Any) -> str:
    """What is shown of a text, fed by characters and as a whole, which must be the same."""
    guard, shown = Guard(GuardSettings(**fields)), []
    for pieces in (list(text), [text]):
        screen = Screen(guard.for_turn(Secrets(b"key"), names))
        events = [event for piece in pieces for event in screen.screen([Delta(piece, 0)], 0.0)]
        events += screen.finish("stop", 0.0)
        shown.append("".join(event.text for event in events if isinstance(event, Delta)) + screen.blocked)
    assert shown[0] == shown[1]
    return shown[0]


def test_the_default_masks_by_name():
    assert screened(f"Card {CARD}, mail a@b.example") == "Card [CARD], mail [EMAIL]"


@pytest.mark.parametrize("markdown", ["keep", "strip"])
@pytest.mark.parametrize("written", ["**536**-22-1234", "5`36`-22-1234", "~~536~~-22-1234", "536-**22**-1234"])
def test_emphasis_hides_nothing(markdown: str, written: str):
    shown = screened(f"It is {written}.", markdown=markdown)
    assert "[US_SSN]" in shown
    assert "22" not in shown


@pytest.mark.parametrize(
    "event",
    [Delta("a b", 0), ToolCall(0, 0, arguments='{"a": "a b"}'), ToolCall(0, 0, name="a b")],
    ids=["text", "a value in arguments", "a name"],
)
def test_a_validator_that_fails_lets_its_rule_act_and_is_there_to_be_told(event: AnyEvent):
    def fails(value: str) -> bool:
        raise LookupError(value)

    guard = Guard(GuardSettings(), [Rule("odd", "b", "mask", validator=fails)])
    screens = [Screen(guard.for_turn(Secrets(b"key"))) for _ in range(2)]
    released = screens[0].screen([event], 0.0) + screens[0].finish("stop", 0.0)
    assert [found.rule for found in released if isinstance(found, Guarded)] == ["odd"]
    assert isinstance(screens[0].fault, LookupError)
    assert screens[1].fault is None, "another turn met none"


def test_markdown_and_blanks_go_where_that_is_asked():
    text = "**Hello**   there\n\n\n\n[here](https://example.com)"
    assert screened(text, markdown="strip", whitespace="collapse") == "Hello there\n\nhere"
    assert screened(text) == text
    assert screened(text, profile="redact") == "Hello there\n\nhere"


def test_what_is_allowed_goes_before_every_rule():
    assert screened(f"{CARD} {OTHER_CARD}", allow=(OTHER_CARD,)) == f"[CARD] {OTHER_CARD}"
    assert screened("Ring (0800) 123.456*1", allow=("(0800) 123.456",)) == "Ring (0800) 123.456*1"


def test_ones_own_rules_go_before_those_that_ship():
    rules = ({"name": "visa", "pattern": r"4\d{3}(?: \d{4}){3}", "action": "partial"},)
    assert screened(CARD, rules=rules) == "**** **** **** 1111"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"actions": {"card": "off"}}, f"{CARD} [EMAIL] Acme"),
        ({"actions": {"card": "remove"}}, " [EMAIL] Acme"),
        ({"actions": {"card": "flag"}}, f"{CARD} [EMAIL] Acme"),
        ({"replacements": {"card": "<card>"}}, "<card> [EMAIL] Acme"),
        ({"terms": ({"words": ("acme",)},)}, "[CARD] [EMAIL] [TERM]"),
        ({"terms": ({"words": ("acme",), "action": "block"},)}, "[CARD] [EMAIL] guard_rule"),
        ({"profile": "redact", "terms": ({"words": ("acme",)},)}, "[REDACTED] [REDACTED] [FILTERED]"),
        ({"profile": "block", "terms": ({"words": ("acme",)},)}, "guard_rule"),
        ({"profile": "block", "actions": {"card": "mask", "email": "mask"}}, "[CARD] [EMAIL] Acme"),
        ({"profile": "payment"}, "**** **** **** 1111 [EMAIL] Acme"),
        ({"profile": "eu-privacy"}, "[CARD_1] [EMAIL_1] Acme"),
    ],
)
def test_each_setting_does_what_it_says(fields: dict[str, Any], shown: str):
    assert screened(f"{CARD} a@b.example Acme", **fields) == shown


@pytest.mark.parametrize(
    "text", ["SSN 536  22  1234", "DE89  3704  0044  0532  0130  00", "Acme   Corp", "Jane \t Doe"]
)
def test_collapsing_makes_nothing_that_would_have_been_masked(text: str):
    shown = screened(text, "Jane Doe", profile="redact", terms=({"words": ("acme corp",)},))
    assert "[" in shown
    assert text[-4:] not in shown


@pytest.mark.parametrize("text", ["**Jane** Doe", "J**a**ne Doe", "Jane* Doe"])
def test_emphasis_does_not_hide_a_name_of_the_turn(text: str):
    assert "[KNOWN_TERM]" in screened(text, "Jane Doe")


def test_names_of_a_turn_are_masked_beside_the_rules():
    assert screened(f"Jane Doe has {CARD}", "Jane Doe") == "[KNOWN_TERM] has [CARD]"


def test_every_profile_says_what_every_rule_does():
    for name in PROFILES:
        rules = list(rules_of(GuardSettings(profile=name)))
        assert [rule.name for rule in rules] == list(RULES)


def calls(guard: Guard, *pieces: str) -> Iterator[ToolCall | Guarded]:
    screen = Screen(guard.for_turn(Secrets(b"key")))
    for piece in pieces:
        yield from screen.screen([ToolCall(0, 0, arguments=piece)], 0.0)
    yield from screen.finish("tool_calls", 0.0)


def test_tool_arguments_are_screened_unless_they_pass():
    pieces = ('{"card": "4111 1111', ' 1111 1111"}')
    for choice, shown in {"screen": '{"card": "[CARD]"}', "pass": "".join(pieces)}.items():
        guard = Guard(GuardSettings(tool_arguments=choice))
        events = list(calls(guard, *pieces))
        assert "".join(event.arguments for event in events if isinstance(event, ToolCall)) == shown


def test_names_of_a_turn_are_looked_for_in_arguments_too():
    screen = Screen(Guard(None).for_turn(Secrets(b"key"), ["Jane Doe"]))
    events = screen.screen([ToolCall(0, 0, arguments='{"to": "Jane Doe"}')], 0.0)
    assert events[0] == ToolCall(0, 0, arguments='{"to": "[KNOWN_TERM]"}')


def test_half_a_character_in_arguments_that_nobody_screens_can_still_be_sent():
    for guard in (Guard(None), Guard(GuardSettings(tool_arguments="pass"))):
        events = list(calls(guard, '{"a": "\ud83d', "!"))
        assert "".join(e.arguments for e in events if isinstance(e, ToolCall)) == '{"a": "\ufffd!'


def named(*pieces: str, **fields: Any) -> tuple[list[Any], str]:
    screen = Screen(Guard(GuardSettings(**fields)).for_turn(Secrets(b"key")))
    events = [event for piece in pieces for event in screen.screen([ToolCall(0, 0, "call_1", piece)], 0.0)]
    return events, screen.blocked


def test_a_tools_name_is_looked_at_as_a_whole_however_it_comes():
    for pieces in (["pay 4111 1111 1111 1111"], ["pay 4111 1111 ", "1111 1111"]):
        events, blocked = named(*pieces)
        assert blocked == "guard_rule"
        assert [(e.rule, e.action) for e in events if isinstance(e, Guarded)] == [("card", "block")]


@pytest.mark.parametrize("name", ["__search__", "_get_time_", "look  up", "get_weather"])
def test_a_harmless_name_passes_in_every_profile(name: str):
    assert named(name, profile="redact") == ([ToolCall(0, 0, "call_1", name)], "")


def test_an_id_says_nothing():
    screen = Screen(Guard(GuardSettings()).for_turn(Secrets(b"key")))
    assert screen.screen([ToolCall(0, 0, "4111111111111111", "f")], 0.0) == [ToolCall(0, 0, "4111111111111111", "f")]


def test_no_settings_look_for_nothing():
    screen = Screen(Guard(None).for_turn(Secrets(b"key")))
    assert screen.screen([Delta(CARD, 0)], 0.0) == [Delta(CARD, 0)]


def test_a_conversation_keeps_its_secrets_and_a_turn_without_one_has_its_own():
    keys = iter(range(9))
    conversations = Conversations(lambda: bytes([next(keys)]))
    first = conversations.secrets("p", "c")
    assert conversations.secrets("p", "c") is first
    others = [conversations.secrets("q", "c"), conversations.secrets("p", "d"), conversations.secrets("p", "")]
    assert len({secrets.digest("card", CARD) for secrets in (first, *others)}) == 4
    conversations.forget("p", "c")
    assert conversations.secrets("p", "c") is not first
