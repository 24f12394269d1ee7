"""The part about upstreams that variables of the environment make, found by asking the code which ones it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pages.markdown import table
from trunkline.environment import settings_from

INTRO: Final = """\
Where there is no settings file, these variables make upstreams, each named as its preset, and each in the table with
the setting that it becomes. `COGNIGY_ENVIRONMENT` may be a host or an address. One set of the Genesys variables makes
three upstreams, of which `genesys-completions` is asked where a request names none."""


class _All(Mapping[str, str]):
    """An environment in which every variable that is looked for is set, to its own name."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def environment_part() -> str:
    """Write the intro and the table: upstream, the variables that make it, and those that it takes as well."""
    variables = _All()
    upstreams = settings_from(variables, has_upstreams=False).table["upstreams"]
    rows = [_row(name, settings, list(variables)) for name, settings in upstreams.items()]
    return f"{INTRO}\n\n{table(('upstream', 'is made by', 'and takes'), rows)}"


def _row(upstream: str, settings: Mapping[str, str], variables: list[str]) -> tuple[str, str, str]:
    """Find what each variable is for: it is set alone, and left out of all."""
    key_of = {value.removeprefix("env:"): key for key, value in settings.items()}
    own = [name for name in variables if name in key_of]
    without = {name: _made_by(other for other in own if other != name).get(upstream) for name in own}
    enough = [name for name in own if upstream in _made_by([name])]
    makes = enough or [name for name in own if without[name] is None]

    def written(name: str) -> str:
        otherwise = (without[name] or {}).get(key_of[name])
        return f"`{name}` (`{key_of[name]}`{f', else `{otherwise}`' if otherwise else ''})"

    made_by = (" or " if enough else ", ").join(map(written, makes))
    return f"`{upstream}`", made_by, ", ".join(written(name) for name in own if name not in makes)


def _made_by(names: Iterable[str]) -> dict[str, dict[str, str]]:
    found = settings_from({name: name for name in names}, has_upstreams=False)
    return {} if found.faults else found.table["upstreams"]
