"""`trunkline check --live`: tries every upstream as far as that spends no completion, and says what to do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from trunkline.connect.errors import CannotAsk
from trunkline.connect.tls import client_context
from trunkline.dialects.base import Call
from trunkline.rehearsal import Step, rehearse
from trunkline.upstreams import Upstream

TIMEOUT_S: Final = 10.0


async def check_live(upstream: Upstream) -> AsyncGenerator[Step, None]:
    """Try one upstream, step by step, whatever its platform does; after a step that fails nothing more is tried."""
    for url in upstream.addresses:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        step = await _resolve(host)
        yield step
        if step.ok:
            step = await _connect(host, port, tls=parts.scheme == "https")
            yield step
        if not step.ok:
            return
    step = await _credentials(upstream)
    yield step
    if step.ok and upstream.settings.preset == "openai":
        yield await _models(upstream)
    if step.ok and upstream.has_handshake:
        try:
            async for step in rehearse(upstream):
                yield step
        except CannotAsk as error:  # the platform refused the first token, and there is no other
            yield _no_token(error)


async def _resolve(host: str) -> Step:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the last of a name that is longer than the DNS takes
        why = error.strerror if isinstance(error, OSError) else "no such name can be"
        return Step("name", ok=False, words=f"{host} does not resolve ({why}); check region, base_url and the DNS")
    return Step("name", ok=True, words=f"{host} is {found[0][4][0]}")


async def _connect(host: str, port: int, *, tls: bool) -> Step:
    name = "TLS" if tls else "connection"
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=client_context() if tls else None)
    except TimeoutError:
        return Step(
            name, ok=False, words=f"{where} did not answer within {TIMEOUT_S:g} s; is a firewall or proxy in between?"
        )
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        return Step(
            name, ok=False, words=f"the certificate of {where} is not trusted ({why}); check the address and the clock"
        )
    except OSError as error:
        return Step(name, ok=False, words=f"{where} refused the connection ({error.strerror or error}); is it running?")
    version = writer.get_extra_info("ssl_object").version() if tls else "no TLS"
    writer.transport.abort()
    return Step(name, ok=True, words=f"{where}, {version}")


async def _credentials(upstream: Upstream) -> Step:
    try:
        headers = await upstream.credentials.headers()
    except CannotAsk as error:
        return _no_token(error)
    return Step("credentials", ok=True, words="a token, with every scope" if upstream.uses_oauth else _key(headers))


def _no_token(error: CannotAsk) -> Step:
    return Step("credentials", ok=False, words=error.detail)


def _key(headers: dict[str, str]) -> str:
    return "a key" if headers else "none needed"


async def _models(upstream: Upstream) -> Step:
    status, _, _ = await upstream.call(Call("models", "GET", "/models"))
    if status in (401, 403):
        return Step("key", ok=False, words=f"the platform answered {status}; check api_key")
    if status == 0 or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Step("key", ok=False, words=f"GET /models was answered with {status or 'nothing'}; check base_url")
    words = "accepted" if status == HTTPStatus.OK else f"GET /models: {status}, which some servers do not have"
    return Step("key", ok=True, words=words)
