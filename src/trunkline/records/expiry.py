"""What is deleted as a whole when its time is over: claims, conversation keys, and that a turn was forgotten."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Delete, bindparam, delete, select, tuple_

from trunkline.records.tables import CLAIMS, CONVERSATION_KEYS, TURNS

FORGOTTEN_FOR_MS: Final = 30 * 86_400_000
"""For so long a forgotten turn is told from one that never was."""


def _oldest(time: Any, over: ColumnElement[bool]) -> Delete:
    keys = time.table.primary_key.columns
    some = select(*keys).where(over).order_by(time).limit(bindparam("at_most"))
    return delete(time.table).where(tuple_(*keys).in_(some))


_TIME: Final[BindParameter[int]] = bindparam("time_ms")

CLAIMS_OVER: Final = _oldest(CLAIMS.c.until_ms, CLAIMS.c.until_ms <= _TIME)
"""Deletes up to `at_most` claims that stood until `time_ms` or before."""

KEYS_UNUSED: Final = _oldest(CONVERSATION_KEYS.c.used_ms, CONVERSATION_KEYS.c.used_ms < _TIME)
"""Deletes up to `at_most` keys of conversations that were used last before `time_ms`."""

FORGOTTEN_LONG_AGO: Final = _oldest(TURNS.c.forgotten_ms, TURNS.c.forgotten_ms < _TIME)
"""Deletes what is left of up to `at_most` turns that were forgotten before `time_ms`."""
