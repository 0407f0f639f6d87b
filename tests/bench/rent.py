"""What a month costs to run: cores, disks and traffic by the measured costs, at prices per unit.

Pure arithmetic, as in `sizing`. Prices are chosen, not measured: everybody's are different.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.report import markdown_table, number
from tests.bench.sizing import Costs, Plan, flows

MONTHS: Final = (1, 10, 100, 1_000)
"""Millions of calls a month."""
BEGIN: Final = "<!-- rent: written by `python -m tests.bench rent --write` -->"
END: Final = "<!-- end of rent -->"
HOURS: Final = 730.0
DAYS: Final = HOURS / 24
_SECONDS: Final = HOURS * 3_600


@dataclass(frozen=True)
class Prices:
    """In US dollars: a core for an hour, a GB of disk for a month, a GB between machines."""

    core: float = 0.04
    disk: float = 0.08
    traffic: float = 0.01


@dataclass(frozen=True)
class Least:
    """What stands when nobody calls: cores of all copies of a part, and GB of disk of each copy.

    Gateways and consumers have what the chart asks for.
    """

    gateways: float = 2 * 0.25
    consumers: float = 2 * 0.25
    brokers: float = 3 * 1.0
    databases: float = 2 * 1.0
    disk: float = 20.0


PEAK: Final = 4.0
"""How much more calls come in the busiest hours than on average."""
LEDGER_MONTHS: Final = 12
"""Receipts of so many months are on the disks that are paid for."""
_BROKERS: Final = 3
_DATABASES: Final = 2


@dataclass(frozen=True)
class Month:
    """What a month needs, and what it costs in US dollars."""

    millions: float
    gateways: float
    consumers: float
    brokers: float
    databases: float
    broker_disk: float
    database_disk: float
    traffic: float
    prices: Prices

    @property
    def cores(self) -> float:
        """Cores that are rented."""
        return self.gateways + self.consumers + self.brokers + self.databases

    @property
    def machines_usd(self) -> float:
        """For all cores."""
        return self.cores * HOURS * self.prices.core

    @property
    def disks_usd(self) -> float:
        """For all disks."""
        return (self.broker_disk + self.database_disk) * self.prices.disk

    @property
    def traffic_usd(self) -> float:
        """For all bytes between machines."""
        return self.traffic * self.prices.traffic

    @property
    def usd(self) -> float:
        """For all of it."""
        return self.machines_usd + self.disks_usd + self.traffic_usd


def month(
    millions: float, costs: Costs, plan: Plan, prices: Prices, least: Least | None = None
) -> Month:
    """Return what so many millions of calls a month need and cost.

    Args:
        millions: of calls.
        costs: of a million callbacks, as measured.
        plan: retention, replicas, and how busy and how full machines may be.
        prices: of what is rented.
        least: what stands in any case; default: `Least()`.
    """
    floor = least or Least()
    flow, busiest = flows(costs, plan), millions / _SECONDS * PEAK / plan.busy
    kept = flow.kept * millions / DAYS
    ledger = _DATABASES * costs.tables * millions * LEDGER_MONTHS
    # The standby gets the WAL; what gateways get comes from the proxies.
    moved = costs.posted + flow.incoming + flow.outgoing + costs.written + costs.wal
    return Month(
        millions=millions,
        gateways=max(floor.gateways, busiest * costs.gateway),
        consumers=max(floor.consumers, busiest * costs.consumer),
        brokers=max(floor.brokers, busiest * costs.broker * plan.copies),
        databases=max(floor.databases, busiest * costs.database * _DATABASES),
        broker_disk=max(_BROKERS * floor.disk, kept / plan.full),
        database_disk=max(_DATABASES * floor.disk, ledger / plan.full),
        traffic=moved * millions,
        prices=prices,
    )


def table(months: Sequence[Month]) -> str:
    """Return the months side by side, as a table of a page."""

    def row(name: str, values: Sequence[float]) -> tuple[str, ...]:
        return (name, *map(number, values))

    rows = [
        row("cores of gateways", [one.gateways for one in months]),
        row("cores of consumers", [one.consumers for one in months]),
        row("cores of brokers", [one.brokers for one in months]),
        row("cores of PostgreSQL and its standby", [one.databases for one in months]),
        row("disks of brokers, GB", [one.broker_disk for one in months]),
        row("disks of PostgreSQL and its standby, GB", [one.database_disk for one in months]),
        row("traffic between machines, GB", [one.traffic for one in months]),
        row("machines, USD", [one.machines_usd for one in months]),
        row("disks, USD", [one.disks_usd for one in months]),
        row("traffic, USD", [one.traffic_usd for one in months]),
        row("**a month, USD**", [one.usd for one in months]),
        row("a million calls, USD", [one.usd / one.millions for one in months]),
    ]
    headings = ("calls a month", *(f"{one.millions:,g} M" for one in months))
    return markdown_table(headings, "l" + "r" * len(months), rows)
