"""The contract of a source: a transport that brings a platform's bytes in and knows no platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trunkline.dialects.base import Loss


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What to open: `url` is absolute; `headers` already hold the credentials.

    The second time is that of TLS and a WebSocket's handshake, from when its connection stands.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout_s: float
    handshake_timeout_s: float = 10.0


class Receiver(Protocol):
    """Who takes what a stream brings. Plain functions, called from the transport's own callbacks.

    `closed` is called exactly once, and nothing after it; `refused` and a `closed` without `opened` may come instead.
    """

    def opened(self, headers: Mapping[str, str]) -> None:
        """The stream is open; header names are in lower case."""

    def receive(self, data: bytes) -> None:
        """One read's worth of the body, or one whole WebSocket message."""

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """The platform answered with another status; at most 64 KiB of its body."""

    def closed(self, loss: Loss) -> None:
        """The stream is over."""


class Source(Protocol):
    """One stream. `open` connects; after it, everything happens in callbacks."""

    async def open(self, request: StreamRequest, receiver: Receiver) -> None:
        """Connect and send the request. Raises nothing: what fails is told to the receiver.

        Cancelled, it is as if the stream were closed. Either way no connection outlives it that is not a stream.
        """

    def send(self, data: bytes) -> None:
        """Send one message, where the transport has messages."""

    def finish(self) -> None:
        """The answer is complete: no more calls to the receiver; the connection may be kept for another stream."""

    def close(self) -> None:
        """Drop the stream now, so that the platform stops generating; no more calls to the receiver.

        While `open` is at work, its connection is dropped, in whatever state it is, and `open` returns.
        """
