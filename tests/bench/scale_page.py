"""The tables of docs/scaling.md: measured costs, and the sizing that follows from them."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.table import Table

from tests.bench import report
from tests.bench.figures import Comparison
from tests.bench.sizing import (
    BROKER,
    CONSUMER,
    DAY,
    GATEWAY,
    PARTITION,
    PLAN,
    RATES,
    SERVER,
    Costs,
    Layout,
    Limit,
    Plan,
    costs_of,
    flows,
    layout,
    limits,
)

COST_HEADINGS: Final = ("a million callbacks", "unit", "of 14 kB", "of 4 kB", "ratio")
_COST_ALIGNED: Final = "llrrr"
_PLACES: Final = {"of 14 kB": 0, "of 4 kB": 1}
_FIRST: Final = 3
"""So many of the limits that are next are named."""


def cost_cells(row: Comparison) -> tuple[str, ...]:
    """A row of measured costs, in the order of its headings."""
    return (row.what, row.unit, *(report.spread(each) for each in (row.ours, row.limit, row.ratio)))


def cost_table(rows: Sequence[Comparison], title: str) -> Table:
    """The measured costs for the terminal."""
    return report.terminal_table(COST_HEADINGS, _COST_ALIGNED, map(cost_cells, rows), title)


def markdown(
    scaled: Sequence[Comparison], cost: Sequence[Comparison], about: Mapping[str, str], title: str
) -> str:
    """Everything that `make bench` writes into the page.

    Args:
        scaled: rows of `scale_out`.
        cost: rows of `scale_cost`.
        about: what it was measured on.
        title: size, rounds and duration of the run.
    """
    plan, both = Plan.of_topics(), costs_of(cost)
    parts = [
        f"{title}.",
        "### Measured: what a million callbacks cost",
        report.markdown_table(COST_HEADINGS, _COST_ALIGNED, map(cost_cells, cost)),
        "### Measured: several processes",
        report.markdown_table(
            report.HEADINGS, report.ALIGNED, [report.cells(row) for row in scaled]
        ),
        report.machine_line(about),
        "### Chosen, not measured",
        _plan_table(plan),
        "### What one of each bears",
        _limits_table(both, plan),
    ]
    for name, place in _PLACES.items():
        parts += [f"### Sizing for callbacks {name}", _sizing_table(both[place], plan)]
    return "\n\n".join(parts)


def _plan_table(plan: Plan) -> str:
    rows = [(said.title, f"{getattr(plan, name):,g}", said.unit) for name, said in PLAN.items()]
    return report.markdown_table(("symbol", "value", "unit"), "lrl", rows)


def _limits_table(both: tuple[Costs, Costs], plan: Plan) -> str:
    pairs = zip(*(limits(costs, plan) for costs in both), strict=True)
    rows = [
        (full.part, full.name, f"`{full.formula}`", f"{full.calls:,.0f}", f"{small.calls:,.0f}")
        for full, small in pairs
    ]
    headings = ("one", "is bounded by", "millions of calls/s", *_PLACES)
    return report.markdown_table(headings, "lllrr", rows)


def _sizing_table(costs: Costs, plan: Plan) -> str:
    among, flow = limits(costs, plan), flows(costs, plan)
    made = [layout(rate, among, plan) for rate in RATES]
    millions = [rate / 1e6 for rate in RATES]

    def counted(part: str) -> list[str]:
        return [f"{each.counts[part]:,}" for each in made]

    def flowing(per_million: float) -> list[str]:
        return [report.number(each * per_million) for each in millions]

    rows = [
        ("gateways", "N / one, at least 2", *counted(GATEWAY)),
        ("consumers", "N / one, at least 2", *counted(CONSUMER)),
        ("partitions", "twice the consumers, in steps of P", *counted(PARTITION)),
        ("brokers", "N / one, at least 3", *counted(BROKER)),
        ("into all gateways, GB/s", "N h", *flowing(costs.posted)),
        ("into all brokers, GB/s", "N I", *flowing(flow.incoming)),
        ("out of all brokers, GB/s", "N O", *flowing(flow.outgoing)),
        ("broker disk a day, TB", "N 86,400 R (k + q + e)", *flowing(flow.stored * DAY / 1e3)),
        ("broker disk at retention, TB", "N 86,400 K", *flowing(flow.kept * DAY / 1e3)),
        ("PostgreSQL servers", "N / one; each with a standby", *counted(SERVER)),
        ("PostgreSQL cores that are busy", "N p", *flowing(costs.database)),
        ("into all PostgreSQL, GB/s", "N d", *flowing(costs.written)),
        ("WAL, GB/s", "N w", *flowing(costs.wal)),
        ("tables a day, TB", "N 86,400 t", *flowing(costs.tables * DAY / 1e3)),
        ("tables at the end of Dt, TB", "N 86,400 Dt t",
         *flowing(costs.tables * DAY * plan.online_days / 1e3)),
        ("breaks first when calls grow", "least limits of this layout",
         *(_least(each, among) for each in made)),
    ]  # fmt: skip
    headings = ("what", "formula", *(f"N = {rate:,}/s" for rate in RATES))
    return report.markdown_table(headings, "llrrrr", rows)


def _least(standing: Layout, among: Sequence[Limit]) -> str:
    """The limits that a layout reaches first, with the calls a second that it bears."""
    first = standing.borne(among)[:_FIRST]
    return "; ".join(f"{limit.part}: {limit.name} ({calls:,.0f}/s)" for limit, calls in first)
