"""What Markdown's marks look like: patterns, the bounds of looking ahead, and the rules of emphasis."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# How far a decision looks ahead. What is longer is taken for plain text.
MAX_LABEL: Final = 256  # characters of a link's text
MAX_TARGET: Final = 2048  # of its address and title, or of an address in angle brackets
MAX_RULE: Final = 1024  # of a line that may be a rule or a table's delimiter row
MAX_INFO: Final = 128  # after the marks of a code fence
MAX_RUN: Final = 64  # blanks, backticks or marks of a fence in a row
MAX_NESTED: Final = 4  # brackets within a link's text
MAX_EMPHASIS: Final = 3  # four marks and more are no emphasis but stars, as in "card ending in ****1234"
STRIKE: Final = 2  # tildes; one alone means "about"
MIN_FENCE: Final = 3  # CommonMark 4.5

# What goes on unchanged inside a line: of text, of a table's row, of code between backticks.
TEXT: Final = re.compile(r"(?:[^\\`*_~\[!<\n]++|!(?=[^\[]))++")
ROW: Final = re.compile(r"[^\\`*_~\[!<\n| \t\r]+")
CODE: Final = re.compile(r"[^`\n]+")
FENCED: Final = re.compile(r"[^\n]+")
NOTHING: Final = re.compile(r"(?!)")

# Lines
INDENT: Final = re.compile(rf"[ \t\r]{{0,{MAX_RUN}}}")
QUOTED_INDENT: Final = re.compile(rf"[ \t>]{{0,{MAX_RUN}}}")
QUOTE: Final = re.compile(r"[ \t]*> ?")
RULE_MARKS: Final = re.compile(rf"[-*_=|: \t\r]{{1,{MAX_RULE}}}")
RULE: Final = re.compile(
    r"(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|={3,}[ \t]*"
    r"|(?:\|[ \t]*:?-+:?|:?-{3,}:?)[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*)\r?"
)
BULLET: Final = re.compile(r"[-*][ \t]+(?=[^\r\n])")
ROW_START: Final = re.compile(r"\|[| \t\r]*")
HEADING_MARKS: Final = re.compile(rf"#{{1,6}}[ \t]{{0,{MAX_RUN}}}")
HEADING: Final = re.compile(rf"#{{1,6}}(?:[ \t]{{1,{MAX_RUN}}}|(?=[\r\n])|\Z)")
FENCE_MARKS: Final = re.compile(rf"`{{1,{MAX_RUN}}}|~{{1,{MAX_RUN}}}")
INFO: Final = {"`": re.compile(rf"[^`\n]{{0,{MAX_INFO}}}"), "~": re.compile(rf"[^\n]{{0,{MAX_INFO}}}")}

# Inside a line
STARS: Final = {mark: re.compile(rf"{re.escape(mark)}{{1,{MAX_EMPHASIS + 1}}}") for mark in "*_~"}
TICKS: Final = re.compile(rf"`{{1,{MAX_RUN}}}")
CELL_END: Final = re.compile(rf"[ \t\r|]{{1,{MAX_RUN}}}")
BRACKET: Final = re.compile(r"\\.|[\[\]\n]")
# CommonMark 6.3: an address without blanks, its parentheses in pairs (here one level), or in angle brackets.
_ADDRESS: Final = r"\([ \t]*+(?:<[^<>\n]*+>|[^()<\s][^()\s]*+(?:\([^()\s]*+\)[^()\s]*+)*+)?+"
TARGET: Final = re.compile(_ADDRESS + r"""(?:[ \t]++(?:"[^"\n]*+"|'[^'\n]*+'))?[ \t]*+\)""")
TARGET_BEGUN: Final = re.compile(
    r"(?:\([ \t]*+(?:<[^<>\n]*+)?)?\Z|"
    + _ADDRESS
    + r"""(?:\([^()\s]*+|[ \t]++(?:"[^"\n]*+"?+|'[^'\n]*+'?+)?+[ \t]*+)?+\Z"""
)
# Of all schemes those that an answer names; else C++'s <std::string> would be an address.
_SCHEME: Final = r"(?:(?:https?|ftps?)://|(?:mailto|tel|sms|sips?):)"
AUTOLINK: Final = re.compile(rf"<({_SCHEME}[^\s<>]*+|[\w.+%-]{{1,64}}@[\w.-]{{1,255}})>", re.ASCII | re.IGNORECASE)
AUTOLINK_BEGUN: Final = re.compile(
    rf"<(?:[\w.+%-]{{0,64}}|[a-z]{{3,6}}:/?|{_SCHEME}[^\s<>]*+|[\w.+%-]{{1,64}}@[\w.-]{{0,255}})\Z",
    re.ASCII | re.IGNORECASE,
)

# Scripts that write without spaces: Thai and Lao, Myanmar, Khmer, CJK with its punctuation and what lies beyond.
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]")


def end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a pattern ends that begins at a character, or that character's place where it does not."""
    match = pattern.match(text, at)
    return match.end() if match is not None else at


def flanks(mark: str, before: str, after: str) -> tuple[bool, bool]:
    """Tell whether marks between two characters may open and may close emphasis (CommonMark 6.2).

    Next to a script without spaces only white space counts: that script's words have no edges to go by.
    """
    opens, closes = not after.isspace(), not before.isspace()
    if mark == "_" or not is_unspaced(before, after):
        behind, ahead = _is_punctuation(before), _is_punctuation(after)
        left = opens and (not ahead or behind or before.isspace())
        right = closes and (not behind or ahead or after.isspace())
        if mark == "_":  # it must not part a word
            return left and (not right or behind), right and (not left or ahead)
        return left, right
    return opens, closes


def is_operator(before: str, after: str) -> bool:
    """Tell whether a star stands directly behind something to multiply, or inside a word."""
    return (before.isalnum() or before in ")]}") and not is_unspaced(before, after)


def is_unspaced(before: str, after: str) -> bool:
    """Tell whether one of two characters is of a script that writes without spaces."""
    return _UNSPACED.match(before) is not None or _UNSPACED.match(after) is not None


def _is_punctuation(char: str) -> bool:
    """Tell whether CommonMark takes a character for punctuation: it counts symbols too."""
    return unicodedata.category(char)[0] in "PS"
