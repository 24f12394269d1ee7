"""Which parts of a request a wire has a place for: what is asked, and a notice of what is not sent."""

from __future__ import annotations

from collections.abc import Collection

from trunkline.core.events import Notice
from trunkline.core.request import TurnRequest


def unsent(request: TurnRequest, sent: Collection[str]) -> list[Notice]:
    """Return a notice of what a request has and `sent` does not name, or nothing where all is sent.

    The prompt has three names: `system`, `input` (the last message of the user) and `history` (all others).
    """
    prompt = request.prompt()
    talk = [message for message in prompt if not message.is_system]
    asked = last_input(request) is not None
    has = {
        "system": len(talk) < len(prompt),
        "history": len(talk) > asked,
        "input": asked,
        "temperature": request.temperature is not None,
        "max_tokens": request.max_tokens is not None,
        "stop": request.stop is not None,
        **dict.fromkeys(sorted(request.options), True),
    }
    left_out = [name for name, given in has.items() if given and name not in sent]
    return [Notice("not_sent", ", ".join(left_out))] if left_out else []


def last_input(request: TurnRequest) -> str | None:
    """Return what the user said last; None where the request has no message of the user."""
    return next((message.text() for message in reversed(request.prompt()) if message.role == "user"), None)
