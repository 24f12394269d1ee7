"""The guard chains of one turn: what comes from the platform goes in, what anyone may read comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from trunkline.core.events import AnyEvent, Delta, Guarded, Notice, ToolCall
from trunkline.guards.base import Stage
from trunkline.guards.json_answer import JsonAnswer, JsonFault
from trunkline.guards.matcher import Matcher
from trunkline.guards.surrogates import mended

# After any other end the held text may be the first half of something that must not be shown.
_RELEASING: Final = frozenset({"stop", "tool_calls"})
MAX_DETAIL_CHARS: Final = 200
MAX_NAME_CHARS: Final = 256  # bounds what is looked at anew with each piece of a tool's name
_Key = tuple[int, str]


class Chains(Protocol):
    """Makes the stages that one text of a turn goes through, in their order."""

    @property
    def fault(self) -> Exception | None:
        """The first fault that a stage met and got over, failing closed; None where there was none."""

    def text(self) -> Sequence[Stage]:
        """Make those of an answer, a thought, a refusal, or a platform's words."""

    def arguments(self) -> Sequence[Stage]:
        """Make those of one tool call's arguments."""

    def word(self) -> Sequence[Stage]:
        """Make those of a tool's name."""


class Screen:
    """Screens the events of one turn, by a chain for each choice, channel and tool call.

    `screen` returns the released events of one read: the same objects where text is untouched, nothing after a block.
    """

    __slots__ = (
        "_chains",
        "_fault",
        "_held",
        "_held_since",
        "_make",
        "_names",
        "_shapes",
        "_strict",
        "blocked",
        "held_s",
        "json_fault",
        "most_held",
    )

    def __init__(self, make: Chains, *, expects_json: bool = False, strict: bool = False) -> None:
        """Take what makes the chains. `expects_json`: answers are checked; `strict`: nothing from a fault on goes."""
        self._make = make
        self._chains: dict[_Key, Sequence[Stage]] = {}
        self._shapes: dict[int, JsonAnswer] | None = {} if expects_json else None
        self._strict = strict
        self._names: dict[tuple[int, int], str] = {}
        self._held: dict[_Key, int] = {}
        self._held_since = 0.0
        self._fault: Exception | None = None
        self.blocked = ""
        """The reason (`guard_rule`, `guard_error`) once nothing more may be released."""
        self.json_fault: JsonFault | None = None
        """The first fault of an answer that should be JSON; None where there is none, or nothing is expected."""
        self.most_held = 0
        """The most characters of one text that were held back at a time."""
        self.held_s = 0.0
        """How long something was held back, in seconds."""

    def screen(self, events: list[AnyEvent], now: float) -> list[AnyEvent]:
        """Screen what one read brought. Once blocked, everything that follows is swallowed."""
        released: list[AnyEvent] = []
        if self.blocked:
            return released
        for event in events:
            if type(event) is Delta:
                passed = self._feed((event.choice, event.channel), event, event.text, released, now)
            elif type(event) is ToolCall:
                passed = self._feed_call(event, released, now)
            else:
                released.append(_mended_notice(event) if type(event) is Notice else event)
                continue
            if not passed:
                break
        if self._shapes is not None:
            self._follow_shape(released)
        return released

    def finish(self, reason: str, now: float) -> list[AnyEvent]:
        """Close the chains at the turn's end: release what they hold after a proper end, else drop and report it."""
        released: list[AnyEvent] = []
        chains = list(self._chains.items())
        if reason in _RELEASING and not self.blocked:
            while chains:
                key, chain = chains.pop(0)
                if not self._flush(key, chain, released):
                    break
        dropped = sum(stage.held for _, chain in chains for stage in chain)
        if dropped:
            released.append(Notice("held_dropped", f"{dropped} characters"))
        self._note_held((-1, ""), 0, now)
        self._held.clear()
        if self._shapes is not None:
            self._follow_shape(released)
        return released

    @property
    def fault(self) -> Exception | None:
        """The first fault of ours in a guard, also in one that failed closed and went on; never to be shown as it is.

        Its message and its traceback hold what was at hand.
        """
        return self._fault or self._make.fault

    @property
    def pieces(self) -> tuple[int, int]:
        """How many pieces the matchers of texts were fed, and how many of them took the exact scan."""
        matchers = [stage for chain in self._chains.values() for stage in chain if isinstance(stage, Matcher)]
        return sum(matcher.fed for matcher in matchers), sum(matcher.scanned for matcher in matchers)

    @property
    def held(self) -> int:
        """How many characters are held back now."""
        return sum(self._held.values())

    def words(self, text: str) -> str:
        """Screen a platform's words about an error as a text of its own, and cut them to 200 characters."""
        if not text:
            return ""
        released: list[AnyEvent] = []
        screen = Screen(self._make)
        screen._feed((0, "answer"), Delta(text, 0), text, released, 0.0)
        released += screen.finish("stop", 0.0)
        self._fault = self._fault or screen.fault
        if screen.blocked:
            return "withheld by a guard"
        whole = "".join(event.text for event in released if isinstance(event, Delta))
        printable = "".join(c if c.isprintable() else " " for c in whole)
        return printable if len(printable) <= MAX_DETAIL_CHARS else printable[: MAX_DETAIL_CHARS - 1] + "…"

    def close_shapes(self, choices: int) -> None:
        """The answer is complete: each of so many choices must have been JSON, also one that said nothing."""
        if self._shapes is not None:
            for choice in range(choices):
                self._shapes.setdefault(choice, JsonAnswer(allow_fence=True))
            for shape in self._shapes.values():
                shape.finish()
                self.json_fault = self.json_fault or shape.fault

    def _feed_call(self, event: ToolCall, released: list[AnyEvent], now: float) -> bool:
        """Release what a piece of a tool call lets go. Its name cannot be masked: a match in it blocks."""
        call_id, name = mended(event.call_id), mended(event.name)
        if call_id is not event.call_id or name is not event.name:
            event = ToolCall(event.choice, event.index, call_id, name, event.arguments)
        if event.name and not self._passes_name(event, released):
            return False
        if not event.arguments:
            released.append(event)
            return True
        return self._feed((event.choice, f"tool {event.index}"), event, event.arguments, released, now)

    def _passes_name(self, event: ToolCall, released: list[AnyEvent]) -> bool:
        """Look at all that came of a tool's name; its id is the platform's own and says nothing."""
        key = event.choice, event.index
        name = self._names[key] = self._names.get(key, "") + event.name
        try:
            found = []
            text = name
            for stage in self._make.word():
                text = stage.feed(text) + stage.finish()
                found += [report for report in stage.found if report.action != "flag"]
        except Exception as error:  # noqa: BLE001 - fail closed
            return self._fail(error)
        if not found and len(name) <= MAX_NAME_CHARS:
            return True
        self.blocked = "guard_rule"
        blocks = [Guarded(r.rule, "block", r.start, r.end, r.offset, 0, r.digest, r.kind) for r in found]
        released += blocks[:1] or [Guarded("too_long", "block", 0, len(name), 0, 0)]
        return False

    def _feed(self, key: _Key, event: Delta | ToolCall, text: str, released: list[AnyEvent], now: float) -> bool:
        """Release what one piece lets go; False where it blocked the turn."""
        chain = self._chains.get(key)
        if chain is None:
            made = self._make.text() if type(event) is Delta else self._make.arguments()
            chain = self._chains[key] = made
        given = text
        found: list[AnyEvent] = []
        try:
            for stage in chain:
                text = stage.feed(text)
                if stage.found or stage.blocked:
                    self._take_report(stage, found)
                if not text:
                    break
            if text is not given or key in self._held:
                self._note_held(key, sum([stage.held for stage in chain]), now)
        except Exception as error:  # noqa: BLE001 - fail closed: whatever went wrong, nothing of this piece is shown
            return self._fail(error)
        if text is given:
            released.append(event)
        elif text or (type(event) is ToolCall and (event.name or event.call_id)):
            released.append(_with(event, text))
        if found:
            released += found
        return not self.blocked

    def _flush(self, key: _Key, chain: Sequence[Stage], released: list[AnyEvent]) -> bool:
        """Release what one chain holds; False where that blocked the turn."""
        carried = ""
        found: list[AnyEvent] = []
        try:
            for stage in chain:
                carried = (stage.feed(carried) if carried else "") + stage.finish()
                if stage.found or stage.blocked:
                    self._take_report(stage, found)
        except Exception as error:  # noqa: BLE001 - fail closed
            return self._fail(error)
        if carried:
            choice, channel = key
            tool = channel.removeprefix("tool ")
            if tool is channel:
                released.append(Delta(carried, choice, channel))  # type: ignore[arg-type]
            else:
                released.append(ToolCall(choice, int(tool), arguments=carried))
        released += found
        return not self.blocked

    def _fail(self, error: Exception) -> bool:
        """Show nothing more of this turn, since a stage failed."""
        self.blocked = "guard_error"
        self._fault = self._fault or error
        return False

    def _take_report(self, stage: Stage, found: list[AnyEvent]) -> None:
        if stage.blocked:
            self.blocked = "guard_rule"
            # What an earlier stage did behind the block was never shown; how far it had come depends on the cut.
            blocks = [report for report in stage.found if report.action == "block"]
            if blocks:
                found[:] = [r for r in found if isinstance(r, Guarded) and r.offset < blocks[-1].start]
        found.extend(stage.found)
        stage.found.clear()

    def _note_held(self, key: _Key, held: int, now: float) -> None:
        """Keep account of how much is held, and for how long."""
        if self._held:
            self.held_s += now - self._held_since
        self._held_since = now
        if held:
            self._held[key] = held
            self.most_held = max(self.most_held, held)
        else:
            self._held.pop(key, None)

    def _follow_shape(self, released: list[AnyEvent]) -> None:
        """Let what is shown of each answer be checked for being JSON."""
        assert self._shapes is not None  # noqa: S101 - for the type checker
        for n, event in enumerate(released):
            if type(event) is Delta and event.channel == "answer":
                shape = self._shapes.get(event.choice)
                if shape is None:
                    shape = self._shapes[event.choice] = JsonAnswer(allow_fence=True)
                before, known = shape.read, shape.fault
                shape.feed(event.text)
                fault = shape.fault
                self.json_fault = self.json_fault or fault
                if self._strict and fault is not None:
                    right = "" if known is not None else event.text[: fault.offset - before]
                    self._cut_at(released, n, right, fault)
                    break

    def _cut_at(self, released: list[AnyEvent], n: int, right: str, fault: JsonFault) -> None:
        """Show nothing from a fault on. It stands before whatever blocked the text behind it."""
        event = released[n]
        reports = [r for r in released[n + 1 :] if isinstance(r, Guarded) and r.offset < fault.offset]
        released[n:] = [*([_with(event, right)] if right and isinstance(event, Delta) else []), *reports]
        if self.blocked == "guard_rule":
            self.blocked = ""


def _mended_notice(event: Notice) -> Notice:
    """Return a notice that can be encoded: it may name what a client or a platform calls something."""
    detail = mended(event.detail)
    return event if detail is event.detail else Notice(event.kind, detail)


def _with(event: Delta | ToolCall, text: str) -> Delta | ToolCall:
    """Return an event with another text in it."""
    if isinstance(event, Delta):
        return Delta(text, event.choice, event.channel)
    return ToolCall(event.choice, event.index, event.call_id, event.name, text)
