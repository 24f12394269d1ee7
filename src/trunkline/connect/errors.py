"""What keeps a platform from being asked at all."""

from __future__ import annotations

from trunkline.core.errors import TrunklineError


class CannotAsk(TrunklineError):
    """A request could not be sent for want of something that has to come first. `reason` is what a turn ends with.

    It is `retryable` where that may pass; `retry_after_s` is how long it will last at least, None where nobody knows.
    """

    code = "upstream_unavailable"
    status = 502

    def __init__(
        self, reason: str, detail: str, *, retryable: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retryable = retryable
        self.retry_after_s = retry_after_s
