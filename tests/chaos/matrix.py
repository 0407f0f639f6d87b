"""The matrix of faults for docs/reliability.md; `python -m tests.chaos.matrix` joins runs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import msgspec
import typer

from tests.chaos.rounds import Tally

BEGIN = "<!-- matrix: written by `make chaos` -->"
END = "<!-- end of matrix -->"
OF_THE_LOAD = frozenset({
    "BillingConsumerParks",
    "BillingGatewayWrongPath",
    "BillingPaidModelWithoutCost",
})  # fmt: skip
"""Alerts that the calls themselves bring about, whatever else happens."""


class Run(msgspec.Struct):
    """What the faults of one run came to, by their names."""

    seed: int
    tallies: dict[str, Tally]


def joined(runs: Sequence[Run]) -> dict[str, Tally]:
    """The sums of several runs."""
    sums: dict[str, Tally] = {}
    for run in runs:
        for name, tally in run.tallies.items():
            sums.setdefault(name, Tally()).add(tally)
    return sums


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie; the largest where there are few."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return min(quantiles(values, n=100, method="inclusive")[round(share * 100) - 1], max(values))


HEAD = (
    "fault", "injected", "calls accepted", "lost", "doubled", "wrong", "exits", "untold",
    "recovery p50", "p99", "told by",
)  # fmt: skip
OFTEN = 0.5
"""The share of a fault's rounds in which something was told, from which on the matrix names it."""


def matrix(tallies: Mapping[str, Tally], seeds: Sequence[int]) -> str:
    """The table as Markdown, with a line of sums."""
    lines = [
        f"Seeds: {', '.join(map(str, seeds))}.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"| --- |{' ---: |' * (len(HEAD) - 2)} --- |",
    ]
    total = Tally()
    for name, tally in tallies.items():
        lines.append(_line(name, tally))
        total.add(tally)
    total.told = {}
    lines.append(_line("**all**", total))
    return "\n".join(lines)


def _line(name: str, tally: Tally) -> str:
    counts = (
        tally.faults,
        tally.accepted,
        tally.lost,
        tally.doubled,
        tally.wrong,
        tally.exits,
        tally.untold,
    )
    times = (f"{percentile(tally.recovery, share):.1f} s" for share in (0.5, 0.99))
    return f"| {' | '.join([name, *map(str, counts), *times, told_by(tally)])} |"


def told_by(tally: Tally) -> str:
    """What told of the fault in half of its rounds or more, without what the load itself causes."""
    return ", ".join(
        f"`{name}`"
        for name, rounds in sorted(tally.told.items())
        if name not in OF_THE_LOAD and rounds >= OFTEN * tally.faults
    )


def write_matrix(page: Path, runs: Sequence[Run]) -> None:
    """Put the table between its markers on `page`."""
    text = page.read_text("utf-8")
    block = f"{BEGIN}\n{matrix(joined(runs), [run.seed for run in runs])}\n{END}"
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    page.write_text(re.sub(pattern, lambda _: block, text, flags=re.DOTALL), "utf-8")


def main(
    runs: Annotated[list[Path], typer.Argument(help="Files that CHAOS_TALLY named.")],
    page: Annotated[Path, typer.Option(help="The page with the markers.")] = Path(
        "docs/reliability.md"
    ),
) -> None:
    """Write the matrix of several runs, each with its own seed, to a page."""
    decoder = msgspec.json.Decoder(Run)
    write_matrix(page, [decoder.decode(run.read_bytes()) for run in runs])


if __name__ == "__main__":
    typer.run(main)
