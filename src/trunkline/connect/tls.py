"""TLS toward platforms: version 1.2 at least, certificates and host names verified."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def client_context() -> ssl.SSLContext:
    """Return the context for connections to platforms; `SSL_CERT_FILE` names another list of authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
