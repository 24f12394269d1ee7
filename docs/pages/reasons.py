"""The page of reasons: the closed table of how a turn may end."""

from __future__ import annotations

from typing import Final

from pages.markdown import page, table
from trunkline.core.errors import REASONS

INTRO: Final = """\
Every turn ends in exactly one [`ended`](events.md#ended) event, with one of these reasons. The list is closed. The
status is that of the HTTP answer where the end comes before its headers went out; later, the end is an event. What
becomes of a turn under every fault of a platform is measured in [the fault matrix](../fault-matrix.md)."""


def reasons_page() -> str:
    """Write the page."""
    rows = [(reason.outcome, f"`{reason.code}`", str(reason.status), reason.meaning) for reason in REASONS.values()]
    return page("How a turn ends", INTRO, table(("outcome", "reason", "status", "meaning"), rows))
