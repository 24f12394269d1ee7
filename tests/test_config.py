"""Settings: every fault at once and in words, what the environment adds, and no secret in anything that is printed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.config import Settings, load, parse
from trunkline.core.errors import SettingsError

KEY = "sk-TopSecret-0123456789"
DIGEST = "0123456789abcdef" * 4
UPSTREAM = {"preset": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
TOML = """
[upstreams.support]
preset = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "gpt-4o"
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a settings file; the working directory has none of its own."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "relay.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def table(**sections: Any) -> dict[str, Any]:
    return {"upstreams": {"support": UPSTREAM}, **sections}


def upstream(**fields: Any) -> dict[str, Any]:
    return {"upstreams": {"support": {**UPSTREAM, **fields}}}


def faults(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        parse(given)
    assert str(caught.value).count("\n") == len(caught.value.faults)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


# A file


def test_a_short_file_has_sensible_defaults(write: Write):
    settings, warnings = load(write(TOML), env={})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert (settings.store.durability, settings.store.retention) == ("process", 86_400)
    assert settings.upstreams["support"].model == "gpt-4o"
    assert settings.upstreams["support"].timeouts.turn_s == 120
    assert settings.sole_upstream == "support"
    assert settings.upstreams["support"].guards == "contact-centre"
    assert warnings == []


def test_an_upstream_without_a_guard_is_warned_of(write: Write):
    _, warnings = load(write(TOML + 'guards = "none"\n'), env={})
    assert warnings == ['upstreams.support: guards = "none": nothing screens its answers']


def test_the_file_is_the_one_named_else_the_environments_else_the_one_here(write: Write, tmp_path: Path):
    named = write(TOML.replace("gpt-4o", "named"))
    (tmp_path / "trunkline.toml").write_text(TOML.replace("gpt-4o", "here"), encoding="utf-8")
    (tmp_path / "env.toml").write_text(TOML.replace("gpt-4o", "env"), encoding="utf-8")
    env = {"TRUNKLINE_CONFIG": str(tmp_path / "env.toml")}
    assert load(named, env)[0].upstreams["support"].model == "named"
    assert load(None, env)[0].upstreams["support"].model == "env"
    assert load(None, {})[0].upstreams["support"].model == "here"


@pytest.mark.parametrize(
    "text", ["[server\nport = 1", "port = ", "a = 1\na = 2", 'a = "\\q"', "\x00", "a = 'x\n'"], ids=repr
)
def test_what_is_no_toml_is_told_with_its_place(write: Write, text: str):
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load(path, env={})
    (fault,) = caught.value.faults
    assert fault.pointer == str(path)
    assert fault.detail.startswith("is not TOML: ")
    assert "(at line " in fault.detail or "(at end of document)" in fault.detail


def test_a_file_that_is_no_utf8_or_is_not_there_is_told(write: Write, tmp_path: Path):
    path = write("")
    path.write_bytes(b'a = "\xff"')
    for broken, words in [
        (path, "is not TOML"),
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "cannot be read"),
    ]:
        with pytest.raises(SettingsError, match=words) as caught:
            load(broken, env={})
        assert [fault.pointer for fault in caught.value.faults] == [str(broken)]


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse(table()).server.port = 1  # type: ignore[misc]


# Faults


def test_every_fault_is_named_at_once():
    found = faults(
        {
            "server": {"port": 70_000, "hots": "x", "keep_alive_s": 0},
            "keys": [{"name": "web app", "sha256": DIGEST}, {"name": "web"}],
            "store": {"durability": "dsik"},
            "upstreams": {
                "support": {"preset": "opnai", "base_url": "x", "timeouts": {"turn": 1, "connect_s": -1}},
                "sa les": UPSTREAM,
            },
            "sevrer": {},
        }
    )
    assert set(found) == {
        "server.port", "server.hots", "server.keep_alive_s", "keys.0.name", "keys.1.sha256", "store.durability",
        "upstreams.support.preset", "upstreams.support.base_url", "upstreams.support.model", "upstreams.sa les",
        "upstreams.support.timeouts.turn", "upstreams.support.timeouts.connect_s", "sevrer",
    }  # fmt: skip


def test_a_fallback_is_no_way_around_the_guards():
    upstreams = {
        "a": {**UPSTREAM, "fallbacks": ["b", "c"]},
        "b": {**UPSTREAM, "guards": "none"},
        "c": {**UPSTREAM, "guards": "contact-centre"},
    }
    found = faults({"default_upstream": "a", "upstreams": upstreams})
    assert list(found) == ["upstreams.a.fallbacks"]
    assert "'b' has the guards 'none', and 'a' has 'contact-centre'" in found["upstreams.a.fallbacks"]


def test_an_unknown_default_is_named_with_the_nearest_and_together_with_the_other_faults():
    found = faults(table(default_upstream="suport", server={"port": -1}))
    assert "server.port" in found
    assert any('"support"' in detail for detail in found.values())


UNKNOWN = [
    ({"sevrer": {}}, "sevrer", '"server"', "server, keys, store, upstreams"),
    ({"server": {"prot": 1}}, "server.prot", '"port"', "host, port, max_body_bytes"),
    ({"keys": [{"name": "a", "sha256": DIGEST, "sha": ""}]}, "keys.0.sha", '"sha256"', "name, sha256"),
    ({"store": {"retention_s": 9}}, "store.retention_s", '"retention"', "durability, data_dir, database, retention"),
    (upstream(modell="x"), "upstreams.support.modell", '"model"', "preset, base_url"),
    (
        upstream(timeouts={"turn": 1}),
        "upstreams.support.timeouts.turn",
        '"turn_s"',
        "connect_s, handshake_s, first_token_s",
    ),
]


@pytest.mark.parametrize(("given", "pointer", "near", "known"), UNKNOWN)
def test_an_unknown_key_is_a_fault_at_every_level_with_the_known_ones(given, pointer, near, known):
    detail = faults(table() | given)[pointer]
    assert detail.startswith(f"unknown key. Did you mean {near}?")
    assert f"Known: {known}" in detail


@pytest.mark.parametrize("name", ["model", "timeouts", "api_key", "base_url"])
def test_an_upstream_may_be_named_as_one_of_its_keys(name: str):
    assert list(parse({"upstreams": {name: UPSTREAM}}).upstreams) == [name]
    detail = faults({"upstreams": {name: {**UPSTREAM, "modell": "x"}}})[f"upstreams.{name}.modell"]
    assert 'Did you mean "model"?' in detail
    assert "Known: preset, base_url" in detail


WORDS = [
    (upstream(preset="opnai"), "upstreams.support.preset", "got 'opnai', expected 'openai'"),
    ({"upstreams": {"support": {"preset": "openai"}}}, "upstreams.support.model", "is required and missing"),
    ({"server": {}}, "upstreams", "is required and missing"),
    (table(server={"port": "x"}), "server.port", "got 'x': input should be a valid integer"),
    (table(server={"port": 65_536}), "server.port", "got 65536: input should be less than or equal to 65535"),
    (table(server={"stall_s": float("nan")}), "server.stall_s", "got nan: input should be greater than 0"),
    (
        upstream(base_url="ftp://h"),
        "upstreams.support.base_url",
        "got 'ftp://h': URL scheme should be 'http' or 'https'",
    ),
    ({"upstreams": {"a b": UPSTREAM}}, "upstreams.a b", "got 'a b': expected a name of 1 to 64 of"),
]


@pytest.mark.parametrize(("given", "pointer", "words"), WORDS)
def test_a_fault_says_what_came_and_what_was_expected(given, pointer, words):
    assert faults(given)[pointer].startswith(words)


def test_a_word_out_of_a_closed_list_has_the_nearest_proposed():
    assert faults(upstream(preset="opnai"))["upstreams.support.preset"].endswith('Did you mean "openai"?')
    assert "expected 'memory'" in faults(table(store={"durability": "memroy"}))["store.durability"]


@pytest.mark.parametrize("given", [{}, {"upstreams": {}}], ids=str)
def test_a_relay_needs_an_upstream(given):
    assert list(faults(given)) == ["upstreams"]


# The environment


def test_the_environment_overrides_the_file_and_makes_sections(write: Write):
    env = {
        "TRUNKLINE__SERVER__PORT": "9001",
        "TRUNKLINE__UPSTREAMS__SUPPORT__MODEL": "other",
        "TRUNKLINE__UPSTREAMS__SUPPORT__TIMEOUTS__TURN_S": "2.5",
        "TRUNKLINE__DEFAULT_UPSTREAM": "support",
        "TRUNKLINE": "x",
        "TRUNKLINE_CONFIGS": "x",
    }
    settings, _ = load(write(TOML), env)
    assert settings.server.port == 9001
    assert settings.upstreams["support"].model == "other"
    assert settings.upstreams["support"].timeouts.turn_s == 2.5
    assert settings.default_upstream == "support"


@pytest.mark.parametrize(
    "name", ["TRUNKLINE__", "TRUNKLINE__SERVER__PORT__X", "TRUNKLINE__KEYS__NAME", "TRUNKLINE__SERVER__"]
)
def test_an_override_that_fits_nowhere_is_a_fault_beside_the_others(write: Write, name: str):
    path = write("keys = []\n[server]\nport = 1\nprot = 2\n" + TOML)
    with pytest.raises(SettingsError) as caught:
        load(path, {name: "7"})
    assert [fault.pointer for fault in caught.value.faults] == [name, "server.prot"]


def test_an_override_of_an_unknown_key_is_a_fault_with_the_known_ones(write: Write):
    with pytest.raises(SettingsError, match=r"server\.prot: unknown key\. Did you mean \"port\"\?"):
        load(write(TOML), {"TRUNKLINE__SERVER__PROT": "7"})


def test_ws_port_is_the_port_unless_an_override_names_one(write: Write):
    assert load(write(TOML), {"WS_PORT": "9002"})[0].server.port == 9002
    assert load(write(TOML), {"WS_PORT": ""})[0].server.port == 8080
    assert load(write(TOML), {"WS_PORT": "9002", "TRUNKLINE__SERVER__PORT": "9003"})[0].server.port == 9003
    with pytest.raises(SettingsError, match=r"server\.port: got 'x'"):
        load(write(TOML), {"WS_PORT": "x"})


def test_ws_port_counts_where_the_settings_name_no_port(write: Write):
    assert load(write("[server]\nport = 9001\n" + TOML), {"WS_PORT": "9002"})[0].server.port == 9001


def test_with_no_file_the_presets_come_from_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings, warnings = load(None, {"OPENAI_API_KEY": KEY})
    openai = settings.upstreams["openai"]
    assert (str(openai.base_url), openai.model) == ("https://api.openai.com/v1", "gpt-4o-mini")
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == KEY
    assert warnings == []


def test_with_no_file_a_base_url_is_enough(write: Write):
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:8081/v1", "OPENAI_MODEL": "smollm2", "WS_PORT": "9002"}
    settings, _ = load(None, env)
    openai = settings.upstreams["openai"]
    assert (str(openai.base_url), openai.model, openai.api_key) == ("http://127.0.0.1:8081/v1", "smollm2", None)
    assert settings.server.port == 9002


def test_the_environment_that_is_given_is_the_only_one_that_is_read(write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings, _ = load(None, {"OPENAI_API_KEY": KEY})
    secret = settings.upstreams["openai"].api_key
    assert secret is not None
    assert secret.get_secret_value() == KEY


def test_with_nothing_at_all_it_says_what_to_do(write: Write):
    with pytest.raises(SettingsError, match=r"Write a trunkline\.toml .* or set OPENAI_API_KEY or OPENAI_BASE_URL"):
        load(None, {})


# Secrets


def test_a_secret_comes_from_the_environment_or_a_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SUPPORT_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    for place in ("env:SUPPORT_KEY", f"file:{tmp_path / 'key'}", "file:key"):
        secret = parse(upstream(api_key=place)).upstreams["support"].api_key
        assert secret is not None
        assert secret.get_secret_value() == KEY


def test_a_literal_secret_is_taken_with_a_warning_that_does_not_quote_it(write: Write):
    settings, warnings = load(write(TOML + f'api_key = "{KEY}"\n'), env={})
    secret = settings.upstreams["support"].api_key
    assert secret is not None
    assert secret.get_secret_value() == KEY
    place = "upstreams.support.api_key: the secret stands in the settings; write env:NAME or file:PATH instead"
    assert place in warnings
    assert KEY not in str(warnings)


def test_a_secret_that_is_not_there_is_told_by_its_place(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SUPPORT_KEY", raising=False)
    monkeypatch.setenv("EMPTY_KEY", "")
    (tmp_path / "empty").write_text(" \n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for place, words in [
        ("env:SUPPORT_KEY", "the environment variable SUPPORT_KEY is not set"),
        ("env:EMPTY_KEY", "the environment variable EMPTY_KEY is not set"),
        ("file:none", "the file none cannot be read: No such file or directory"),
        (f"file:{tmp_path}", f"the file {tmp_path} cannot be read: Is a directory"),
        ("file:empty", "the file empty is empty"),
    ]:
        assert faults(upstream(api_key=place)) == {"upstreams.support.api_key": words}
    assert "the file binary cannot be read" in faults(upstream(api_key="file:binary"))["upstreams.support.api_key"]


LEAKS: list[dict[str, Any]] = [
    upstream(api_key=[KEY]),
    upstream(api_key={"env": KEY}),
    upstream(api_kee=KEY),
    upstream(client_secret=[KEY]),
    upstream(preset="openai", api_key=KEY, model=""),
    upstream(base_url=f"https://user:{KEY}@h h/v1"),
    upstream(base_url=f"https://user:{KEY}@host/v1"),
    table(keys=KEY),
    table(keys=[KEY]),
    table(keys=[{"name": "web", "sha256": KEY}]),
    table(keys=[{"name": "web", "key": KEY}]),
]


@pytest.mark.parametrize("given", LEAKS, ids=lambda given: str(given).replace(KEY, "KEY"))
def test_no_fault_quotes_a_secret(given: dict[str, Any]):
    with pytest.raises(SettingsError) as caught:
        parse(given)
    error = caught.value
    told = f"{error}{error!r}{error.faults}{''.join(traceback.format_exception(error))}"
    assert KEY not in told


def test_no_secret_is_in_what_settings_print(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SUPPORT_KEY", KEY)
    genesys = {"preset": "genesys-chat", "client_id": "id"}
    for fields in (
        {"api_key": KEY},
        {"api_key": "env:SUPPORT_KEY"},
        {**genesys, "client_secret": KEY},
        {**genesys, "client_secret": "env:SUPPORT_KEY"},
        {"headers": {"x-gateway-key": KEY}},
    ):
        settings: Settings = parse(upstream(**fields))
        assert KEY not in f"{settings}{settings!r}{settings.model_dump()}{settings.model_dump_json()}", fields


# Guards


GUARDED = TOML + 'guards = "strict"\n'


def faults_of(write: Write, text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as refused:
        load(write(text), env={})
    return {fault.pointer: fault.detail for fault in refused.value.faults}


def test_a_guard_is_a_profile_and_what_is_different_from_it(write: Write, tmp_path: Path):
    terms = tmp_path / "never-say.txt"
    terms.write_text("# ours\nAcme Corp\n\nRoadrunner\n")
    text = f"""{GUARDED}
[guards.strict]
profile = "redact"
markdown = "keep"
terms_file = "{terms}"
actions = {{ email = "pseudonym", phone = "off" }}
allow = ["0800 123 456"]
[[guards.strict.rules]]
name = "account"
pattern = 'AC-\\d{{8}}'
action = "partial"
validator = "luhn"
"""
    settings, _ = load(write(text), env={})
    guard = settings.guard("strict")
    assert guard is not None
    assert guard.actions == {"email": "pseudonym", "phone": "off"}
    assert set(settings.make_guards()) == {"strict"}


@pytest.mark.parametrize(
    ("lines", "pointer", "words"),
    [
        ('guards = "contact-center"', "upstreams.support.guards", 'Did you mean "contact-centre"?'),
        ('guards = "strict"\n[guards.strict]\nprofile = "block-all"', "guards.strict.profile", "Known: contact-centre"),
        ("[guards.none]", "guards.none", "the name of a ready profile"),
        ('[guards.g]\nactions = {emial = "mask"}', "guards.g.actions", 'Did you mean "email"?'),
        ('[guards.g]\nactions = {email = "hide"}', "guards.g.actions.email", "expected"),
        ('[guards.g]\nterms_file = "gone.txt"', "guards.g", "gone.txt: cannot be read"),
        ('[[guards.g.terms]]\nwords = ["\u200b"]', "guards.g", "has 0 letters"),
        ('[[guards.g.terms]]\nname = "x"', "guards.g.terms.0", "give words, a file, or both"),
        ('[[guards.g.rules]]\nname = "x"\npattern = "(a"', "guards.g.rules.0", "(a"),
        ('[[guards.g.rules]]\nname = "x"\npattern = "a(?=bc)d"', "guards.g.rules.0", "^"),
        ('[[guards.g.rules]]\nname = "x"\npattern = "a"\nvalidator = "lunh"', "guards.g.rules.0", 'mean "luhn"?'),
        ('[[guards.g.rules]]\nname = "x"\npattern = "a{9}"\ncap = 3', "guards.g.rules.0", "9 characters, and cap is 3"),
        ('[[guards.g.rules]]\nname = "email"\npattern = "a"', "guards.g", "another name"),
        ('expect = "json"\nguards = "redact"', "upstreams.support.expect", 'set markdown = "keep"'),
        ('[guards.g]\nmarkdwon = "strip"', "guards.g.markdwon", 'Did you mean "markdown"?'),
    ],
)
def test_a_guard_that_cannot_be_used_is_refused_with_its_place(write: Write, lines: str, pointer: str, words: str):
    found = faults_of(write, f"{TOML}{lines}\n")
    assert words in found[pointer], found
