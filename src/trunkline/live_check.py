"""`trunkline check --live`: tries every upstream as far as that spends no completion, and says what to do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkline.connect.errors import CannotAsk
from trunkline.connect.tls import client_context
from trunkline.dialects.base import Call
from trunkline.dialects.presets import PRESETS
from trunkline.rehearsal import Step, rehearse
from trunkline.upstream_settings import UpstreamSettings
from trunkline.upstreams import Upstream

TIMEOUT_S: Final = 10.0


async def check_live(upstream: Upstream, timeout_s: float = TIMEOUT_S) -> AsyncGenerator[Step, None]:
    """Try one upstream, step by step, whatever its platform does; after a step that fails nothing more is tried.

    `timeout_s` is how long a connection, and the list of models, is waited for.
    """
    for url in upstream.addresses:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        step = await _resolve(host, settings_behind(upstream.settings, url))
        yield step
        if step.ok:
            step = await _connect(host, port, timeout_s, tls=parts.scheme == "https")
            yield step
        if not step.ok:
            return
    step = await _credentials(upstream)
    yield step
    if step.ok and upstream.settings.preset == "openai":
        yield await _models(upstream, timeout_s)
    if step.ok and upstream.has_handshake:
        try:
            async for step in rehearse(upstream):
                yield step
        except CannotAsk as error:  # the platform refused the first token, and there is no other
            yield _no_token(upstream, error)


async def _resolve(host: str, settings: str) -> Step:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the last of a name that is longer than the DNS takes
        why = error.strerror if isinstance(error, OSError) else "no such name can be"
        return Step("name", ok=False, words=f"{host} does not resolve ({why}); check {settings} and the DNS")
    return Step("name", ok=True, words=f"{host} is {found[0][4][0]}")


async def _connect(host: str, port: int, timeout_s: float, *, tls: bool) -> Step:
    name = "TLS" if tls else "connection"
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port, ssl=client_context() if tls else None)
    except OSError as error:
        return Step(name, ok=False, words=f"{where} {_why_not(error, timeout_s, tls=tls)}")
    version = writer.get_extra_info("ssl_object").version() if tls else "no TLS"
    writer.transport.abort()
    return Step(name, ok=True, words=f"{where}, {version}")


def _why_not(error: OSError, timeout_s: float, *, tls: bool) -> str:
    """Say why there is no connection, and what to do about it."""
    match error:
        case ssl.SSLError():
            return _why_no_tls(error)
        case TimeoutError():
            or_else = ", or http:// meant" if tls else ""
            return f"did not answer within {timeout_s:g} s; is a firewall or proxy in between{or_else}?"
        case ConnectionRefusedError():
            return "refused the connection; is it running?"
        case ConnectionError() if tls:
            return f"broke the TLS handshake off ({error.strerror or error}); does it speak TLS, or is http:// meant?"
    return f"cannot be reached ({error.strerror or error}); is it running?"


def _why_no_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted ({error.verify_message}); check the address and the clock"
    if "ALERT" in (error.reason or ""):  # only a peer that speaks TLS sends one
        return f"refused the TLS handshake ({error.reason})"
    return f"does not speak TLS ({error.reason or error}); is http:// meant?"


async def _credentials(upstream: Upstream) -> Step:
    try:
        headers = await upstream.credentials.headers()
    except CannotAsk as error:
        return _no_token(upstream, error)
    return Step("credentials", ok=True, words="a token, with every scope" if upstream.uses_oauth else _key(headers))


def _no_token(upstream: Upstream, error: CannotAsk) -> Step:
    words = error.detail
    if error.reason != "upstream_forbidden":  # there was a token, so it came from the right place
        base = settings_behind(upstream.settings, upstream.settings.token_url)
        words += f" (the address is made of {base} and paths.token)"
    return Step("credentials", ok=False, words=words)


def _key(headers: dict[str, str]) -> str:
    return "a key" if headers else "none needed"


async def _models(upstream: Upstream, timeout_s: float) -> Step:
    status, _, body = await upstream.call(Call("models", "GET", "/models", timeout_s=timeout_s))
    asked = f"GET {upstream.settings.api_base}/models"
    if status in (401, 403):
        return Step("key", ok=False, words=f"the platform answered {status}; check api_key")
    if status == 0:
        words = upstream.without_secrets(body.decode())
        return Step("key", ok=False, words=f"{asked}: {words}; the connection was fine, so look at the platform")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Step("key", ok=False, words=f"{asked} was answered {status}; look at the platform, and at base_url")
    if status == HTTPStatus.OK and _is_json(body):
        return Step("key", ok=True, words="accepted")
    answer = "with something else than JSON" if status == HTTPStatus.OK else str(status)
    path = urlsplit(upstream.settings.api_base).path
    usual = "" if path else ": it has no path, and with most servers it ends in /v1"
    words = f"{asked} was answered {answer}; some servers have no such list, but look at base_url{usual}"
    return Step("key", ok=None, words=words)


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict | list)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def settings_behind(settings: UpstreamSettings, url: str) -> str:
    """Name the settings that decide upon the host of an address."""
    preset = PRESETS[settings.preset]
    base: str = "base_url" if settings.base_url is not None else preset.address
    made = [(base, settings.api_base), (base if settings.ws_url is None else "ws_url", settings.stream_base)]
    if preset.auth == "oauth":
        made.append((base if settings.login_url is None else "login_url", settings.token_url))
    host = urlsplit(url).netloc
    return " and ".join(dict.fromkeys(name for name, address in made if urlsplit(address).netloc == host))
