"""`make bench`: everything against limits of the same run. `python -m tests.bench --help`."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from rich.console import Console

from tests.bench import (
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
from tests.bench.services import Services, running_services
from tests.bench.sizes import SIZES, Size
from tests.bench.sizing import Plan, costs_of

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
PAGE: Final = Path("docs/performance.md")
SCALING_PAGE: Final = Path("docs/scaling.md")
COSTS_PAGE: Final = Path("docs/costs.md")
RAW: Final = Path("docs/performance.json")
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
    _print(measured, failures, title)
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    whole = chosen.binding and not only and not source and not failures
    raw = RAW if whole else _SCRATCH / f"{size}.json"
    rows = [row for some in measured.values() for row in some]
    report.write_json(raw, rows, about, failures, size)
    texts = _texts(measured, about, title)
    if whole:
        for page, text in texts.items():
            report.write_page(page, text)
        months = _months(rows, rent.Prices())
        report.write_page(COSTS_PAGE, rent.table(months), rent.BEGIN, rent.END)
    else:
        (_SCRATCH / f"{size}.md").write_text("\n\n".join(texts.values()) + "\n", "utf-8")
    console.print(f"every round: {raw}")
    missed = [row for row in rows if row.verdict is Verdict.MISSED]
    if failures or (chosen.binding and missed):
        raise typer.Exit(1)


def _print(
    measured: Mapping[str, list[Comparison]], failures: Mapping[str, str], title: str
) -> None:
    if rows := _of_performance(measured):
        console.print(report.table(rows, title))
    if scaled := measured.get("scale_out"):
        console.print(report.table(scaled, f"Several processes. {title}"))
    if cost := measured.get("scale_cost"):
        console.print(scale_page.cost_table(cost, f"Costs. {title}"))
    for name, failure in failures.items():
        console.print(f"{name} failed: {failure}", style="bold red", markup=False)


def _texts(
    measured: Mapping[str, list[Comparison]], about: Mapping[str, str], title: str
) -> dict[Path, str]:
    """What each page gets; only pages whose figures were measured."""
    texts = dict[Path, str]()
    if rows := _of_performance(measured):
        texts[PAGE] = report.markdown(rows, about, title)
    if cost := measured.get("scale_cost"):
        scaled = measured.get("scale_out", [])
        texts[SCALING_PAGE] = scale_page.markdown(scaled, cost, about, title)
    return texts


def _of_performance(measured: Mapping[str, list[Comparison]]) -> list[Comparison]:
    return [row for name, some in measured.items() if not name.startswith("scale_") for row in some]


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
        sofar = [row for some in rows.values() for row in some]
        report.write_json(_SCRATCH / f"{size.name}.json", sofar, about, failures, size.name)
        took = f"{name}: {time.monotonic() - began:.0f} s, {report.taken_by_others(before)}"
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
    rows, prices = report.read_json(RAW), rent.Prices(core, disk, traffic)
    table = rent.table(_months(rows, prices, calls or rent.MONTHS, small=callbacks == _SMALL))
    typer.echo(table)
    if write:
        report.write_page(COSTS_PAGE, table, rent.BEGIN, rent.END)


def _months(
    rows: Sequence[Comparison],
    prices: rent.Prices,
    millions: Sequence[float] = rent.MONTHS,
    *,
    small: bool = False,
) -> list[rent.Month]:
    plan, both = Plan.of_topics(), costs_of(rows)
    return [rent.month(one, both[small], plan, prices) for one in millions]


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
        instead_table.write(PAGE, seen)


if __name__ == "__main__":
    cli(prog_name="python -m tests.bench")
