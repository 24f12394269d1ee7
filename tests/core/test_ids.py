"""Turn ids are UUIDv7 and grow with time; ids from outside have one closed form."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.ids import is_client_id, is_turn_id, turn_id

times = st.integers(0, 2**48 - 1)
randoms = st.binary(min_size=10, max_size=10)


def as_uuid(turn: str) -> uuid.UUID:
    return uuid.UUID(turn.removeprefix("turn_"))


def test_the_example_of_the_rfc():
    # RFC 9562, appendix A.6: 2022-02-22T19:22:22Z, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    random = (0xCC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert turn_id(0x017F22E279B0, random) == "turn_017f22e279b07cc398c4dc0c0c07398f"


@given(times, randoms)
def test_an_id_has_the_layout_of_a_uuid_of_version_7(unix_ms: int, random: bytes):
    made = turn_id(unix_ms, random)
    assert is_turn_id(made)
    assert is_client_id(made)
    value = as_uuid(made)
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == unix_ms
    number = int.from_bytes(random, "big")
    assert value.int >> 64 & 0xFFF == number >> 64 & 0xFFF
    assert value.int & (1 << 62) - 1 == number & (1 << 62) - 1


@given(times, times, randoms, randoms)
def test_a_later_id_sorts_after_an_earlier_one(a_ms: int, b_ms: int, a: bytes, b: bytes):
    if a_ms != b_ms:
        assert (turn_id(a_ms, a) < turn_id(b_ms, b)) == (a_ms < b_ms)


@pytest.mark.parametrize("size", [0, 9, 11, 16])
def test_too_few_or_too_many_random_bytes_are_refused_with_both_numbers(size: int):
    with pytest.raises(ValueError, match=f"expected 10 random bytes, got {size}"):
        turn_id(0, bytes(size))


HEX = "0123456789abcdef0123456789abcdef"


LENGTHS = ["", "turn_", HEX, f"turn_{HEX[1:]}", f"turn_{HEX}0", f"turn_{HEX}\n", f" turn_{HEX}"]
CHARACTERS = [f"TURN_{HEX}", f"turn_{HEX.upper()}", f"turn_{HEX[1:]}٣", f"turn_{HEX[1:]}/", f"turn_{uuid.UUID(HEX)}"]


@pytest.mark.parametrize("value", LENGTHS + CHARACTERS, ids=repr)
def test_what_is_no_turn_id_is_known(value: str):
    assert not is_turn_id(value)


@pytest.mark.parametrize("value", ["a", "A.b_c:d-9", "-", "..", "x" * 128])
def test_an_id_from_outside_may_be(value: str):
    assert is_client_id(value)


BAD_IDS = ["", "x" * 129, "a b", "a\n", "\na", "a/b", "a%2f", "ä", "٣", "a\0", "a\r\nx: y", "a,b", "a?b", "a#b"]


@pytest.mark.parametrize("value", BAD_IDS, ids=repr)
def test_an_id_from_outside_may_not_be(value: str):
    assert not is_client_id(value)


@given(st.text(max_size=6))
def test_an_id_from_outside_needs_no_escaping_anywhere(value: str):
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")
    assert is_client_id(value) == (value != "" and set(value) <= allowed)
