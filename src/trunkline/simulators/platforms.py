"""What a simulated platform is, and the table of those that there are."""

from __future__ import annotations

from typing import ClassVar, Protocol

from trunkline.simulators.base import RefusalError
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.openai import OpenAI


class Platform(Protocol):
    """One simulated platform: it answers every request whose path is one of `prefixes` or lies under one."""

    prefixes: ClassVar[tuple[str, ...]]

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request; raises `RefusalError`, and lets what `Exchange` raises pass through."""
        ...

    def error(self, refusal: RefusalError) -> bytes:
        """Give the JSON body by which this platform says no."""
        ...


PLATFORMS: dict[str, type[Platform]] = {
    "openai": OpenAI,
}
