"""What is wrong between several settings is told together with what is wrong in each."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.config import PATTERNS, Settings, parse
from trunkline.core.errors import SettingsError
from trunkline.upstream_settings import UpstreamSettings

OPENAI = {"preset": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
OAUTH = {"client_id": "a", "client_secret": "b", "model": "m"}


def faults(upstreams: dict[str, Any], **sections: Any) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as caught:
        parse({"upstreams": upstreams, **sections})
    return [(fault.pointer, fault.detail) for fault in caught.value.faults]


GATEWAY = {"preset": "genesys-gateway", "client_id": "a", "model": "m"}


@pytest.mark.parametrize(
    "wrong", [{"regoin": "eu_west_1"}, {"max_tokens": 0}, {"model": ""}, {"timeouts": {"turn": 1}}, {"region": "x"}]
)
def test_what_a_preset_needs_is_told_beside_the_fields_that_cannot_be_read(wrong: dict[str, Any]):
    found = faults({"gw": {**GATEWAY, "api_key": "k", **wrong}})
    pointers = [pointer for pointer, _ in found]
    assert pointers[-1] == "upstreams.gw"
    assert len(pointers) == 2
    assert "client_secret is required" in found[-1][1]
    assert "api_key is not used by it" in found[-1][1]


def test_what_a_preset_needs_is_told_once():
    found = faults({"gw": GATEWAY, "other one": {**GATEWAY, "region": "eu_west_1"}})
    assert [pointer for pointer, _ in found] == ["upstreams.gw", "upstreams.other one", "upstreams.other one"]
    (only,) = faults({"gw": {**GATEWAY, "region": "eu_west_1", "client_secret": ""}})
    assert only == ("upstreams.gw", "with preset 'genesys-gateway': client_secret is required")


def test_a_secret_that_cannot_be_read_is_given_all_the_same():
    found = faults({"gw": {**GATEWAY, "region": "eu_west_1", "client_secret": "env:NO_SUCH_VARIABLE_HERE"}})
    assert found == [("upstreams.gw.client_secret", "the environment variable NO_SUCH_VARIABLE_HERE is not set")]


def test_a_preset_or_paths_that_cannot_be_read_are_told_and_nothing_is_concluded_from_them():
    assert [pointer for pointer, _ in faults({"a": {**OPENAI, "preset": ["openai"]}})] == ["upstreams.a.preset"]
    assert [pointer for pointer, _ in faults({"a": {**OPENAI, "paths": ["x"]}})] == ["upstreams.a.paths"]


def test_all_that_concerns_several_tables_is_told_beside_another_fault():
    upstreams = {
        "a": {**OPENAI, "fallbacks": ["b", "c", "a"], "attempts": 0},
        "b": {**OPENAI, "guards": "none", "expect": "xml"},
        "j": {**OPENAI, "guards": "redact", "expect": "json", "attempts": 0},
        "s": {**OPENAI, "guards": "strict", "expect": "json"},
    }
    guards = {"strict": {"terms_file": "gone.txt", "markdown": "strip"}, "lax": {"markdown": "no"}}
    found = faults(upstreams, guards=guards, default_upstream="d", server={"port": -1})
    assert {pointer for pointer, _ in found} == {
        "server.port", "upstreams.a.attempts", "upstreams.b.expect", "upstreams.j.attempts", "guards.lax.markdown",
        "default_upstream", "upstreams.a.fallbacks", "guards.strict", "upstreams.j.expect", "upstreams.s.expect",
    }  # fmt: skip
    words = " ".join(detail for pointer, detail in found if pointer == "upstreams.a.fallbacks")
    assert "there is no upstream 'c'" in words
    assert "no fallback for itself" in words
    assert "'b' has the guards 'none', and 'a' has 'contact-centre'" in words


def test_models_in_the_place_of_tables_are_held_against_each_other_too():
    own = UpstreamSettings.model_validate({**OPENAI, "fallbacks": ["b"]})
    found = faults({"a": own, "b": UpstreamSettings.model_validate({**OPENAI, "guards": "none"})})
    assert [pointer for pointer, _ in found] == ["upstreams.a.fallbacks"]


def test_an_address_of_a_database_that_is_not_taken_is_told_beside_the_others():
    found = faults({"a": {**OPENAI, "attempts": 0}}, store={"database": "mysql://me:pw@x/y", "durability": "dsk"})
    assert [pointer for pointer, _ in found] == ["store.durability", "upstreams.a.attempts", "store.database"]
    assert "got mysql://" in found[-1][1]
    unread = faults({"a": OPENAI}, store={"database": "env:NO_SUCH_VARIABLE_HERE"})
    assert unread == [("store.database", "the environment variable NO_SUCH_VARIABLE_HERE is not set")]


@pytest.mark.parametrize("given", ["https://trial.cognigy.ai", "trial.cognigy.ai/x"])
def test_an_environment_is_the_host_alone(given: str):
    found = faults({"a": {**OAUTH, "preset": "cognigy", "environment": given}})
    words = f"got {given!r}: expected the host alone, such as trial.cognigy.ai, without https:// and without a path"
    assert found == [("upstreams.a.environment", words)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("eu_west_9", 'Did you mean "eu_west_2"?'),
        ("https://api.mypurecloud.de", 'Did you mean "eu_central_1"?'),
        ("euw2.pure.cloud", 'Did you mean "eu_west_2"?'),
        ("usw2-gov.example.com", "an address belongs into base_url"),
        ("europe", "Known: us_east_1, "),
    ],
)
def test_a_region_that_is_none_is_answered_with_the_one_that_is_meant(given: str, words: str):
    ((pointer, detail),) = faults({"a": {**OAUTH, "preset": "genesys-chat", "region": given}})
    assert pointer == "upstreams.a.region"
    assert detail.startswith(f"there is no region {given!r}.")
    assert words in detail


def patterns(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        own |= set(schema.get("patternProperties", ()))
        return own.union(*map(patterns, schema.values()))
    return set().union(*map(patterns, schema)) if isinstance(schema, list) else set()


def test_every_pattern_of_a_setting_has_words_for_people():
    assert patterns(Settings.model_json_schema()) == set(PATTERNS)
    ((_, detail),) = faults({"a b": OPENAI})
    assert detail == "got 'a b': expected a name of 1 to 64 of A-Z a-z 0-9 . _ : -"
