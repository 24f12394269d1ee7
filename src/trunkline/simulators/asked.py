"""What a chat completion request asks for, checked as a platform checks it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from trunkline.simulators.base import RefusalError

ROLES = ("system", "developer", "user", "assistant", "tool")
_MAX_CHOICES = 8
_MAX_STOPS = 4


@dataclass(slots=True)
class Message:
    """One message; content of several parts is the text of its text parts."""

    role: str
    content: str


@dataclass(slots=True)
class Asked:
    """One request for a completion; `max_tokens` is None where it has no limit."""

    model: str
    messages: list[Message]
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    max_tokens: int | None = None
    stops: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)

    @property
    def last_user_message(self) -> str:
        """The content of the last message from a user; empty where there is none."""
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def prompt(self) -> str:
        """All messages as `role: content` lines."""
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


def parse_json(body: bytes) -> object:
    """Read a JSON body; raises `RefusalError` where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise RefusalError(400, f"The body is not valid JSON: {problem}.") from None


def check(body: object) -> Asked:
    """Check the JSON body of a request; raises `RefusalError` that names the first wrong field."""
    if not isinstance(body, dict):
        raise RefusalError(400, "The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a string", model)
    _number(body, "temperature", 0, 2)
    streams = _flag(body, "stream")
    max_tokens = _whole(body, "max_tokens", 1)
    max_completion_tokens = _whole(body, "max_completion_tokens", 1)
    return Asked(
        model=model,
        messages=_messages(body.get("messages")),
        stream=streams,
        include_usage=_include_usage(body.get("stream_options"), streams=streams),
        n=_whole(body, "n", 1, _MAX_CHOICES) or 1,
        max_tokens=max_completion_tokens or max_tokens,
        stops=_stops(body.get("stop")),
        tools=_tools(body.get("tools")),
    )


def _messages(messages: object) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "a list of at least one message", messages)
    return [_message(f"messages[{place}]", message) for place, message in enumerate(messages)]


def _message(where: str, message: object) -> Message:
    if not isinstance(message, dict):
        raise _wrong(where, "an object", message)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise _wrong(f"{where}.role", f"one of {', '.join(ROLES)}", role)
    if isinstance(content, list):
        content = "".join(_part(f"{where}.content[{place}]", part) for place, part in enumerate(content))
    if content is not None and not isinstance(content, str):
        raise _wrong(f"{where}.content", "a string, a list of parts or null", content)
    return Message(role, content or "")


def _part(where: str, part: object) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _wrong(where, "an object with a type", part)
    if part["type"] != "text":
        return ""
    if not isinstance(part.get("text"), str):
        raise _wrong(f"{where}.text", "a string", part.get("text"))
    return str(part["text"])


def _include_usage(options: object, *, streams: bool) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _wrong("stream_options", "an object", options)
    if not streams:
        raise RefusalError(400, "'stream_options' is allowed only where 'stream' is true.", "stream_options")
    return _flag(options, "include_usage", "stream_options.")


def _stops(stop: object) -> list[str]:
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > _MAX_STOPS or not all(isinstance(one, str) for one in stops):
        raise _wrong("stop", f"a string or up to {_MAX_STOPS} strings", stop)
    return [one for one in stops if one]


def _tools(tools: object) -> list[str]:
    """Give the names of the functions; what is no function is passed over."""
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise _wrong("tools", "a list", tools)
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return [name for name in names if isinstance(name, str)]


def _flag(fields: dict[str, Any], name: str, prefix: str = "") -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(prefix + name, "a boolean", value)
    return bool(value)


def _whole(fields: dict[str, Any], name: str, low: int, high: int | None = None) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        raise _wrong(name, f"a whole number from {low}" + (f" to {high}" if high is not None else ""), value)
    return value


def _number(fields: dict[str, Any], name: str, low: float, high: float) -> None:
    value = fields.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise _wrong(name, f"a number from {low} to {high}", value)


def _wrong(param: str, expected: str, received: object) -> RefusalError:
    shown = json.dumps(received)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."  # noqa: PLR2004 - a line of an error message
    code = "missing_required_parameter" if received is None else "invalid_value"
    return RefusalError(400, f"'{param}' must be {expected}, received {shown}.", param, code)
