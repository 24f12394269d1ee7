"""The pieces of an OpenAI stream, and the ends that many scripts have in common."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

from trunkline.core.events import Ended
from trunkline.dialects.base import Loss

DONE = b"data: [DONE]\n\n"
CLEAN = Loss(clean=True)
BROKEN = Loss(clean=False, detail="the connection was reset")
STOPPED = Ended("completed", "stop", "stop")
UNREADABLE = Ended("failed", "upstream_protocol", detail=ANY)


def data(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def choice(content: str | None = None, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    delta = delta if content is None else {"content": content, **delta}
    return {"index": index, "delta": delta, "finish_reason": finish}


def chunk(*args: Any, **kwargs: Any) -> bytes:
    return data({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice(*args, **kwargs)]})


def failed(reason: str, detail: Any = ANY) -> Ended:
    return Ended("failed", reason, detail=detail)
