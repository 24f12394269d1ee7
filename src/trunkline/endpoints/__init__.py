"""The endpoints: one client protocol a file."""

from __future__ import annotations

from trunkline.endpoints import front_end, native, openai, operations, websocket_proxy
from trunkline.endpoints.problems import PROBLEM_DETAILS, Shape

ENDPOINTS = {
    "operations": operations.router,
    "openai": openai.router,
    "native": native.router,
    "websocket_proxy": websocket_proxy.router,
    "front_end": front_end.router,
}


def shape_of(path: str) -> Shape:
    """Return how an error is written at an address that has no route, by what its client most likely speaks."""
    if path.startswith(("/v1/turns", "/v1/tickets", "/v1/conversations")):
        return PROBLEM_DETAILS
    return openai.SHAPE if path.startswith(("/v1/", "/openai/")) else PROBLEM_DETAILS
