"""Finds what is wrong between several settings, in the table as it is written: so it is told with all other faults."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from trunkline.core.errors import Fault, SettingsError, nearest
from trunkline.guards.chain import Guard
from trunkline.guards.profiles import DEFAULT, NONE, PROFILES
from trunkline.guards.settings import GuardSettings
from trunkline.secrets import Secret
from trunkline.upstream_settings import misfits

Table = Mapping[str, Any]


def cross_faults(table: Table, env: Mapping[str, str], unread: Collection[str]) -> list[Fault]:
    """Find all of it, as far as what it takes can be read.

    `unread` are the upstreams with a field that cannot be read, which have not been held against their presets.
    """
    upstreams = dict(_tables(table, "upstreams"))
    guards = _readable_guards(table, env)
    return [
        *_unknown_guards(table, upstreams),
        *_unknown_upstreams(table, upstreams),
        *_misfits({name: upstreams[name] for name in upstreams if name in unread}),
        *_unusable_guards(guards),
        *_stripped_json(upstreams, guards),
        *_ways_around(upstreams),
        *_unusable_database(table, env),
    ]


def _tables(table: Table, section: str) -> Iterator[tuple[str, Table]]:
    """Yield what a section has by name, and is a table as it should be; from Python it may be a model of one."""
    found = table.get(section)
    for name, fields in found.items() if isinstance(found, Mapping) else ():
        if isinstance(fields, Mapping | BaseModel):
            yield name, fields.model_dump() if isinstance(fields, BaseModel) else fields


def _guard_of(fields: Table) -> str:
    name = fields.get("guards", DEFAULT)
    return name if isinstance(name, str) else DEFAULT


def _fallbacks_of(fields: Table) -> list[str]:
    names = fields.get("fallbacks")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []


def _unknown_guards(table: Table, upstreams: Mapping[str, Table]) -> list[Fault]:
    own = table.get("guards")
    names = list(own) if isinstance(own, Mapping) else []
    known = [*names, *PROFILES, NONE]
    faults = [
        Fault(f"guards.{name}", f"{name!r} is the name of a ready profile; choose another")
        for name in names
        if name in PROFILES or name == NONE
    ]
    for upstream, fields in upstreams.items():
        if (name := _guard_of(fields)) not in known:
            detail = f"there is no guard {name!r}.{nearest(name, known)} Known: {', '.join(known)}."
            faults.append(Fault(f"upstreams.{upstream}.guards", detail))
    return faults


def _unknown_upstreams(table: Table, upstreams: Mapping[str, Table]) -> list[Fault]:
    known = table.get("upstreams")
    if not isinstance(known, Mapping):
        return []
    named = [("default_upstream", table.get("default_upstream"), "")]
    for own, fields in upstreams.items():
        named += [(f"upstreams.{own}.fallbacks", name, own) for name in _fallbacks_of(fields)]
    faults = []
    for place, name, own in named:
        if isinstance(name, str) and name not in known:
            faults.append(Fault(place, f"there is no upstream {name!r}.{nearest(name, known)}"))
        elif isinstance(name, str) and name == own:
            faults.append(Fault(place, "an upstream is no fallback for itself"))
    return faults


def _misfits(upstreams: Mapping[str, Table]) -> list[Fault]:
    found = {name: misfits(fields.get("preset"), fields) for name, fields in upstreams.items()}
    return [Fault(f"upstreams.{name}", detail) for name, detail in found.items() if detail]


def _readable_guards(table: Table, env: Mapping[str, str]) -> dict[str, GuardSettings]:
    guards = {}
    for name, fields in _tables(table, "guards"):
        try:
            guards[name] = GuardSettings.model_validate(fields, context={"env": env})
        except ValidationError:
            continue  # it is told with its place by whoever reads the settings as a whole
    return guards


def _unusable_guards(guards: Mapping[str, GuardSettings]) -> list[Fault]:
    """Find what only shows when a guard is made: a file that is not there, a term without letters."""
    faults = []
    for name, settings in guards.items():
        try:
            Guard(settings)
        except ValueError as error:
            faults.append(Fault(f"guards.{name}", str(error)))
    return faults


def _stripped_json(upstreams: Mapping[str, Table], guards: Mapping[str, GuardSettings]) -> list[Fault]:
    """Find answers that are to be JSON and would lose its escapes to the stripping of Markdown."""
    ready = {name: GuardSettings(profile=name) for name in PROFILES}
    faults = []
    for name, fields in upstreams.items():
        guard = (ready | dict(guards)).get(_guard_of(fields))
        if fields.get("expect") == "json" and guard is not None and guard.strips_markdown:
            detail = f'the guard {_guard_of(fields)!r} strips Markdown and would break it: set markdown = "keep"'
            faults.append(Fault(f"upstreams.{name}.expect", detail))
    return faults


def _ways_around(upstreams: Mapping[str, Table]) -> list[Fault]:
    """Find fallbacks that would answer under other guards than those of the upstream that was asked."""
    faults = []
    for name, fields in upstreams.items():
        for other in _fallbacks_of(fields):
            if other in upstreams and _guard_of(upstreams[other]) != _guard_of(fields):
                detail = (
                    f"{other!r} has the guards {_guard_of(upstreams[other])!r}, and {name!r} has "
                    f"{_guard_of(fields)!r}: an answer has the same guards whoever gives it; give both the same"
                )
                faults.append(Fault(f"upstreams.{name}.fallbacks", detail))
    return faults


def _unusable_database(table: Table, env: Mapping[str, str]) -> list[Fault]:
    """Look at the address of the database, without connecting."""
    store = table.get("store")
    given = store.get("database") if isinstance(store, Mapping) else None
    if given is None:
        return []
    from trunkline.records.postgresql import PostgresqlServer  # noqa: PLC0415 - most settings name no database

    try:
        address = TypeAdapter(Secret).validate_python(given, context={"env": env})
        PostgresqlServer.at(address.get_secret_value()).close()
    except ValidationError:
        return []
    except SettingsError as error:
        return list(error.faults)
    return []
