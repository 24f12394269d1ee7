"""Makes upstreams out of the variables that existing set-ups of the platforms have, where there is no settings file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from trunkline.core.errors import Fault
from trunkline.dialects.presets import GENESYS_REGIONS

REGION: Final = "GENESYS_REGION"
SETS: Final[dict[str, tuple[str, ...]]] = {
    "GENESYS": ("GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "GENESYS_MODEL_ID", REGION),
    "GENESYS_CLOUD": ("GENESYS_CLOUD_BASE_URL", "GENESYS_CLOUD_CLIENT_ID", "GENESYS_CLOUD_CLIENT_SECRET"),
    "COGNIGY": ("COGNIGY_ENVIRONMENT", "COGNIGY_CLIENT_ID", "COGNIGY_CLIENT_SECRET"),
}
"""The variables that make upstreams together; all of a set are needed."""
_SHARED: Final = {REGION, "GENESYS_MODEL_ID"}  # a set-up of `GENESYS_CLOUD` may have them as well
# The presets of one Genesys client, with the variables of the ids that they may need as well.
_GENESYS: Final[dict[str, dict[str, str]]] = {
    "genesys-completions": {},
    "genesys-conversations": {"conversation_id": "GENESYS_CONVERSATION_ID"},
    "genesys-gateway": {"prompt_id": "GENESYS_PROMPT_ID"},
}


class Found(NamedTuple):
    """A table of settings, and what of the variables is missing: `faults` forbid to use it, `warnings` do not."""

    table: dict[str, Any]
    faults: list[Fault]
    warnings: list[str]


def settings_from(env: Mapping[str, str], *, has_upstreams: bool) -> Found:
    """Make one upstream per preset whose variables are set, named as the preset.

    `has_upstreams`: there are others, so that a set of variables that is begun and not complete does no harm.
    """
    missing = _begun(env, but=_SHARED)
    upstreams: dict[str, Any] = {}
    if env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL"):
        upstreams["openai"] = _openai(env)
    for name, make in (("GENESYS", _genesys), ("GENESYS_CLOUD", _genesys_cloud), ("COGNIGY", _cognigy)):
        if missing.get(name) == []:
            upstreams |= make(env)
    alone = not upstreams and not has_upstreams
    if alone and not missing:
        missing = _begun(env)
    faults = _missing(missing, only_region=not alone)
    if alone and not faults:
        detail = (
            "there is none. Write a trunkline.toml (see the README), name one with --config, "
            "or set OPENAI_API_KEY or OPENAI_BASE_URL, or the variables of Genesys or Cognigy"
        )
        faults.append(Fault("settings", detail))
    told = {fault.pointer for fault in faults}
    warnings = [f"{f.pointer}: {f.detail}" for f in _missing(missing, only_region=False) if f.pointer not in told]
    table: dict[str, Any] = {"upstreams": upstreams}
    if upstreams.keys() == _GENESYS.keys():
        table["default_upstream"] = "genesys-completions"  # one set of variables, and one of its three needs no more
    return Found(table, faults, warnings)


def _begun(env: Mapping[str, str], but: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the sets of which any variable is given, not counting those in `but`; and what is missing of each."""
    return {
        name: [variable for variable in variables if not env.get(variable)]
        for name, variables in SETS.items()
        if any(env.get(variable) for variable in variables if variable not in but)
    }


def _missing(missing: Mapping[str, list[str]], *, only_region: bool) -> list[Fault]:
    """Name the variables that are missing; with `only_region`, just a region that nothing else is missing beside."""
    faults = []
    for name, variables in missing.items():
        if only_region and variables != [REGION]:
            continue
        given = " and ".join(variable for variable in SETS[name] if variable not in variables)
        for variable in variables:
            detail = f"is not set, and {given} {'is' if ' and ' not in given else 'are'}: they make upstreams together"
            if variable == REGION:
                # Which continent a tenant's secret and its customers' words go to is nobody's guess.
                detail += f", and no region is assumed. Known: {', '.join(GENESYS_REGIONS)}"
            faults.append(Fault(variable, detail))
    return faults


def _openai(env: Mapping[str, str]) -> dict[str, Any]:
    openai = {
        "preset": "openai",
        "base_url": env.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
        "model": env.get("OPENAI_MODEL") or "gpt-4o-mini",
    }
    if env.get("OPENAI_API_KEY"):
        openai["api_key"] = "env:OPENAI_API_KEY"
    return openai


def _genesys(env: Mapping[str, str]) -> dict[str, Any]:
    return {
        preset: {
            "preset": preset,
            "region": env[REGION],
            "client_id": "env:GENESYS_CLIENT_ID",
            "client_secret": "env:GENESYS_CLIENT_SECRET",
            "model": env["GENESYS_MODEL_ID"],
            **{key: env[name] for key, name in ids.items() if env.get(name)},
        }
        for preset, ids in _GENESYS.items()
    }


def _genesys_cloud(env: Mapping[str, str]) -> dict[str, Any]:
    chat = {
        "preset": "genesys-chat",
        "base_url": env["GENESYS_CLOUD_BASE_URL"],
        "client_id": "env:GENESYS_CLOUD_CLIENT_ID",
        "client_secret": "env:GENESYS_CLOUD_CLIENT_SECRET",
        "model": env.get("GENESYS_MODEL_ID") or "gpt-4-1106-preview",
    }
    return {"genesys-chat": chat}


def _cognigy(env: Mapping[str, str]) -> dict[str, Any]:
    """Make it of an environment that may be given as a host or as an address."""
    where = env["COGNIGY_ENVIRONMENT"].rstrip("/")
    cognigy = {
        "preset": "cognigy",
        "base_url" if "://" in where else "environment": where,
        "client_id": "env:COGNIGY_CLIENT_ID",
        "client_secret": "env:COGNIGY_CLIENT_SECRET",
        "model": env.get("COGNIGY_MODEL_ID") or "gpt-4o",
    }
    return {"cognigy": cognigy}
