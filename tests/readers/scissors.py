"""Cuts a reader's connections: after so many bytes, or where certain bytes have passed, by a reset or by a close."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from tcp_proxy import Proxy, Strike, standing_before

Cut = int | re.Pattern[bytes]


def scissors(url: str, cuts: Iterable[Cut], *, reset: bool) -> AbstractAsyncContextManager[Proxy]:
    """Stand in front of a server; each cut ends one connection."""
    return standing_before(url, [Strike("reset" if reset else "close", cut) for cut in cuts])
