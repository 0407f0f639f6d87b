"""`make bench`: everything against limits of the same run. `python -m tests.bench --help`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from rich.console import Console

from tests.bench import (
    consumer_drain,
    fat_payload,
    gateway_batches,
    gateway_singles,
    growth,
    hot_run,
    memory,
    profiling,
    report,
    whole_path,
)
from tests.bench.figures import Comparison, Verdict
from tests.bench.services import Services, running_services
from tests.bench.sizes import SIZES, Size

Measure: TypeAlias = Callable[[Services, Size], list[Comparison]]

MEASUREMENTS: Final[dict[str, Measure]] = {
    "gateway_batches": gateway_batches.measure,
    "gateway_singles": gateway_singles.measure,
    "consumer_drain": consumer_drain.measure,
    "whole_path": whole_path.measure,
    "hot_run": hot_run.measure,
    "fat_payload": fat_payload.measure,
    "memory": memory.measure,
    "growth": growth.measure,
}
PAGE: Final = Path("docs/performance.md")
RAW: Final = Path("docs/performance.json")
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
) -> None:
    """Measure gateway, consumer and the whole path; print and write the table.

    A full run of all measurements writes docs/performance.md and .json; any other one writes to
    .cache/bench/. Exit codes: 0 done, 1 a measurement failed, or a full run missed a target,
    2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    if size not in SIZES:
        raise typer.BadParameter(f"{size} is none of {', '.join(SIZES)}")
    names = only.split(",") if only else list(MEASUREMENTS)
    if unknown := set(names) - MEASUREMENTS.keys():
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    chosen, began = SIZES[size], time.monotonic()
    with running_services() as services:
        about = report.machine(services.versions)
        rows, failures = _measured(services, chosen, names)
    minutes = (time.monotonic() - began) / 60
    title = f"Size {size}, medians of {chosen.rounds} rounds (least to most), {minutes:.0f} minutes"
    console.print(report.table(rows, title))
    for name, failure in failures.items():
        console.print(f"{name} failed: {failure}", style="bold red", markup=False)
    whole = chosen.binding and not only and not failures
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    raw = RAW if whole else _SCRATCH / f"{size}.json"
    report.write_json(raw, rows, about, failures, size)
    text = report.markdown(rows, about, title)
    if whole:
        report.write_page(PAGE, text)
    else:
        (_SCRATCH / f"{size}.md").write_text(text + "\n", "utf-8")
    console.print(f"every round: {raw}")
    missed = [row for row in rows if row.verdict is Verdict.MISSED]
    if failures or (chosen.binding and missed):
        raise typer.Exit(1)


def _measured(
    services: Services, size: Size, names: list[str]
) -> tuple[list[Comparison], dict[str, str]]:
    """All rows, and for each measurement that broke off, why: the others go on."""
    rows, failures = list[Comparison](), dict[str, str]()
    for name in names:
        began = time.monotonic()
        try:
            rows += MEASUREMENTS[name](services, size)
        except Exception as failure:  # noqa: BLE001 - reported, and the run fails
            failures[name] = f"{type(failure).__name__}: {failure}"
            console.print(f"{name} failed: {failures[name]}", style="bold red", markup=False)
        console.print(f"{name}: {time.monotonic() - began:.0f} s")
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


if __name__ == "__main__":
    cli(prog_name="python -m tests.bench")
