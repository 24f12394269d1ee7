"""The Autobahn report: what the suite says of each end, group by group, and why where it is not all well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from autobahn.suite import CLIENT, LANE, SERVER, Case, Results

GROUPS: Final = {
    "1": "messages of all sizes",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragments",
    "6": "UTF-8",
    "7": "closing",
    "9": "long messages, many messages",
    "10": "a long message in many frames",
    "12": "compression, by payload",
    "13": "compression, by parameter",
}
OK, NON_STRICT, INFORMATIONAL, NOT_OFFERED, FAILED = VERDICTS = (
    "ok",
    "non-strict",
    "informational",
    "not offered",
    "failed",
)
_VERDICTS: Final = {
    "OK": OK,
    "NON-STRICT": NON_STRICT,
    "INFORMATIONAL": INFORMATIONAL,
    "UNIMPLEMENTED": NOT_OFFERED,
}
_MID_MESSAGE: Final = (
    "the library (websockets) takes a close frame in the middle of a message for a protocol error and answers 1002; "
    "the case expects 1000. The connection ends either way."
)
KNOWN: Final = {
    (SERVER, "7.1.5"): _MID_MESSAGE,
    (LANE, "7.1.5"): _MID_MESSAGE,
    (CLIENT, "7.1.2"): (
        "the library (picows) reads a second close frame before it passes on the first, and answers 1002; the case "
        "expects 1000. The turn ends as one that cannot be read."
    ),
}
INTRO: Final = """\
# The Autobahn report

Written by `make autobahn`: the cases of the Autobahn test suite against both ends of the relay, on loopback.

- **{server}**: the relay as `trunkline serve --insecure` runs it, with all that every request passes through, and with
  one more WebSocket address that gives back what it gets, since the suite asks for that and no endpoint of the relay
  does it. It answers as endpoints answer what a client says.
- **{lane}**: another such address, which answers texts in the frames that endpoints send a turn in.
- **{client}**: the client that WebSocket platforms are read with. It sends texts only; binary messages go back by the
  transport under it.

**{verdict}**

{versions}.

| cases | end | run | ok | non-strict | informational | not offered | failed |
|---|---|---|---|---|---|---|---|"""
NOTES: Final = """\
## What the words mean

- **non-strict**: within RFC 6455, later or less than the suite would like. Cases of 3, 4 and 5 break the protocol after
  a good message in the same read: the connection is failed at once, and the good message before is not always given
  back first. Cases of 6.4 hold text that is not UTF-8 in the first fragments: it is refused when the message is whole.
- **informational**: the suite has no opinion.
- **not offered**: permessage-deflate is not agreed on by either end. Streams are small messages, often of one token,
  and compression would keep a window in memory for every one.
- **failed**: the messages, the close code or the way of closing was another than expected.

## What is different from daily life

Cases of 9 send messages of up to {most}. Both ends refuse more than 1 MiB (close code 1009), so the limit is raised
for these cases alone: by `server.max_body_bytes`, and by the client's constant.
{left_out}

The endpoints themselves take less than the protocol does: on `WS /ws` a binary message is answered with an `error`,
and the native WebSocket knows one message, which cancels. That is above what is looked at here.

The suite needs Python 2.7, so `make test` has none of it. What it found has tests of its own, in bytes on a socket
(tests/sources, tests/endpoints)."""


@dataclass
class Report:
    """What was found; `left_out` are the cases that were not run."""

    versions: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    results: Results = field(default_factory=dict)

    def add(self, results: Results) -> None:
        for end, cases in results.items():
            self.results.setdefault(end, []).extend(cases)

    @property
    def failed(self) -> list[tuple[str, Case]]:
        return [(end, case) for end, cases in self.results.items() for case in cases if verdict(case) == FAILED]

    @property
    def unexplained(self) -> list[tuple[str, Case]]:
        return [(end, case) for end, case in self.failed if (end, case.number) not in KNOWN]

    @property
    def passed(self) -> bool:
        """True where each end had all cases, and none failed for a reason that is not known."""
        return (
            len({_numbers(self.results.get(end, [])) for end in (SERVER, LANE, CLIENT)}) == 1 and not self.unexplained
        )

    def verdict(self) -> str:
        counts = ", ".join(f"{len(cases)} on the {end}" for end, cases in self.results.items())
        failed, unexplained = len(self.failed), len(self.unexplained)
        word = "Ok" if self.passed else "Not ok"
        return f"{word}: {counts}; {failed} failed, {unexplained} of them for no known reason."


def verdict(case: Case) -> str:
    """Put what the suite says of messages and of closing into one word; a word that is not known is a failure."""
    if case.behavior == "UNIMPLEMENTED":
        return NOT_OFFERED
    return FAILED if case.close not in ("OK", "INFORMATIONAL") else _VERDICTS.get(case.behavior, FAILED)


def page(report: Report) -> str:
    """Return the page for docs/."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [INTRO.format(server=SERVER, lane=LANE, client=CLIENT, verdict=report.verdict(), versions=versions)]
    for group, name in GROUPS.items():
        for end, cases in report.results.items():
            words = [verdict(case) for case in cases if case.number.split(".")[0] == group]
            if words:
                counts = [len(words), *(words.count(word) for word in VERDICTS)]
                lines.append(f"| {group}: {name} | {end} | {' | '.join(map(str, counts))} |")
    lines += ["", "## What failed", ""]
    lines += [
        f"- {case.number} on the {end} ({case.behavior}, {case.close}): {_reason(end, case)}"
        for end, case in report.failed
    ] or ["Nothing."]
    lines += ["", "Non-strict, by end:", ""]
    lines += [
        f"- {end}: {', '.join(case.number for case in cases if verdict(case) == NON_STRICT) or 'none'}"
        for end, cases in report.results.items()
    ]
    most, left_out = "16 MiB", "None is left out."
    if report.left_out:
        numbers = ", ".join(report.left_out)
        most = "4 MiB"
        left_out = f"Left out: {numbers}, of 8 and 16 MiB; `make autobahn ARGS=--large` runs them."
    lines += ["", NOTES.format(most=most, left_out=left_out)]
    return "\n".join(lines) + "\n"


def _reason(end: str, case: Case) -> str:
    return KNOWN.get((end, case.number), "not known why")


def _numbers(cases: Iterable[Case]) -> frozenset[str]:
    return frozenset(case.number for case in cases)
