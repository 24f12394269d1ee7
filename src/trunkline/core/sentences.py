"""Cuts released text into sentences that can be spoken or sent one by one, the same for every cut of the stream."""

# ruff: noqa: RUF001 - most stops and quotes are not those of ASCII

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

# What ends in a full stop and yet ends no sentence, as Cognigy's "Stream to Output" has it by default: numbers,
# titles, initials, an ellipsis, "e.g.". Matched at the end of the text up to the stop.
EXCEPTIONS: Final = (r"\d+\.", r"\b(?:Dr|Ms|Mr|Mrs|Prof|Sr|Jr|ca)\.", r"\b[A-Z]\.", r"\.\.\.", r"\b.\..\.")
MAX_CHARS: Final = 400  # what a speech synthesiser or a messenger takes at once without trouble
MAX_AHEAD: Final = 32  # how far beyond the longest sentence a decision may look
MAX_BACK: Final = 64  # how far back from a stop an exception may begin

# Abbreviations that a word of the same sentence follows. A single letter with a stop always counts as one.
_ABBREVIATIONS: Final = {
    "en": "mr mrs ms dr prof sr jr st mt gen col capt lt sgt rev hon messrs vs approx dept incl excl ca cf",
    "de": "hr fr dr prof dipl ing bzw ggf evtl inkl exkl zzgl abzgl vgl sog bspw bzgl gem geb mio mrd tsd str std",
    "es": "sr sra srta sres dr dra dña ud uds av avda gral lic ing prof aprox ej ee uu",
    "fr": "mm mlle mme dr pr st ste av bd env ex cf réf",
    "it": "sig sigg dott avv geom gent spett ing prof",
    "pt": "sr sra srta dr dra prof profa exmo exma av sto",
}
# These may well end a sentence; a number behind them tells that they do not.
_BEFORE_NUMBER: Final = {
    "en": "no nos p pp fig figs vol ch sec ext apt jan feb mar apr jun jul aug sep sept oct nov dec",
    "de": "nr nrn abs art kap bd tel",
    "es": "núm núms pág págs art cap vol tel tlf",
    "fr": "art chap vol tél",
    "it": "art pag pagg cap vol tel",
    "pt": "núm pág págs art cap vol tel",
}
_ALWAYS: Final = frozenset(" ".join(_ABBREVIATIONS.values()).split())
_WITH_NUMBER: Final = frozenset(" ".join(_BEFORE_NUMBER.values()).split())

_STOP: Final = re.compile(r"\n|[.!?…。！？｡．।॥؟۔]+")
_CJK_STOPS: Final = "。！？｡．"
_CJK: Final = "\u2e80"  # from here on nearly everything is written without spaces
_CLOSERS: Final = "\"'”’»›)\\]}」』】〉》）］｝*_~`"
# What belongs to the sentence behind its stop: closing quotes, brackets, marks of emphasis. A quote that opens one in
# English closes one in German where a space follows; a guillemet behind a space closes one where no word follows.
_TAIL: Final = re.compile(rf"[{_CLOSERS}]*(?:[“‘«‹](?=\s|\Z)|[ \u00a0\u202f]»(?=[\s.,;:!?)]|\Z)[{_CLOSERS}]*)?")
_BLANKS: Final = re.compile(r"[^\S\n]*")
_WORD: Final = re.compile(r"[^\W_]")
_QUOTES: Final = frozenset("\"'”’“‘»«›‹")
_QUOTED_ON: Final = frozenset("とっ、，,")  # a sentence goes on behind a quotation: 「はい。」と言った
_CLAUSE: Final = re.compile(r"[,;:،—–](?=\s)|[，、；：]")
_JOINERS: Final = "\u200d\ufe0e\ufe0f"
_LONGEST_ABBREVIATION: Final = 8
_WAIT: Final = -1


class Sentences:
    """Cuts a text, fed in any pieces, into sentences; their concatenation is the text.

    A sentence ends behind a newline, and behind `.`, `!`, `?` and their kin in other scripts, with the quotes and
    brackets that these close. A full stop counts only where a space follows that no lower-case letter follows, and
    where neither one of `exceptions` nor a known abbreviation stands before it; an ellipsis never counts. White space
    between two sentences leads the second one, save the first newline, which ends the first one.

    `min_chars` (without the white space around it) is the least that is cut off, so that a short sentence joins the
    next; in any case it has a letter or a digit. What is longer than `max_chars` is cut behind the last mark of a
    clause in its second half, or before its last space, or where it is full. Only what `finish` returns last may have
    less than all that.

    A sentence is returned as soon as what follows shows that it ended, mostly with the next word, and never by a
    timer. No more than `max_chars + MAX_AHEAD` characters are kept.
    """

    __slots__ = ("_exceptions", "_max_chars", "_min_chars", "_pending", "_searched")

    def __init__(
        self, *, min_chars: int = 1, max_chars: int = MAX_CHARS, exceptions: Sequence[str] = EXCEPTIONS
    ) -> None:
        if not 1 <= min_chars <= max_chars:
            raise ValueError(f"min_chars={min_chars} must be at least 1 and at most max_chars={max_chars}")
        self._min_chars = min_chars
        self._max_chars = max_chars
        self._exceptions = [re.compile(rf"(?:{exception})\Z") for exception in exceptions]
        self._pending = ""
        self._searched = 0  # the pending sentence does not end with a stop before this place

    def feed(self, text: str) -> list[str]:
        """Take the next piece; return the sentences that it completes."""
        return self._cut(self._pending + text, complete=False)

    def finish(self) -> list[str]:
        """Return what is left, as the text is complete."""
        sentences = self._cut(self._pending, complete=True)
        if self._pending:
            sentences.append(self._pending)
            self._pending = ""
        return sentences

    def _cut(self, text: str, *, complete: bool) -> list[str]:
        sentences: list[str] = []
        at = 0
        while True:
            # One sentence is decided on this much and no more, so that it does not matter how much there is.
            window = text[at : at + self._max_chars + MAX_AHEAD]
            size = self._first(window, complete=complete or len(window) == self._max_chars + MAX_AHEAD)
            if size == 0:
                break
            sentences.append(window[:size])
            at += size
            self._searched = 0
        self._pending = text[at:]
        return sentences

    def _first(self, text: str, *, complete: bool) -> int:
        """Return the size of the first sentence, 0 where that is not decided yet."""
        for stop in _STOP.finditer(text, self._searched):
            end = self._end(text, stop, complete=complete)
            if end == _WAIT:
                self._searched = stop.start()
                return 0
            if end > self._max_chars:
                break
            if end and len(text[:end].strip()) >= self._min_chars and _WORD.search(text, 0, end) is not None:
                return end
        self._searched = len(text)
        return self._forced(text) if len(text) > self._max_chars else 0

    def _end(self, text: str, stop: re.Match[str], *, complete: bool) -> int:
        """Return where the sentence ends that a stop may end: 0 where it goes on, `_WAIT` where that is not known."""
        if stop[0] == "\n":
            return stop.end()
        end = _end_of(_TAIL, text, stop.end())
        spaced = _end_of(_BLANKS, text, end)
        after = text[spaced : spaced + 1]
        if after == "" and not complete:
            return _WAIT
        if after in ("", "\n"):
            return spaced + len(after)
        tail = text[stop.end() : end]
        return 0 if self._goes_on(text, stop, tail, after, is_spaced=spaced > end) else end

    def _goes_on(self, text: str, stop: re.Match[str], tail: str, after: str, *, is_spaced: bool) -> bool:
        """Tell whether the sentence goes on behind a stop and its tail, with the character `after`."""
        last = stop[0][-1]
        if last == "…":
            return True
        if last in _CJK_STOPS:
            return after in _QUOTED_ON if tail else last == "．" and after.isdigit()
        if not is_spaced:
            # A decimal, an address, a file's name; but Spanish, Chinese and Japanese need no space here.
            before = text[stop.start() - 1 : stop.start()]
            return not (after in "¿¡" or (after >= _CJK and (last != "." or before >= _CJK)))
        if last != ".":
            return after.islower() and not _QUOTES.isdisjoint(tail)
        return after.islower() or self._is_excepted(text, stop, after)

    def _is_excepted(self, text: str, stop: re.Match[str], after: str) -> bool:
        """Tell whether a full stop belongs to what is before it."""
        begin = max(0, stop.end() - MAX_BACK)
        if any(exception.search(text, begin, stop.end()) is not None for exception in self._exceptions):
            return True
        begin = dot = stop.start()
        while begin and text[begin - 1].isalpha() and dot - begin <= _LONGEST_ABBREVIATION:
            begin -= 1
        word = text[begin:dot].casefold()
        is_initial = len(word) == 1 and word < _CJK
        return is_initial or word in _ALWAYS or word.endswith("str") or (after.isdigit() and word in _WITH_NUMBER)

    def _forced(self, text: str) -> int:
        """Find the best place to cut a sentence that is too long."""
        clauses = [clause.end() for clause in _CLAUSE.finditer(text, self._max_chars // 2, self._max_chars)]
        if clauses and clauses[-1] >= self._min_chars:
            return clauses[-1]
        end = self._max_chars
        while end > self._min_chars and not text[end].isspace():
            end -= 1
        if end > self._min_chars and _WORD.search(text, 0, end) is not None:
            return end
        end = self._max_chars
        while end > 1 and (unicodedata.combining(text[end]) or text[end] in _JOINERS or text[end - 1] == "\u200d"):
            end -= 1
        return end if end > 1 else self._max_chars


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a pattern ends that matches at any place, if only nothing."""
    match = pattern.match(text, at)
    return match.end() if match is not None else at
