"""Who may start a turn, and with what: routing to an upstream, and whether the request fits it."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.core.errors import RequestRefused, nearest
from trunkline.core.request import TurnRequest
from trunkline.upstreams import Upstream


class Admission:
    """Decides before a turn exists. What it refuses is not a turn: nothing is asked of a platform, nothing logged."""

    def __init__(self, upstreams: Mapping[str, Upstream], default: str | None) -> None:
        self._upstreams = upstreams
        self._default = default

    @property
    def names(self) -> list[str]:
        """The names that a client may ask for as `model`."""
        return list(self._upstreams)

    def admit(self, request: TurnRequest) -> tuple[Upstream, str]:
        """Return the upstream and the platform's model for a request. Raises `RequestRefused`."""
        upstream, model = self._route(request)
        if upstream.needs_prompt and not request.prompt():
            raise RequestRefused(
                "input_required",
                f"Upstream {upstream.name!r} needs a prompt: give `messages` or `input`.",
            )
        return upstream, model

    def _route(self, request: TurnRequest) -> tuple[Upstream, str]:
        if request.upstream is not None:
            upstream = self._find(request.upstream)
            return upstream, request.model or upstream.settings.model
        if request.model is not None:
            # A platform's model may hold a slash of its own, so the whole name is tried before its first part.
            if request.model in self._upstreams:
                upstream = self._upstreams[request.model]
                return upstream, upstream.settings.model
            name, slash, model = request.model.partition("/")
            upstream = self._find(name, asked=request.model)
            return upstream, model if slash and model else upstream.settings.model
        if self._default is None:
            raise RequestRefused(
                "model_required",
                f"There are several upstreams; name one: {', '.join(self._upstreams)}.",
            )
        upstream = self._find(self._default)
        return upstream, upstream.settings.model

    def _find(self, name: str, asked: str | None = None) -> Upstream:
        upstream = self._upstreams.get(name)
        if upstream is None:
            known = ", ".join(self._upstreams)
            hint = nearest(name, self._upstreams)
            detail = f"There is no upstream {(asked or name)[:100]!r}.{hint} There is: {known}."
            raise RequestRefused("model_not_found", detail, status=404)
        return upstream
