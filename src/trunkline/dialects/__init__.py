"""The dialects: one platform wire each, and the presets that give a dialect one platform's defaults."""

from __future__ import annotations

from trunkline.dialects.openai_chat import OpenAIChat
from trunkline.dialects.presets import PRESETS

DIALECTS = {"openai_chat": OpenAIChat}

__all__ = ["DIALECTS", "PRESETS"]
