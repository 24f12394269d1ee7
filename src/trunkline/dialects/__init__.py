"""The dialects: one platform wire each, and the presets that give a dialect one platform's defaults."""

from __future__ import annotations

from trunkline.dialects.presets import PRESETS

__all__ = ["PRESETS"]
