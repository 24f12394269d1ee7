"""TLS toward platforms: version 1.2 at least, certificates and host names verified."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path


@cache
def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return the context for connections to platforms; `ca_file` adds a private authority to the system's."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
