"""Plain HTTP calls to platforms, beside their streams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from trunkline.connect.tls import client_context

MAX_BODY_BYTES: Final = 1 << 20  # bounds what an answer may bring into memory


class Answer(msgspec.Struct, frozen=True):
    """What came back. Status 0: nothing did, and `body` says why."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """One pool of connections for all calls. It follows no redirect: a credential stays with its origin."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_s: float = 10
    ) -> Answer:
        """Make one call. Never raises for what the network or the platform does: status 0 says that none came."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=client_context()), trust_env=True, auto_decompress=False
            )
        sent = {"accept-encoding": "identity", **headers}
        limit = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(
                method, url, headers=sent, data=body, timeout=limit, allow_redirects=False
            ) as response:
                received = bytearray()
                async for piece in response.content.iter_any():
                    received += piece
                    if len(received) > MAX_BODY_BYTES:
                        return Answer(0, {}, f"an answer of more than {MAX_BODY_BYTES} bytes".encode())
                names = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, names, bytes(received))
        except TimeoutError:
            return Answer(0, {}, f"no answer within {timeout_s:g} s".encode())
        except (aiohttp.ClientError, OSError) as error:
            return Answer(0, {}, f"{type(error).__name__}: {error}".encode())

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # lets the closed transports report, so that none is left half open
