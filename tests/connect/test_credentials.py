"""Keys as headers, and our secrets in the words of others: none stays, wherever they were cut."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from trunkline.connect.credentials import SHORTEST_SECRET, ApiKey, without_secrets

LETTERS = st.text(string.ascii_letters + string.digits + "+/=.", max_size=30)
AROUND = LETTERS | st.sampled_from(["\x1b[31m", "\n", "ü", "[secret]"])


async def test_a_key_is_shown_as_a_bearer_token_or_in_a_header_of_its_own():
    key = SecretStr("sk-123456")
    assert await ApiKey(key).headers() == {"authorization": "Bearer sk-123456"}
    assert await ApiKey(key, "X-Api-Key").headers() == {"x-api-key": "sk-123456"}
    assert await ApiKey(None).headers() == {}
    assert (ApiKey(key).secrets(), ApiKey(None).secrets()) == (["sk-123456"], [])


@given(st.lists(LETTERS, max_size=4), st.lists(AROUND, max_size=6))
def test_no_secret_and_no_control_character_stays(secrets, around):
    words = "".join(part + secret for part in around for secret in ["", *secrets])
    left = without_secrets(words, secrets)
    assert left.isprintable()
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET and secret not in "[secret]":
            assert secret not in left


@given(st.lists(LETTERS, max_size=4), st.integers(0, 200))
def test_words_without_a_secret_stay_as_they_are(secrets, cut):
    words = ("The model is not published here, ask someone who may publish it. " * 4)[:cut]
    assert without_secrets(words, [f"#{secret}" for secret in secrets]) == words


@pytest.mark.parametrize("shown", range(SHORTEST_SECRET, 20))
def test_the_head_of_a_secret_goes_too_where_the_words_were_cut(shown):
    secret = "abcdefghijklmnopqrst"
    assert without_secrets(f"it was {secret[:shown]}", ["another", secret]) == "it was [secret]"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("a key of five stays: abcde", "a key of five stays: abcde"),
        ("it goes whole: longer-than-that", "it goes whole: [secret]"),
        ("longer, twice: longer", "[secret], twice: [secret]"),
        ("one\r\nline\x00\x1b]0;title\x07", "one  line  ]0;title "),
    ],
)
def test_secrets_in_words(words, left):
    assert without_secrets(words, ["abcde", "longer", "longer-than-that", ""]) == left
