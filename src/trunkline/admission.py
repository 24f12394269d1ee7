"""Who may start a turn, and with what: routing to an upstream, and whether the request fits it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from trunkline.attempts import Route
from trunkline.core.errors import Fault, RequestRefused, nearest
from trunkline.core.events import Notice
from trunkline.core.request import Message, TurnRequest
from trunkline.guards.known_terms import known_terms
from trunkline.tokens import count_prompt
from trunkline.upstreams import Upstream

# What the wire of the Genesys models says of them; `[models.NAME]` says it of others.
KNOWN_WINDOWS: Final[dict[str, int]] = {"gpt-4-1106-preview": 128_000, "gpt-3.5-turbo-16k": 16_385}


class ModelSettings(BaseModel):
    """`[models.NAME]`: what a platform's model takes, by the platform's name of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context_window: int = Field(ge=1, description="Tokens of the prompt and the answer together.")
    max_output: int | None = Field(
        default=None, ge=1, description="Tokens of the answer at most; a request for more is refused."
    )


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may become a turn, as it is to be asked, and the ways to ask it in their order."""

    request: TurnRequest
    routes: tuple[Route, ...]
    prompt_tokens: int
    notices: tuple[Notice, ...] = ()


class Admission:
    """Decides before a turn exists. What it refuses is not a turn: nothing is asked of a platform, nothing logged."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], default: str | None, models: Mapping[str, ModelSettings] | None = None
    ) -> None:
        self._upstreams = upstreams
        self._default = default
        self._models = models or {}

    @property
    def names(self) -> list[str]:
        """The names that a client may ask for as `model`."""
        return list(self._upstreams)

    def admit(self, request: TurnRequest) -> Admitted:
        """Route a request and check it against its upstream. Raises `RequestRefused`."""
        _check_text(request)
        route = self._route(request)
        upstream, model = route
        messages = request.prompt()
        if upstream.needs_prompt and not messages:
            raise RequestRefused(
                "input_required", f"Upstream {upstream.name!r} needs a prompt: give `messages` or `input`."
            )
        request = _with_ids(request, upstream)
        _check_terms(request)
        _check_messages(messages, upstream)
        _check_options(request, upstream)
        fallbacks = [self._upstreams[name] for name in upstream.settings.fallbacks]
        routes = (route, *(Route(other, other.settings.model) for other in fallbacks))
        tokens = count_prompt(messages, model)
        window = self._window(upstream, model)
        room = None if window is None else window - (request.max_tokens or 0)
        self._check_output(request, upstream, model)
        if room is None or tokens <= room:
            return Admitted(request, routes, tokens)
        kept = _newest_that_fit(messages, room, model) if upstream.settings.on_overflow == "truncate" else None
        if kept is None:
            asked = tokens + (request.max_tokens or 0)
            raise RequestRefused("context_window_exceeded", f"Context window exceeded: {asked} > {window}")
        dropped = len(messages) - len(kept)
        fitting = request.model_copy(update={"messages": tuple(kept), "input": None})
        notice = Notice("truncated", f"{dropped} of {len(messages)} messages left out to fit {window} tokens")
        return Admitted(fitting, routes, count_prompt(kept, model), (notice,))

    def _route(self, request: TurnRequest) -> Route:
        if request.upstream is not None:
            upstream = self.find(request.upstream)
            return Route(upstream, request.model or upstream.settings.model)
        if request.model is not None:
            # A platform's model may hold a slash of its own, so the whole name is tried before its first part.
            if request.model in self._upstreams:
                upstream = self._upstreams[request.model]
                return Route(upstream, upstream.settings.model)
            name, slash, model = request.model.partition("/")
            upstream = self.find(name, asked=request.model)
            return Route(upstream, model if slash and model else upstream.settings.model)
        if self._default is None:
            raise RequestRefused(
                "model_required", f"There are several upstreams; name one: {', '.join(self._upstreams)}."
            )
        upstream = self.find(self._default)
        return Route(upstream, upstream.settings.model)

    def find(self, name: str, asked: str | None = None) -> Upstream:
        """Return an upstream by its name. Raises `RequestRefused` with the nearest name."""
        upstream = self._upstreams.get(name)
        if upstream is None:
            known = ", ".join(self._upstreams)
            hint = nearest(name, self._upstreams)
            detail = f"There is no upstream {(asked or name)[:100]!r}.{hint} There is: {known}."
            raise RequestRefused("model_not_found", detail, status=404)
        return upstream

    def _window(self, upstream: Upstream, model: str) -> int | None:
        """Return the context window of a model: configured, known, or what its platform has at least."""
        if model in self._models:
            return self._models[model].context_window
        least = upstream.limits.context_window
        return None if least is None else KNOWN_WINDOWS.get(model, least)

    def _check_output(self, request: TurnRequest, upstream: Upstream, model: str) -> None:
        limit = self._models[model].max_output if model in self._models else None
        limit = upstream.limits.max_output if limit is None else limit
        asked = upstream.settings.max_tokens if request.max_tokens is None else request.max_tokens
        if limit is not None and asked is not None and asked > limit:
            detail = f"max_tokens is {asked}, and {model} gives at most {limit}."
            raise RequestRefused("invalid_request", detail, faults=[Fault("/max_tokens", detail)])


def _with_ids(request: TurnRequest, upstream: Upstream) -> TurnRequest:
    """Add the ids that the platform needs and only the settings have. Raises where neither has one."""
    added: dict[str, str] = {}
    for name in upstream.limits.required:
        given = getattr(request, name) or getattr(upstream.settings, name)
        if given is None:
            detail = f"Upstream {upstream.name!r} needs a {name}: give it in the request or in the settings."
            raise RequestRefused(f"{name.removesuffix('_id')}_required", detail, faults=[Fault(f"/{name}", detail)])
        added[name] = given
    return request.model_copy(update=added) if added else request


def _check_text(request: TurnRequest) -> None:
    """Refuse half a surrogate pair, which JSON can spell and no platform can be sent."""
    try:
        msgspec.json.encode(request.model_dump())
    except UnicodeEncodeError:
        raise RequestRefused("invalid_request", "The request holds a lone surrogate, which is no character.") from None


def _check_terms(request: TurnRequest) -> None:
    """Refuse terms that nothing could be matched with."""
    try:
        if request.terms:
            known_terms(request.terms)
    except ValueError as error:
        raise RequestRefused("invalid_request", str(error), faults=[Fault("/terms", str(error))]) from None


def _check_messages(messages: Sequence[Message], upstream: Upstream) -> None:
    limits = upstream.limits
    faults = []
    if not limits.takes_messages and any(not message.is_system for message in messages):
        detail = f"Upstream {upstream.name!r} takes no messages: its platform has the prompt."
        raise RequestRefused("unsupported_parameter", detail, faults=[Fault("/messages", detail)])
    for n, message in enumerate(messages):
        if limits.roles is not None and message.role not in limits.roles:
            known = ", ".join(sorted(limits.roles))
            faults.append(Fault(f"/messages/{n}/role", f"got {message.role!r}, the platform takes {known}"))
        size = len(message.text())
        if limits.max_content_chars is not None and size > limits.max_content_chars:
            detail = f"has {size} characters, the platform takes {limits.max_content_chars}"
            faults.append(Fault(f"/messages/{n}/content", detail))
    if faults:
        first = faults[0]
        raise RequestRefused("invalid_request", f"{first.pointer}: {first.detail}", faults=faults)


def _check_options(request: TurnRequest, upstream: Upstream) -> None:
    """Refuse what would change the answer and cannot be passed on; what only colours it is left out with a Notice."""
    asked = {name for name, value in request.options.items() if (name, value) != ("n", 1)}
    refused = sorted(upstream.limits.refused_options & asked)
    if refused:
        detail = f"Upstream {upstream.name!r} cannot pass on {', '.join(refused)}."
        faults = [Fault(f"/{name}", "not supported by this upstream") for name in refused]
        raise RequestRefused("unsupported_parameter", detail, faults=faults)


def _newest_that_fit(messages: Sequence[Message], room: int, model: str) -> list[Message] | None:
    """Keep the system messages and as many of the newest others as fit; None where not even the newest does.

    A tool's result stays with the call that asked for it: the two go or stay together.
    """
    system = [message for message in messages if message.is_system]
    groups: list[list[Message]] = []
    for message in messages:
        if message.is_system:
            continue
        if message.role == "tool" and groups:
            groups[-1].append(message)
        else:
            groups.append([message])

    def newest(count: int) -> list[Message]:
        return [*system, *chain.from_iterable(groups[len(groups) - count :])]

    # More groups never take fewer tokens, so a dozen counts find the place among thousands of messages.
    fits = bisect_right(range(1, len(groups) + 1), room, key=lambda count: count_prompt(newest(count), model))
    return newest(fits) if fits else None
