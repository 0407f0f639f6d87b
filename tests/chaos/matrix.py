"""The matrix of faults for docs/reliability.md."""

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles

from tests.chaos.rounds import Tally

BEGIN = "<!-- matrix: written by `make chaos` -->"
END = "<!-- end of matrix -->"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie; the largest where there are few."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return min(quantiles(values, n=100, method="inclusive")[round(share * 100) - 1], max(values))


def matrix(tallies: Mapping[str, Tally], seed: int) -> str:
    """The table as Markdown, with a line of sums."""
    lines = [
        f"Seed {seed}.",
        "",
        "| fault | injected | calls accepted | lost | doubled | wrong | recovery p50 | p99 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    total = Tally()
    for name, tally in tallies.items():
        lines.append(_line(name, tally))
        total.faults += tally.faults
        total.accepted += tally.accepted
        total.lost += tally.lost
        total.doubled += tally.doubled
        total.wrong += tally.wrong
        total.recovery += tally.recovery
    lines.append(_line("**all**", total))
    return "\n".join(lines)


def _line(name: str, tally: Tally) -> str:
    p50, p99 = (percentile(tally.recovery, share) for share in (0.5, 0.99))
    counts = (tally.faults, tally.accepted, tally.lost, tally.doubled, tally.wrong)
    return f"| {name} | {' | '.join(map(str, counts))} | {p50:.1f} s | {p99:.1f} s |"


def write_matrix(page: Path, tallies: Mapping[str, Tally], seed: int) -> None:
    """Put the table between its markers on `page`."""
    text = page.read_text("utf-8")
    block = f"{BEGIN}\n{matrix(tallies, seed)}\n{END}"
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    page.write_text(re.sub(pattern, lambda _: block, text, flags=re.DOTALL), "utf-8")
