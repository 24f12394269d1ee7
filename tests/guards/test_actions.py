"""What actions write, and what a conversation's secrets keep."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from trunkline.guards.actions import Secrets, written
from trunkline.guards.rule import Action, Rule


def write(action: Action, value: str, replacement: str | None = None) -> str:
    secrets = Secrets(b"key")
    rule = Rule("us_ssn", "x", action, replacement=replacement)
    return written(rule, value, secrets.digest(rule.name, value), secrets)


def test_mask_writes_the_name_or_the_replacement() -> None:
    assert write("mask", "536-22-1234") == "[US_SSN]"
    assert write("mask", "536-22-1234", "***") == "***"
    assert write("mask", "536-22-1234", "") == ""


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("4111 1111 1111 1234", "**** **** **** 1234"),
        ("536-22-1234", "***-**-*234"),
        ("a@b.co", "*@*.*o"),
        ("ann.lee@example.com", "***.***@******e.com"),
        ("12", "**"),
        ("123", "**3"),
        ("12345678901", "********901"),
        ("123456789012", "********9012"),
        ("--", "--"),
    ],
)
def test_partial_keeps_the_last_four_letters_and_digits_but_no_more_than_a_third(value: str, kept: str) -> None:
    assert write("partial", value) == kept
    shown = sum(char.isalnum() for char in kept)
    assert shown <= min(4, sum(char.isalnum() for char in value) // 3)


def test_hash_writes_the_keyed_digest_of_the_normalised_value() -> None:
    expected = hmac.new(b"key", b"us_ssn\x00536221234", hashlib.sha256).hexdigest()[:16]
    assert write("hash", "536-22-1234") == f"[US_SSN:{expected}]"
    assert write("hash", "536 22 1234") == f"[US_SSN:{expected}]"
    assert Secrets(b"other").digest("us_ssn", "536-22-1234") != expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ann.Lee@Example.com", "ann.lee@example.com", True),
        ("4111 1111-1111", "411111111111", True),
        ("+49 (30) 12", "+49 30/12", True),
        ("1.11.1.1", "11.1.1.1", False),
        ("a+b@c.de", "ab@c.de", False),
        ("a_b", "ab", False),
    ],
)
def test_spellings_of_one_value_have_one_digest_and_values_their_own(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    secrets = Secrets(b"key")
    assert (secrets.digest("rule", one) == secrets.digest("rule", other)) is same
    assert secrets.digest("rule", one) != secrets.digest("other", one)


def test_a_pseudonym_is_the_same_for_the_same_value_all_through_the_conversation() -> None:
    secrets = Secrets(b"key")
    email, phone = Rule("email", "x", "pseudonym"), Rule("phone", "x", "pseudonym")
    values = [(email, "a@b.co"), (phone, "123"), (email, "c@d.co"), (email, "A@B.co"), (phone, "456"), (phone, "12-3")]
    names = [written(rule, value, secrets.digest(rule.name, value), secrets) for rule, value in values]
    assert names == ["[EMAIL_1]", "[PHONE_1]", "[EMAIL_2]", "[EMAIL_1]", "[PHONE_2]", "[PHONE_1]"]
    assert not [value for _, value in values if value in repr(secrets._names)]


def test_a_value_of_a_broken_character_has_a_digest_too() -> None:
    assert len(Secrets(b"key").digest("rule", "\ud800")) == 16


@pytest.mark.parametrize("action", ["remove", "flag", "block", "allow"])
def test_other_actions_write_nothing_of_their_own(action: Action) -> None:
    with pytest.raises(ValueError, match="writes nothing"):
        write(action, "x")
