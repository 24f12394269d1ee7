"""Tool arguments over every cut, against an oracle that takes the whole document apart with the standard library."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuts import cut_texts, tokens
from guards import planted, texts
from guards.documents import Rules, assert_as_by_oracle, read, spelled, spelled_char
from trunkline.guards.json_answer import MAX_DEPTH
from trunkline.guards.rule import Rule, Terms
from trunkline.guards.rules import RULES
from trunkline.guards.tool_arguments import MAX_TOKEN, TOO_LONG, ToolArguments

PERSONAL = Rules(*texts.personal())
BLOCKING = Rules(*texts.personal("block"))
MIXED = Rules(
    *texts.acting(texts.personal(), email="partial", phone="flag", iban="remove", ipv4="hash", key="block"),
    Terms("quoted", ('say "yes"',), replacement='"\\no\n"'),
    Terms("flagged", ("total", "42"), "flag"),
    Terms("name", ("Zoë", "secret")),
)
MAIL = "anna.lee@example.com"
CARD = "4111 1111 1111 1111"
SECRET = "p@ss"
MASKING = Rules(Rule("secret", SECRET, replacement='[\\"]'))

# Documents

DOCUMENTS = [
    "", " ", "{}", " [ ] \n", "0", "-12.5e+3", "true", '"x"', "[true,false , null]",
    '{"a": {"b": [1, {"c": []}, "d"]}, "a": 2}',
    f'{{"to": "{MAIL}", "note": "card {CARD}, thanks"}}',
    r'{"to": "anna.lee\u0040example.com"}', r'["4111\u00201111 1111\u00a01111"]', r'"\u0061@b.co\/"',
    r'{"a": "\ud83d\ude00 anna@b.co \uD83D\uDE00 \" \\ \/ \b\f\n\r\t", "\ud83d\ude00\"": "\u00e9é"}',
    r'["\ud83d", "\ude00a", "\ud83d\ud83d\ude00", "\ud83d\u0041", "\ud83d\n", {"\ud83d": "\\ud83d\\ude00"}]',
    '["４１１１１１１１１１１１１１１１", "anna＠example．com", "４１１１ \\uff11\\uff11\\uff11\\uff11 1111 1111"]',
    '{"total": 42, "n": [42, "42"], "say": "say \\"yes\\" twice", "is": "Zo\\u0065\\u0308"}',
    '{"host": "10.0.0.1", "call": "+49 30 1234567", "iban": "DE89 3704 0044 0532 0130 00", "key": "x sk-abcdefgh1 y"}',
    '{"ok": "a b", "n": 4111111111111111, "x": "y"}', "[1, -4111111111111111]", "[4111111111111111.5]",
    '{"a": 1, "anna\\u0040example.com": 2}', '{"secret": 1}', '{"a":"536-22-1234\\\\"}',
]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("rules", [PERSONAL, BLOCKING, MIXED], ids=["masking", "blocking", "mixed"])
def test_documents_are_screened_as_their_values_are_over_every_cut(rules, document):
    whole = rules.guarded_over_every_cut(document)
    if document.strip():
        assert_as_by_oracle(rules, document, whole)
    else:
        assert whole == (document, [], False)


PARTS = (
    MAIL, CARD, "536-22-1234", "10.0.0.1", "+49 30 1234567", "DE89 3704 0044 0532 0130 00", 'say "yes"', "total", "42",
    "secret", "\uff14111111111111111", "born: 1.2.1980",
    " ", ", ", "a", "-", "4", "1", "@", ".", '"', "\\", "/", "\n", "\x7f", "\u2028", "é", "中", "\U0001f600", "\u200b",
)  # fmt: skip
STRINGS = st.lists(st.sampled_from(PARTS), max_size=5).map("".join)
KEYS = st.one_of(
    st.sampled_from(["to", "note", "é", "a b", "", "total"]), st.text('"\\/\n\U0001f600', max_size=3), STRINGS
)
NUMBERS = st.sampled_from([0, -1, 42, 1.5, 2e300, 4111, 4111111111111111, 10**40])
VALUES = st.recursive(
    st.one_of(STRINGS, STRINGS, STRINGS, NUMBERS, st.sampled_from([True, False, None])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)),
    max_leaves=8,
)
SHAPES = st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=2))
WRITTEN = st.builds(spelled, SHAPES, st.randoms(use_true_random=False))


@settings(max_examples=100, deadline=None)
@given(cut_texts(WRITTEN), st.sampled_from([PERSONAL, BLOCKING, MIXED]))
def test_any_document_is_screened_as_its_values_are_over_any_cut(pieces, rules):
    document = "".join(pieces)
    whole = rules.guarded([document])
    assert rules.guarded(pieces) == whole
    assert rules.guarded(list(document)) == whole
    assert_as_by_oracle(rules, document, whole)


def test_what_the_rules_that_ship_find_in_a_text_they_find_in_an_argument():
    rules = Rules(*RULES.values())
    found = 0
    for seed in range(12):
        language = planted.LANGUAGES[seed % len(planted.LANGUAGES)]
        text, values = planted.planted(seed, language)
        document = json.dumps(
            {"language": language, "messages": [{"text": text}, {"text": text}]}, ensure_ascii=seed % 2 > 0
        )
        whole = rules.guarded([document])
        assert rules.guarded(tokens(document)) == whole
        assert_as_by_oracle(rules, document, whole)
        assert not any(text[start:end] in json.loads(whole.output)["messages"][1]["text"] for _, start, end in values)
        found += len(whole.found)
    assert found >= 12 * 2 * planted.PER_TEXT


# What is released when


def released_by(rules: Rules, text: str) -> list[tuple[str, str]]:
    """What each character releases."""
    stage = ToolArguments(rules.chain)
    return [(char, stage.feed(char)) for char in text] + [("", stage.finish())]


def test_structure_passes_at_once_and_keys_and_words_when_they_are_complete():
    released = released_by(MASKING, '{"ab" : [1, true\n], "c": "\\u00e9x"}')
    assert [out for _, out in released] == [
        "{", "", "", "", '"ab"', " ", ":", " ", "[", "", "1,", " ", "", "", "", "", "", "true\n]", ",", " ", "", "",
        '"c"', ":", " ", '"', "", "", "", "", "", "\\u00e9", "x", '"', "}", "",
    ]  # fmt: skip


def test_a_first_half_is_held_until_its_second_half_has_or_has_not_come():
    released = released_by(MASKING, r'"\ud83d\ude00\ud83dx')
    assert [(char, out) for char, out in released if out] == [
        ('"', '"'), ("0", r"\ud83d\ude00"), ("x", "\ufffdx"),
    ]  # fmt: skip


def test_halves_that_came_as_two_characters_are_joined_first():
    rules = Rules(Rule("smile", "\U0001f600"))
    assert rules.guarded_over_every_cut('["\ud83d\ude00", "\ude00\ud83d"]') == (
        '["[SMILE]", "\ufffd\ufffd"]', [("smile", "mask", 2, 3, 2, 7)], False,
    )  # fmt: skip


def test_a_piece_of_which_nothing_is_held_or_changed_is_the_same_object():
    stage = ToolArguments(MASKING.chain)
    for piece in ['{"note": "', "Hello, ", 'th\\u00e9re\\"" , "items" ', ": [ ", "{}, "]:
        assert stage.feed(piece) is piece
        assert stage.held == 0


def test_held_counts_what_has_come_and_is_not_released():
    stage = ToolArguments(MASKING.chain)
    held = []
    for piece in ['{"a', 'b":', " 12", "3 ", ',"c":"', "a p", "@s", '", ', '"d":"x\\ud83d', "\\u", "d", "\ud83d"]:
        stage.feed(piece)
        held.append(stage.held)
    assert held == [2, 0, 2, 4, 0, 1, 3, 0, 6, 8, 9, 10]


# What blocks


def assert_blocks(rules: Rules, before: str, match: str, after: str, rule: str) -> None:
    """Whatever follows, all that precedes is released, and nothing of the match or after it."""
    whole = rules.guarded_over_every_cut(before + match + after)
    start = len(before)
    assert (whole.output, whole.blocked) == (before.rstrip('"') if match[0] == '"' else before, True)
    assert [(found[0], found[1], *found[4:]) for found in whole.found] == [(rule, "block", start, 0)]
    assert whole.found[0][2:4] == (start, start + len(match))


@pytest.mark.parametrize("match", [MAIL, MAIL.replace("@", r"\u0040"), "".join(f"\\u{ord(char):04X}" for char in MAIL)])
def test_a_block_in_a_string_releases_what_precedes_it_in_its_spelling_and_nothing_after(match):
    assert_blocks(BLOCKING, r'{"n": 1, "to": "mail \u00e9\/ ', match, r' or \u0040", "x": "y"}', "email")


@pytest.mark.parametrize("rules", [PERSONAL, BLOCKING], ids=["mask", "block"])
def test_a_match_in_a_number_blocks_whatever_its_action(rules):
    assert_blocks(rules, '{"n": [1, ', "4111111111111111", '], "x": "y"}', "card")
    assert_blocks(rules, "", "4111111111111111", "", "card")


@pytest.mark.parametrize("action", ["mask", "partial", "hash", "pseudonym", "remove", "block"])
def test_a_match_in_a_key_blocks_whatever_its_action(action):
    rules = Rules(Rule("email", r"\w+@\w+\.co", action))
    whole = rules.guarded_over_every_cut(r'{"a": "x", "to \u0061@b.co!": 1}')
    assert whole == ('{"a": "x", ', [("email", "block", 15, 26, 11, 0)], True)


def test_flags_in_keys_and_numbers_are_reported_and_change_nothing():
    document = r'{"tot\u0061l": 42, "x": "a total"}'
    assert MIXED.guarded_over_every_cut(document) == (
        document,
        [("flagged", "flag", 2, 12, 2, 10), ("flagged", "flag", 15, 17, 15, 2), ("flagged", "flag", 27, 32, 27, 5)],
        False,
    )


def test_of_a_number_and_a_key_only_the_first_change_is_reported_and_what_was_flagged_before_it():
    rules = Rules(Rule("one", "1", "flag"), Rule("two", "2"))
    assert rules.guarded_over_every_cut("[121]") == (
        "[", [("one", "flag", 1, 2, 1, 1), ("two", "block", 2, 3, 1, 0)], True,
    )  # fmt: skip
    assert rules.guarded_over_every_cut('{"121":') == (
        "{", [("one", "flag", 2, 3, 2, 1), ("two", "block", 3, 4, 1, 0)], True,
    )  # fmt: skip


def test_neighbouring_items_are_texts_of_their_own():
    document = '["4111 1111", "1111 1111", 4111, 1111, 1111, 1111]'
    assert BLOCKING.guarded_over_every_cut(document) == (document, [], False)


# Bounds


def test_a_number_of_more_than_its_bound_blocks_and_one_of_just_that_passes():
    number = "-" + "7" * (MAX_TOKEN - 1)
    rules = Rules(Rule("email", r"\w+@\w+"))
    for text in (f"[{number}]", f"[{number} ]", number, f"[{number[:-3]}.5E]"):
        assert rules.guarded([text]) == rules.guarded(list(text)) == (text, [], False)
    for rest in ("", "]", "7" * 5000, "x@y"):
        text = f"[{number}7{rest}"
        expected = ("[", [(TOO_LONG, "block", 1, MAX_TOKEN + 2, 1, 0)], True)
        assert rules.guarded([text]) == rules.guarded(list(text)) == expected


def test_a_key_of_more_than_its_bound_blocks_and_one_of_just_that_passes():
    key = '"' + "k" * (MAX_TOKEN - 2) + '"'
    rules = Rules(Rule("email", r"\w+@\w+"))
    text = f"{{{key}: 1}}"
    assert rules.guarded([text]) == rules.guarded(list(text)) == (text, [], False)
    for rest in ('":1}', "k" * 5000, "k\n"):
        text = f"{{{key[:-1]}k{rest}"
        expected = ("{", [(TOO_LONG, "block", 1, MAX_TOKEN + 2, 1, 0)], True)
        assert rules.guarded([text]) == rules.guarded(list(text)) == expected


def test_white_space_after_a_number_has_no_bound():
    text = "[1" + " " * 5000 + ", true" + "\n" * 5000 + "]"
    assert PERSONAL.guarded([text]) == PERSONAL.guarded(list(text)) == (text, [], False)


def test_a_long_word_that_is_no_number_is_text_that_is_no_json():
    text = "e" * 5000 + " " + MAIL
    expected = (text.replace(MAIL, "[EMAIL]"), [("email", "mask", 5001, 5001 + len(MAIL), 5001, 7)], False)
    assert PERSONAL.guarded([text]) == PERSONAL.guarded(list(text)) == expected


def test_what_is_nested_too_deep_is_text_that_is_no_json():
    document = "[" * MAX_DEPTH + f'"{MAIL}"' + "]" * MAX_DEPTH
    assert json.loads(PERSONAL.guarded([document]).output) == json.loads(document.replace(MAIL, "[EMAIL]"))
    # A number that is a card shows which it is: in JSON it blocks.
    assert PERSONAL.guarded(["[" * MAX_DEPTH + "4111111111111111"]).blocked
    whole = PERSONAL.guarded(["[" * (MAX_DEPTH + 1) + "4111111111111111"])
    assert whole.output == "[" * (MAX_DEPTH + 1) + "[CARD]"


# Text that is no JSON

BROKEN = [
    ("mail anna@b.co now", "mail [EMAIL] now"),
    ("anna@b.co", "[EMAIL]"),
    ("null@b.co true@b.co", "[EMAIL] [EMAIL]"),
    ('{"n": 4111 1111 1111 1111}', '{"n": [CARD]}'),
    ('{"n": 536-22-1234}', '{"n": [SSN]}'),
    ('{"n": +49 30 1234567}', '{"n": [PHONE]}'),
    ('{"n": 10.0.0.1}', '{"n": [IPV4]}'),
    ("{'to': 'anna@b.co', \"n\": 1}", "{'to': '[EMAIL]', \"n\": 1}"),
    ("{anna@b.co: 1}", "{[EMAIL]: 1}"),
    (r'{"a": 1,} "anna\u0040b.co" "\/\n"', '{"a": 1,} "[EMAIL]" "/\n"'),
    (r'{"a": 1}{"to": "anna@b.co", "b": "\\\""}', r'{"a": 1}{"to": "[EMAIL]", "b": "\\""}'),
    ('["a": "anna@b.co"]', '["a": "[EMAIL]"]'),
    ('{"a" "anna@b.co"}', '{"a" "[EMAIL]"}'),
    ('{"anna\n@b.co": "anna@b.co"}', '{"anna\n@b.co": "[EMAIL]"}'),
    ('{"anna@b.co\n": 1}', '{"[EMAIL]\n": 1}'),
    ('{"to": "line\nof anna@b.co", "x": "\\/"}', r'{"to": "line' + "\n" + r'of [EMAIL]\", \"x\": \"/\"}'),
    (r'{"to": "4111\q 1111 1111 1111 \x40"}', None),
    (r'{"to": "\q 4111 1111\ 1111 1111 \x40"}', r'{"to": "\q [CARD] x40\"}'),
    (r"C:\new\anna\u0040b.co\u00", r"C:\n[EMAIL]\u00"),
    (r"C:\path\of\unknown \u12 \ud83d\ude00 ", r"C:\path\of\unknown \u12 \ud83d\ude00 "),
    (r'{"to": "anna@b.co', '{"to": "[EMAIL]'),
    (r'{"to": "anna@b.co\u00', r'{"to": "[EMAIL]\u00'),
    (r'{"to": "anna\u0040b.co \ud83d\u', '{"to": "[EMAIL] \ufffd\\u'),
    (r'{"anna\u0040b.co', '{"[EMAIL]'),
    (r'{"anna@b.co\u00', r'{"[EMAIL]\u00'),
    ("[4111111111111111.", "[[CARD]."),
    ("[-", "[-"), ("tru", "tru"), ("\ufeff{}", "\ufeff{}"), ("\\", "\\"), ('"\\', '"\\'), ("01", "01"), ("]", "]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN, ids=[ascii(text) for text, _ in BROKEN])
def test_text_that_is_no_json_is_screened_as_one_text_from_the_fault_on(text, expected):
    whole = PERSONAL.guarded_over_every_cut(text)
    assert whole.output == (text if expected is None else expected)
    assert not whole.blocked
    for rule, action, start, end, offset, length in whole.found:
        assert action == "mask"
        assert whole.output[offset : offset + length] == f"[{rule.upper()}]"
        assert text[start] not in ' "'
        assert text[end - 1] not in ' "'


def test_an_unfinished_number_that_is_whole_is_a_number():
    assert PERSONAL.guarded_over_every_cut("[4111111111111111") == ("[", [("card", "block", 1, 17, 1, 0)], True)


NOISE = (
    "",
    *'{}[]",:\\/0123eE+-.tfnu \nx',
    "\\u",
    "\\u00",
    "\\ud800",
    "\\udc00",
    "\ud800",
    "\x1f",
    "null",
    "true",
    "'",
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), st.sampled_from(NOISE)), max_size=4)


def mutated(text: str, mutations: list[tuple[int, int, str]], place: int, random: Random) -> str:
    secret = "".join(spelled_char(char, random) for char in SECRET)
    for at, dropped, inserted in [*mutations, (place, 0, secret)]:
        cut = at % (len(text) + 1)
        text = text[:cut] + inserted + text[cut + dropped :]
    return text


@settings(max_examples=150, deadline=None)
@given(cut_texts(st.builds(mutated, WRITTEN, MUTATIONS, st.integers(0, 300), st.randoms(use_true_random=False))))
def test_however_a_document_is_broken_what_is_planted_in_it_never_leaves_it(pieces):
    document = "".join(pieces)
    whole = MASKING.guarded([document])
    assert MASKING.guarded(pieces) == whole
    assert MASKING.guarded(list(document)) == whole
    assert SECRET not in read(whole.output)
    assert whole.output.encode()
    # It is found unless it is no longer there: a backslash before it may take its first letter.
    assert whole.found or SECRET not in read(document)
