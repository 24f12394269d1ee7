"""The contract of a guard stage: a check on text before anyone reads it, which may hold text back."""

from __future__ import annotations

from typing import Protocol

from trunkline.core.events import Guarded


class Stage(Protocol):
    """One stage of the chain of one (choice, channel) of one turn. Fed in pieces, it gives what it gives fed whole.

    An exception out of a stage blocks the turn; it must not carry any of the text.
    """

    found: list[Guarded]
    """What the stage reports; the chain takes it out after each call."""

    @property
    def blocked(self) -> bool:
        """True once a blocking rule matched; the stage then releases nothing more."""

    @property
    def held(self) -> int:
        """How many characters are held back now."""

    def feed(self, text: str) -> str:
        """Take the next piece; return what is released by it, the same object where nothing is changed or held."""

    def finish(self) -> str:
        """The text is complete: return what was held, as far as it may be released."""
