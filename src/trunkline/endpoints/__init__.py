"""The endpoints: one client protocol a file."""

from __future__ import annotations

from trunkline.endpoints import native, openai, operations

ENDPOINTS = {"operations": operations.router, "openai": openai.router, "native": native.router}
