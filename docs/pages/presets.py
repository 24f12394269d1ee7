"""The page of presets: what the relay knows about each platform, and where the regions are."""

from __future__ import annotations

import dataclasses
import sys
from typing import Final

from pages.environment import environment_part
from pages.markdown import Undescribed, code, listed, page, table
from trunkline.admission import KNOWN_WINDOWS
from trunkline.core.events import Notice
from trunkline.core.request import TurnRequest
from trunkline.dialects.base import Ask, Setup
from trunkline.dialects.presets import GENESYS_REGIONS, PRESETS, Preset, PromptLimits, Retries
from trunkline.upstream_settings import UpstreamSettings

TRANSPORTS: Final = {"sse": "HTTP, server-sent events", "websocket": "WebSocket"}
SAID: Final = {
    Preset: {
        "make", "transport", "needs_prompt", "auth", "paths", "scopes", "token_style", "leeway_s", "limits", "address",
        "settings", "client_id_header", "turn_s", "retries",
    },
    PromptLimits: {
        "roles", "max_content_chars", "context_window", "max_output", "refused_options", "required", "takes_messages",
    },
    Retries: {"least_s", "base_s", "cap_s", "until_text"},
}  # fmt: skip
"""The fields that this page says something about; one that is not here makes it fail."""

INTRO: Final = """\
A preset is what the relay knows about a platform, so that an upstream needs little more than an address,
credentials and a model. It is the value of `preset` in [an upstream's settings](settings.md), where most of it can
be changed."""
SENT: Final = """\
Not every platform is sent the whole of a request. What its wire has no place for is left out, and a
[`notice`](events.md#notice) of kind `not_sent` names it; the turn goes on. With `genesys-conversations` that is the
prompt itself: the platform answers what stands in its own conversation, so that the customer's words have to be there
before the turn begins. An option that would change the answer (`tools`, say) is refused in place of left out."""
REGIONS: Final = "What `region` can be; capital letters and hyphens are understood as well (`EU-West-1`)."
PARTS: Final = {
    "system": "the system messages (`system`)",
    "history": "those before the user's last one (`history`)",
    "input": "the user's last message (`input`)",
    "temperature": "`temperature`",
    "max_tokens": "`max_tokens`",
    "stop": "`stop`",
    "seed": "other fields of OpenAI's chat request",
}
"""What a request may have, by the names that a `not_sent` has for it; `seed` stands for all options without a name."""
SWITCHES: Final = {"messages_field", "opening", "configure"}
"""The settings that say of a part whether it is sent."""
WINDOWS: Final = """\
In tokens, for the upstreams whose preset looks at the context window. What `[models.NAME]` says of a model comes
before it, and holds with every preset."""

Row = tuple[str, str, str]


def presets_page() -> str:
    """Write the page. Raises `Undescribed` where a preset has a field that this page says nothing about."""
    for kind, said in SAID.items():
        unsaid = {field.name for field in dataclasses.fields(kind)} - said
        if unsaid:
            raise Undescribed(f"the page of presets says nothing about {', '.join(sorted(unsaid))}")
    parts = []
    for name, preset in PRESETS.items():
        rows = [*_connection(preset), *(_oauth(name, preset) if preset.auth == "oauth" else _key()), *_prompt(preset)]
        parts += [f"## `{name}`", table(("", "value", "changed by"), rows)]
    regions = [(f"`{region}`", f"`https://api.{host}`") for region, host in GENESYS_REGIONS.items()]
    windows = [(f"`{model}`", str(window)) for model, window in KNOWN_WINDOWS.items()]
    parts += ["## From the environment alone", environment_part()]
    parts += ["## Regions of Genesys Cloud", REGIONS, table(("region", "address"), regions)]
    parts += ["## Context windows that are known", WINDOWS, table(("model", "tokens"), windows)]
    return page("Presets", INTRO, SENT, *parts)


def _connection(preset: Preset) -> list[Row]:
    paths = ", ".join(f"{name} `{path}`" for name, path in preset.paths.items())
    retries = preset.retries
    waits = f"after {retries.least_s:g} s to {retries.cap_s:g} s" if retries.least_s else f"within {retries.cap_s:g} s"
    until = "text" if retries.until_text else "byte of an answer"
    return [
        ("transport", TRANSPORTS[preset.transport], ""),
        ("wire", _wire(preset), ""),
        ("paths", paths, "`paths`"),
        ("a whole turn has", f"{preset.turn_s:g} s", "`timeouts.turn_s`"),
        ("a lost stream is asked for again", f"until the first {until}, {waits}", "`attempts`"),
        ("settings of its own", listed(sorted(preset.settings)) or "none", ""),
    ]


def _wire(preset: Preset) -> str:
    """Return the first line of the module that speaks the wire."""
    dialect = preset.make(Setup(preset.paths))
    return (sys.modules[type(dialect).__module__].__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _key() -> list[Row]:
    return [
        ("address", "none; it has to be given", "`base_url`"),
        ("credentials", "none, or a key that is sent as a bearer token", "`api_key`"),
    ]


def _oauth(name: str, preset: Preset) -> list[Row]:
    where = {"region": "eu_west_1", "environment": "trial.cognigy.ai"}[preset.address]
    table = {"preset": name, preset.address: where, "client_id": "id", "client_secret": "secret", "model": "model"}
    example = UpstreamSettings.model_validate(table)
    header = preset.client_id_header
    return [
        (
            "address",
            f"that of the {preset.address}, such as `{example.api_base}`",
            f"`{preset.address}` or `base_url`" + ("; `ws_url`" if preset.transport == "websocket" else ""),
        ),
        ("credentials", "OAuth client credentials", "`client_id`, `client_secret`"),
        ("tokens come from", f"the same address, such as `{example.token_url}`", "`login_url`"),
        ("the client is named in", f"`{header}`" if header else "the token alone", ""),
        ("scopes", listed(preset.scopes) or "none", "`scopes`"),
        ("token style", code(preset.token_style), "`token_style`"),
        ("a token is renewed", f"{preset.leeway_s:g} s before it expires", ""),
    ]


def _prompt(preset: Preset) -> list[Row]:
    limits = preset.limits
    chars, window = limits.max_content_chars, limits.context_window
    return [
        ("needs a prompt", "yes" if preset.needs_prompt else "no", ""),
        ("needs the ids", listed(limits.required) or "none", listed(limits.required)),
        *_sent(preset),
        ("longest answer", "any" if limits.max_output is None else f"{limits.max_output} tokens", "`[models.NAME]`"),
        ("roles of messages", listed(sorted(limits.roles)) if limits.roles is not None else "any", ""),
        ("longest message", "any" if chars is None else f"{chars} characters", "`max_content_chars`"),
        (
            "context window of a model that is not known",
            "not looked at" if window is None else f"{window} tokens",
            "`[models.NAME]`",
        ),
        ("options that are refused", listed(sorted(limits.refused_options)) or "none", ""),
    ]


def _sent(preset: Preset) -> list[Row]:
    """Ask the dialect, by a request that has everything."""
    said = {"system": "Be kind.", "user": "Hello.", "assistant": "Hi."}
    talk = [{"role": role, "content": content} for role, content in said.items()]
    last = {"role": "user", "content": "Where is my order?"}
    ids = dict.fromkeys(preset.limits.required, "id-1")
    options = {"temperature": 0.5, "max_tokens": 64, "stop": "END", "options": {"seed": 1}}
    request = TurnRequest.model_validate({"messages": [*talk, last], **options, **ids})
    items = preset.make(Setup(preset.paths)).start(Ask("turn", request, "model"), 0.0)
    left_out = [name for item in items if isinstance(item, Notice) for name in item.detail.split(", ")]
    return [
        (
            "is sent of a request",
            ", ".join(words for name, words in PARTS.items() if name not in left_out),
            listed(sorted(SWITCHES & preset.settings)),
        ),
        ("is left out, with `not_sent`", ", ".join(PARTS[name] for name in left_out) or "nothing", ""),
    ]
