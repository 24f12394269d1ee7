"""Golden pieces of Markdown, every cut of them, and an independent CommonMark parser on what both take alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cuts import cut, cut_texts, every_cut, fed, tokens
from trunkline.guards import markdown_marks as marks
from trunkline.guards.markdown import MAX_HELD, MarkdownStrip
from trunkline.simulators.texts import TEXTS

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "markdown.yaml").read_text(encoding="utf-8"))
WHOLE = "\n\n".join(case["markdown"] for case in CASES)


def strip(text: str) -> str:
    return fed(MarkdownStrip, [text], MAX_HELD)


# What is left


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_golden(case):
    expected = case["markdown"] if case.get("same") else case["plain"]
    for pieces in every_cut(case["markdown"]):
        assert fed(MarkdownStrip, pieces, MAX_HELD) == expected, pieces


# Emphasis as CommonMark has it: every phrase is closed, and none is one where we differ.
PHRASES = (
    "plan", "the", "5", "3.5", "(see", "below)", "he's", '"quoted"', "Straße", "snake_case", "**bold**", "*it*",
    "_it_", "__bold__", "***both***", "~~gone~~", "**two words**", "*two words*", "**bold:**", "`code`", "`a*b`",
    "[link](http://x.example/a_b_c)", "[**b**](u)", "**[b](u)**", "**a *b* c**", "*a **b** c*", "5 * 3", "**$5.00**",
    "\\*", '**"q"**,', "(**b**)", "*b*.", "**b**s", "<https://x.example>", "**`x`**", "a_b_c", "~5", "![alt](i.png)",
    "[1]", "a!", "**Is it?** Yes", "*(see)*", "__init__", "**A**/**B**", '"**b**"', "*a*-*b*", "\n", "\n\n", "\n> ",
    "\n# ", "\n---\n", "\n```\n*x*\n```\n", "\\[x\\]", "~~*a*~~", "**~~a~~**", "_**a**_", "**_a_**",
    '(*"q"*)', "a\\_b", "x**", "4 <5",
)  # fmt: skip
COMMONMARK = MarkdownIt("commonmark").enable("strikethrough")


def commonmark(text: str) -> str:
    """The words of a text, by another parser."""
    return "\n".join(_words(token) for token in COMMONMARK.parse(text))


def _words(token: Token) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    return token.content if token.children is None else "".join(map(_words, token.children))


@given(st.lists(st.sampled_from(PHRASES), min_size=1, max_size=8).map(" ".join))
@settings(max_examples=200)
def test_what_is_well_formed_reads_as_commonmark_has_it(text):
    assert strip(text).split() == commonmark(text).split()


# Every cut

PIECES = (
    "**", "*", "***", "`", "``", "```", "```py\n", "\n", "\n\n", "\r\n", "> ", ">", "- ", "* ", "1. ", "a", "b1", "é",
    "中", "。", " ", "  ", "\t", "[", "]", "](", "](x)", "(", ")", "![", "!", "|", "| ", "---", "|---|\n", "***\n",
    "##", "<", "<https://x", "a@b", ">", "\\", "~~", "~~~\n", "_", "__", "===\n", ' "t"', "'", ".", ":", "-", "+", "# ",
)  # fmt: skip
TEXTS_OF_PIECES = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
PARTS_OF_GOLDEN = st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 200)).map(lambda at: WHOLE[at[0] : sum(at)])


@given(cut_texts(st.one_of(TEXTS_OF_PIECES, PARTS_OF_GOLDEN)))
@settings(max_examples=400)
@example(["> " * 70 + "```\n", ">" * 65, ">" * 35 + "x"])
@example(["```\n", " " * 100, "```\n*a*"])
def test_no_cut_changes_what_is_released(pieces):
    assert fed(MarkdownStrip, pieces, MAX_HELD) == strip("".join(pieces))


@given(TEXTS_OF_PIECES, TEXTS_OF_PIECES)
@settings(max_examples=200)
def test_what_was_released_does_not_depend_on_what_follows(text, further):
    stage = MarkdownStrip()
    released = stage.feed(text)
    assert strip(text).startswith(released)
    assert strip(text + further).startswith(released)


def test_tokens_of_a_model_change_nothing():
    for text in (WHOLE, *TEXTS.values()):
        assert fed(MarkdownStrip, tokens(text), MAX_HELD) == strip(text)


def test_a_filter_of_each_delta_alone_would_be_found_out():
    text = "**bold** and [link](x)"
    by_itself = ["".join(strip(piece) for piece in pieces) for pieces in every_cut(text)]
    assert any(released != strip(text) for released in by_itself)


# The bounds


BOUNDS = {
    "label": ("[", "a", marks.MAX_LABEL, "](u) *b*"),
    "image": ("![", "a", marks.MAX_LABEL, "](u) *b*"),
    "target": ("[a](", "u", marks.MAX_TARGET - 2, ") *b*"),
    "address": ("<https://", "u", marks.MAX_TARGET - 10, "> *b*"),
    "rule": ("", "-", marks.MAX_RULE, "\n*b*"),
    "info": ("```", "i", marks.MAX_INFO, "\n*b*"),
    "late info": ("```", "i", marks.MAX_INFO, "``` *b*"),
    "indent": ("", " ", marks.MAX_RUN, "# a"),
    "heading": ("#", " ", marks.MAX_RUN, "a *b*"),
    "backticks": ("a", "`", marks.MAX_RUN, "*b*"),
    "fence": ("", "`", marks.MAX_RUN, "\n*b*"),
    "closing fence": ("```\n", "`", marks.MAX_RUN, " \n*b*"),
    "closing fence's indent": ("```\n", " ", marks.MAX_RUN, "```\n*b*"),
    "closing fence's tail": ("```\n```", " ", marks.MAX_RUN, "\n*b*"),
    "cell": ("| a", " ", marks.MAX_RUN, "| *b*"),
    "brackets": ("", "[", marks.MAX_NESTED + 1, "a](u)" * 9),
    "mailbox": ("<", "a", 64, "@b.example>"),
    "host": ("<a@", "b", 255, ">"),
}


@pytest.mark.parametrize(("prefix", "filler", "bound", "suffix"), BOUNDS.values(), ids=BOUNDS)
def test_no_cut_changes_what_is_released_around_a_bound(prefix, filler, bound, suffix):
    for size in range(bound - 1, bound + 3):
        text = prefix + filler * size + suffix
        whole = strip(text)
        around = range(max(0, len(prefix) + size - 4), len(text))
        for pieces in (*(cut(text, [place]) for place in around), list(text[:20]) + list(text[20:])):
            assert fed(MarkdownStrip, pieces, MAX_HELD) == whole


@pytest.mark.parametrize("name", ["label", "target", "address", "rule"])
def test_what_is_longer_than_its_bound_is_plain_text(name):
    prefix, filler, bound, suffix = BOUNDS[name]
    within, beyond = (prefix + filler * (bound + more) + suffix for more in (0, 1))
    assert strip(within) != within.replace("*", "")
    assert strip(beyond) == beyond.replace("*", "")


# What is held


def test_plain_text_passes_at_once_and_as_the_same_object():
    stage = MarkdownStrip()
    for piece in ["Hel", "lo, w", "orld! 5", " > 4; a", " (b) #c -d +e & co.", "\n", "x", "!\ny"]:
        assert stage.feed(piece) is piece
        assert stage.held == 0


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("a *", "*"), ("a **", "**"), ("a ****", ""), ("a **b", ""), ("a `", "`"), ("a `b", ""), ("a!", "!"),
        ("a! ", ""),
        ("a [b", "[b"), ("a [b]", "[b]"), ("a [b] ", ""), ("a [b](c", "[b](c"), ("a [b](c d", ""), ("a [b](c)", ""),
        ("a <", "<"), ("a <b", "<b"), ("a <b ", ""), ("a < ", ""), ("a \\", "\\"), ("a\n-", "-"), ("a\n- ", "- "),
        ("a\n- b", ""), ("a\n#", "#"), ("a\n#5", ""), ("a\n1", ""), ("a\n  ", "  "), ("a\n>", ">"), ("a\n> ", ""),
        ("| a ", " "), ("| a | ", " | "), ("| a | b", ""), ("```py", "```py"), ("```\nx", ""), ("```\n``", "``"),
    ],
)  # fmt: skip
def test_held_is_only_what_may_yet_be_markdown(text, held):
    stage = MarkdownStrip()
    for char in text:
        stage.feed(char)
    assert stage.held == len(held)


# Stripping again


@given(st.lists(st.sampled_from([p for p in PHRASES if not re.search(r"[\\`]|x\*\*", p)]), max_size=8).map(" ".join))
@settings(max_examples=200)
def test_a_second_strip_changes_nothing_of_what_had_no_escapes_and_no_code(text):
    once = strip(text)
    assert strip(once) == once


def test_a_second_strip_takes_what_was_escaped_for_markdown():
    assert strip("\\*a\\*") == "*a*"
    assert strip("*a*") == "a"
