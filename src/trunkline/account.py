"""Keeps account of one turn: what came and when, how many tokens that makes, and what is told of it at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trunkline.connect.rate_limit import LimitedError
from trunkline.core.events import AnyEvent, Delta, Ended, Guarded, ToolCall, Usage
from trunkline.guards.screen import Screen
from trunkline.stores.base import TurnLog
from trunkline.telemetry import BytesReceived, Fact, Screened, TurnEnded
from trunkline.tokens import count
from trunkline.upstream_settings import Timeouts
from trunkline.upstreams import Upstream


class Account:
    """What one turn has amounted to. Times are those of the relay's clock; text is what came, screened or not."""

    __slots__ = ("_pieces", "_turn", "began_at", "bytes", "chars", "first_token_at", "silent_since", "usage")

    def __init__(self, turn: TurnLog, now: float) -> None:
        """Begin to count."""
        self.began_at = now
        self.silent_since = now
        """When the platform last sent text, or was given another chance to."""
        self.bytes = 0
        """What the platform's streams brought, all attempts together."""
        self.first_token_at: float | None = None
        self.usage: Usage | None = None
        """What the platform says that it counted, as far as it does."""
        self.chars = 0
        """The characters of the answer and of its tool calls."""
        self._turn = turn
        self._pieces: list[str] = []

    def note(self, event: Delta | ToolCall, now: float) -> None:
        """Take a piece of the answer into account."""
        self.silent_since = now
        if self.first_token_at is None:
            self.first_token_at = now
        if isinstance(event, Delta):
            text = event.text
        else:
            text = event.arguments
            self.chars += len(event.call_id) + len(event.name)
        self._pieces.append(text)
        self.chars += len(text)

    def overdue(self, limits: Timeouts, now: float) -> Ended | None:
        """Return the end of a turn that took too long, whole or for its next text; None where it may go on."""
        silent_s = now - self.silent_since
        if now - self.began_at >= limits.turn_s:
            reason, detail = "turn_timeout", f"the turn took longer than {limits.turn_s:g} s"
        elif self.first_token_at is None and silent_s >= limits.first_token_s:
            reason, detail = "first_token_timeout", f"no text within {limits.first_token_s:g} s"
        elif self.first_token_at is not None and silent_s >= limits.between_tokens_s:
            reason, detail = "between_tokens_timeout", f"no text for {limits.between_tokens_s:g} s"
        else:
            return None
        return Ended("failed", reason, detail=detail)

    def wait(self, seconds: float, limits: Timeouts, now: float) -> None:
        """Hear that the platform is not asked before so many seconds: that is no silence of the platform.

        Raises `LimitedError` where the turn, or whoever waits for its first text, has no time for that.
        """
        left_s = self.began_at + limits.turn_s - now
        if seconds >= (left_s if self.first_token_at is not None else min(left_s, limits.first_token_s)):
            raise LimitedError(seconds)
        self.silent_since = max(self.silent_since, now + seconds)

    def begin_again(self, at: float) -> None:
        """Hear that the platform, or another, is asked anew at a time; what this attempt used was for nothing."""
        self.usage = None
        self.silent_since = at

    def audible(self, last: Sequence[AnyEvent]) -> int:
        """Return how many characters a caller may have heard: an answer's, with its `last` events, but no thoughts."""
        shown = [*(entry.event for entry in self._turn.entries), *last]
        return sum(
            len(event.text)
            for event in shown
            if isinstance(event, Delta) and event.choice == 0 and event.channel != "reasoning"
        )

    def final_usage(self, model: str) -> Usage:
        """Return the platform's count, or a count of ours: the prompt, and all that was said, released or not."""
        if self.usage is not None:
            return self.usage
        prompt = self._turn.started.prompt_tokens
        completion = count("".join(self._pieces), model)
        return Usage(prompt, completion, prompt + completion, "relay")

    def close(self, ended: Ended, upstream: Upstream, screen: Screen, now: float) -> list[Fact]:
        """Return what is told of a turn that has ended, and let go of its text."""
        self._pieces.clear()
        shown = [entry.event for entry in self._turn.entries]
        reports = Counter((event.rule, event.action) for event in shown if type(event) is Guarded)
        usage = ended.usage
        return [
            BytesReceived(upstream.name, self.bytes),
            Screened(upstream.name, reports, screen.most_held, screen.held_s, *screen.pieces),
            TurnEnded(
                turn=self._turn.id,
                upstream=upstream.name,
                asked=self._turn.started.upstream,
                model=upstream.settings.model,
                outcome=ended.outcome,
                reason=ended.reason,
                duration_s=now - self.began_at,
                first_token_s=None if self.first_token_at is None else self.first_token_at - self.began_at,
                characters=sum(len(event.text) for event in shown if type(event) is Delta),
                prompt_tokens=usage.prompt_tokens if usage else 0,
                completion_tokens=usage.completion_tokens if usage else 0,
                detail=ended.detail,
            ),
        ]
