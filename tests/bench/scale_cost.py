"""What a million callbacks cost: CPU by process, bytes on the wire and on the disk."""

import secrets
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, Final, LiteralString

import psutil
import psycopg

from producer_gateway.content import cut_content
from schemas.topics import load_topics
from tests.bench import processor
from tests.bench.draining import DrainError, Progress
from tests.bench.figures import Comparison, Figures
from tests.bench.gateway_batches import CONNECTIONS, PER_POST
from tests.bench.load import Load
from tests.bench.payloads import MEDIAN, REDACTED, Payloads
from tests.bench.processor import cpu_seconds, listener
from tests.bench.scale_wire import wire
from tests.bench.sending import send
from tests.bench.services import Services
from tests.bench.sizes import Size
from tests.bench.sizing import COSTS
from tests.waiting import eventually

_LATEST_SECONDS: Final = 90.0
_LEAST_RATE: Final = 100.0
_LEDGER: Final[LiteralString] = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, (
    SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class
    WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r'
)
"""
_COUNT: Final[LiteralString] = """
SELECT (SELECT count(*) FROM billing.charge_receipts)
    + (SELECT count(*) FROM billing.deferred_calls)
"""


def measure(services: Services, size: Size) -> list[Comparison]:
    """Of a million callbacks of 14 kB, and of 4 kB."""
    measured: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in COSTS}
    for _ in range(size.rounds):
        for place, each in enumerate((MEDIAN, REDACTED)):
            for name, cost in _round(services, size, each).items():
                measured[name][place].append(cost)
    return [
        Comparison(
            said.title,
            said.unit,
            Figures("14 kB", tuple(measured[name][0])),
            Figures("4 kB", tuple(measured[name][1])),
        )
        for name, said in COSTS.items()
    ]


class _Meter:
    """Reads what was used until now: CPU seconds and bytes, by the names of `Costs`.

    Raises:
        ElsewhereError: broker or database do not run as processes of this machine.
    """

    def __init__(
        self, services: Services, prefix: str, ledger: psycopg.Connection[Any], **rooms: int
    ) -> None:
        self._data = services.directory / "broker" / "data"
        self._broker_port = int(services.bootstrap.rpartition(":")[2])
        self._database_port = ledger.info.port
        topics = load_topics(prefix)
        self._topics = {"callbacks": topics.callbacks.name, "events": topics.receipts.name}
        self._processes = {
            "broker": processor.broker(services.bootstrap),
            "database": listener(self._database_port, "postgres"),
            **{name: psutil.Process(pid) for name, pid in rooms.items()},
        }
        self._ledger = ledger

    def read(self) -> dict[str, float]:
        # What the background writers have yet to write was caused by what was measured.
        self._ledger.execute("CHECKPOINT")
        wal, tables = self._ledger.execute(_LEDGER).fetchone() or (0, 0)
        gateway, consumer = self._processes["gateway"], self._processes["consumer"]
        kafka = wire(consumer, self._broker_port)
        return {
            **{name: cpu_seconds(process) for name, process in self._processes.items()},
            **{name: self._segments(topic) for name, topic in self._topics.items()},
            "produced": wire(gateway, self._broker_port).sent,
            "fetched": kafka.received,
            "published": kafka.sent,
            "written": wire(consumer, self._database_port).sent,
            "wal": float(wal),
            "tables": float(tables),
        }

    def _segments(self, topic: str) -> int:
        files = list(self._data.glob(f"{topic}-*/*.log"))
        if not files:
            raise DrainError(f"{topic} has no segments here: costs need a broker from its jars")
        return sum(file.stat().st_size for file in files)


def _round(services: Services, size: Size, each: int) -> dict[str, float]:
    """What a million callbacks of `each` bytes use, in the units of `COSTS`."""
    with services.topics() as prefix, services.database() as url, ExitStack() as stack:
        group = f"{prefix}{secrets.token_hex(4)}"
        gateway = stack.enter_context(services.gateway(prefix))
        consumer = stack.enter_context(services.consumer(prefix, url, group))
        progress = stack.enter_context(closing(Progress(services, prefix, group)))
        ledger = stack.enter_context(psycopg.connect(url, autocommit=True))
        rooms = {"gateway": gateway.process.pid, "consumer": consumer.pid}
        load = Load(
            gateway.port,
            gateway.token,
            CONNECTIONS,
            size.seconds,
            size=each,
            per_post=PER_POST,
            seed="cost",
        )
        warm = _sent(progress, replace(load, seconds=size.seconds / 5, seed="warm"), 0)
        meter = _Meter(services, prefix, ledger, **rooms)
        before = meter.read()
        count = _sent(progress, load, warm)
        after = meter.read()
        if ledger.execute(_COUNT).fetchone() != (warm + count,):
            raise DrainError(f"{warm + count} callbacks are not as many rows of the ledger")
    used = {name: after[name] - value for name, value in before.items()}
    element = Payloads(load.seed, each).element(0)
    used["posted"] = float(count * len(element))
    used["content"] = float(count * (len(element) - len(cut_content(element))))
    return {name: used[name] / count * said.per_million for name, said in COSTS.items()}


def _sent(progress: Progress, load: Load, earlier: int) -> int:
    """Post as fast as is answered; how many callbacks, when all of them have their outcome."""
    count = sum(send(load).statuses.values()) * load.per_post
    seconds = _LATEST_SECONDS + count / _LEAST_RATE
    eventually(lambda: progress.callbacks() >= earlier + count, f"{count} callbacks", seconds)
    return count
