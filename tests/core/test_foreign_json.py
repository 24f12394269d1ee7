"""JSON as platforms send it: halves of characters stay what they are, anything else must be JSON of the shape."""

from __future__ import annotations

import msgspec
import pytest

from trunkline.core.foreign_json import UNREADABLE, reader


class _Shape(msgspec.Struct):
    text: str


def test_json_is_read_into_its_shape():
    assert reader(_Shape)(b'{"text":"Stra\xc3\x9fe","more":1}').text == "Straße"


@pytest.mark.parametrize(("escape", "half"), [(b"\\ud83d", "\ud83d"), (b"\\uDE00", "\ude00")])
def test_half_a_character_stays_half_a_character(escape: bytes, half: str):
    assert reader(_Shape)(b'{"text":"a%sb"}' % escape).text == f"a{half}b"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"text":1}', b"[1]", b'{"text":"\xff"}', b'{"text":"\\ud83d"', b'["\\ud83d"]', b"[" * 100_000],
)
def test_anything_else_is_unreadable(data: bytes):
    with pytest.raises(UNREADABLE):
        reader(_Shape)(data)
