"""`make bench`: everything against limits of the same run. `python -m tests.bench --help`."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from rich.console import Console

from tests.bench import (
    connect,
    consumer_cpu,
    consumer_drain,
    credit_cost,
    fat_payload,
    gateway_batches,
    gateway_singles,
    growth,
    guard,
    hot_run,
    instead,
    instead_table,
    memory,
    other_consumers,
    other_gateways,
    pages,
    profiling,
    rent,
    report,
    run_cost,
    run_soak,
    scale_cost,
    scale_out,
    scale_page,
    seal_cost,
    whole_path,
)
from tests.bench.draining import warm_up
from tests.bench.figures import Comparison, Verdict
from tests.bench.report import Run
from tests.bench.services import Services, running_services
from tests.bench.sizes import SIZES, Size

Measure: TypeAlias = Callable[[Services, Size], list[Comparison]]

MEASUREMENTS: Final[dict[str, Measure]] = {
    "gateway_batches": gateway_batches.measure,
    "gateway_singles": gateway_singles.measure,
    "consumer_drain": consumer_drain.measure,
    "consumer_cpu": consumer_cpu.measure,
    "other_consumers": other_consumers.measure,
    "other_gateways": other_gateways.measure,
    "whole_path": whole_path.measure,
    "hot_run": hot_run.measure,
    "credits": credit_cost.measure,
    "seals": seal_cost.measure,
    "runs": run_cost.measure,
    "guard": guard.measure,
    "fat_payload": fat_payload.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "scale_out": scale_out.measure,
    "scale_cost": scale_cost.measure,
}
_SMALL: Final = 4
"""kB of the smaller callbacks that are measured."""
_SCRATCH: Final = Path(".cache/bench")

cli = typer.Typer(add_completion=False, help=__doc__)
console = Console(width=150)


@cli.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    size: Annotated[
        str, typer.Option(help="tiny (does it work?), small (minutes) or full (the targets hold).")
    ] = "small",
    only: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(MEASUREMENTS)}. Default: all.")
    ] = "",
    source: Annotated[
        bool, typer.Option("--source", help="Run the rooms without the image's compiled modules.")
    ] = False,
) -> None:
    """Measure gateway, consumer, the whole path and what they cost; print and write the tables.

    A full run of all measurements writes docs/performance.md and .json and docs/scaling.md; any
    other one writes to .cache/bench/. Exit codes: 0 done, 1 a measurement failed, or a full run
    missed a target, 2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    if size not in SIZES:
        raise typer.BadParameter(f"{size} is none of {', '.join(SIZES)}")
    names = only.split(",") if only else list(MEASUREMENTS)
    if unknown := set(names) - MEASUREMENTS.keys():
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    chosen, began, before = SIZES[size], time.monotonic(), report.processor_times()
    with running_services(source=source) as services:
        about = report.machine(services.versions)
        warm_up(services, chosen.warm_up_seconds)
        measured, failures = _measured(services, chosen, names, about)
    minutes = (time.monotonic() - began) / 60
    title = (
        f"Size {size}, medians of {chosen.rounds} rounds (least to most), {minutes:.0f} minutes, "
        f"{report.taken_by_others(before)}"
    )
    done = Run(size, title, about, measured, failures)
    _print(done)
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    whole = chosen.binding and not only and not source and not failures
    raw = pages.RAW if whole else _SCRATCH / f"{size}.json"
    report.write_json(raw, done)
    if whole:
        pages.write(done)
    else:
        text = "\n\n".join(pages.texts(done).values())
        (_SCRATCH / f"{size}.md").write_text(f"{text}\n", "utf-8")
    console.print(f"every round: {raw}")
    missed = [row for row in done.rows if row.verdict is Verdict.MISSED]
    if failures or (chosen.binding and missed):
        raise typer.Exit(1)


def _print(run: Run) -> None:
    if rows := pages.of_performance(run):
        console.print(report.table(rows, run.title))
    if scaled := run.measured.get("scale_out"):
        console.print(report.table(scaled, f"Several processes. {run.title}"))
    if cost := run.measured.get("scale_cost"):
        console.print(scale_page.cost_table(cost, f"Costs. {run.title}"))
    for name, failure in run.failures.items():
        console.print(f"{name} failed: {failure}", style="bold red", markup=False)


def _measured(
    services: Services, size: Size, names: list[str], about: Mapping[str, str]
) -> tuple[dict[str, list[Comparison]], dict[str, str]]:
    """The rows of each measurement, and for each that broke off, why: the others go on.

    What there is so far is printed and kept after each: a run that is cut off leaves its figures.
    """
    rows, failures = dict[str, list[Comparison]](), dict[str, str]()
    for name in names:
        began, before = time.monotonic(), report.processor_times()
        try:
            rows[name] = MEASUREMENTS[name](services, size)
        except Exception as failure:  # noqa: BLE001 - reported, and the run fails
            failures[name] = f"{type(failure).__name__}: {failure}"
            console.print(f"{name} failed: {failures[name]}", style="bold red", markup=False)
        took = f"{name}: {time.monotonic() - began:.0f} s, {report.taken_by_others(before)}"
        so_far = Run(size.name, f"Size {size.name}, not ended", about, rows, failures)
        report.write_json(_SCRATCH / f"{size.name}.json", so_far)
        console.print(report.table(rows.get(name, []), took))
    return rows, failures


@cli.command()
def profile(
    room: Annotated[str, typer.Argument(help="gateway or consumer")],
    seconds: Annotated[float, typer.Option(min=2, help="How long to look.")] = 15,
) -> None:
    """Say in which functions a room spends its time, under the load of the measurements."""
    if room not in profiling.PROFILES:
        raise typer.BadParameter(f"{room} is none of {', '.join(profiling.PROFILES)}")
    with running_services() as services:
        for title, load in profiling.PROFILES[room].items():
            console.print(f"{room}, {title}: {seconds:g} s ...")
            profiled = load(services, seconds)
            for table in profiling.tables(f"{room}, {title}", profiled):
                console.print(table)


@cli.command("rent")
def what_it_costs(
    core: Annotated[float, typer.Option(min=0, help="A core for an hour, US dollars.")] = 0.04,
    disk: Annotated[float, typer.Option(min=0, help="A GB of disk for a month.")] = 0.08,
    traffic: Annotated[float, typer.Option(min=0, help="A GB between machines.")] = 0.01,
    calls: Annotated[
        list[float] | None, typer.Option(help="Millions of calls a month; repeatable.")
    ] = None,
    callbacks: Annotated[int, typer.Option(help="kB of a callback: 14 or 4.")] = 14,
    *,
    write: Annotated[
        bool, typer.Option("--write", help="Write the table into docs/costs.md.")
    ] = False,
) -> None:
    """Say what a month costs to run, from the last full run's figures and these prices."""
    if callbacks not in {14, _SMALL}:
        raise typer.BadParameter("callbacks of 14 and of 4 kB were measured")
    rows, prices = report.read_json(pages.RAW).rows, rent.Prices(core, disk, traffic)
    months = pages.months(rows, prices, calls or rent.MONTHS, small=callbacks == _SMALL)
    table = rent.table(months)
    typer.echo(table)
    if write:
        report.write_page(pages.COSTS_PAGE, table, rent.BEGIN, rent.END)


@cli.command("pages")
def write_pages() -> None:
    """Write the pages and the picture anew from docs/performance.json; measures nothing."""
    pages.write(report.read_json(pages.RAW))


@cli.command("soak-runs")
def soak_runs(
    seconds: Annotated[float, typer.Option(min=30, help="How long runs begin and end.")] = 60,
    rate: Annotated[float, typer.Option(min=0.1, help="Runs a second.")] = 5,
    seed: Annotated[int, typer.Option(help="Of what happens in each run.")] = 1,
) -> None:
    """Say how long after the end of a run its cost is on the topic, and whether it is its sum.

    Callbacks come up to five seconds after their calls, as LiteLLM posts them; some come a minute
    later, some have no cost. Exit code 1: fewer than 99 of 100 runs were settled within 60 seconds
    of their end, or the last figure of a run is not the sum of its receipts.
    """
    with running_services() as services:
        found = run_soak.soak(services, run_soak.Course(seconds, rate, seed), console.print)
    console.print(found.told())
    if not found.good:
        raise typer.Exit(1)


@cli.command("instead")
def what_instead(
    write: Annotated[
        bool, typer.Option("--write", help="Write the table into docs/performance.md.")
    ] = False,
) -> None:
    """Say what each way of doing it does when it is killed or gets what is wrong; minutes."""
    with running_services() as services:
        seen = list[instead.Seen]()
        for name, watch in instead_table.WATCHED.items():
            console.print(f"{name} ...")
            seen.append(watch(services))
    console.print(instead_table.table(seen))
    if write:
        instead_table.write(pages.PAGE, seen)


@cli.command("connect")
def what_connect_takes(
    rounds: Annotated[int, typer.Option(min=1, help="Ours and Connect's in turn.")] = 5,
    callbacks: Annotated[int, typer.Option(min=10_000, help="In each round.")] = 60_000,
    *,
    write: Annotated[
        bool, typer.Option("--write", help="Write the table into docs/performance.md.")
    ] = False,
) -> None:
    """Compare with Kafka Connect, whose receipts somebody has decided before; minutes.

    Maven fetches Connect the first time.
    """
    before = report.processor_times()
    with running_services() as services:
        warm_up(services, SIZES["full"].warm_up_seconds)
        rows = connect.measure(services, rounds, callbacks)
        about = report.machine(services.versions)
    title = f"Medians of {rounds} rounds (least to most), {report.taken_by_others(before)}"
    console.print(report.table(rows, title))
    if write:
        text = report.markdown(rows, about, title)
        report.write_page(pages.PAGE, text, connect.BEGIN, connect.END)


if __name__ == "__main__":
    cli(prog_name="python -m tests.bench")
