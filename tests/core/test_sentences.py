"""Golden texts in many languages over every cut, and what holds for any text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuts import cut_texts, every_cut, tokens
from trunkline.core.sentences import EXCEPTIONS, MAX_AHEAD, MAX_CHARS, Sentences
from trunkline.simulators.texts import TEXTS

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text(encoding="utf-8"))
GOLDEN = ["".join(case["sentences"]) for case in CASES]


def cut(pieces: list[str], **options: Any) -> list[str]:
    sentences = Sentences(**options)
    found: list[str] = []
    for piece in pieces:
        found += sentences.feed(piece)
    return found + sentences.finish()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_golden(case):
    for pieces in every_cut("".join(case["sentences"])):
        assert cut(pieces) == case["sentences"], pieces


# Any text

PIECES = (
    *'aZ5é中とっ \n.!?。！．…¿«»“”")，,;', "  ", "\u00a0", "\r\n", ". ", ".\n", "! ", " »", "! »", "! » ", ".“", "Dr.",
    "z.B.", "...", "word ", "a" * 9, "e\u0301", "\U0001f468\u200d\U0001f469", "中" * 9,
)  # fmt: skip
ANY_TEXT = st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sampled_from(GOLDEN))
OPTIONS = st.sampled_from([(1, MAX_CHARS), (1, 1), (1, 5), (5, 5), (1, 20), (8, 30), (20, 60), (200, 300)])


@given(cut_texts(ANY_TEXT), OPTIONS)
@settings(max_examples=300)
@example([".", " " * 20, " " * 20, "»", "a"], (1, 5))
def test_no_cut_of_the_stream_changes_the_sentences(pieces, options):
    least, most = options
    assert cut(pieces, min_chars=least, max_chars=most) == cut(["".join(pieces)], min_chars=least, max_chars=most)


@given(ANY_TEXT, OPTIONS)
@settings(max_examples=150)
def test_sentences_add_up_and_keep_to_their_lengths(text, options):
    least, most = options
    sentences = cut([text], min_chars=least, max_chars=most)
    assert "".join(sentences) == text
    assert all(0 < len(sentence) <= most for sentence in sentences)
    for sentence in sentences[:-1]:
        assert len(sentence.strip()) >= least or len(sentence) >= most // 2
        assert any(char.isalnum() for char in sentence) or len(sentence) >= most // 2


@given(ANY_TEXT, ANY_TEXT)
def test_what_was_returned_does_not_depend_on_what_follows(text, further):
    returned = Sentences().feed(text)
    assert cut([text + further])[: len(returned)] == returned


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_tokens_of_a_model_change_nothing(text):
    assert cut(tokens(text)) == cut([text])


def test_a_cutter_of_each_delta_alone_would_be_found_out():
    text = "Wait for Dr. Smith. He is here."
    cuts = [[sentence for piece in pieces for sentence in cut([piece])] for pieces in every_cut(text)]
    assert any(found != cut([text]) for found in cuts)


# When


@pytest.mark.parametrize(
    ("before", "decisive", "sentence"),
    [
        ("It is done.  ", "N", "It is done."),
        ("It is done", "\n", "It is done\n"),
        ("Is it done?", "\n", "Is it done?\n"),
        ("Done! ", "y", "Done!"),
        ("他说好。", "我", "他说好。"),
        ("“Done.” ", "N", "“Done.”"),
        ("¿Sí?", "¡", "¿Sí?"),
    ],
)
def test_a_sentence_is_returned_with_the_character_that_ends_it(before, decisive, sentence):
    sentences = Sentences()
    assert sentences.feed(before) == []
    assert sentences.feed(decisive) == [sentence]


def test_the_last_sentence_comes_with_the_end_and_takes_the_rest():
    sentences = Sentences()
    assert sentences.feed("One. Two. ") == ["One."]
    assert sentences.finish() == [" Two. "]
    assert sentences.finish() == []
    assert cut([]) == []
    assert cut(["Bye.\n\n"]) == ["Bye.\n", "\n"]


def test_nothing_without_a_word_is_cut_off():
    assert cut(["\n\n---\n!!! ... \n?\nYes.\n\n***\n"]) == ["\n\n---\n!!! ... \n?\nYes.\n", "\n***\n"]


# Lengths


def test_a_short_sentence_joins_the_next_one():
    text = "Yes. No. Of course you can do that. Fine."
    assert cut([text], min_chars=9) == ["Yes. No. Of course you can do that.", " Fine."]
    assert cut([text], min_chars=4) == ["Yes.", " No. Of course you can do that.", " Fine."]
    assert cut(["one two thr, four five six"], min_chars=15, max_chars=20) == ["one two thr, four", " five six"]
    assert cut(["a\nb\nc\nd"], min_chars=3) == ["a\nb\n", "c\nd"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("one two, three four; five six seven.", ["one two, three four;", " five six seven."]),
        ("one, two three four five six seven.", ["one, two three four", " five six seven."]),
        ("one_two_three_four_five_six_seven", ["one_two_three_four_f", "ive_six_seven"]),
        ("one two_three_four_five_six_seven", ["one", " two_three_four_five", "_six_seven"]),
        ("的" * 12 + "，" + "的" * 12 + "。", ["的" * 12 + "，", "的" * 12 + "。"]),
        ("one two three four. Five", ["one two three four.", " Five"]),
        ("one two three four 5. Six", ["one two three four", " 5. Six"]),
        ("12,345,678,901,234,567,890", ["12,345,678,901,234,5", "67,890"]),
        ("x" * 19 + "e\u0301" + "y", ["x" * 19, "e\u0301y"]),
        ("x" * 18 + "\U0001f468\u200d\U0001f469", ["x" * 18, "\U0001f468\u200d\U0001f469"]),
        ("e" + "\u0301" * 30, ["e" + "\u0301" * 19, "\u0301" * 11]),
        ("-" * 30, ["-" * 20, "-" * 10]),
        ("x" * 18 + ".”)) Then", ["x" * 18 + ".”", ")) Then"]),
    ],
)
def test_a_long_sentence_is_cut_at_its_best_place(text, sentences):
    for pieces in every_cut(text):
        assert cut(pieces, max_chars=20) == sentences, pieces


def test_no_more_is_kept_than_the_longest_sentence_and_its_outlook():
    sentences = Sentences(max_chars=20)
    for piece in [*[".", " " * 3, "a"] * 50, ".", *[" " * 9] * 50, *["»"] * 100]:
        sentences.feed(piece)
        assert len(sentences._pending) < 20 + MAX_AHEAD


def test_a_long_text_at_once_is_cut_in_one_go():
    text = "This is a sentence. " * 5_000
    found = cut([text])
    assert len(found) == 5_000
    assert "".join(found) == text


@pytest.mark.parametrize(("least", "most"), [(0, 5), (6, 5), (-1, 5)])
def test_lengths_that_contradict_each_other_are_refused(least, most):
    with pytest.raises(ValueError, match="must be at least 1 and at most"):
        Sentences(min_chars=least, max_chars=most)


# Exceptions


@pytest.mark.parametrize(
    ("exception", "text"),
    list(zip(EXCEPTIONS, ["In 2024. So", "Hallo Prof. Bo", "Plan B. So", "Oh... So", "At 5 p.m. So"], strict=True)),
)
def test_each_of_the_platforms_exceptions_keeps_a_sentence_together(exception, text):
    assert cut([text], exceptions=[exception]) == [text]


def test_exceptions_can_be_given_anew():
    text = "In 2024. Then. It was No more. So"
    assert cut([text]) == ["In 2024. Then.", " It was No more.", " So"]
    assert cut([text], exceptions=()) == ["In 2024.", " Then.", " It was No more.", " So"]
    assert cut([text], exceptions=[r"No more\."]) == ["In 2024.", " Then.", " It was No more. So"]


def test_an_exception_does_not_outlast_a_line():
    assert cut(["Dr.\nWho\n"]) == ["Dr.\n", "Who\n"]
