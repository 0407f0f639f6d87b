"""What a callback costs from Kafka to its row: CPU by process, wall by step, bytes.

A consumer has its partitions, has had some callbacks, and waits. Everything is read; then the
callbacks that count appear all at once; when the last of them is committed, everything is read
again. So nothing is done ahead of the first reading, and nothing is left over after the last.
"""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import httpx
import psutil
import psycopg

from tests.bench import processor
from tests.bench.appearing import appear
from tests.bench.draining import (
    LEAST_RATE,
    START_SECONDS,
    DrainError,
    Progress,
    fill,
    until_committed,
)
from tests.bench.payloads import Payloads, receipts_among
from tests.bench.processor import MICRO, Kept
from tests.bench.services import Services
from tests.processes.process import Server, free_port

WARM: Final = 1_000
"""Callbacks before those that count, of all partitions."""
DECIDE: Final = "read and decide"
_STEP: Final = re.compile(
    r'^billing_consumer_batch_seconds_sum\{step="([^"]+)"\} (\S+)$', re.MULTILINE
)

Start: TypeAlias = Callable[[str, str, str, int], AbstractContextManager[Server]]
"""Starts a consumer: prefix of the topics, database, group, port of its metrics if it has any."""


@dataclass(frozen=True)
class Committed:
    """Of a receipt: microseconds of CPU by process, of wall by step, bytes; and the rate.

    `steps` are what the consumer tells of itself, and the CPU of its main thread, which reads and
    decides. A consumer without metrics has that one step alone.
    """

    rate: float
    """Callbacks a second, from the first commit that was seen to the last."""
    process: float
    server: float
    broker: float
    wal: float
    tables: float
    steps: Mapping[str, float]

    @property
    def wall(self) -> float:
        """Microseconds from one callback to the next."""
        return MICRO / self.rate

    @property
    def cpu(self) -> float:
        """CPU of consumer, PostgreSQL and broker."""
        return self.process + self.server + self.broker


@dataclass(frozen=True)
class _Reading:
    process: float
    broker: float
    steps: dict[str, float]
    server: Kept


def commit(
    services: Services,
    url: str,
    start: Start,
    payloads: Payloads,
    count: int,
    *,
    has_metrics: bool = False,
) -> Committed:
    """Have a consumer commit `count` callbacks.

    Args:
        services: the broker, and where logs go.
        url: an empty database with the tables that this consumer writes.
        start: starts the consumer.
        payloads: the callbacks.
        count: how many of them.
        has_metrics: whether it tells its steps.

    Raises:
        DrainError: it did not, or not every receipt is there once.
        ElsewhereError: broker or PostgreSQL is no process of this machine.
    """
    port, readings = free_port(), list[_Reading]()
    with services.topics() as prefix, psycopg.connect(url, autocommit=True) as connection:
        group = f"{prefix}{secrets.token_hex(4)}"
        progress = Progress(services, prefix, group)
        with closing(progress), start(prefix, url, group, port) as consumer:
            process, broker = psutil.Process(consumer.pid), processor.broker(services.bootstrap)

            def read() -> None:
                steps = _steps(port) if has_metrics else {}
                readings.append(_Reading(
                    processor.cpu_seconds(process),
                    processor.cpu_seconds(broker),
                    {DECIDE: processor.main_thread_seconds(process), **steps},
                    processor.kept(connection),
                ))  # fmt: skip

            fill(services, prefix, Payloads("before"), WARM)
            until_committed(consumer, progress, WARM, START_SECONDS)
            appear(services, prefix, payloads.bodies(count), read)
            first = until_committed(consumer, progress, WARM + 1, START_SECONDS)
            began = time.perf_counter()
            bound = START_SECONDS + count / LEAST_RATE
            last = until_committed(consumer, progress, WARM + count, bound)
            took = time.perf_counter() - began
            read()
        _check(connection, receipts_among(WARM) + receipts_among(count))
    if last == first:
        raise DrainError("all was committed at once: more callbacks are needed for a rate")
    before, after = readings
    return _committed(before, after, count, (last - first) / took)


def _committed(before: _Reading, after: _Reading, count: int, rate: float) -> Committed:
    receipts, server = receipts_among(count), after.server - before.server
    spent = {step: seconds - before.steps.get(step, 0.0) for step, seconds in after.steps.items()}
    return Committed(
        rate=rate,
        process=(after.process - before.process) * MICRO / receipts,
        server=server.cpu * MICRO / receipts,
        broker=(after.broker - before.broker) * MICRO / receipts,
        wal=server.wal / receipts,
        tables=server.tables / receipts,
        steps={step: seconds * MICRO / count for step, seconds in spent.items()},
    )


def _steps(port: int) -> dict[str, float]:
    """Seconds of wall by step until now, as the consumer tells them."""
    return steps_in(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20, trust_env=False).text)


def steps_in(metrics: str) -> dict[str, float]:
    """Seconds by step in the text of a consumer's metrics.

    Raises:
        DrainError: they tell of none, so nobody could say which step is the slowest.
    """
    found = {step: float(seconds) for step, seconds in _STEP.findall(metrics)}
    if not found:
        raise DrainError("the consumer's metrics tell of no step of a batch")
    return found


def _check(connection: psycopg.Connection[Any], expected: int) -> None:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM billing.charge_receipts),"
        " (SELECT count(*) FROM billing.llm_charge_details)"
    ).fetchone()
    if row != (expected, expected):
        raise DrainError(f"receipts and details are {row}; {expected} of each expected")
