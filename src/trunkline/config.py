"""The settings of a relay: composed of each family's own, from a file and the environment, checked as a whole."""

from __future__ import annotations

import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trunkline.admission import ModelSettings
from trunkline.core.errors import Fault, SettingsError, nearest
from trunkline.endpoints.settings import FallbackTexts, KeySettings, ServerSettings
from trunkline.environment import settings_from
from trunkline.guards.chain import Guard
from trunkline.guards.profiles import DEFAULT, NONE, PROFILES
from trunkline.guards.settings import GuardSettings
from trunkline.secrets import is_literal
from trunkline.stores.settings import StoreSettings
from trunkline.upstream_settings import UpstreamSettings

PREFIX: Final = "TRUNKLINE__"
Language = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,35}$")]
UpstreamName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]


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
    faults = [*(faults or ()), *_unknown_names(table)]
    try:
        settings = Settings.model_validate(table, context={"env": os.environ if env is None else env})
    except ValidationError as error:
        faults += [_fault(e) for e in error.errors(include_url=False, include_input=True)]
        raise SettingsError(faults) from None
    faults += [*_unusable_guards(settings.guards), *_stripped_json(settings), *_ways_around(settings)]
    if faults:
        raise SettingsError(faults)
    return settings


def _unusable_guards(guards: Mapping[str, GuardSettings]) -> list[Fault]:
    """Find what only shows when a guard is made: a file that is not there, a term without letters."""
    faults = []
    for name, settings in guards.items():
        try:
            Guard(settings)
        except ValueError as error:
            faults.append(Fault(f"guards.{name}", str(error)))
    return faults


def _stripped_json(settings: Settings) -> list[Fault]:
    """Find answers that are to be JSON and would lose its escapes to the stripping of Markdown."""
    faults = []
    for name, upstream in settings.upstreams.items():
        if upstream.expect == "json" and (upstream.guards in settings.guards or upstream.guards in PROFILES):
            guard = settings.guard(upstream.guards)
            if guard is not None and guard.strips_markdown:
                detail = f'the guard {upstream.guards!r} strips Markdown and would break it: set markdown = "keep"'
                faults.append(Fault(f"upstreams.{name}.expect", detail))
    return faults


def _ways_around(settings: Settings) -> list[Fault]:
    """Find fallbacks that would answer under other guards than those of the upstream that was asked."""
    faults = []
    for name, upstream in settings.upstreams.items():
        for other in upstream.fallbacks:
            fallback = settings.upstreams.get(other)
            if fallback is not None and fallback.guards != upstream.guards:
                detail = (
                    f"{other!r} has the guards {fallback.guards!r}, and {name!r} has {upstream.guards!r}: an answer "
                    "has the same guards whoever gives it; give both the same"
                )
                faults.append(Fault(f"upstreams.{name}.fallbacks", detail))
    return faults


def _unknown_names(table: Mapping[str, Any]) -> list[Fault]:
    """Find names of upstreams that do not exist; in the table as it is, so that they are told with all other faults."""
    upstreams = table.get("upstreams")
    if not isinstance(upstreams, Mapping):
        return []
    named = [("default_upstream", table.get("default_upstream"), "")]
    faults = _unknown_guards(table, upstreams)
    for own, upstream in upstreams.items():
        fallbacks = upstream.get("fallbacks") if isinstance(upstream, Mapping) else None
        if isinstance(fallbacks, list | tuple):
            named += [(f"upstreams.{own}.fallbacks", name, own) for name in fallbacks]
    for place, name, own in named:
        if isinstance(name, str) and name not in upstreams:
            faults.append(Fault(place, f"there is no upstream {name!r}.{nearest(name, upstreams)}"))
        elif isinstance(name, str) and name == own:
            faults.append(Fault(place, "an upstream is no fallback for itself"))
    return faults


def _unknown_guards(table: Mapping[str, Any], upstreams: Mapping[str, Any]) -> list[Fault]:
    guards = table.get("guards")
    own = guards if isinstance(guards, Mapping) else {}
    known = [*own, *PROFILES, NONE]
    faults = [
        Fault(f"guards.{name}", f"{name!r} is the name of a ready profile; choose another")
        for name in own
        if name in PROFILES or name == NONE
    ]
    for upstream, fields in upstreams.items():
        name = fields.get("guards", DEFAULT) if isinstance(fields, Mapping) else DEFAULT
        if isinstance(name, str) and name not in known:
            detail = f"there is no guard {name!r}.{nearest(name, known)} Known: {', '.join(known)}."
            faults.append(Fault(f"upstreams.{upstream}.guards", detail))
    return faults


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
