"""The reference pages, by the name of their file. Each is a function of the code alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pages.command_line import command_line_page
from pages.events import events_page
from pages.metrics import metrics_page
from pages.presets import presets_page
from pages.reasons import reasons_page
from pages.settings import settings_page

PAGES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "presets.md": presets_page,
    "command-line.md": command_line_page,
    "events.md": events_page,
    "reasons.md": reasons_page,
    "metrics.md": metrics_page,
}
