"""The kill report as a page for people."""

from __future__ import annotations

from typing import Final

from kills.figures import ENDPOINTS, Figures, times

INTRO: Final = """\
# The kill report

Written by `make kill-test ARGS="--write"`.

The relay runs as a process on one folder, with `durability = "{durability}"`. Turns stream to readers on every
endpoint while it is killed without warning (`kill -9`) at moments drawn by lot, and started again. Every reader comes
back with the last offset it has, often on another endpoint, and reads to the end. Then all of it is compared:

- the text of each reader with the text of the turn, and that with the ledger of the simulated platform (with an
  uninterrupted turn, where guards change the text);
- each event of each reader with the event at that offset in a full read afterwards: nothing that was shown is missing
  or another one, no offset is told twice, there is one end, and all readers have heard the same one;
- what `GET /v1/turns/{{id}}` and the list say, what an `Idempotency-Key` finds, and what is answered to an offset that
  the log does not have;
- at the end of the run, the bytes of turns of earlier rounds with those that were read then.

**{verdict}**

"""
COUNTS: Final = """\
{figures.readers:,} readers came back {figures.comebacks:,} times and heard {figures.events:,} events;
{figures.changes:,} of them had their answer from several endpoints. {figures.visits:,} visited turns of earlier rounds,
and {figures.rereads:,} such turns were read again at the end of the run. Requests with a key that were repeated after a
restart found their turn {figures.repeats_found:,} times, and made another one {figures.repeats_new:,} times, where the
first had failed before it said anything. {figures.forgotten:,} turns were erased and stayed so. {figures.busy:,}
requests were answered 503, and asked again."""


def page(figures: Figures) -> str:
    """Return the page for docs/."""
    lines = [INTRO.format(durability=figures.durability, verdict=figures.verdict().capitalize() + ".")]
    lines += ["| killed | times |", "|---|---|"]
    lines += [f"| {moment} | {count} |" for moment, count in figures.kills.most_common()]
    lines += ["", "| turns ended as | turns |", "|---|---|"]
    lines += [f"| `{end}` | {count} |" for end, count in figures.ends.most_common()]
    lines += [
        "",
        COUNTS.format(figures=figures),
        "",
        "## How long it takes",
        "",
        "From the request of a reader that comes back to the first byte, once the relay is ready. All readers of a",
        "round come back at once, on the machine that also runs the readers and the platform.",
        "",
        "| endpoint | readers | p50 ms | p99 ms | most ms |",
        "|---|---|---|---|---|",
    ]
    rows = [(name, figures.resumed.get(form, [])) for form, name in ENDPOINTS.items()]
    rows += [("asked while the relay was starting", figures.waited)]
    lines += [_row(name, seconds) for name, seconds in rows]
    lines += ["", "From the start of the process until it takes turns, with all that recovery does:", ""]
    lines += ["| | starts | p50 ms | p99 ms | most ms |", "|---|---|---|---|---|", _row("start", figures.starts)]
    return "\n".join(lines) + "\n"


def _row(name: str, seconds: list[float]) -> str:
    found = times(seconds)
    return f"| {name} | {found.counted} | {found.p50:.0f} | {found.p99:.0f} | {found.most:.0f} |"
