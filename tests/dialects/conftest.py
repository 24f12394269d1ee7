"""A dialect in the middle of its answer, as most scripts begin; at the end of a test nothing may be left unnamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import ANY

import pytest

from dialects.playbook import Opened, Playbook, ask
from trunkline.dialects.base import Open
from trunkline.dialects.openai_chat import OpenAIChat


@pytest.fixture
def play() -> Iterator[Callable[..., Playbook]]:
    """Make playbooks of the OpenAI dialect, asked and opened; `play(content_type, **fields_of_the_request)`."""
    made: list[Playbook] = []

    def make(content_type: str = "text/event-stream", **fields: Any) -> Playbook:
        playbook = Playbook(OpenAIChat())
        made.append(playbook)
        playbook >> ask(**fields) << Open("POST", "/chat/completions", ANY, ANY)
        return playbook >> Opened({"content-type": content_type})

    yield make
    for playbook in made:
        playbook.over()
