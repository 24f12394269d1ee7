"""What a simulated platform is, and the table of those that there are."""

from __future__ import annotations

from typing import ClassVar, Protocol

from trunkline.simulators.base import RefusalError
from trunkline.simulators.cognigy import Cognigy
from trunkline.simulators.exchange import Exchange
from trunkline.simulators.faults import Sort
from trunkline.simulators.genesys import Genesys
from trunkline.simulators.genesys_conversations import GenesysConversations
from trunkline.simulators.genesys_gateway import GenesysGateway
from trunkline.simulators.oauth import OAuth
from trunkline.simulators.openai import OpenAI


class Platform(Protocol):
    """One simulated platform: it answers every request whose path is one of `prefixes` or lies under one."""

    prefixes: ClassVar[tuple[str, ...]]

    def takes(self, path: str) -> Sort:
        """Say which of the faults that wait are for a request to `path`."""
        ...

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request; raises `RefusalError`, and lets what `Exchange` raises pass through."""
        ...

    def error(self, refusal: RefusalError, exchange: Exchange) -> bytes:
        """Give the JSON body by which this platform says no."""
        ...


PLATFORMS: dict[str, type[Platform]] = {
    "openai": OpenAI,
    "oauth": OAuth,
    "genesys": Genesys,
    "genesys-conversations": GenesysConversations,
    "genesys-gateway": GenesysGateway,
    "cognigy": Cognigy,
}
