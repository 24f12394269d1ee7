"""Puts the pieces of an answer in order, each once: by sequence numbers, or by comparing what is replayed."""

from __future__ import annotations

from typing import Final, Literal

Replay = Literal["from_start", "continues", "none"]
"""How a platform goes on after a reconnect where its pieces have no numbers."""

WINDOW: Final = 1_024  # how far ahead of the missing one a piece may be
MAX_HELD_CHARS: Final = 200_000  # bounds what pieces far ahead may hold of memory
MAX_PIECES: Final = 250_000  # bounds what numbered pieces without text may hold of memory
_CODE_UNITS: Final = "utf-16-le"  # a character cut in two halves, and the same one whole, are the same bytes in it


class DisorderError(Exception):
    """The answer cannot be put together. `reason` is what the turn ends with, `detail` a sentence without its text."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Reorder:
    """The answer of one turn, over any number of connections.

    The first piece with text decides for the whole answer whether its numbers count. With numbers, which count from 0,
    pieces may come in any order within `window`, and as often as they like; a number that does not come within `gap_s`
    is a gap. An end mark without a number may have overtaken pieces: it is the end once nothing has come for `gap_s`.
    Without numbers the order is that of arrival, and `replay` says what comes after a reconnect.
    Whatever is raised is a `DisorderError`, after which the answer cannot go on.
    """

    def __init__(self, replay: Replay = "from_start", window: int = WINDOW, gap_s: float = 5.0) -> None:
        self.duplicates = 0
        """How many pieces were dropped because they had come before, or stand behind the last one."""
        self._replay = replay
        self._window = window
        self._gap_s = gap_s
        self._numbered: bool | None = None
        self._taken: list[str] = []
        self._ahead: dict[int, str] = {}
        self._ahead_chars = 0
        self._gap_at: float | None = None
        self._last: int | None = None
        self._last_came = False
        self._end_came_here = False
        self._ended_with: int | None = None
        self._settled = False
        self._has_text = False
        self._received = bytearray()
        self._arrived_chars = 0
        self._replayed = 0

    @property
    def complete(self) -> bool:
        """Whether the last piece has come, and all before it."""
        if not self._last_came or self._ahead or self._is_open_ended:
            return False
        return self._last is None or len(self._taken) > self._last

    @property
    def deadline(self) -> float | None:
        """When to `check`: the piece that is missing, or may be, must have come by then; None where none is."""
        return None if self._gap_at is None else self._gap_at + self._gap_s

    @property
    def progress(self) -> int:
        """Grows with all that is new, be it text or a number; a replay of what came before adds nothing."""
        return len(self._taken) + len(self._ahead) + self._arrived_chars

    @property
    def _is_open_ended(self) -> bool:
        """Whether the end mark has come, and does not say how many pieces stand before it."""
        return self._last_came and self._last is None and self._numbered is not False and not self._settled

    def take(self, number: int | None, text: str, now: float, *, last: bool = False) -> str:
        """Take a piece; return the text that follows on what was returned before, which may be empty."""
        if self._numbered is None and (text or number is not None):
            # An event without text and number is a preface, which decides nothing.
            self._numbered = number is not None
        if self._numbered is False:
            return self._by_arrival(text, last=last)
        if number is None:
            return self._without_number(text, now, last=last)
        if last:
            self._last, self._last_came = number, True
        return self._in_order(number, text, now)

    def lost(self, *, clean: bool = False) -> None:
        """Hear that the connection is gone: nothing that is missing can come before there is another.

        Where the platform has closed it as it should (`clean`), an end mark without a number has overtaken nothing; nor
        has it where two connections in a row ended with the same pieces. The answer may be complete then.
        """
        if self._numbered is False and self._has_text and self._replay == "none":
            raise DisorderError("upstream_interrupted", "the link was lost, and the platform does not replay")
        self._gap_at = None
        if self._is_open_ended and self._end_came_here and not self._ahead:
            self._settled = clean or self._ended_with == len(self._taken)
            self._ended_with = len(self._taken)

    def again(self, now: float) -> None:
        """Hear that a new connection begins."""
        self._replayed = 0
        self._end_came_here = False
        if self._numbered is None:
            self._last_came = False  # nothing was said yet but the end, and it may be said otherwise now
        self._watch(now)

    def check(self, now: float) -> None:
        """Look at the clock. Raises where a piece is missing for too long; may make the answer complete."""
        if self.deadline is None or now < self.deadline:
            return
        if self._ahead:
            raise DisorderError("sequence_gap", f"number {len(self._taken)} did not come within {self._gap_s:g} s")
        self._gap_at, self._settled = None, True

    # With numbers

    def _without_number(self, text: str, now: float, *, last: bool) -> str:
        """Take what has neither number nor text; an end mark stands behind all pieces, however many there are."""
        if text:
            raise DisorderError("upstream_protocol", "expected numbered pieces, got one without a number")
        if last:
            self._last_came = self._end_came_here = True
        self._watch(now)
        return ""

    def _in_order(self, number: int, text: str, now: float) -> str:
        following = len(self._taken)
        known = self._taken[number] if number < following else self._ahead.get(number)
        if known is not None:
            if known != text:
                raise DisorderError("replay_mismatch", f"number {number} came again with another text")
            self.duplicates += 1
            self._watch(now)
            return ""
        if self._last is not None and number > self._last:
            self.duplicates += 1
            return ""
        if number != following:
            self._hold(number, text, now)
            return ""
        if following >= MAX_PIECES:
            raise DisorderError("answer_too_long", f"more than {MAX_PIECES} pieces")
        self._taken.append(text)
        fresh = [text]
        while (text_ahead := self._ahead.pop(len(self._taken), None)) is not None:
            self._ahead_chars -= len(text_ahead)
            self._taken.append(text_ahead)
            fresh.append(text_ahead)
        # Another piece may be missing now, and has its own time.
        self._gap_at = None
        self._watch(now)
        return "".join(fresh)

    def _hold(self, number: int, text: str, now: float) -> None:
        following = len(self._taken)
        if number - following >= self._window:
            raise DisorderError("sequence_gap", f"number {following} is missing, and number {number} has come")
        if not self._ahead:
            self._gap_at = None
        self._ahead[number] = text
        self._ahead_chars += len(text)
        if self._ahead_chars > MAX_HELD_CHARS:
            detail = f"number {following} is missing, and more than {MAX_HELD_CHARS} characters wait for it"
            raise DisorderError("sequence_gap", detail)
        self._watch(now)

    def _watch(self, now: float) -> None:
        """Begin the time of a gap, where it has not begun; after an open end it begins with whatever comes."""
        if not self._ahead:
            self._gap_at = now if self._is_open_ended else None
        elif self._gap_at is None:
            self._gap_at = now

    # Without numbers

    def _by_arrival(self, text: str, *, last: bool) -> str:
        if self._last_came:
            self.duplicates += 1
            return ""
        fresh = self._compared(text)
        self._arrived_chars += len(fresh)
        if last:
            self._end_of_replay()
            self._last_came = True
        return fresh

    def _compared(self, text: str) -> str:
        """Skip what was received before, which must be the same; return the rest."""
        self._has_text = self._has_text or bool(text)
        if self._replay != "from_start":
            return text
        units = text.encode(_CODE_UNITS, "surrogatepass")
        known = self._received[self._replayed : self._replayed + len(units)]
        if units[: len(known)] != known:
            raise DisorderError("replay_mismatch", "after a reconnect the platform replayed another text")
        self._replayed += len(units)
        fresh = units[len(known) :]
        self._received += fresh
        return fresh.decode(_CODE_UNITS, "surrogatepass")

    def _end_of_replay(self) -> None:
        if self._replayed < len(self._received):
            raise DisorderError("replay_mismatch", "after a reconnect the platform replayed a shorter text")
