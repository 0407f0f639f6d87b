"""The pages of a full run, from what `docs/performance.json` has of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench import plot, rent, report, scale_page
from tests.bench.figures import Comparison
from tests.bench.report import Run
from tests.bench.sizing import Plan, costs_of

PAGE: Final = Path("docs/performance.md")
SCALING_PAGE: Final = Path("docs/scaling.md")
COSTS_PAGE: Final = Path("docs/costs.md")
PICTURE: Final = Path("docs/pictures/cpu.png")
RAW: Final = Path("docs/performance.json")


def texts(run: Run) -> dict[Path, str]:
    """What each page gets between its markers; only pages whose figures were measured."""
    made = dict[Path, str]()
    if rows := of_performance(run):
        made[PAGE] = report.markdown(rows, run.machine, run.title)
    if cost := run.measured.get("scale_cost"):
        scaled = run.measured.get("scale_out", [])
        made[SCALING_PAGE] = scale_page.markdown(scaled, cost, run.machine, run.title)
    return made


def write(run: Run) -> None:
    """Write all pages and the picture of a run that measured everything."""
    for page, text in texts(run).items():
        report.write_page(page, text)
    report.write_page(COSTS_PAGE, rent.table(months(run.rows, rent.Prices())), rent.BEGIN, rent.END)
    plot.draw(run, PICTURE)


def of_performance(run: Run) -> list[Comparison]:
    """The rows that do not belong to the page about scaling."""
    measured = run.measured.items()
    return [row for name, some in measured if not name.startswith("scale_") for row in some]


def months(
    rows: Sequence[Comparison],
    prices: rent.Prices,
    millions: Sequence[float] = rent.MONTHS,
    *,
    small: bool = False,
) -> list[rent.Month]:
    """What months of so many millions of calls cost.

    Args:
        rows: of a run that measured `scale_cost`.
        prices: of cores, disks and traffic.
        millions: calls of each month.
        small: callbacks of 4 kB instead of 14.
    """
    plan, both = Plan.of_topics(), costs_of(rows)
    return [rent.month(one, both[small], plan, prices) for one in millions]
