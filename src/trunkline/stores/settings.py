"""`[store]`: where turns rest, how durably, and for how long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from trunkline.secrets import Secret

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd])?\Z", re.ASCII)


def read_span(value: Any) -> Any:
    """Read a span of time, `90s`, `30m`, `24h` or `7d`, as seconds; a number is in seconds already."""
    if not isinstance(value, str):
        return value
    found = _SPAN.match(value)
    if found is None:
        raise ValueError(f'got {value[:40]!r}, expected a time such as "90s", "30m", "24h" or "7d"')
    number, unit = found.groups()
    return float(number) * _SECONDS[unit or "s"]


def say_span(seconds: float) -> str:
    """Say a span of time in the largest unit that it is a whole number of; a single day in hours."""
    words = {"day": 86_400, "hour": 3_600, "minute": 60}
    for word, size in words.items():
        count = seconds / size
        if count.is_integer() and (count > 1 or word != "day"):
            return f"{count:.0f} {word}{'s' if count > 1 else ''}"
    return f"{seconds:g} s"


Span = Annotated[float, BeforeValidator(read_span)]
"""A span of time in seconds, written with a unit."""


class StoreSettings(BaseModel):
    """`[store]`: where turns rest, how durably, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    durability: Literal["memory", "process", "disk"] = Field(
        default="process",
        description="How safe an entry is before it is shown: memory = lost with this process, process = survives "
        "its end (kill -9), disk = survives that of the machine.",
    )
    data_dir: Path = Field(
        default=Path("trunkline-data"), description="The folder of one relay: its journal, and its archive."
    )
    database: Secret | None = Field(
        default=None,
        description="Where ended turns are archived: `postgresql://user:password@host/name`, best as `env:NAME`, for "
        "this relay alone. Without it, an SQLite file in `data_dir`.",
    )
    retention: Span = Field(
        default=86_400, gt=0, le=10**10, description="For so long an ended turn can be read: `24h`, `7d`."
    )
    take_over_s: float = Field(
        default=30, ge=0, description="How long a starting relay waits for another one to leave `data_dir`."
    )
    max_turns: int = Field(
        default=10_000, ge=1, description="How many ended turns `memory` keeps; the oldest go first."
    )

    def said(self) -> str:
        """Say in words where turns rest."""
        kept = f"turns kept {say_span(self.retention)} after their end"
        if self.durability == "memory":
            return f"memory, {kept}, and no longer than the process lives"
        database = "SQLite" if self.database is None else "PostgreSQL"
        return f"{self.durability}, in {self.data_dir}, archived in {database}, {kept}"
