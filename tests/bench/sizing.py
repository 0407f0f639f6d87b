"""From measured costs to machines: what one of each part bears, and how many a rate needs.

Pure arithmetic on the costs of a million calls. CPU seconds for a million calls are microseconds
for a call, and cores for a million calls a second; gigabytes for a million are kilobytes for one,
and GB/s for a million a second. So each capacity, divided by its cost, is millions of calls a
second.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from schemas.topics import Topic, load_topics
from tests.bench.figures import Comparison

RATES: Final = (1_000, 10_000, 100_000, 1_000_000)
"""Calls a second."""
DAY: Final = 86_400
_MILLION: Final = 1e6
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Said:
    """A symbol of the formulas: its name in tables, its unit."""

    symbol: str
    what: str
    unit: str = ""

    @property
    def title(self) -> str:
        """Symbol and meaning, the name of its row."""
        return f"{self.symbol}: {self.what}"

    @property
    def per_million(self) -> float:
        """Makes of seconds or bytes for one call this unit for a million."""
        return 1e-3 if self.unit == "GB" else _MILLION


@dataclass(frozen=True)
class Costs:
    """Of a million calls, measured; units and meaning are in `COSTS`."""

    gateway: float
    consumer: float
    broker: float
    database: float
    posted: float
    produced: float
    fetched: float
    published: float
    written: float
    callbacks: float
    events: float
    tables: float
    wal: float
    content: float


COSTS: Final = {
    "gateway": Said("g", "gateway", "CPU s"),
    "consumer": Said("c", "consumer", "CPU s"),
    "broker": Said("b", "broker", "CPU s"),
    "database": Said("p", "PostgreSQL with its background processes", "CPU s"),
    "posted": Said("h", "wire, LiteLLM to gateway: bodies", "GB"),
    "produced": Said("i", "wire, gateway to broker", "GB"),
    "fetched": Said("o", "wire, broker to consumer", "GB"),
    "published": Said("r", "wire, consumer to broker", "GB"),
    "written": Said("d", "wire, consumer to PostgreSQL", "GB"),
    "callbacks": Said("k", "disk, segments of the callbacks topic", "GB"),
    "events": Said("e", "disk, segments of the receipts topic", "GB"),
    "tables": Said("t", "disk, tables of the ledger with their indexes", "GB"),
    "wal": Said("w", "disk, WAL of PostgreSQL", "GB"),
    "content": Said("q", "part of h that `GATEWAY_CONTENT=drop` cuts", "GB"),
}


def costs_of(rows: Sequence[Comparison]) -> tuple[Costs, Costs]:
    """The medians of what `scale_cost` measured: of full callbacks, and of small ones.

    Raises:
        KeyError: a cost was not measured.
    """
    found = {row.what: row for row in rows}
    mine = {name: found[said.title] for name, said in COSTS.items()}
    full = {name: row.ours.median for name, row in mine.items()}
    small = {name: row.limit.median for name, row in mine.items() if row.limit}
    return Costs(**full), Costs(**small)


@dataclass(frozen=True)
class Plan:
    """What was chosen, not measured: retention, machines that one can rent, how full they may be.

    Units and meaning are in `PLAN`.
    """

    callbacks_days: float
    events_days: float
    least_partitions: int
    busy: float = 0.5
    full: float = 0.7
    copies: int = 3
    subscribers: int = 1
    broker_cores: int = 8
    broker_network: float = 1.25
    broker_disk: int = 16_000
    database_cores: int = 16
    database_wal: float = 0.25
    database_disk: int = 16_000
    online_days: int = 45

    @classmethod
    def of_topics(cls) -> Self:
        """With retention and partitions as declared."""
        topics = load_topics()
        return cls(
            callbacks_days=_days(topics.callbacks),
            events_days=_days(topics.receipts),
            least_partitions=topics.callbacks.partitions,
        )


PLAN: Final = {
    "callbacks_days": Said("Dk", "retention of `billing.callbacks.v1`, declared", "days"),
    "events_days": Said("De", "retention of `billing.receipts.v1`, declared", "days"),
    "least_partitions": Said("P", "partitions of `billing.callbacks.v1`, declared"),
    "busy": Said("u", "how busy cores and networks may be: room for peaks and failures"),
    "full": Said("f", "how full disks may be"),
    "copies": Said("R", "replicas of each partition"),
    "subscribers": Said("s", "other teams that read the receipts topic"),
    "broker_cores": Said("Cb", "cores of a broker"),
    "broker_network": Said("Nb", "network of a broker, each way", "GB/s"),
    "broker_disk": Said("Sb", "disk of a broker", "GB"),
    "database_cores": Said("Cp", "cores of a PostgreSQL server"),
    "database_wal": Said("Wp", "WAL that a server's disk and its standby bear", "GB/s"),
    "database_disk": Said("Sp", "disk of a PostgreSQL server", "GB"),
    "online_days": Said("Dt", "receipts stay in PostgreSQL: a month and its close", "days"),
}


def _days(topic: Topic) -> float:
    return int(topic.config["retention.ms"]) / _DAY_MS


@dataclass(frozen=True)
class Limit:
    """What one of a part bears: `capacity` by `cost`, in calls a second."""

    part: str
    name: str
    formula: str
    capacity: float
    cost: float

    @property
    def calls(self) -> float:
        """Calls a second."""
        return self.capacity / self.cost * _MILLION


GATEWAY: Final = "gateway"
CONSUMER: Final = "consumer"
PARTITION: Final = "partition"
BROKER: Final = "broker"
SERVER: Final = "PostgreSQL server"


@dataclass(frozen=True)
class Flows:
    """What goes through the brokers and stays there: GB of a million calls, all copies."""

    incoming: float
    outgoing: float
    stored: float
    kept: float
    """`stored` of a million calls a day, at the end of the retention."""


def flows(costs: Costs, plan: Plan) -> Flows:
    """Content is taken as it is: the bench's prompts are all the same, and yours are not."""
    callbacks, followers = costs.callbacks + costs.content, plan.copies - 1
    copied = followers * (callbacks + costs.events)
    kept = plan.callbacks_days * callbacks + plan.events_days * costs.events
    return Flows(
        incoming=costs.produced + costs.content + costs.published + copied,
        outgoing=costs.fetched + costs.content + plan.subscribers * costs.events + copied,
        stored=plan.copies * (callbacks + costs.events),
        kept=plan.copies * kept,
    )


def limits(costs: Costs, plan: Plan) -> list[Limit]:
    """What one of each part bears of each of its means."""
    flow, core = flows(costs, plan), plan.busy
    network = plan.busy * plan.broker_network
    broker, server = plan.full * plan.broker_disk, plan.full * plan.database_disk
    online = DAY * plan.online_days * costs.tables
    copied = plan.copies * costs.broker
    return [
        Limit(GATEWAY, "one core", "u / g", core, costs.gateway),
        Limit(CONSUMER, "one core", "u / c", core, costs.consumer),
        Limit(PARTITION, "one consumer", "u / c", core, costs.consumer),
        Limit(BROKER, "CPU", "u Cb / (R b)", core * plan.broker_cores, copied),
        Limit(BROKER, "network in", "u Nb / I", network, flow.incoming),
        Limit(BROKER, "network out", "u Nb / O", network, flow.outgoing),
        Limit(BROKER, "disk", "f Sb / (86,400 K)", broker, DAY * flow.kept),
        Limit(SERVER, "CPU", "u Cp / p", core * plan.database_cores, costs.database),
        Limit(SERVER, "WAL", "Wp / w", plan.database_wal, costs.wal),
        Limit(SERVER, "disk", "f Sp / (86,400 Dt t)", server, online),
    ]


@dataclass(frozen=True)
class Layout:
    """How many of each part."""

    counts: Mapping[str, int]

    def borne(self, among: Sequence[Limit]) -> list[tuple[Limit, float]]:
        """Calls a second that all of each part bear together; first what breaks first."""
        found = [(limit, limit.calls * self.counts[limit.part]) for limit in among]
        return sorted(found, key=lambda pair: pair[1])


def installed(plan: Plan) -> Layout:
    """What stands after an installation: the chart's replicas, three brokers, one database."""
    return Layout({GATEWAY: 2, CONSUMER: 2, PARTITION: plan.least_partitions, BROKER: 3, SERVER: 1})


def layout(rate: float, among: Sequence[Limit], plan: Plan) -> Layout:
    """The least of each part that bears `rate` calls a second, never less than is installed.

    Partitions are twice the consumers, in steps of the declared number: growing later moves runs.
    """
    counts = dict(installed(plan).counts)
    for limit in among:
        counts[limit.part] = max(counts[limit.part], math.ceil(rate / limit.calls))
    step = plan.least_partitions
    counts[PARTITION] = max(step, step * math.ceil(2 * counts[CONSUMER] / step))
    return Layout(counts)
