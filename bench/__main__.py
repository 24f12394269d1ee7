"""The command line of the bench: `python -m bench`, or `make bench ARGS=...`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench import cases as known
from bench import guards as guarding
from bench import restart as restarting
from bench.cases import CASES, Case, Run
from bench.figures import gather, is_exact, judge
from bench.history import append, entry
from bench.measure import Measured, measure
from bench.peers import baseline, temporary_folder
from bench.proc import Cores, pinned, raise_file_limit, sync_ms
from bench.profiling import profile
from bench.table import table, verdict_line

HISTORY = Path(__file__).parent / "history.jsonl"
NO_DISK_MS = 0.02
PROFILED = ("sse-200", "sse-unpaced")


def _chosen(only: str | None, files: int, *, quick: bool) -> list[Case]:
    names = [case.name for case in CASES if case.usual] if only is None else only.split(",")
    by_name = {case.name: case for case in CASES}
    if unknown := [name for name in names if name not in by_name]:
        raise click.BadParameter(
            f"there is no case {unknown[0]!r}; there is: {', '.join(by_name)}", param_hint="--only"
        )
    chosen = [known.within(by_name[name], files) for name in names]
    return [known.shortened(case) for case in chosen] if quick else chosen


def _tell(run: Run, measured: Measured) -> None:
    outcome = measured.outcome
    cost = f"{outcome.cpu_s / outcome.tokens * 1e6:6.1f} us/token" if outcome.tokens else " " * 15
    if outcome.idle is not None:
        cost = f"{outcome.idle.rss_growth / outcome.answers / 1_024:6.1f} KiB each "
    latency = outcome.latency_us
    p99 = f"p99 {latency.p99 / 1e3:6.2f} ms" if latency and not run.load.hold else " " * 13
    what = f"{run.load.streams} x {run.load.readers}, {run.load.interval_us / 1e3:g} ms"
    exact = f"{outcome.exact}/{outcome.answers} exact"
    calibration = f"loop {measured.calibration_ms:.1f} ms" if measured.calibration_ms else ""
    click.echo(f"{run.peer:17} {run.asks:13} {run.way:9} {what:16} {cost}  {p99}  {exact}  {calibration}", err=True)


def _guards(repeats: int, cores: Cores, history: Path | None, *, quick: bool) -> bool:
    """Measure what guards cost, print it, and keep it where wanted; return whether all budgets are met."""
    with pinned(cores.middle):
        found = guarding.measure(repeats, quick=quick, tell=lambda line: click.echo(line, err=True))
    verdicts = guarding.judge(found)
    click.echo(f"\n{guarding.table(found)}\n")
    for verdict in verdicts:
        click.echo(verdict_line(verdict))
    if history is not None:
        append(history, entry({}, verdicts, cores, repeats) | {"guards": found})
    return all(verdict.met for verdict in verdicts)


def _restart(cores: Cores, history: Path | None, *, quick: bool) -> bool:
    """Measure a start on a full folder, print it, and keep it where wanted; return whether everything is there."""
    found = restarting.measure(cores, quick=quick, tell=lambda line: click.echo(line, err=True))
    click.echo(f"\n{restarting.report(found)}")
    if history is not None:
        append(history, entry({}, [], cores, repeats=1) | {"restart": found})
    return not found.faults


def _disk() -> float:
    """Look how long a sync takes here, and say so where that is no disk's time."""
    with temporary_folder() as folder:
        taken_ms = sync_ms(folder)
    doubt = "; doubtful: that is no disk, so `disk` costs little more than `process`" if taken_ms < NO_DISK_MS else ""
    click.echo(f"\na sync takes {taken_ms:.3f} ms in the folder of the relays{doubt}")
    return taken_ms


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="CASE,CASE", help="Of: " + ", ".join(case.name for case in CASES) + ".")
@click.option("--repeats", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--quick", is_flag=True, help="Once, and shorter: a look, no measurement. Not kept.")
@click.option(
    "--profile", "profiled", is_flag=True, help=f"Say where the time goes (of {', '.join(PROFILED)}, or --only)."
)
@click.option("--guards", is_flag=True, help="Measure what guards cost for each token, and no relay.")
@click.option("--restart", is_flag=True, help="Measure a start on a full folder, and nothing else (minutes, 3 GB).")
@click.option("--check", is_flag=True, help="Exit with 1 where a budget is not met.")
@click.option("--history", type=click.Path(path_type=Path, dir_okay=False), default=HISTORY, help="Keep the JSON here.")
@click.option("--no-history", is_flag=True, help="Keep nothing.")
def main(  # noqa: PLR0913 - one for each option
    only: str | None,
    repeats: int,
    history: Path,
    *,
    quick: bool,
    profiled: bool,
    guards: bool,
    restart: bool,
    check: bool,
    no_history: bool,
) -> None:
    """Measure the relay beside nginx (or, where there is none, beside a bare relay), and print the table."""
    cores = Cores.of_this_machine()
    kept = None if quick or no_history else history
    if guards:
        met = _guards(1 if quick else repeats, cores, kept, quick=quick)
        sys.exit(1 if check and not met else 0)
    if restart:
        sys.exit(0 if _restart(cores, kept, quick=quick) else 1)
    peer = baseline()
    chosen = _chosen(only or (",".join(PROFILED) if profiled else None), raise_file_limit(), quick=quick)
    repeats = 1 if quick else repeats
    if profiled:
        for case in chosen:
            click.echo(profile(case, repeats, cores))
        return
    results = measure([known.plan(chosen, peer, first=n == 0) for n in range(repeats)], cores, _tell)
    found = gather(chosen, results, peer)
    verdicts = judge(found, peer)
    click.echo(f"\n{table(found, peer)}")
    disk = {"sync_ms": _disk()} if any(case.by_store for case in found.values()) else {}
    click.echo()
    for verdict in verdicts:
        click.echo(verdict_line(verdict))
    if kept is not None:
        append(kept, entry(found, verdicts, cores, repeats) | disk)
    if not is_exact(found) or (check and not all(verdict.met for verdict in verdicts)):
        sys.exit(1)


if __name__ == "__main__":
    main()
