"""The settings of a relay: composed of each family's own, from a file and the environment, checked as a whole."""

from __future__ import annotations

import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trunkline.admission import ModelSettings
from trunkline.core.errors import Fault, SettingsError, nearest
from trunkline.core.ids import CLIENT_ID_PATTERN
from trunkline.cross_checks import cross_faults
from trunkline.endpoints.settings import FallbackTexts, KeySettings, ServerSettings
from trunkline.environment import settings_from
from trunkline.guards.chain import Guard
from trunkline.guards.profiles import NONE
from trunkline.guards.settings import GuardSettings
from trunkline.secrets import is_literal
from trunkline.stores.settings import StoreSettings
from trunkline.upstream_settings import HOST, UpstreamSettings

PREFIX: Final = "TRUNKLINE__"
_LANGUAGE: Final = r"^[A-Za-z0-9-]{1,35}$"
_NAME: Final = r"^[A-Za-z0-9._:-]{1,64}$"
Language = Annotated[str, Field(pattern=_LANGUAGE)]
UpstreamName = Annotated[str, Field(pattern=_NAME)]


class Settings(BaseModel):
    """Everything a relay can be told. Made by `load`, or from a mapping of the same shape as the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: ServerSettings = ServerSettings()
    keys: tuple[KeySettings, ...] = ()
    store: StoreSettings = StoreSettings()
    upstreams: dict[UpstreamName, UpstreamSettings] = Field(min_length=1)
    guards: dict[UpstreamName, GuardSettings] = Field(default_factory=dict)
    models: dict[str, ModelSettings] = Field(default_factory=dict)
    fallback_texts: dict[Language, FallbackTexts] = Field(
        default_factory=dict, description="What customers read in place of an answer, by language (`en`, `de-AT`)."
    )
    default_upstream: str | None = Field(default=None, description="Who is asked where a request names nobody.")

    def guard(self, name: str) -> GuardSettings | None:
        """Return what `guards = "NAME"` of an upstream means; None for `none`."""
        if name == NONE:
            return None
        return self.guards[name] if name in self.guards else GuardSettings(profile=name)

    def make_guards(self) -> dict[str, Guard]:
        """Make each guard that an upstream names, once. Takes some tenths of a second. Raises `ValueError`."""
        return {name: Guard(self.guard(name)) for name in {upstream.guards for upstream in self.upstreams.values()}}

    @property
    def sole_upstream(self) -> str | None:
        """Who is asked where a request names nobody: `default_upstream`, or the only one there is."""
        return self.default_upstream or (next(iter(self.upstreams)) if len(self.upstreams) == 1 else None)


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> tuple[Settings, list[str]]:
    """Read the settings; return them and the warnings about them. Raises `SettingsError`.

    `path`, else `$TRUNKLINE_CONFIG`, else `./trunkline.toml`; without any of them, presets from the environment.
    """
    env = os.environ if env is None else env
    path = _where(path, env)
    if path is None:
        has_upstreams = any(name.startswith(f"{PREFIX}UPSTREAMS__") for name in env)
        table, faults, warnings = settings_from(env, has_upstreams=has_upstreams)
        if faults:
            raise SettingsError(faults)
    else:
        table, warnings = _read(path), []
    settings = parse(table, _override(table, env), env)
    warnings += [
        f"{name}: the secret stands in the settings; write env:NAME or file:PATH instead"
        for name in _literal_secrets(table)
    ]
    warnings += [
        f'upstreams.{name}: guards = "none": nothing screens its answers'
        for name, upstream in settings.upstreams.items()
        if upstream.guards == NONE
    ]
    return settings, warnings


def parse(
    table: Mapping[str, Any], faults: list[Fault] | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Check a table of settings. Raises `SettingsError` with every fault, those in `faults` first."""
    env = os.environ if env is None else env
    settings: Settings | None = None
    errors: list[ErrorDetails] = []
    try:
        settings = Settings.model_validate(table, context={"env": env})
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=True)
    faults = [*(faults or ()), *map(_fault, errors), *cross_faults(table, env, _unread(errors))]
    if faults or settings is None:
        raise SettingsError(faults)
    return settings


def _unread(errors: Iterable[ErrorDetails]) -> set[str]:
    """Return the upstreams with a field that is wrong by itself: pydantic has not looked at them as a whole."""
    places = [error["loc"] for error in errors if error["loc"][:1] == ("upstreams",)]
    return {str(place[1]) for place in places if len(place) > len(("upstreams", "NAME")) and place[2] != "[key]"}


def _where(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """Return the file of the settings; None where there is none."""
    if path is None and env.get("TRUNKLINE_CONFIG"):
        path = Path(env["TRUNKLINE_CONFIG"])
    if path is None and Path("trunkline.toml").exists():
        path = Path("trunkline.toml")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError([Fault(str(path), f"cannot be read: {error.strerror}")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([Fault(str(path), f"is not TOML: {error}")]) from None


def _override(table: dict[str, Any], env: Mapping[str, str]) -> list[Fault]:
    """Lay `TRUNKLINE__SECTION__KEY` over the table; return the faults of those that fit nowhere."""
    faults = []
    values = {name: value for name, value in env.items() if name.startswith(PREFIX)}
    server = table.get("server", {})
    if env.get("WS_PORT") and isinstance(server, dict) and "port" not in server:
        values = {f"{PREFIX}SERVER__PORT": env["WS_PORT"], **values}
    for name, value in sorted(values.items()):
        *sections, key = name.removeprefix(PREFIX).lower().split("__")
        place: Any = table
        for section in sections:
            place = place.setdefault(_spelled(place, section), {}) if isinstance(place, dict) else None
        if isinstance(place, dict) and key:
            place[_spelled(place, key)] = value
        else:
            faults.append(Fault(name, "there is no such section to override"))
    return faults


def _spelled(table: dict[str, Any], name: str) -> str:
    """Return the key of a table as the file spells it: variables have neither small letters nor hyphens."""
    return next((key for key in table if key.lower().replace("-", "_") == name.replace("-", "_")), name)


def _literal_secrets(table: Mapping[str, Any]) -> list[str]:
    upstreams = table.get("upstreams", {})
    keys = ("api_key", "client_secret")
    return [f"upstreams.{name}.{key}" for name, u in upstreams.items() for key in keys if is_literal(u.get(key))]


# Faults in words


_SHAPES: Final = {
    "model_type": "a table",
    "dict_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list (of tables: write [[{}]])",
}


PATTERNS: Final = {
    HOST: "the host alone, such as trial.cognigy.ai, without https:// and without a path",
    _LANGUAGE: "the tag of a language, such as en or de-AT",
    _NAME: "a name of 1 to 64 of A-Z a-z 0-9 . _ : -",
    CLIENT_ID_PATTERN: "an id of 1 to 128 of A-Z a-z 0-9 . _ : -",
    r"^[0-9a-f]{64}$": "64 hex digits in lower case, as `trunkline key NAME` prints them",
    r"^[A-Za-z0-9-]{1,64}$": "the name of a header: 1 to 64 of A-Z a-z 0-9 -",
    r"^(\*|https?://[^/\s]+)$": "an origin such as https://agent.example.com, without a path, or *",
    r"^[a-z][a-z0-9_]{0,63}$": "a name of at most 64 of a-z 0-9 _, a letter first",
}
"""What each pattern of a setting means, for people."""


def _fault(error: ErrorDetails) -> Fault:
    """Put one of pydantic's findings into words for the person who wrote the file; a secret's value is never quoted."""
    location = tuple(part for part in error["loc"] if part != "[key]")
    pointer = ".".join(str(part) for part in location) or "settings"
    kind, context = error["type"], error.get("ctx", {})
    given = error.get("input")
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1])
        return Fault(pointer, f"unknown key.{nearest(str(location[-1]), known)} Known: {', '.join(known)}.")
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return Fault(pointer, f"got {given!r}, expected {context.get('expected')}.{nearest(str(given), words)}")
    if kind in _SHAPES:
        return Fault(pointer, f"must be {_SHAPES[kind].format(pointer)}, got {type(given).__name__}")
    if kind in ("value_error", "missing"):
        return Fault(pointer, str(context.get("error", "is required and missing")))
    message = error["msg"]
    if message[1:2].islower():
        message = message[:1].lower() + message[1:]
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        message = f"expected {PATTERNS[context['pattern']]}"
    shown = "" if _is_secret(location, given) or isinstance(given, dict | list) else f"got {given!r}: "
    return Fault(pointer, f"{shown}{message}")


def _is_secret(location: tuple[Any, ...], given: Any) -> bool:
    """Tell whether a value may hold a secret: by its key, or because it is an address with a password in it."""
    words = ("key", "secret", "sha256")
    return any(word in str(part) for part in location for word in words) or "@" in str(given)


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """Return the keys that a section may have, by walking the models along a location."""
    model: Any = Settings
    names_a_member = False
    for part in location:
        if names_a_member:  # a free name in a table of sections, or the number of one in a list
            names_a_member = False
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            names_a_member = typing.get_origin(annotation) in (dict, tuple, list)
            model = _section_type(annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _section_type(annotation: Any) -> Any:
    """Return the model inside `dict[str, Model]`, `tuple[Model, ...]`, `Model | None` or `Model`."""
    origin = typing.get_origin(annotation)
    if origin in (dict, tuple, list, types.UnionType, typing.Union):
        for inner in typing.get_args(annotation):
            found = _section_type(inner)
            if isinstance(found, type) and issubclass(found, BaseModel):
                return found
    return annotation
