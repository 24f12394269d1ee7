"""What the relay shows to a platform so that it is let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr


class Credentials(Protocol):
    """Gives the headers that authenticate a request; called once per request."""

    async def headers(self) -> dict[str, str]:
        """Return the headers, names in lower case. Raises `TokenError`."""

    def rejected(self, headers: Mapping[str, str]) -> bool:
        """Hear that a request with these headers was answered 401; True where another try may have better ones."""


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
