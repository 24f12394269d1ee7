"""The guard chain of one turn: what comes from the platform goes in, what anyone may read comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from trunkline.core.events import AnyEvent, Channel, Delta, Notice
from trunkline.guards.base import Stage

MakeStages = Callable[[], Sequence[Stage]]
# After any other end the held text may be the first half of something that must not be shown.
_RELEASING: Final = frozenset({"stop", "tool_calls"})
MAX_DETAIL_CHARS: Final = 200


class Screen:
    """Screens the events of one turn, each (choice, channel) by a chain of its own.

    `screen` returns the released events of one read: the same objects where text is untouched, nothing after a block.
    """

    __slots__ = ("_chains", "_make_stages", "blocked")

    def __init__(self, make_stages: MakeStages) -> None:
        self._make_stages = make_stages
        self._chains: dict[tuple[int, Channel], Sequence[Stage]] = {}
        self.blocked = ""
        """The reason (`guard_rule`, `guard_error`) once nothing more may be released."""

    def screen(self, events: list[AnyEvent]) -> list[AnyEvent]:
        """Screen what one read brought. Once blocked, everything that follows is swallowed."""
        released: list[AnyEvent] = []
        if self.blocked:
            return released
        for event in events:
            if not isinstance(event, Delta):
                released.append(event)
            elif not self._feed(event, released):
                break
        return released

    def finish(self, reason: str) -> list[AnyEvent]:
        """Close the chains at the turn's end: release what they hold after a proper end, else drop and report it."""
        released: list[AnyEvent] = []
        chains = list(self._chains.items())
        if reason in _RELEASING and not self.blocked:
            while chains:
                (choice, channel), chain = chains.pop(0)
                if not self._flush(choice, channel, chain, released):
                    break
        dropped = sum(stage.held for _, chain in chains for stage in chain)
        if dropped:
            released.append(Notice("held_dropped", f"{dropped} characters"))
        return released

    def words(self, text: str) -> str:
        """Screen a platform's words about an error as a text of its own, and cut them to 200 characters."""
        if not text:
            return ""
        released: list[AnyEvent] = []
        screen = Screen(self._make_stages)
        screen._feed(Delta(text, 0), released)
        released += screen.finish("stop")
        if screen.blocked:
            return "withheld by a guard"
        words = "".join(event.text for event in released if isinstance(event, Delta))
        printable = "".join(c if c.isprintable() else " " for c in words)
        return printable if len(printable) <= MAX_DETAIL_CHARS else printable[: MAX_DETAIL_CHARS - 1] + "…"

    def _feed(self, event: Delta, released: list[AnyEvent]) -> bool:
        """Release what one delta lets go; False where it blocked the turn."""
        key = (event.choice, event.channel)
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = self._make_stages()
        text = event.text
        found: list[AnyEvent] = []
        try:
            for stage in chain:
                text = stage.feed(text)
                if stage.found or stage.blocked:
                    self._take_report(stage, found)
                if not text:
                    break
        except Exception:  # noqa: BLE001 - fail closed: whatever went wrong, nothing of this piece is shown
            self.blocked = "guard_error"
            return False
        if text:
            released.append(event if text is event.text else Delta(text, event.choice, event.channel))
        released += found
        return not self.blocked

    def _flush(self, choice: int, channel: Channel, chain: Sequence[Stage], released: list[AnyEvent]) -> bool:
        """Release what one chain holds; False where that blocked the turn."""
        carried = ""
        found: list[AnyEvent] = []
        try:
            for stage in chain:
                carried = (stage.feed(carried) if carried else "") + stage.finish()
                if stage.found or stage.blocked:
                    self._take_report(stage, found)
        except Exception:  # noqa: BLE001 - fail closed
            self.blocked = "guard_error"
            return False
        if carried:
            released.append(Delta(carried, choice, channel))
        released += found
        return not self.blocked

    def _take_report(self, stage: Stage, found: list[AnyEvent]) -> None:
        found.extend(stage.found)
        stage.found.clear()
        if stage.blocked:
            self.blocked = "guard_rule"
