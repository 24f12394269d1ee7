"""The settings of upstreams: which platform, where it is, who asks, and how long everything may take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, WebsocketUrl, field_validator, model_validator

from trunkline.core.errors import nearest
from trunkline.dialects.presets import GENESYS_REGIONS, PRESETS
from trunkline.dialects.settings import WireSettings
from trunkline.guards.profiles import DEFAULT
from trunkline.secrets import Name, Secret

HOST: Final = r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?$"
PresetName = Literal[
    "openai", "genesys-completions", "genesys-chat", "genesys-conversations", "genesys-gateway", "cognigy"
]
Url = TypeVar("Url", HttpUrl, WebsocketUrl)


class Timeouts(BaseModel):
    """`[upstreams.NAME.timeouts]`: how long each step of a turn may take; each has an error of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_s: float = Field(default=10, gt=0, description="For TCP, and for TLS except on a WebSocket.")
    handshake_s: float = Field(default=10, gt=0, description="For TLS and the handshake of a WebSocket.")
    first_token_s: float = Field(default=20, gt=0, description="From the request to the first text.")
    between_tokens_s: float = Field(default=20, gt=0, description="Between two pieces of the answer.")
    turn_s: float = Field(default=120, gt=0, description="The whole turn; 60 with preset `cognigy`.")
    ping_every_s: float = Field(default=20, gt=0, description="On a WebSocket, between two pings of ours.")
    pong_within_s: float = Field(
        default=10, gt=0, description="Without an answer to a ping by then, or by the next one, the link is dead."
    )


class GeneralSettings(BaseModel):
    """The part of `[upstreams.NAME]` that is read whatever its dialect."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: PresetName = Field(description="Which platform this is: it decides the wire, the paths and the limits.")
    base_url: HttpUrl | None = Field(
        default=None,
        description="The platform's address; paths are added to it. Not needed with a region or an environment.",
    )
    region: str | None = Field(default=None, description="A Genesys Cloud region, such as eu_west_1.")
    environment: str | None = Field(
        default=None, pattern=HOST, description="The host of a Cognigy.AI environment, such as trial.cognigy.ai."
    )
    ws_url: HttpUrl | WebsocketUrl | None = Field(
        default=None, description="Where WebSockets are opened, if not at that address."
    )
    login_url: HttpUrl | None = Field(default=None, description="Where tokens are asked for, if not at that address.")
    api_key: Secret | None = Field(
        default=None, description='The key, sent as a bearer token: "env:NAME" or "file:PATH".'
    )
    client_id: Name | None = Field(default=None, description='The OAuth client; may be written "env:NAME".')
    client_secret: Secret | None = Field(default=None, description='Its secret: "env:NAME" or "file:PATH".')
    scopes: tuple[str, ...] | None = Field(default=None, description="Asked for in place of the preset's.")
    token_style: Literal["basic", "form", "json"] | None = Field(
        default=None,
        description="How the client says who it is, if not as the preset does: HTTP Basic, form body or JSON body.",
    )
    token_in: Literal["header", "subprotocol"] = Field(
        default="header", description="Where a WebSocket carries the token: `Authorization`, or as a subprotocol."
    )
    paths: dict[str, str] = Field(default_factory=dict, description="By name, in place of the preset's.")
    headers: dict[str, Secret] = Field(
        default_factory=dict, description="Sent with every request to the platform, by name."
    )
    model: str = Field(min_length=1, description="The model that the platform is asked for.")
    guards: str = Field(
        default=DEFAULT,
        description="What screens its answers: a ready profile, the name of a `[guards.NAME]`, or `none`.",
    )
    expect: Literal["json"] | None = Field(default=None, description="The answer is checked for being this.")
    on_unexpected: Literal["flag", "fail"] = Field(
        default="flag", description="An answer that is not what is expected gets a notice, or fails."
    )
    fallbacks: tuple[str, ...] = Field(
        default=(),
        description="Upstreams with the same `guards`, asked in this order where this one fails before its first text.",
    )
    attempts: int = Field(default=3, ge=1, le=10, description="How often a request is tried before its first text.")
    breaker_failures: int = Field(default=5, ge=1, description="After so many failures in a row it is left alone.")
    breaker_open_s: float = Field(default=10, gt=0, description="For how long it is left alone then.")
    max_answer_chars: int = Field(default=200_000, ge=1, description="A longer answer fails, with `answer_too_long`.")
    max_content_chars: int | None = Field(
        default=None, ge=1, description="The longest message of a prompt, in place of the preset's limit."
    )
    on_overflow: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="A prompt that does not fit the model's context window is refused, or loses its oldest messages.",
    )
    timeouts: Timeouts = Timeouts()


def _region_meant(given: str) -> str:
    """Say which region may be meant: by a name that is near, or by the host of one."""
    host = given.replace("_", "-").removeprefix("https://").rstrip("/")
    of_host = [region for region, domain in GENESYS_REGIONS.items() if f".{host}".endswith(f".{domain}")]
    if of_host:
        return f' Did you mean "{of_host[0]}"?'
    if "." in given:
        return " A region is a name such as eu_west_1; an address belongs into base_url."
    return nearest(given, GENESYS_REGIONS) or f" Known: {', '.join(GENESYS_REGIONS)}."


def misfits(preset_name: Any, fields: Mapping[str, Any]) -> str:
    """Say everything that a preset needs and does not have, and what it has no use for; nothing where all is well.

    `fields` is what an upstream's table gives, whether it can be read or not; None stands for what is not given.
    """
    preset = PRESETS.get(preset_name) if isinstance(preset_name, str) else None
    if preset is None:
        return ""
    given = {name for name, value in fields.items() if value is not None}
    faults = []
    unused = ["region", "environment"]
    if preset.auth == "oauth":
        faults += [f"{name} is required" for name in ("client_id", "client_secret") if not fields.get(name)]
        unused.append("api_key")
    else:
        unused += ["login_url", "client_id", "client_secret", "scopes", "token_style"]
    if preset.address == "none":
        faults += [] if "base_url" in given else ["base_url is required"]
    else:
        unused.remove(preset.address)
        if (preset.address in given) == ("base_url" in given):
            faults.append(f"give either {preset.address} or base_url")
    if preset.transport != "websocket":
        unused += ["ws_url", "token_in"]
    unused += sorted(WireSettings.model_fields.keys() - preset.settings)
    faults += [f"{name} is not used by it" for name in unused if name in given]
    paths = fields.get("paths")
    known = sorted(preset.paths)
    named = paths if isinstance(paths, Mapping) else {}
    faults += [f"there is no path {name!r}, only {', '.join(known)}" for name in named if name not in known]
    return f"with preset {preset_name!r}: {'; '.join(faults)}" if faults else ""


class UpstreamSettings(WireSettings, GeneralSettings):
    """`[upstreams.NAME]`: the name is what a client asks for as `model`, on native routes also as `upstream`."""

    @field_validator("base_url", "login_url", "ws_url")
    @classmethod
    def _holds_no_secret(cls, value: Url | None) -> Url | None:
        if value is not None and (value.username or value.password):
            raise ValueError("an address must not hold a user or a password: they would be printed")
        if value is not None and (value.query or value.fragment):
            raise ValueError("an address must not hold a query or a fragment: paths are added to it")
        return value

    @field_validator("region")
    @classmethod
    def _is_a_region(cls, value: str | None) -> str | None:
        if value is None:
            return None
        name = value.strip().lower().replace("-", "_")
        if name not in GENESYS_REGIONS:
            raise ValueError(f"there is no region {value!r}.{_region_meant(name)}")
        return name

    @model_validator(mode="after")
    def _fits_its_preset(self) -> UpstreamSettings:
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if detail := misfits(self.preset, given):
            raise ValueError(detail)
        return self

    @property
    def ids_to_name(self) -> list[str]:
        """The ids that the platform needs and that stand in no setting, so that each request must name them."""
        return [name for name in PRESETS[self.preset].limits.required if getattr(self, name) is None]

    @property
    def api_base(self) -> str:
        """The address of the platform's API, without a slash at its end."""
        if self.base_url is not None:
            return str(self.base_url).rstrip("/")
        if self.environment is not None:
            return f"https://{self.environment}"
        return f"https://api.{GENESYS_REGIONS[self.region or '']}"

    @property
    def stream_base(self) -> str:
        """The address at which streams are opened, by its HTTP scheme and without a slash at its end."""
        if self.ws_url is None:
            return self.api_base
        return re.sub(r"^ws", "http", str(self.ws_url).rstrip("/"))

    @property
    def limits_s(self) -> Timeouts:
        """The time-outs, with the preset's limit of a turn where the settings say none."""
        if "turn_s" in self.timeouts.model_fields_set:
            return self.timeouts
        return self.timeouts.model_copy(update={"turn_s": PRESETS[self.preset].turn_s})

    @property
    def all_paths(self) -> dict[str, str]:
        """The preset's paths with those of the settings over them."""
        return {**PRESETS[self.preset].paths, **self.paths}

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""
        base = str(self.login_url).rstrip("/") if self.login_url is not None else self.api_base
        return base + self.all_paths["token"]
