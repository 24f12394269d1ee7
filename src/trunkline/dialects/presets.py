"""The presets: a dialect each, with one platform's defaults. All of them can be overridden in the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from trunkline.dialects.base import Dialect, Setup
from trunkline.dialects.cognigy import Cognigy
from trunkline.dialects.genesys_conversations import GenesysConversations
from trunkline.dialects.genesys_gateway import GenesysGateway
from trunkline.dialects.openai_chat import OpenAIChat

RequestId = Literal["conversation_id", "dialog_id", "prompt_id"]


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """What a platform takes of a request, and what it needs; None means that it is not looked at."""

    roles: frozenset[str] | None = None
    max_content_chars: int | None = None
    context_window: int | None = None
    max_output: int | None = None
    refused_options: frozenset[str] = frozenset()
    required: tuple[RequestId, ...] = ()
    takes_messages: bool = True


@dataclass(frozen=True, slots=True)
class Retries:
    """How a preset tries again before its first text: the shortest and the longest wait, and what the waits grow from.

    `until_text`: a link that is lost is tried again until there is text, not only until there is any byte.
    """

    least_s: float = 0.0
    base_s: float = 0.5
    cap_s: float = 10.0
    until_text: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """How one platform is spoken to.

    `make` builds the dialect of one turn, and `settings` names what of `WireSettings` that dialect reads;
    `client_id_header` is where the platform wants the OAuth client named beside its token.
    """

    make: Callable[[Setup], Dialect]
    transport: Literal["sse", "websocket"]
    needs_prompt: bool = True
    auth: Literal["key", "oauth"] = "key"
    paths: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    token_style: Literal["basic", "form", "json"] = "basic"  # noqa: S105 - no password
    leeway_s: float = 60.0
    limits: PromptLimits = PromptLimits()
    address: Literal["region", "environment", "none"] = "none"
    settings: frozenset[str] = frozenset()
    client_id_header: str = ""
    turn_s: float = 120.0
    retries: Retries = Retries()


def _openai(setup: Setup) -> Dialect:
    return OpenAIChat(path=setup.paths["completions"])


def _genesys_completions(setup: Setup) -> Dialect:
    return OpenAIChat(
        path=setup.paths["completions"], include_usage=False, fields=frozenset(), permission="the scope ai:llm:write"
    )


def _genesys_chat(setup: Setup) -> Dialect:
    return OpenAIChat(
        path=setup.paths["completions"],
        include_usage=False,
        fields=frozenset({"temperature"}),
        permission="the scopes ai:llm:write ai:llm:read",
    )


# What would change the answer, and has no place on the wires of Genesys and Cognigy.
_NOT_SENT: Final = frozenset({"tools", "tool_choice", "functions", "function_call", "response_format", "n"})

PRESETS: Final[dict[str, Preset]] = {
    "openai": Preset(_openai, "sse", paths={"completions": "/chat/completions"}),
    "genesys-completions": Preset(
        _genesys_completions,
        "sse",
        auth="oauth",
        paths={"completions": "/api/v2/ai/llm/completions", "token": "/oauth/token"},
        scopes=("ai:llm:write", "notifications:push:write", "openid"),
        address="region",
        limits=PromptLimits(refused_options=_NOT_SENT),
    ),
    "genesys-chat": Preset(
        _genesys_chat,
        "sse",
        auth="oauth",
        paths={"completions": "/api/v2/ai/llm/chat/completions", "token": "/login/oauth2/token"},
        scopes=("ai:llm:write", "ai:llm:read"),
        address="region",
        limits=PromptLimits(
            frozenset({"system", "user", "assistant"}), 4_096, context_window=8_192, refused_options=_NOT_SENT
        ),
    ),
    "genesys-conversations": Preset(
        GenesysConversations,
        "websocket",
        needs_prompt=False,
        auth="oauth",
        paths={
            "quotas": "/api/v2/ai/models/{model}/quotas",
            "stream": "/api/v2/conversations/websocket",
            "token": "/oauth/token",
        },
        scopes=("ai:read", "conversations:read", "ai:chat:stream"),
        token_style="form",  # noqa: S106 - no password
        address="region",
        limits=PromptLimits(refused_options=_NOT_SENT, required=("conversation_id",)),
        settings=frozenset({"conversation_id", "max_tokens", "replay", "reorder_window", "gap_s", "quota_fresh_s"}),
    ),
    "genesys-gateway": Preset(
        GenesysGateway,
        "websocket",
        needs_prompt=False,
        auth="oauth",
        paths={"stream": "/api/v2/ai/llm/gateway/completions/stream", "token": "/oauth/token"},
        scopes=("ai:llm:gateway:use", "ai:llm:gateway:stream", "ai:llm:prompt:read"),
        leeway_s=300.0,
        address="region",
        limits=PromptLimits(max_output=4_096, refused_options=_NOT_SENT, required=("prompt_id",)),
        settings=frozenset({"prompt_id", "max_tokens", "temperature", "context_format", "messages_field", "ready_s"}),
        client_id_header="x-genesys-client-id",
        retries=Retries(least_s=2.0, base_s=4.0),
    ),
    "cognigy": Preset(
        Cognigy,
        "websocket",
        needs_prompt=False,
        auth="oauth",
        paths={"config": "/api/v2/llm/gateway/config", "stream": "/api/v2/llm/stream", "token": "/api/v2/oauth/token"},
        scopes=("llm:stream", "bot:dialog:write", "api:access"),
        token_style="json",  # noqa: S106 - no password
        address="environment",
        limits=PromptLimits(refused_options=_NOT_SENT, required=("dialog_id",)),
        settings=frozenset({"dialog_id", "max_tokens", "temperature", "configure", "opening", "byte_tokens"}),
        turn_s=60.0,
        retries=Retries(until_text=True),
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
