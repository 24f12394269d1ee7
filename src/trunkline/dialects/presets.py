"""The presets: a dialect each, with one platform's defaults. All of them can be overridden in the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from trunkline.dialects.base import Dialect
from trunkline.dialects.openai_chat import OpenAIChat


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """What a platform takes of a prompt; None means that it is not looked at."""

    roles: frozenset[str] | None = None
    max_content_chars: int | None = None
    context_window: int | None = None
    refused_options: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Preset:
    """How one platform is spoken to. `make` builds the dialect of one turn from the paths."""

    make: Callable[[Mapping[str, str]], Dialect]
    transport: Literal["sse", "websocket"]
    needs_prompt: bool = True
    auth: Literal["key", "oauth"] = "key"
    paths: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    token_style: Literal["basic", "form", "json"] = "basic"  # noqa: S105 - no password
    leeway_s: float = 60.0
    limits: PromptLimits = PromptLimits()


def _openai(paths: Mapping[str, str]) -> Dialect:
    return OpenAIChat(path=paths["completions"])


def _genesys_completions(paths: Mapping[str, str]) -> Dialect:
    return OpenAIChat(
        path=paths["completions"], include_usage=False, fields=frozenset(), permission="the scope ai:llm:write"
    )


def _genesys_chat(paths: Mapping[str, str]) -> Dialect:
    return OpenAIChat(
        path=paths["completions"],
        include_usage=False,
        fields=frozenset({"temperature"}),
        permission="the scopes ai:llm:write ai:llm:read",
    )


# What would change the answer, and has no place in a body of Genesys.
_NOT_FOR_GENESYS: Final = frozenset({"tools", "tool_choice", "functions", "function_call", "response_format", "n"})

PRESETS: Final[dict[str, Preset]] = {
    "openai": Preset(_openai, "sse", paths={"completions": "/chat/completions"}),
    "genesys-completions": Preset(
        _genesys_completions,
        "sse",
        auth="oauth",
        paths={"completions": "/api/v2/ai/llm/completions", "token": "/oauth/token"},
        scopes=("ai:llm:write", "notifications:push:write", "openid"),
        limits=PromptLimits(refused_options=_NOT_FOR_GENESYS),
    ),
    "genesys-chat": Preset(
        _genesys_chat,
        "sse",
        auth="oauth",
        paths={"completions": "/api/v2/ai/llm/chat/completions", "token": "/login/oauth2/token"},
        scopes=("ai:llm:write", "ai:llm:read"),
        limits=PromptLimits(frozenset({"system", "user", "assistant"}), 4_096, 8_192, _NOT_FOR_GENESYS),
    ),
}

# The platform's own table of its regions, from its published Python SDK.
GENESYS_REGIONS: Final[dict[str, str]] = {
    "us_east_1": "mypurecloud.com",
    "us_east_2": "use2.us-gov-pure.cloud",
    "us_west_2": "usw2.pure.cloud",
    "ca_central_1": "cac1.pure.cloud",
    "mx_central_1": "mxc1.pure.cloud",
    "sa_east_1": "sae1.pure.cloud",
    "eu_west_1": "mypurecloud.ie",
    "eu_west_2": "euw2.pure.cloud",
    "eu_central_1": "mypurecloud.de",
    "eu_central_2": "euc2.pure.cloud",
    "eusc_de_east_1": "edee1.eusc-pure.cloud",
    "me_central_1": "mec1.pure.cloud",
    "ap_south_1": "aps1.pure.cloud",
    "ap_southeast_1": "apse1.pure.cloud",
    "ap_southeast_2": "mypurecloud.com.au",
    "ap_northeast_1": "mypurecloud.jp",
    "ap_northeast_2": "apne2.pure.cloud",
    "ap_northeast_3": "apne3.pure.cloud",
}
