"""Upstreams out of the environment: a set of variables that is begun is named where it is not complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.config import load
from trunkline.core.errors import SettingsError

GENESYS = {
    "GENESYS_CLIENT_ID": "me",
    "GENESYS_CLIENT_SECRET": "s3cret",
    "GENESYS_MODEL_ID": "m",
    "GENESYS_REGION": "eu_central_1",
}
CLOUD = {
    "GENESYS_CLOUD_BASE_URL": "https://chat.example",
    "GENESYS_CLOUD_CLIENT_ID": "me",
    "GENESYS_CLOUD_CLIENT_SECRET": "s3cret",
}
COGNIGY = {"COGNIGY_ENVIRONMENT": "a.example", "COGNIGY_CLIENT_ID": "me", "COGNIGY_CLIENT_SECRET": "s3cret"}


@pytest.fixture(autouse=True)
def _no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def faults(env: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(env=env)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


@pytest.mark.parametrize("others", [{}, {"OPENAI_API_KEY": "sk"}, COGNIGY], ids=["alone", "openai", "cognigy"])
def test_no_region_is_assumed_whatever_else_is_there(others: dict[str, str]):
    without = {name: value for name, value in GENESYS.items() if name != "GENESYS_REGION"}
    found = faults(without | others)
    assert list(found) == ["GENESYS_REGION"]
    assert "no region is assumed. Known: us_east_1, " in found["GENESYS_REGION"]
    assert "eu_central_1" in found["GENESYS_REGION"]
    assert faults(without | others | {"GENESYS_REGION": ""}) == found


@pytest.mark.parametrize("variables", [GENESYS, CLOUD, COGNIGY], ids=lambda variables: next(iter(variables)))
def test_each_variable_that_is_missing_of_a_set_that_was_begun_is_named(variables: dict[str, str]):
    assert load(env=variables)[1] == []
    for missing in variables:
        given = {name: value for name, value in variables.items() if name != missing}
        found = faults(given)
        assert list(found) == [missing]
        assert all(name in found[missing] for name in given)
    first, *others = variables
    assert list(faults({first: "x"})) == others


def test_a_variable_that_two_sets_share_begins_neither_of_them_where_another_is_complete():
    both = CLOUD | {"GENESYS_MODEL_ID": "m", "GENESYS_REGION": "eu_central_1"}
    settings, warnings = load(env=both)
    assert list(settings.upstreams) == ["genesys-chat"]
    assert warnings == []
    alone = faults({"GENESYS_MODEL_ID": "m"})
    assert list(alone) == ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "GENESYS_REGION"]


def test_what_is_missing_beside_a_complete_set_is_a_warning():
    settings, warnings = load(env={"OPENAI_API_KEY": "sk", "COGNIGY_CLIENT_ID": "x"})
    assert list(settings.upstreams) == ["openai"]
    assert [warning.partition(":")[0] for warning in warnings] == ["COGNIGY_ENVIRONMENT", "COGNIGY_CLIENT_SECRET"]
    assert "COGNIGY_CLIENT_ID is: they make upstreams together" in warnings[0]


def test_upstreams_of_overrides_are_upstreams_too():
    env = {
        "TRUNKLINE__UPSTREAMS__A__PRESET": "openai",
        "TRUNKLINE__UPSTREAMS__A__BASE_URL": "http://127.0.0.1:9/v1",
        "TRUNKLINE__UPSTREAMS__A__MODEL": "m",
        "COGNIGY_CLIENT_ID": "x",
    }
    settings, warnings = load(env=env)
    assert list(settings.upstreams) == ["a"]
    assert len(warnings) == 2
