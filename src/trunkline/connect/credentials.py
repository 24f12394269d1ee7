"""What the relay shows to a platform so that it is let in, and how that is taken out of the platform's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from pydantic import SecretStr

SHORTEST_SECRET: Final = 6  # a shorter one stands in ordinary words as well
HIDDEN: Final = "[secret]"


class Credentials(Protocol):
    """Gives the headers that authenticate a request; called once per request."""

    async def headers(self) -> dict[str, str]:
        """Return the headers, names in lower case. Raises `TokenError`."""

    def rejected(self, headers: Mapping[str, str]) -> bool:
        """Hear that a request with these headers was answered 401; True where another try may have better ones."""

    def secrets(self) -> list[str]:
        """Return what it shows to a platform that nobody else may see, in each form in which it is sent."""


class ApiKey:
    """A fixed key as a bearer token, or in a header of its own; nothing at all without a key."""

    def __init__(self, key: SecretStr | None, header: str = "authorization") -> None:
        self._key = key
        self._header = header.lower()

    async def headers(self) -> dict[str, str]:
        """Return the one header."""
        if self._key is None:
            return {}
        key = self._key.get_secret_value()
        return {self._header: f"Bearer {key}" if self._header == "authorization" else key}

    def rejected(self, headers: Mapping[str, str]) -> bool:
        """A fixed key does not become another one."""
        return False

    def secrets(self) -> list[str]:
        """Return the key."""
        return [] if self._key is None else [self._key.get_secret_value()]


def without_secrets(words: str, secrets: Iterable[str]) -> str:
    """Return a platform's words without secrets of ours, since some repeat what they refuse, and in one printable line.

    They are to be cut after that, not before; where others have cut them, the head of a secret at their end goes too.
    """
    known = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
    if known:
        words = re.sub("|".join(map(re.escape, known)), HIDDEN, words)
    heads = [size for secret in known for size in range(SHORTEST_SECRET, len(secret)) if words.endswith(secret[:size])]
    if heads:
        words = words[: -max(heads)] + HIDDEN
    return "".join(character if character.isprintable() else " " for character in words)
