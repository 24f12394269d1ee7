"""Python's own parser as the oracle, on documents that were mutated at random, and the place of the first fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuts import cut_texts, every_cut, tokens
from trunkline.guards.json_answer import MAX_DEPTH, JsonAnswer, JsonFault


def read(pieces: list[str], **options: Any) -> JsonFault | None:
    answer = JsonAnswer(**options)
    for piece in pieces:
        answer.feed(piece)
        assert not answer.ok
    answer.finish()
    assert answer.ok is (answer.fault is None)
    return answer.fault


def is_json(text: str) -> bool:
    """What the standard library takes, as long as it can be written in UTF-8."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        # Pairs, and numbers as text: no repeated name and no number may hide what was read.
        value = json.loads(text, parse_constant=refuse, parse_int=str, parse_float=str, object_pairs_hook=list)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


# The verdict

DOCUMENTS = [
    '{"name": "Zo\\u00eb \\ud83d\\ude00", "n": [1, -2.5e+10, 0, 0.1E-2], "ok": true, "x": {"y": null, "": []}}',
    '[{}, [], [[[]]], {"a": {"a": false}}, "\\"\\\\\\/\\b\\f\\n\\r\\t"]',
    '"a string"', "0", "-0.0", "true", "null", "false", "12", "1e5", " [1 , 2 ] \n", '{"a":1,"a":2}', '"\u2028中\x7f"',
]  # fmt: skip
REFUSED = [
    "", " ", "{", "[1", '"a', '{"a"', '{"a":', '{"a":1', "[1,]", '{"a":1,}', "[,1]", "{,}", "[1 2]", '{"a" 1}',
    "{1:2}", "{a:1}", "'a'", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "tru",
    "truee", "True", "nul", '"\\x"', '"\\u12"', '"\\u12g4"', '"\n"', '"\t"', '"\x00"', "1 2", "{}{}", "[]]", "{]", "[}",
    "{}x", "\ufeff{}", '"\\ud800"', '"\\udc00"', '"\\ud800x"', '"\\ud800\\n"', '"\\ud800\\u0041"', '"\ud83d"',
    '"\\ud800\\ud800\\udc00"', '{"\\ud800":1}', '"\ud83d\\ude00"', "\u00a01", "// x\n1", "1 //", "\\u0031",
    "```json\n{}\n```", "\u0661", "1_0", "\f1",
]  # fmt: skip


@pytest.mark.parametrize("text", DOCUMENTS)
def test_well_formed_answers_are_ok_over_every_cut(text):
    assert is_json(text)
    for pieces in every_cut(text):
        assert read(pieces) is None, pieces


@pytest.mark.parametrize("text", REFUSED, ids=map(ascii, REFUSED))
def test_faults_are_the_same_over_every_cut(text):
    assert not is_json(text)
    fault = read([text])
    assert fault is not None
    for pieces in every_cut(text):
        assert read(pieces) == fault, pieces


SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 12, 0.5, -1e-9, 1e300]), st.text(max_size=4), st.text("é\U0001f600\n\\")
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=6,
)
WRITTEN = st.one_of(
    st.sampled_from(DOCUMENTS),
    st.builds(json.dumps, JSON, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1])),
)
INSERTED = ("", *'{}[]",:\\/0123eE+-.tfnu \nx`', "\\u", "\\ud800", "\\udc00", "\ud800", "\x1f", "null", "1e5")
MUTATIONS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from(INSERTED)), max_size=3)


def mutated(text: str, mutations: list[tuple[int, int, str]]) -> str:
    for place, dropped, inserted in mutations:
        at = place % (len(text) + 1)
        text = text[:at] + inserted + text[at + dropped :]
    return text


MUTATED = st.builds(mutated, WRITTEN, MUTATIONS)


@given(cut_texts(MUTATED))
@settings(max_examples=300)
def test_the_verdict_is_that_of_the_standard_library(pieces):
    assert (read(pieces) is None) is is_json("".join(pieces))


@given(cut_texts(MUTATED), st.booleans())
@settings(max_examples=200)
def test_no_cut_changes_the_fault(pieces, allow_fence):
    whole = "".join(pieces)
    assert read(pieces, allow_fence=allow_fence) == read([whole], allow_fence=allow_fence)


# The place of the fault

ENDS_OF_TOKENS = [
    "", "0", '"', "l", "ll", "ull", "e", "ue", "rue", "se", "lse", "alse", 'n"', '0"', '00"', '000"', '0000"', 'c00"',
    'dc00"', 'udc00"', '\\udc00"', '00\\udc00"', '0\\udc00"',
]  # fmt: skip
ENDS_OF_MEMBERS = ["", ":0", '"":0', "0"]


def can_be_completed(text: str) -> bool:
    """Whether some text that begins like this is JSON, found by trying."""
    for token in ENDS_OF_TOKENS:
        for member in ENDS_OF_MEMBERS:
            begun = text + token + member
            if is_json(begun + closing_brackets(begun)):
                return True
    return False


def closing_brackets(text: str) -> str:
    stack: list[str] = []
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            stack.append("}" if char == "{" else "]")
        elif char in "}]" and stack:
            stack.pop()
    return "".join(reversed(stack))


@given(MUTATED)
@settings(max_examples=200)
def test_the_fault_is_the_first_character_with_which_no_json_begins(text):
    fault = read([text])
    if fault is None:
        return
    assert can_be_completed(text[: fault.offset])
    if fault.offset < len(text):
        assert not can_be_completed(text[: fault.offset + 1])


@pytest.mark.parametrize(
    ("text", "offset", "reason"),
    [
        ("", 0, "expected a value, and the answer ended"),
        ('{"a": 1', 7, "expected a comma or the object's end, and the answer ended"),
        ("[1, 2", 5, "expected a comma or the array's end, and the answer ended"),
        ('{"a" 1}', 5, "expected a colon"),
        ("{'a': 1}", 1, "expected a name in quotes or the object's end"),
        ('{"a": 1,}', 8, "expected a name in quotes"),
        ("[1,]", 3, "expected a value"),
        ("[}", 1, "expected a value or the array's end"),
        ("01", 1, "expected nothing but white space"),
        ("[01]", 2, "expected a comma or the array's end"),
        ("1.x", 2, "expected a digit"),
        ("1ex", 2, "expected a digit or a sign"),
        ("nul", 3, "expected true, false or null, and the answer ended"),
        ("nUll", 1, "expected true, false or null"),
        ('"\\q"', 2, "expected an escape that JSON knows"),
        ('"\\u00x0"', 5, "expected four hexadecimal digits"),
        ('"\\udc00"', 4, "expected the escape of a character, not of half a pair"),
        ('"\\ud800"', 7, "expected the second half of a surrogate pair"),
        ('"a\nb"', 2, "expected a character that a string may hold, or its end"),
        ("{} thanks", 3, "expected nothing but white space"),
        ("Sure: {}", 0, "expected a value"),
    ],
)
def test_the_reason_says_what_would_have_been_in_order(text, offset, reason):
    assert read([text]) == JsonFault(offset, reason)


@pytest.mark.parametrize("text", REFUSED, ids=map(ascii, REFUSED))
def test_the_reason_never_depends_on_words_of_the_answer(text):
    secret = read([text.replace("a", "sesame")])
    plain = read([text])
    assert secret is not None
    assert plain is not None
    assert secret.reason == plain.reason


# Bounds


def test_nesting_is_bounded():
    assert read(["[" * MAX_DEPTH + "]" * MAX_DEPTH]) is None
    assert read(['{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH]) is None
    assert read(["[" * 10**6]) == JsonFault(MAX_DEPTH, "nested deeper than 128")
    assert read(["[[1], [{}]]"], max_depth=2) == JsonFault(7, "nested deeper than 2")
    assert read(["[1]"], max_depth=0) == JsonFault(0, "nested deeper than 0")


def test_nothing_is_read_after_a_fault():
    answer = JsonAnswer()
    answer.feed("]")
    answer.feed("}" * 100)
    answer.finish()
    assert answer.fault == JsonFault(0, "expected a value")


# The code fence


@pytest.mark.parametrize(
    "text",
    [
        "```json\n{}\n```", " \n```\n[1]\n```\n ", "```JSON5 strict\r\n\n12\r\n  ```", '```\n"```"\n```', "{}", " 1 ",
    ],
)  # fmt: skip
def test_a_fence_may_stand_around_the_json_where_that_is_allowed(text):
    for pieces in every_cut(text):
        assert read(pieces, allow_fence=True) is None, pieces
    assert (read([text]) is None) is ("```" not in text)


@pytest.mark.parametrize(
    ("text", "offset", "reason"),
    [
        ("`json\n", 1, "expected a code fence"),
        ("``", 2, "expected a code fence, and the answer ended"),
        ("```json {}", 8, "expected the end of the fence's line"),
        ("````\n1", 3, "expected the end of the fence's line"),
        ("```\n1", 5, "expected the closing fence on a line of its own, and the answer ended"),
        ("```\n1```", 5, "expected the closing fence on a line of its own"),
        ("```\n1\n``", 8, "expected the closing fence on a line of its own, and the answer ended"),
        ("```\n1\n``` x", 10, "expected nothing but white space"),
        ("```\n1\n````", 9, "expected nothing but white space"),
        ("```\n```\n1\n```", 4, "expected a value"),
        ("1\n```", 2, "expected nothing but white space"),
        ("```\n\n```", 5, "expected a value"),
    ],
)
def test_a_fence_has_its_own_faults(text, offset, reason):
    for pieces in every_cut(text):
        assert read(pieces, allow_fence=True) == JsonFault(offset, reason), pieces


def test_tokens_of_a_model_change_nothing():
    text = json.dumps({"order": 482913, "lines": [{"name": "Sessel \U0001f4ba", "price": 1.5e2}] * 5}, indent=2)
    assert read(tokens(text)) is None
    broken = text.replace("],", "]", 1).replace("}", "", 1)
    assert read(tokens(broken)) == read([broken]) is not None
