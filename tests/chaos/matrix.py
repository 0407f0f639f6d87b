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


def matrix(tallies: Mapping[str, Tally], seeds: Sequence[int]) -> str:
    """The table as Markdown, with a line of sums."""
    lines = [
        f"Seeds: {', '.join(map(str, seeds))}.",
        "",
        "| fault | injected | calls accepted | lost | doubled | wrong | recovery p50 | p99 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    total = Tally()
    for name, tally in tallies.items():
        lines.append(_line(name, tally))
        total.add(tally)
    lines.append(_line("**all**", total))
    return "\n".join(lines)


def _line(name: str, tally: Tally) -> str:
    p50, p99 = (percentile(tally.recovery, share) for share in (0.5, 0.99))
    counts = (tally.faults, tally.accepted, tally.lost, tally.doubled, tally.wrong)
    return f"| {name} | {' | '.join(map(str, counts))} | {p50:.1f} s | {p99:.1f} s |"


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
